// What one exchange means for its delivery and for the endpoint. Standard Webhooks: only 2xx is success, a redirect is
// a failure, 410 disables the endpoint, 429, 502 and 504 ask for a rest.
import type { ExchangeResult } from '../http/exchange';

export type AttemptOutcome =
  | { readonly kind: 'succeeded' }
  | {
      readonly kind: 'failed';
      /** An error kind: of the exchange, or `redirect`, `status`. */
      readonly error: string;
      readonly throttled: boolean;
      readonly retryAfterMs: number | undefined;
      /** The receiver wants no more events: the endpoint pauses and keeps its backlog. */
      readonly pauses: boolean;
    }
  /** The receiver wants no more of this delivery. */
  | { readonly kind: 'aborted' };

/** Statuses that say "later": the facts of the field agree on these. */
const throttlingStatuses: readonly number[] = [408, 425, 429, 502, 503, 504];

/** What a receiver may say beside its status (Svix's header). */
const controlHeader = 'webhook-delivery';

/** `nowMs`: milliseconds since 1970, for a Retry-After that names a date. */
export function judgeAttempt(result: ExchangeResult, nowMs: number): AttemptOutcome {
  if (result.kind === 'failure') {
    const throttled = result.failure === 'timeout';
    return { kind: 'failed', error: result.failure, throttled, retryAfterMs: undefined, pauses: false };
  }
  const { status, headers } = result;
  const control = headers[controlHeader]?.trim().toLowerCase();
  if (control === 'abort-message') return { kind: 'aborted' };
  const pauses = status === 410 || control === 'disable';
  if (status >= 200 && status < 300 && !pauses) return { kind: 'succeeded' };
  return {
    kind: 'failed',
    error: status >= 300 && status < 400 ? 'redirect' : 'status',
    throttled: throttlingStatuses.includes(status),
    retryAfterMs: parseRetryAfter(headers['retry-after'], nowMs),
    pauses,
  };
}

/** RFC 9110, 10.2.3: whole seconds or an HTTP date. Anything else is no wish. */
export function parseRetryAfter(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  // Date.parse takes more than HTTP dates: a name of a day comes first in those.
  if (!/^[A-Z][a-z]{2},? /.test(text)) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}
