// The signing keys of a whole server: ed25519 for `v1a` signatures, RS256 and ES256 for bearer tokens. Owns their text
// form and rotation; where the text is kept, sealed, is others'.
import { z } from 'zod';
import { WebhookError } from '../errors';
import type { Clock } from '../shared/clock';
import {
  addSigningKey,
  generateSigningKey,
  nextSignsFrom,
  parseSigningKeys,
  serializeSigningKeys,
  signingKeyAt,
  type SigningAlgorithm,
  type SigningKeySet,
} from './signing-keys';
import { generateEd25519Key, parseEd25519Key, type Ed25519Key } from './webhook-signature';

export interface KeyRing {
  /** Newest first; all of them sign, so that receivers can change over. At most two. */
  readonly ed25519: readonly { readonly text: string; readonly key: Ed25519Key }[];
  readonly bearer: SigningKeySet;
}

export type RingKey = 'ed25519' | SigningAlgorithm;

export const emptyKeyRing: KeyRing = { ed25519: [], bearer: { keys: [] } };

const shape = z.strictObject({
  version: z.literal(1),
  ed25519: z.array(z.string()).max(2),
  bearer: z.string(),
});

export function serializeKeyRing(ring: KeyRing): string {
  const ed25519 = ring.ed25519.map(({ text }) => text);
  return JSON.stringify({ version: 1, ed25519, bearer: serializeSigningKeys(ring.bearer) });
}

/** Reads what serializeKeyRing wrote; undefined is an empty ring. Throws BROKEN_SECRET, which quotes nothing. */
export function parseKeyRing(text: string | undefined): KeyRing {
  if (text === undefined) return emptyKeyRing;
  try {
    const stored = shape.parse(JSON.parse(text));
    return {
      ed25519: stored.ed25519.map(each => ({ text: each, key: parseEd25519Key(each) })),
      bearer: parseSigningKeys(stored.bearer),
    };
  } catch {
    // No cause: the message of JSON.parse quotes what it read, and that is private keys.
    throw new WebhookError('BROKEN_SECRET', 'the stored signing keys are unreadable');
  }
}

export function hasKey(ring: KeyRing, key: RingKey, nowMs: number): boolean {
  return key === 'ed25519' ? ring.ed25519.length > 0 : signingKeyAt(ring.bearer, key, nowMs) !== undefined;
}

/**
 * Adds a key. An ed25519 key signs at once, beside the one before; a bearer key is published first and signs after the
 * overlap, so that caches of the JWKS know it by then. The first of its kind signs at once.
 */
export async function addKey(ring: KeyRing, key: RingKey, clock: Clock): Promise<KeyRing> {
  if (key === 'ed25519') {
    const text = generateEd25519Key(clock);
    return { ...ring, ed25519: [{ text, key: parseEd25519Key(text) }, ...ring.ed25519].slice(0, 2) };
  }
  const nowMs = clock.now();
  // The first signs at any time: on a node whose clock is behind, "from now" would be in the future.
  const signsFrom = hasKey(ring, key, nowMs) ? nextSignsFrom(ring.bearer, { algorithm: key, nowMs }) : 0;
  const made = await generateSigningKey(key, signsFrom);
  return { ...ring, bearer: addSigningKey(ring.bearer, { key: made, nowMs }) };
}

/**
 * Adds a key that signs at once and drops every other one of its kind, as after a leak. What still signs with those, and
 * who has not fetched the new public key yet, is at odds until then.
 */
export async function replaceKeys(ring: KeyRing, key: RingKey, clock: Clock): Promise<KeyRing> {
  if (key === 'ed25519') return addKey({ ...ring, ed25519: [] }, key, clock);
  // From 0 on, as the first of its kind.
  const made = await generateSigningKey(key, 0);
  return {
    ...ring,
    bearer: addSigningKey(ring.bearer, { key: made, nowMs: clock.now(), revokeOthers: true }),
  };
}
