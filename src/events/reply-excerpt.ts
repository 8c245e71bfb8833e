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

/** `headers` and `body`, and whether something of them was left out. */
export function excerptOf(reply: ExchangeReply): JsonObject {
  const { headers, left } = cutHeaders(reply.headers);
  const body = textOf(reply.body, reply.truncated === true);
  return {
    headers,
    ...(left > 0 && { headersLeftOut: left }),
    ...(body !== '' && { body }),
    ...((reply.truncated === true || reply.body.length > maxExcerptBytes) && { bodyTruncated: true }),
  };
}

function cutHeaders(headers: Readonly<Record<string, string>>): {
  readonly headers: Record<string, string>;
  readonly left: number;
} {
  const kept: Record<string, string> = {};
  let count = 0;
  let length = 0;
  const names = Object.keys(headers);
  for (const name of names) {
    const value = secretNames.test(name) ? redacted : (headers[name] ?? '').slice(0, maxHeaderLength);
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
