// Which encryption key a database is under: a text sealed with it, which names the keys that came before. Whoever seals
// first puts the database under its key, and from then on nobody seals with another one.
import { z } from 'zod';
import { WebhookError } from '../errors';
import type { HookWriter } from './hook-store';
import type { SecretBox, SecretBoxes } from './secret-box';

export type KeyCheckWriter = Pick<HookWriter, 'readKeyCheck' | 'writeKeyCheck'>;

const place = 'encryption key';

/** Fingerprints of the keys that the database was under, oldest first. */
const shape = z.strictObject({ replaced: z.array(z.string()) });

/** So many changes of the key are remembered; a server configured before that is long gone. */
const maxReplaced = 50;

/**
 * `unset`: nothing has been sealed; `current` and `former`: under the encryption key of this server, or one of its
 * previous keys; `successor`: under one of those, and that one took the place of this server's key, so this server is the
 * one that lags behind; `foreign`: under a key that this server does not have.
 */
export type KeyState = 'unset' | 'current' | 'former' | 'successor' | 'foreign';

export const otherKeyMessage =
  'the webhooks in this database are kept under another encryptionKey (or master key): give all servers the same one, ' +
  'and what it was before in previousEncryptionKeys';

export function keyStateOf(keyCheck: string | undefined, boxes: SecretBoxes): KeyState {
  if (keyCheck === undefined) return 'unset';
  const box = boxes.find(keyCheck, place);
  if (!box) return 'foreign';
  if (box === boxes.current) return 'current';
  return replacedBy(box, keyCheck).includes(boxes.current.fingerprint) ? 'successor' : 'former';
}

/** Puts the database under the current key of `boxes`. */
export async function putUnderKey(writer: KeyCheckWriter, boxes: SecretBoxes): Promise<void> {
  const keyCheck = await writer.readKeyCheck();
  const box = keyCheck === undefined ? undefined : boxes.find(keyCheck, place);
  // Of a key that was lost nothing can be read: what came before it is forgotten.
  const known = keyCheck !== undefined && box ? [...replacedBy(box, keyCheck), box.fingerprint] : [];
  const { current } = boxes;
  const replaced = [...new Set(known)].filter(each => each !== current.fingerprint).slice(-maxReplaced);
  await writer.writeKeyCheck(current.seal(JSON.stringify({ replaced }), place));
}

function replacedBy(box: SecretBox, keyCheck: string): readonly string[] {
  return shape.parse(JSON.parse(box.open(keyCheck, place))).replaced;
}

/**
 * What to seal with: the key that the database is under, which may be a previous one of this server while another still
 * has it. Throws BROKEN_SECRET when it is none of this server's: the other servers could not read what it wrote.
 */
export async function findSealingBox(writer: KeyCheckWriter, boxes: SecretBoxes): Promise<SecretBox> {
  const keyCheck = await writer.readKeyCheck();
  if (keyCheck === undefined) {
    await putUnderKey(writer, boxes);
    return boxes.current;
  }
  const box = boxes.find(keyCheck, place);
  if (!box) throw new WebhookError('BROKEN_SECRET', otherKeyMessage);
  return box;
}
