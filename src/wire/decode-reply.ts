// What a receiver's status and body mean. Judges the body, not its Content-Type; what follows is the hook's to decide.
import { isUtf8 } from 'node:buffer';
import { parseCodes } from '../errors';
import { isJsonObject, type JsonValue } from '../shared/json';
import { findJsonHazard } from '../shared/json-safety';
import type { Reply, ReplyFailureKind } from './reply';

/** Containers inside one another, the root object included. */
export const maxReplyDepth = 100;

/** Bound on what a rejection may put into the client's `error`: characters of a string, or of a value as JSON. */
export const maxErrorLength = 10_000;

// Parse.Error.INTERNAL_SERVER_ERROR, the only code that handleParseErrors (parse-server/lib/middlewares.js) turns into
// HTTP 5xx; the JS SDK retries 5xx, so a receiver's "no" would be asked again and again.
const internalServerError = 1;

// The Android and Swift SDKs read `code` into 32 bits.
const maxParseCode = 0x7fff_ffff;

/**
 * Reads one reply. Never throws, whatever the bytes are, and quotes none of them in `detail`.
 *
 * A JSON `error` rejects with any status, redirects included: a redirect alone is a failure, which the policy `allow`
 * lets pass, and nobody who writes `error` means that. It also wins over hazards elsewhere in the body.
 */
export function decodeReply(status: number, body: Buffer): Reply {
  // RFC 9110, 15.3.5: a 204 has no content; what some servers send with it means nothing.
  if (status === 204) return { kind: 'empty' };
  const isSuccess = status >= 200 && status <= 299;
  const start = findTextStart(body);
  if (start === body.length) {
    return isSuccess ? { kind: 'empty' } : fail(statusFailure(status), `status ${status} without a body`);
  }
  // Only an object can carry `error`, so the error pages of proxies need no parsing.
  if (!isSuccess && body[start] !== 0x7b) return failWithStatus(status, body);

  const parsed = parseBody(body, start);
  if (parsed.kind === 'not-json') {
    return isSuccess
      ? fail('not-json', `status ${status}, ${body.length} bytes, ${parsed.detail}`)
      : failWithStatus(status, body);
  }
  const root = parsed.value;
  const error = isJsonObject(root) && Object.hasOwn(root, 'error') ? root.error : undefined;
  if (error !== undefined && error !== null && error !== false && error !== '') return decodeError(error);
  if (!isSuccess) return failWithStatus(status, body);

  const hazard = findJsonHazard(root, maxReplyDepth);
  if (hazard !== undefined) {
    return fail(hazard, `status ${status}, ${body.length} bytes, ${describeHazard[hazard]}`);
  }
  if (!isJsonObject(root)) {
    return fail('no-answer', `status ${status}, ${body.length} bytes, JSON but not an object`);
  }
  const value = Object.hasOwn(root, 'success') ? root.success : undefined;
  if (value === undefined) {
    return fail('no-answer', `status ${status}, ${body.length} bytes, neither success nor error`);
  }
  return { kind: 'success', value };
}

const describeHazard = {
  'too-deep': `nested deeper than ${maxReplyDepth} levels`,
  'forbidden-key': 'a key that would reach a prototype (__proto__, or constructor with prototype)',
} as const;

/** Where the first character stands that is neither a byte order mark nor JSON whitespace; the length if none does. */
function findTextStart(body: Buffer): number {
  let index = findMarkEnd(body);
  for (; index < body.length; index++) {
    const byte = body[index];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
  }
  return index;
}

// .NET's and PHP's writers put a UTF-8 mark before JSON; RFC 8259, 8.1 lets a parser ignore it, JSON.parse does not.
function findMarkEnd(body: Buffer): number {
  return body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? 3 : 0;
}

type ParsedBody =
  | { readonly kind: 'json'; readonly value: JsonValue }
  | { readonly kind: 'not-json'; readonly detail: string };

function parseBody(body: Buffer, start: number): ParsedBody {
  // Latin-1 decoded leniently would turn every umlaut of a save into U+FFFD and store it; UTF-16 fails here or below.
  if (!isUtf8(body)) return { kind: 'not-json', detail: 'not UTF-8' };
  try {
    // The one unchecked step: JSON.parse yields JSON.
    return { kind: 'json', value: JSON.parse(body.toString('utf8', findMarkEnd(body))) as JsonValue };
  } catch (error) {
    // V8's message quotes the text ("Unexpected token '<', "<html>..."), so only the position is taken from it.
    const position = error instanceof SyntaxError ? / at position (\d+)/.exec(error.message)?.[1] : undefined;
    if (body[start] === 0x3c) return { kind: 'not-json', detail: 'not JSON but markup' };
    return {
      kind: 'not-json',
      detail: position === undefined ? 'not JSON' : `not JSON at position ${position}`,
    };
  }
}

function decodeError(error: JsonValue): Reply {
  if (isJsonObject(error) && typeof error.message === 'string') {
    return { kind: 'rejected', code: toClientCode(error.code), message: boundError(error.message) };
  }
  return { kind: 'rejected', code: parseCodes.scriptFailed, message: boundError(error) };
}

function toClientCode(code: JsonValue | undefined): number {
  return typeof code === 'number' &&
    Number.isInteger(code) &&
    code > internalServerError &&
    code <= maxParseCode
    ? code
    : parseCodes.scriptFailed;
}

function boundError(value: JsonValue): JsonValue {
  if (typeof value === 'string') return cutText(value);
  if (typeof value !== 'object' || value === null) return value;
  // Checked before JSON.stringify, which recurses.
  if (findJsonHazard(value, maxReplyDepth) !== undefined) return 'webhook rejected the request';
  return JSON.stringify(value).length > maxErrorLength ? 'webhook rejected the request' : value;
}

function cutText(text: string): string {
  if (text.length <= maxErrorLength) return text;
  // Half a surrogate pair is no text: PostgreSQL and strict JSON parsers refuse it.
  const last = text.charCodeAt(maxErrorLength - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? maxErrorLength - 1 : maxErrorLength);
}

function failWithStatus(status: number, body: Buffer): Reply {
  return fail(statusFailure(status), `status ${status}, ${body.length} bytes, no JSON error`);
}

function statusFailure(status: number): ReplyFailureKind {
  return status >= 300 && status <= 399 ? 'redirect' : 'status';
}

function fail(failure: ReplyFailureKind, detail: string): Reply {
  return { kind: 'failure', failure, detail };
}
