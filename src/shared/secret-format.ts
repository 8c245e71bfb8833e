// The text form of Standard Webhooks keys: `whsec_`, `whsk_`, `whpk_` and base64. Owns text and bytes, no cryptography.
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, "Signature scheme".
import { WebhookError } from '../errors';
import type { Clock } from './clock';

export const secretPrefix = 'whsec_';
export const privateKeyPrefix = 'whsk_';
export const publicKeyPrefix = 'whpk_';

/** Bounds of the specification, in bytes. */
const minSecretBytes = 24;
const maxSecretBytes = 64;

/** RFC 7518, section 3.2: a key for HS256 has at least as many bytes as its hash. */
export const minHmacTokenBytes = 32;

/** Enough for HS256, so that one secret serves signatures and tokens. */
const generatedSecretBytes = minHmacTokenBytes;

const ed25519Bytes = 32;

/**
 * The 24 to 64 key bytes of `whsec_` and base64. Throws INVALID_HOOK, which says what is wrong and never the secret.
 *
 * Only standard base64 with padding is taken: the official libraries decode nothing else, so a secret that only our
 * side understood would fail at the receiver.
 */
export function decodeSecret(text: unknown): Buffer {
  const bytes = decode(text, secretPrefix, 'secret', `${minSecretBytes} to ${maxSecretBytes} bytes`);
  if (bytes.length < minSecretBytes || bytes.length > maxSecretBytes) {
    throw invalid(
      'secret',
      secretPrefix,
      `${minSecretBytes} to ${maxSecretBytes} bytes`,
      `it has ${bytes.length}`,
    );
  }
  return bytes;
}

/** A new secret: `whsec_` and 32 random bytes in base64. */
export function generateSecret(clock: Clock): string {
  return encodeKey(secretPrefix, clock.randomBytes(generatedSecretBytes));
}

/**
 * The 32-byte seed (RFC 8032, 5.1.5) of an ed25519 private key, `whsk_` and base64. Throws INVALID_HOOK.
 *
 * The specification leaves the bytes open ("standard ed25519 key pair"). The official Go library, the only one with
 * `v1a`, makes its key with `ed25519.NewKeyFromSeed`: 32 bytes. Keys in NaCl's form, 64 bytes of seed and public key,
 * are refused and not guessed at.
 */
export function decodePrivateKey(text: unknown): Buffer {
  return decodeEd25519(text, privateKeyPrefix, 'private key');
}

/** The 32 bytes of an ed25519 public key (RFC 8032, 5.1.2), `whpk_` and base64. Throws INVALID_HOOK. */
export function decodePublicKey(text: unknown): Buffer {
  return decodeEd25519(text, publicKeyPrefix, 'public key');
}

export function encodeKey(prefix: string, bytes: Buffer): string {
  return prefix + bytes.toString('base64');
}

function decodeEd25519(text: unknown, prefix: string, what: string): Buffer {
  const bytes = decode(text, prefix, what, `${ed25519Bytes} bytes`);
  if (bytes.length === ed25519Bytes) return bytes;
  const hint = bytes.length === 2 * ed25519Bytes ? ': if that is seed and public key, keep the first 32' : '';
  throw invalid(what, prefix, `${ed25519Bytes} bytes`, `it has ${bytes.length}${hint}`);
}

function decode(text: unknown, prefix: string, what: string, size: string): Buffer {
  if (typeof text !== 'string')
    throw invalid(what, prefix, size, `it is of type ${text === null ? 'null' : typeof text}`);
  if (!text.startsWith(prefix)) throw invalid(what, prefix, size, `it does not begin with ${prefix}`);
  const encoded = text.slice(prefix.length);
  const bytes = Buffer.from(encoded, 'base64');
  // Node skips what is not base64; writing it again shows whether anything was skipped or left over.
  if (bytes.toString('base64') !== encoded)
    throw invalid(what, prefix, size, 'the rest is not base64 with padding');
  return bytes;
}

function invalid(what: string, prefix: string, size: string, problem: string): WebhookError {
  return new WebhookError('INVALID_HOOK', `${what} must be ${prefix} and the base64 of ${size}: ${problem}`);
}
