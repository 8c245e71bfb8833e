// Which secrets of a registration sign now: the current one and those in their grace period. Pure; storage, sealing and
// signing are others'.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { WebhookError } from '../errors';
import { decodeSecret } from '../shared/secret-format';

export interface OldSecret {
  readonly secret: string;
  /** Milliseconds since 1970; from then on it no longer signs. */
  readonly expiresAt: number;
}

export interface SecretSet {
  readonly current: string;
  /** Newest first. */
  readonly old: readonly OldSecret[];
  /** Digests of secrets that a rotation took the place of, newest first: none of them comes back by a declaration. */
  readonly replaced?: readonly string[];
}

export const defaultGraceMs = 24 * 60 * 60 * 1000;

/** 90 days: a forgotten old secret must not sign for ever. */
export const maxGraceMs = 90 * 24 * 60 * 60 * 1000;

/** A signature is 48 bytes of header, and 11 of them pass every proxy; the 11th rotation drops the oldest. */
export const maxOldSecrets = 10;

/** 22 characters each. A declaration that is older than so many rotations is taken for a new secret. */
const maxReplaced = 50;

const secretText = z.string().refine(isSecret);

const shape = z.strictObject({
  current: secretText,
  old: z
    .array(z.strictObject({ secret: secretText, expiresAt: z.int().min(0) }))
    .max(maxOldSecrets)
    .default([]),
  replaced: z.array(z.string()).max(maxReplaced).optional(),
});

/** Reads a stored set. Throws BROKEN_SECRET, which names the field and never a secret. */
export function parseSecretSet(value: unknown): SecretSet {
  const parsed = shape.safeParse(value);
  if (parsed.success) {
    const { current, old, replaced } = parsed.data;
    return { current, old, ...(replaced && { replaced }) };
  }
  const path = parsed.error.issues[0]?.path.map(String).join('.') ?? '';
  throw new WebhookError(
    'BROKEN_SECRET',
    `the stored secrets are unreadable at ${path === '' ? 'the top' : path}`,
  );
}

/**
 * Makes `newSecret` the current one; the former signs along for `graceMs` (0 to 90 days, default 24 h; 0 drops it at
 * once, as after a leak). Secrets that were old before keep their own end. Throws INVALID_HOOK for a malformed secret,
 * for the one that is current already, and for a grace period out of range.
 */
export function rotate(
  set: SecretSet,
  change: { readonly newSecret: string; readonly graceMs?: number; readonly nowMs: number },
): SecretSet {
  const { newSecret, graceMs = defaultGraceMs, nowMs } = change;
  decodeSecret(newSecret);
  if (newSecret === set.current)
    throw new WebhookError('INVALID_HOOK', 'the new secret is the current one already');
  if (!Number.isInteger(graceMs) || graceMs < 0 || graceMs > maxGraceMs) {
    throw new WebhookError('INVALID_HOOK', `graceMs must be an integer in 0..${maxGraceMs}, got ${graceMs}`);
  }
  const former = { secret: set.current, expiresAt: nowMs + graceMs };
  const old = [former, ...set.old].filter(
    ({ secret, expiresAt }) => expiresAt > nowMs && secret !== newSecret,
  );
  const digest = digestOf(newSecret);
  const replaced = [digestOf(set.current), ...(set.replaced ?? [])].filter(each => each !== digest);
  return {
    current: newSecret,
    old: old.slice(0, maxOldSecrets),
    replaced: [...new Set(replaced)].slice(0, maxReplaced),
  };
}

/** True when a rotation took the place of this secret, as after a leak. */
export function wasReplaced({ replaced = [] }: SecretSet, secret: string): boolean {
  return replaced.includes(digestOf(secret));
}

/** Enough to know a secret again; of 24 random bytes or more nothing can be guessed from it. */
function digestOf(secret: string): string {
  return createHash('sha256').update(decodeSecret(secret)).digest('base64url').slice(0, 22);
}

/** The secrets that sign at `nowMs`, newest first: what a signer is made of. */
export function activeSecrets(set: SecretSet, nowMs: number): readonly string[] {
  return [set.current, ...unexpired(set, nowMs).map(({ secret }) => secret)];
}

/** When a signer made at `nowMs` must be made anew, because a secret ends; undefined when none will. */
export function nextExpiryAt(set: SecretSet, nowMs: number): number | undefined {
  const ends = unexpired(set, nowMs).map(({ expiresAt }) => expiresAt);
  return ends.length === 0 ? undefined : Math.min(...ends);
}

/** The set without what has expired: the same one when nothing has. For writing back when it is written anyway. */
export function dropExpired(set: SecretSet, nowMs: number): SecretSet {
  const old = unexpired(set, nowMs);
  return old.length === set.old.length ? set : { ...set, old };
}

function unexpired(set: SecretSet, nowMs: number): readonly OldSecret[] {
  return set.old.filter(({ expiresAt }) => expiresAt > nowMs).slice(0, maxOldSecrets);
}

function isSecret(text: string): boolean {
  try {
    decodeSecret(text);
    return true;
  } catch {
    // Why does not matter here: the set was valid when it was written.
    return false;
  }
}
