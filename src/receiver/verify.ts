// Whether a webhook is authentic, fresh and whole (Standard Webhooks 1.0.0). Owns the judgement; reading the bytes off a
// socket is read-raw-body.ts's.
import { timingSafeEqual, verify as verifyEd25519, type KeyObject } from 'node:crypto';
import { types } from 'node:util';
import { hmacOf, isWebhookId, parseEd25519PublicKey, parseSecret } from '../http/webhook-signature';
import { systemClock } from '../shared/clock';
import { publicKeyPrefix } from '../shared/secret-format';
import { assertExpected, type ExpectedTarget } from './expected-target';
import { VerificationError } from './verification-error';

/** Node's `request.headers`, the event headers of a serverless platform, or fetch's `Headers`. Names in any case. */
export type WebhookHeaders =
  Readonly<Record<string, string | readonly string[] | undefined>> | { get(name: string): string | null };

export interface VerifyOptions {
  /** How far the sender's clock may be from ours, before and after, in seconds (>= 0). Default 300. */
  readonly toleranceSeconds?: number;
  /** Milliseconds since 1970, a finite number. Default: the system's clock. */
  readonly now?: () => number;
  /**
   * What this receiver is for; everything else is refused with `unexpected-target`. Give it with a `whpk_…` key: that is
   * one for all receivers of a server, and each of them could send on to another what it was sent. Default: anything.
   */
  readonly expect?: ExpectedTarget | readonly ExpectedTarget[];
}

export interface VerifiedWebhook {
  /** The same on every retry of one message: de-duplicate by it. */
  readonly id: string;
  /** When this attempt was sent, in seconds since 1970. */
  readonly timestamp: number;
  /** The parsed JSON; undefined when the body is empty. */
  readonly body: unknown;
}

export type Verifier = (rawBody: Buffer | string, headers: WebhookHeaders) => VerifiedWebhook;

export const defaultToleranceSeconds = 300;

// A sender with eleven secrets and a few ed25519 keys needs fewer; a stranger's header of 16 kB could hold 170 ed25519
// signatures of 60 µs each.
const maxSignatures = 32;

/**
 * Checks one webhook and gives back its content. Throws VerificationError.
 *
 * `rawBody`: the bytes as they came (a string is taken as UTF-8). `secrets`: one or several of `whsec_…` and `whpk_…`;
 * one match suffices, so that old and new may stand side by side during a rotation.
 */
export function verify(
  rawBody: Buffer | string,
  headers: WebhookHeaders,
  secrets: string | readonly string[],
  options: VerifyOptions = {},
): VerifiedWebhook {
  return createVerifier(secrets, options)(rawBody, headers);
}

/** `verify` with its keys prepared once. Throws VerificationError `malformed-secret`, RangeError for a bad tolerance or clock. */
export function createVerifier(secrets: string | readonly string[], options: VerifyOptions = {}): Verifier {
  const { toleranceSeconds = defaultToleranceSeconds, now = () => systemClock.now() } = options;
  if (!(toleranceSeconds >= 0)) {
    throw new RangeError(`toleranceSeconds must be a number of at least 0, got ${toleranceSeconds}`);
  }
  const keys = parseKeys(typeof secrets === 'string' ? [secrets] : secrets);
  const expected = options.expect === undefined ? undefined : [options.expect].flat();
  return (rawBody, headers) => {
    const body = toBuffer(rawBody);
    const id = readHeader(headers, 'webhook-id');
    if (!isWebhookId(id)) throw new VerificationError('malformed-header', 'webhook-id is not a message id');
    const timestamp = readHeader(headers, 'webhook-timestamp');
    const seconds = checkTimestamp(timestamp, readClock(now), toleranceSeconds);
    const signatures = readSignatures(headers);
    if (!isAnyAuthentic(keys, `${id}.${timestamp}.`, body, signatures)) {
      throw new VerificationError(
        'no-signature-matched',
        'no signature matches: the secret is another one, or the body is not the bytes that were sent',
      );
    }
    const parsed = parseBody(body);
    if (expected) assertExpected(parsed, expected);
    return { id, timestamp: seconds, body: parsed };
  };
}

interface Keys {
  readonly hmac: readonly KeyObject[];
  readonly ed25519: readonly KeyObject[];
}

function parseKeys(secrets: readonly unknown[]): Keys {
  if (secrets.length === 0) throw new VerificationError('malformed-secret', 'no secret is given');
  const hmac: KeyObject[] = [];
  const ed25519: KeyObject[] = [];
  for (const secret of secrets) {
    try {
      if (typeof secret === 'string' && secret.startsWith(publicKeyPrefix))
        ed25519.push(parseEd25519PublicKey(secret));
      else hmac.push(parseSecret(secret).key);
    } catch (cause) {
      throw new VerificationError(
        'malformed-secret',
        cause instanceof Error ? cause.message : String(cause),
        { cause },
      );
    }
  }
  return { hmac, ed25519 };
}

