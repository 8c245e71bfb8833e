// What of a reply is kept in the log of attempts: enough to see what a receiver said, without its secrets.
import type { ExchangeReply } from '../http/exchange';
import type { JsonObject } from '../shared/json';

/** Bytes of a reply's body that are kept. */
export const maxExcerptBytes = 1024;
const maxHeaders = 32;
const maxHeaderLength = 256;
/** UTF-16 units of all names and values. */
const maxHeadersLength = 4096;

const redacted = '(redacted)';

/** Credentials, challenges, and what names itself a secret: `x-api-key`, `x-amz-security-token`, `x-session-id`. */
const secretNames =
  /^(set-cookie2?|cookie|(proxy-)?authorization|(www|proxy)-authenticate|authentication-info)$|token|secret|passw|credential|session|signature|api-?key/;

/** Headers of a request that hold no secret; all others may be somebody's credentials. */
const openRequestHeaders =
  /^(content-type|content-length|user-agent|accept|webhook-id|webhook-timestamp|x-parse-webhook-depth|traceparent|tracestate)$/;
/** Shorter values are no secrets worth the name, and their letters stand in any text. */
const minSecretLength = 8;

/** What may be a secret in hex, plain or as a URL has bytes. */
const hexRun = /(?:%?[0-9a-f]{2}){8,}[0-9a-f]?/gi;
/** What may be one in base64 or base64url: 8 bytes take 11 characters. JSON of some writers has `\/` for a slash. */
const base64Run = /(?:[\w+-]|\\?\/){11,}={0,2}/g;

/**
 * `headers` and `body`, and whether something of them was left out. A receiver may answer with what it was sent, as error
 * pages do: values of `sent`, the headers of the request, are redacted, in plain and encoded.
 */
export function excerptOf(reply: ExchangeReply, sent: Readonly<Record<string, string>> = {}): JsonObject {
  const secrets = secretsOf(sent);
  const { headers, left } = cutHeaders(reply.headers, secrets);
  const body = withoutSecrets(textOf(reply.body, reply.truncated === true), secrets);
  return {
    headers,
    ...(left > 0 && { headersLeftOut: left }),
    ...(body !== '' && { body }),
    ...((reply.truncated === true || reply.body.length > maxExcerptBytes) && { bodyTruncated: true }),
  };
}

/** As they stand in text, JSON and URLs; longest first. What else encodes them is found by decoding the text. */
function secretsOf(sent: Readonly<Record<string, string>>): readonly string[] {
  const forms = new Set<string>();
  for (const [name, value] of Object.entries(sent)) {
    if (openRequestHeaders.test(name)) continue;
    // `Basic …`, `v1,… v1a,…`: the whole, and each part alone.
    for (const word of [value, ...value.split(' '), ...basicParts(name, value)]) {
      if (word.length < minSecretLength) continue;
      forms.add(word).add(JSON.stringify(word).slice(1, -1)).add(encodeURIComponent(word));
    }
  }
  return [...forms].sort((a, b) => b.length - a.length);
}

/** Of `Basic …` what it holds: the user name with the password, and the password alone. */
function basicParts(name: string, value: string): readonly string[] {
  if (name !== 'authorization' || !/^basic /i.test(value)) return [];
  const pair = Buffer.from(value.slice('basic '.length), 'base64').toString('latin1');
  return [pair, pair.slice(pair.indexOf(':') + 1)];
}

function withoutSecrets(text: string, secrets: readonly string[]): string {
  if (secrets.length === 0) return text;
  return withoutEncoded(withoutPlain(text, secrets), secrets);
}

/**
 * Texts of hex and base64 that hold a secret, or begin one, are redacted whole. Decoding them costs less than to look for
 * every form of every secret: most replies have none that is long enough.
 */
function withoutEncoded(text: string, secrets: readonly string[]): string {
  const holdsSecret = (decoded: string): boolean => withoutPlain(decoded, secrets) !== decoded;
  const redact = (encoding: 'hex' | 'base64', shifts: readonly number[]) => (run: string) => {
    const digits = run.replace(/[%\\]/g, '');
    // What stands before it, as in `key_...`, may belong to the same run.
    const isSecret = shifts.some(shift =>
      holdsSecret(Buffer.from(digits.slice(shift), encoding).toString('latin1')),
    );
    return isSecret ? redacted : run;
  };
  return text.replace(hexRun, redact('hex', [0, 1])).replace(base64Run, redact('base64', [0, 1, 2, 3]));
}

/** Also of one that the end of the text cuts in two. */
function withoutPlain(text: string, secrets: readonly string[]): string {
  let left = text;
  for (const secret of secrets) {
    if (!left.includes(secret.slice(0, minSecretLength))) continue;
    left = left.replaceAll(secret, redacted);
    for (let length = Math.min(secret.length, left.length); length >= minSecretLength; length--) {
      if (!left.endsWith(secret.slice(0, length))) continue;
      left = left.slice(0, -length) + redacted;
      break;
    }
  }
  return left;
}

function cutHeaders(
  headers: Readonly<Record<string, string>>,
  secrets: readonly string[],
): {
  readonly headers: Record<string, string>;
  readonly left: number;
} {
  const kept: Record<string, string> = {};
  let count = 0;
  let length = 0;
  const names = Object.keys(headers);
  for (const name of names) {
    const value = secretNames.test(name)
      ? redacted
      : withoutSecrets((headers[name] ?? '').slice(0, maxHeaderLength), secrets);
    length += name.length + value.length;
    if (count >= maxHeaders || length > maxHeadersLength) break;
    // Not by assignment: a receiver may call a header __proto__.
    if (name === '__proto__') continue;
    kept[name] = withoutNul(value);
    count += 1;
  }
  return { headers: kept, left: names.length - count };
}

/** Never invalid UTF-8, nor half a character at the end, nor NUL, which PostgreSQL takes in no text. */
function textOf(body: Buffer, isCut: boolean): string {
  if (body.length === 0) return '';
  const bytes = body.subarray(0, maxExcerptBytes);
  const stream = isCut || body.length > maxExcerptBytes;
  return withoutNul(new TextDecoder().decode(bytes, { stream }));
}

function withoutNul(text: string): string {
  return text.includes('\0') ? text.replaceAll('\0', '\ufffd') : text;
}
