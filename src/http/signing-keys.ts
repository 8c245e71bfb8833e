// The keys behind RS256 and ES256 tokens: generation, storage text, rotation by the clock, and the public JWKS.
// Owns no storage and no timer: every node derives from the stored times which key signs.
import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { z } from 'zod';
import { WebhookError } from '../errors';
import { tokenLifetimeSeconds } from './bearer-token';

export type SigningAlgorithm = 'RS256' | 'ES256';

export interface SigningKey {
  readonly algorithm: SigningAlgorithm;
  /** RFC 7638 thumbprint of the public key, base64url. */
  readonly keyId: string;
  readonly privateKey: KeyObject;
  /** Milliseconds since 1970. Published from the start; signs from here until a later key of its algorithm does. */
  readonly signsFrom: number;
}

/** All keys of an installation, of both algorithms, in no order. */
export interface SigningKeySet {
  readonly keys: readonly SigningKey[];
}

/** What a JWKS endpoint serves (RFC 7517). Public parts only. */
export interface JsonWebKeySet {
  readonly keys: readonly Readonly<Record<string, string>>[];
}

/** For the endpoint's `Cache-Control: public, max-age=…`: 10 minutes, after which Envoy and jose ask again anyway. */
export const jwksMaxAgeSeconds = 600;

/**
 * How long a new key is published before it signs, and an old one after: 3 hours. AWS API Gateway keeps a JWKS for two
 * hours whatever the headers say (its JWT authorizer's documentation).
 */
export const defaultOverlapMs = 3 * 60 * 60 * 1000;

/** Clock skew between us and verifiers that is allowed for, in milliseconds. */
const skewMs = 5 * 60 * 1000;

const generate = promisify(generateKeyPair);

/**
 * A new key; RSA has 2048 bits. Async: finding its primes takes 0.3 s on average, in the thread pool. Prefer ES256: a
 * token takes 50 µs of the event loop with it, and 400 µs with RS256 (measured, Node 20.20).
 */
export async function generateSigningKey(
  algorithm: SigningAlgorithm,
  signsFrom: number,
): Promise<SigningKey> {
  const { privateKey } =
    algorithm === 'RS256'
      ? await generate('rsa', { modulusLength: 2048 })
      : await generate('ec', { namedCurve: 'P-256' });
  return toSigningKey(privateKey, algorithm, signsFrom);
}

/** The key that signs at `nowMs`: of those whose time has come, the latest. Undefined when the set has none. */
export function signingKeyAt(
  set: SigningKeySet,
  algorithm: SigningAlgorithm,
  nowMs: number,
): SigningKey | undefined {
  let found: SigningKey | undefined;
  for (const key of set.keys) {
    if (key.algorithm !== algorithm || key.signsFrom > nowMs) continue;
    // Two nodes may rotate at the same instant; all must choose the same key.
    if (
      !found ||
      key.signsFrom > found.signsFrom ||
      (key.signsFrom === found.signsFrom && key.keyId > found.keyId)
    ) {
      found = key;
    }
  }
  return found;
}

/** When a new key of `algorithm` may sign: now for the first one, after the overlap otherwise. */
export function nextSignsFrom(
  set: SigningKeySet,
  rotation: { readonly algorithm: SigningAlgorithm; readonly nowMs: number; readonly overlapMs?: number },
): number {
  const { algorithm, nowMs, overlapMs = defaultOverlapMs } = rotation;
  return signingKeyAt(set, algorithm, nowMs) ? nowMs + overlapMs : nowMs;
}

/**
 * The set with `key` in it and without keys that nobody needs any more. A key whose turn had not come is replaced: it
 * never signed. `revokeOthers` drops every other key of its algorithm at once, as after a leak; the new key must then
 * sign from now on, and gateways refuse tokens until they have fetched the JWKS again.
 */
