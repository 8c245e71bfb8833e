// What a receiver's answer can mean, before any hook-specific reading of `success`.
import type { JsonValue } from '../shared/json';

/** Why a reply that did arrive is no answer. Stable words: they appear in metrics, logs and client messages. */
export type ReplyFailureKind =
  | 'redirect' // 3xx: never followed
  | 'status' // non-2xx without a JSON `error`
  | 'not-json' // 2xx, body is not JSON (HTML, truncated, wrong encoding)
  | 'no-answer' // JSON with neither `success` nor `error`
  | 'too-deep' // nested deeper than maxReplyDepth
  | 'forbidden-key'; // `__proto__`, or `constructor` holding `prototype`, at any depth

export type Reply =
  /** `success` was present. Its value is safe to walk recursively (bounded depth, no prototype keys). */
  | { readonly kind: 'success'; readonly value: JsonValue }
  /** 204, or 2xx with an empty body. */
  | { readonly kind: 'empty' }
  /** The receiver says no. `message` is what the client gets as `error`. */
  | { readonly kind: 'rejected'; readonly code: number; readonly message: JsonValue }
  | { readonly kind: 'failure'; readonly failure: ReplyFailureKind; readonly detail: string };
