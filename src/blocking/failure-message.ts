// How a failure is told to a client: which hook and what kind, never the receiver's address, headers or body.
import type { ExchangeFailureKind } from '../http/exchange';
import type { LaneRefusal } from '../http/lane';
import type { ReplyFailureKind } from '../wire/reply';

export type FailureKind =
  | ExchangeFailureKind
  | ReplyFailureKind
  | 'invalid-reply' // the reply decoded, but this trigger cannot use it
  | 'deadline' // totalDeadlineMs had passed before the call could be made
  | 'loop' // too many webhooks deep
  | 'request' // the request could not be encoded
  | 'request-too-large' // the request passed maxRequestBytes, or the receiver answered 413, 414 or 431
  | LaneRefusal // nothing was sent: the breaker is open, or too many calls are in flight
  | 'settings'; // the hook's stored settings cannot be read

const words: Readonly<Record<FailureKind, string>> = {
  timeout: 'timed out',
  deadline: 'timed out',
  connect: 'connection failed',
  dns: 'name does not resolve',
  address: 'address is not allowed',
  tls: 'TLS failed',
  reset: 'connection was cut',
  protocol: 'answer is not valid HTTP',
  'too-large': 'answer is too large',
  aborted: 'server is stopping',
  redirect: 'answer is a redirect',
  status: 'answer has an error status',
  'not-json': 'answer is not JSON',
  'no-answer': 'answer has neither success nor error',
  'too-deep': 'answer is nested too deeply',
  'forbidden-key': 'answer has a forbidden key',
  'invalid-reply': 'answer cannot be used',
  loop: 'webhooks call each other in a loop',
  request: 'request could not be encoded',
  'request-too-large': 'request is too large',
  'breaker-open': 'receiver has failed too often and is given a rest',
  busy: 'too many calls are in flight',
  settings: 'its settings cannot be read',
};

/** All kinds there are. */
export const failureKinds = Object.keys(words) as readonly FailureKind[];

/** `webhook beforeSave Puppy failed: timed out after 5000 ms` */
export function failureMessage(label: string, kind: FailureKind, timeoutMs?: number): string {
  const after = kind === 'timeout' && timeoutMs !== undefined ? ` after ${timeoutMs} ms` : '';
  return `webhook ${label} failed: ${words[kind]}${after}`;
}

/** True for failures that a client sees as Parse's TIMEOUT (124). */
export function isTimeout(kind: FailureKind): boolean {
  return kind === 'timeout' || kind === 'deadline';
}