export function addSigningKey(
  set: SigningKeySet,
  change: {
    readonly key: SigningKey;
    readonly nowMs: number;
    readonly overlapMs?: number;
    readonly revokeOthers?: boolean;
  },
): SigningKeySet {
  const { key, nowMs, revokeOthers = false } = change;
  if (revokeOthers && key.signsFrom > nowMs) {
    throw new WebhookError(
      'INVALID_OPTION',
      `a key that revokes the others must sign from ${nowMs}, got ${key.signsFrom}`,
    );
  }
  const others = publishedKeys(set, nowMs, change.overlapMs).filter(
    other => other.algorithm !== key.algorithm || (!revokeOthers && other.signsFrom <= nowMs),
  );
  return { keys: [...others, key] };
}

/**
 * The keys that belong in the JWKS at `nowMs`: those that will sign, that sign, and that have signed until their last
 * token has expired (60 s, and 5 min of skew) and caches have had `overlapMs` to let go of them.
 */
export function publishedKeys(
  set: SigningKeySet,
  nowMs: number,
  overlapMs = defaultOverlapMs,
): readonly SigningKey[] {
  return set.keys.filter(key => {
    const successors = set.keys.filter(
      other =>
        other.algorithm === key.algorithm &&
        (other.signsFrom > key.signsFrom || (other.signsFrom === key.signsFrom && other.keyId > key.keyId)),
    );
    if (successors.length === 0) return true;
    const retiredAt = Math.min(...successors.map(({ signsFrom }) => signsFrom));
    return nowMs < retiredAt + tokenLifetimeSeconds * 1000 + skewMs + overlapMs;
  });
}

/** The body of the JWKS endpoint: `kty` and its public members, `kid`, `use` and `alg`. */
export function jwks(set: SigningKeySet, nowMs: number, overlapMs = defaultOverlapMs): JsonWebKeySet {
  return {
    keys: publishedKeys(set, nowMs, overlapMs).map(({ privateKey, keyId, algorithm }) => ({
      ...publicMembers(privateKey),
      kid: keyId,
      use: 'sig',
      alg: algorithm,
    })),
  };
}

const storedShape = z.strictObject({
  version: z.literal(1),
  keys: z.array(
    z.strictObject({
      algorithm: z.enum(['RS256', 'ES256']),
      /** PKCS #8. */
      privateKeyPem: z.string(),
      signsFrom: z.int().min(0),
    }),
  ),
});

/** The set as JSON text with PKCS #8 PEM keys. It is secret: the caller encrypts it at rest. */
export function serializeSigningKeys(set: SigningKeySet): string {
  const keys = set.keys.map(({ algorithm, privateKey, signsFrom }) => ({
    algorithm,
    privateKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }),
    signsFrom,
  }));
  return JSON.stringify({ version: 1, keys });
}

/** Reads what `serializeSigningKeys` wrote. Throws BROKEN_SECRET, which quotes nothing of the text. */
export function parseSigningKeys(text: string): SigningKeySet {
  try {
    const stored = storedShape.parse(JSON.parse(text));
    return {
      keys: stored.keys.map(key =>
        toSigningKey(createPrivateKey(key.privateKeyPem), key.algorithm, key.signsFrom),
      ),
    };
  } catch {
    // No cause: the messages of zod and JSON.parse quote what they read, and that is a private key.
    throw new WebhookError('BROKEN_SECRET', 'the stored signing keys are unreadable');
  }
}

function toSigningKey(privateKey: KeyObject, algorithm: SigningAlgorithm, signsFrom: number): SigningKey {
  const members = publicMembers(privateKey);
  if (members.kty !== (algorithm === 'RS256' ? 'RSA' : 'EC'))
    throw new TypeError(`the key is not one for ${algorithm}`);
  // RFC 7638, section 3: the required members in the order of their names, no blanks. publicMembers keeps that order.
  const keyId = createHash('sha256').update(JSON.stringify(members)).digest('base64url');
  return { algorithm, keyId, privateKey, signsFrom };
}

/** The members of the public key that RFC 7638, section 3.2, requires, sorted by name. */
function publicMembers(privateKey: KeyObject): Readonly<Record<string, string>> {
  const { kty, crv, e, n, x, y } = createPublicKey(privateKey).export({ format: 'jwk' });
  if (kty === 'RSA' && e !== undefined && n !== undefined) return { e, kty, n };
  if (kty === 'EC' && crv !== undefined && x !== undefined && y !== undefined) return { crv, kty, x, y };
  throw new TypeError('the key is neither RSA nor EC');
}
