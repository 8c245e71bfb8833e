// The ends of attempts, as metrics are told of them.
import type { AttemptOutcome } from '../../src/events/attempt-outcome';
import type { AttemptEnded } from '../../src/events/dispatching';
import { asFresh } from '../../src/events/held-delivery';
import { newDelivery, TestEndpoints } from './dispatching';

export function attemptOf({
  key,
  outcome,
  state,
  delayMs = 10,
  number = 1,
}: Pick<AttemptEnded, 'outcome' | 'state'> & {
  /** Of the endpoint. */
  readonly key: string;
  /** From the change to the attempt. */
  readonly delayMs?: number;
  readonly number?: number;
}): AttemptEnded {
  const endpoints = new TestEndpoints();
  endpoints.set(key, {});
  const endpoint = endpoints.find(key);
  if (endpoint === undefined) throw new Error(`there is no endpoint ${key}`);
  const delivery = asFresh(newDelivery(key));
  const startedAt = delivery.createdAt + delayMs;
  const attempt = {
    deliveryId: delivery.id,
    number,
    startedAt,
    durationMs: 5,
    status: undefined,
    error: outcome.kind === 'failed' ? outcome.error : undefined,
    phase: undefined,
    reply: undefined,
    node: 'node-a',
  };
  return { endpoint, delivery, attempt, outcome, state };
}

export function failedWith(error: string): AttemptOutcome {
  return { kind: 'failed', error, throttled: false, retryAfterMs: undefined, pauses: false };
}
