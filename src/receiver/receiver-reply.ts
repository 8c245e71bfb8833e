// What a receiver answers: the reply format of blocking hooks, and failures that are not an answer.
import type { ServerResponse } from 'node:http';
import type { RejectError } from './reject-error';

/** An HTTP answer, for any platform. */
export interface ReceiverReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON, or "" with status 204. */
  readonly body: string;
}

/**
 * A reply that says why there is no answer.
 *
 * It has `failure` and no `error`: an `error` means "the operation is rejected" whatever the status, while a receiver
 * that cannot answer is for the hook's failure policy to judge, and a delivery is tried again.
 */
export function failureReply(status: number, code: string, message: string): ReceiverReply {
  return jsonReply(status, JSON.stringify({ failure: { code, message } }));
}

/** `{"success": value}`; 204 for undefined, which JSON cannot say. Throws what JSON.stringify throws. */
export function successReply(value: unknown): ReceiverReply {
  if (value === undefined) return { status: 204, headers: {}, body: '' };
  return jsonReply(200, JSON.stringify({ success: value }, encodeDate));
}

/** `{"error": message}`, or `{"error": {"code", "message"}}` when a code is given. */
export function rejectionReply(status: number, error: RejectError): ReceiverReply {
  const { code, message } = error;
  return jsonReply(status, JSON.stringify({ error: code === undefined ? message : { code, message } }));
}

export function send(response: ServerResponse, reply: ReceiverReply): void {
  if (response.headersSent || response.destroyed) return;
  const length = reply.status === 204 ? {} : { 'content-length': String(Buffer.byteLength(reply.body)) };
  response.writeHead(reply.status, { ...reply.headers, ...length }).end(reply.body);
}

function jsonReply(status: number, body: string): ReceiverReply {
  return { status, headers: { 'content-type': 'application/json; charset=utf-8' }, body };
}

/** Parse's form of a date: JSON.stringify alone would make it a string, which a Date column refuses. */
function encodeDate(this: unknown, key: string, value: unknown): unknown {
  // `value` has been through Date's toJSON already; the holder still has the Date.
  const original = (this as Readonly<Record<string, unknown>>)[key];
  return original instanceof Date ? { __type: 'Date', iso: original.toISOString() } : value;
}