function toBuffer(rawBody: unknown): Buffer {
  if (typeof rawBody === 'string') return Buffer.from(rawBody, 'utf8');
  if (Buffer.isBuffer(rawBody)) return rawBody;
  if (types.isUint8Array(rawBody)) return Buffer.from(rawBody.buffer, rawBody.byteOffset, rawBody.byteLength);
  throw new VerificationError(
    'raw-body-required',
    'rawBody must be the bytes as they came, a Buffer or a string',
  );
}

/** All values of a header, whatever the case of its name. */
export function headerValues(headers: WebhookHeaders, name: string): readonly string[] {
  if (isFetchHeaders(headers)) {
    const value = headers.get(name);
    return value === null ? [] : [value];
  }
  const found: string[] = [];
  for (const key of Object.keys(headers)) {
    if (key.length !== name.length || key.toLowerCase() !== name) continue;
    const value = headers[key];
    if (typeof value === 'string') found.push(value);
    else if (value !== undefined) found.push(...value);
  }
  return found;
}

function isFetchHeaders(headers: WebhookHeaders): headers is { get(name: string): string | null } {
  return typeof headers.get === 'function';
}

function readHeader(headers: WebhookHeaders, name: string): string {
  const [value, ...more] = headerValues(headers, name);
  if (value === undefined || value === '')
    throw new VerificationError('missing-header', `${name} is missing`);
  if (more.length > 0) throw new VerificationError('malformed-header', `${name} is there more than once`);
  return value;
}

/** The entries of `webhook-signature`. Node and fetch join repeated headers with ", ", the specification with a space. */
function readSignatures(headers: WebhookHeaders): readonly string[] {
  const entries = headerValues(headers, 'webhook-signature').join(' ').split(/,? +/, maxSignatures);
  if (entries.every(entry => entry === ''))
    throw new VerificationError('missing-header', 'webhook-signature is missing');
  return entries;
}

/** Every comparison with NaN is false: a clock that gives it would let replays of any age pass. */
function readClock(now: () => number): number {
  const nowMs: unknown = now();
  if (typeof nowMs === 'number' && Number.isFinite(nowMs)) return nowMs;
  throw new RangeError(`now() must give a finite number of milliseconds, got ${String(nowMs)}`);
}

function checkTimestamp(text: string, nowMs: number, toleranceSeconds: number): number {
  // Only one spelling of a number is signed; " 1", "+1", "01" and "1.0" were not written by the sender.
  if (!/^(0|[1-9]\d{0,11})$/.test(text)) {
    throw new VerificationError('bad-timestamp', 'webhook-timestamp is not a number of whole seconds');
  }
  const seconds = Number(text);
  const age = Math.floor(nowMs / 1000) - seconds;
  if (age > toleranceSeconds) {
    throw new VerificationError(
      'too-old',
      `webhook-timestamp is ${age} s old, ${toleranceSeconds} s are allowed`,
    );
  }
  if (-age > toleranceSeconds) {
    throw new VerificationError(
      'too-new',
      `webhook-timestamp is ${-age} s ahead, ${toleranceSeconds} s are allowed`,
    );
  }
  return seconds;
}

/** Tries every entry against every key; which one matched, if any, does not show in the time it takes. */
function isAnyAuthentic(keys: Keys, head: string, body: Buffer, entries: readonly string[]): boolean {
  const hmacEntries = withVersion(entries, 'v1,');
  const ed25519Entries = keys.ed25519.length === 0 ? [] : withVersion(entries, 'v1a,');
  let isAuthentic = false;
  if (hmacEntries.length > 0) {
    for (const key of keys.hmac) {
      const expected = Buffer.from(hmacOf(key, head, body), 'latin1');
      // Text is compared, not bytes: base64 has several spellings of the same bytes, and only one was sent.
      for (const entry of hmacEntries) if (isSameText(entry, expected)) isAuthentic = true;
    }
  }
  if (ed25519Entries.length > 0) {
    const message = Buffer.concat([Buffer.from(head, 'latin1'), body]);
    for (const entry of ed25519Entries) {
      const signature = Buffer.from(entry, 'base64');
      if (signature.length !== 64 || signature.toString('base64') !== entry) continue;
      for (const key of keys.ed25519) if (verifyEd25519(null, message, key, signature)) isAuthentic = true;
    }
  }
  return isAuthentic;
}

function withVersion(entries: readonly string[], prefix: string): readonly string[] {
  return entries.filter(entry => entry.startsWith(prefix)).map(entry => entry.slice(prefix.length));
}

function isSameText(text: string, expected: Buffer): boolean {
  const given = Buffer.from(text, 'latin1');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function parseBody(body: Buffer): unknown {
  if (body.length === 0) return undefined;
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    // No cause: V8's message quotes the body.
    throw new VerificationError('not-json', 'the body is authentic but not JSON');
  }
}
