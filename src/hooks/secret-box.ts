// Secrets at rest: AES-256-GCM under keys derived from the operator's encryption keys. Knows no storage.
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import { WebhookError } from '../errors';
import type { Clock } from '../shared/clock';

const version = 'v2';
const ivBytes = 12; // NIST SP 800-38D, 8.2: 96 bits
const tagBytes = 16;

export interface SecretBox {
  /** Tells keys apart, and nothing of a key itself. */
  readonly fingerprint: string;
  /** `v2.` and base64url of iv, tag and ciphertext. `context` binds the secret to its place: another place cannot open it. */
  seal(plain: string, context: string): string;
  /** Throws BROKEN_SECRET when the key, the context or the text is not the one it was sealed with. */
  open(sealed: string, context: string): string;
}

/** Reads what was sealed, whichever of a server's keys it was sealed with. */
export type SecretOpener = Pick<SecretBox, 'open'>;

/** The boxes of one server: of its encryption key, and of the keys that were in use before. */
export class SecretBoxes implements SecretOpener {
  readonly current: SecretBox;
  readonly #former: readonly SecretBox[];

  constructor(current: SecretBox, former: readonly SecretBox[] = []) {
    this.current = current;
    this.#former = former;
  }

  /** Throws BROKEN_SECRET when no box opens it. */
  open(sealed: string, context: string): string {
    return (this.find(sealed, context) ?? this.current).open(sealed, context);
  }

  /** The box that it was sealed with. */
  find(sealed: string, context: string): SecretBox | undefined {
    return [this.current, ...this.#former].find(box => opens(box, sealed, context));
  }
}

function opens(box: SecretBox, sealed: string, context: string): boolean {
  try {
    box.open(sealed, context);
    return true;
  } catch (error) {
    if (error instanceof WebhookError) return false;
    throw error;
  }
}

/** `key`: 32 bytes, as of deriveKey. */
export function createSecretBox(key: Buffer, clock: Clock): SecretBox {
  return {
    fingerprint: createHmac('sha256', key).update('parse-server-webhooks/fingerprint').digest('base64url'),
    seal(plain, context) {
      const iv = clock.randomBytes(ivBytes);
      const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(context));
      const text = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()]);
      return `${version}.${Buffer.concat([iv, cipher.getAuthTag(), text]).toString('base64url')}`;
    },
    open(sealed, context) {
      try {
        const [head, body, ...rest] = sealed.split('.');
        if (head !== version || body === undefined || rest.length > 0) throw new Error('unknown format');
        const bytes = Buffer.from(body, 'base64url');
        if (bytes.length < ivBytes + tagBytes) throw new Error('too short');
        // Node takes a tag of 4 bytes unless told its length (DEP0182), and 4 bytes can be guessed.
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, ivBytes), {
          authTagLength: tagBytes,
        });
        decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(ivBytes, ivBytes + tagBytes));
        return (
          decipher.update(bytes.subarray(ivBytes + tagBytes), undefined, 'utf8') + decipher.final('utf8')
        );
      } catch (cause) {
        throw new WebhookError(
          'BROKEN_SECRET',
          `a secret of ${context} cannot be decrypted: is encryptionKey the one it was stored with?`,
          {
            cause,
          },
        );
      }
    },
  };
}
