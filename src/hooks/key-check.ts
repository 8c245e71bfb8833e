// Which encryption key a database is under: a known text, sealed with it. Whoever seals first puts the database under
// its key, and from then on nobody seals with another one.
import { WebhookError } from '../errors';
import type { HookWriter } from './hook-store';
import type { SecretBox, SecretBoxes } from './secret-box';

export type KeyCheckWriter = Pick<HookWriter, 'readKeyCheck' | 'writeKeyCheck'>;

const place = 'encryption key';
const knownText = 'parse-server-webhooks';

/**
 * `unset`: nothing has been sealed, or by a version without this check; `current` and `former`: under the encryption key
 * of this server, or one of its previous keys; `foreign`: under a key that this server does not have.
 */
export type KeyState = 'unset' | 'current' | 'former' | 'foreign';

export const otherKeyMessage =
  'the webhooks in this database are kept under another encryptionKey (or master key): give all servers the same one, ' +
  'and what it was before in previousEncryptionKeys';

export function keyStateOf(keyCheck: string | undefined, boxes: SecretBoxes): KeyState {
  if (keyCheck === undefined) return 'unset';
  const box = boxes.find(keyCheck, place);
  if (!box) return 'foreign';
  return box === boxes.current ? 'current' : 'former';
}

export async function putUnderKey(
  writer: Pick<KeyCheckWriter, 'writeKeyCheck'>,
  box: SecretBox,
): Promise<void> {
  await writer.writeKeyCheck(box.seal(knownText, place));
}

/**
 * What to seal with: the key that the database is under, which may be a previous one of this server while another still
 * has it. Throws BROKEN_SECRET when it is none of this server's: the other servers could not read what it wrote.
 */
export async function findSealingBox(writer: KeyCheckWriter, boxes: SecretBoxes): Promise<SecretBox> {
  const keyCheck = await writer.readKeyCheck();
  if (keyCheck === undefined) {
    await putUnderKey(writer, boxes.current);
    return boxes.current;
  }
  const box = boxes.find(keyCheck, place);
  if (!box) throw new WebhookError('BROKEN_SECRET', otherKeyMessage);
  return box;
}
