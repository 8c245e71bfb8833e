// Deliveries for tests of what is done with them: written, attempted and finished through the store, as dispatching does it.
import type { Attempt, NewDelivery } from '../../src/events/delivery';
import type { DeliveryStore } from '../../src/events/delivery-store';

const owner = 'test';

/** Number `n` of a test, created `n` seconds after `at`. */
export function createDelivery(n: number, at: number, more: Partial<NewDelivery> = {}): NewDelivery {
  return {
    id: `dlv_${String(n).padStart(26, '0')}`,
    webhookId: `msg_${String(n).padStart(26, '0')}`,
    endpoint: 'subscription/orders',
    type: 'object.create',
    className: 'Order',
    objectId: `order${n}`,
    body: JSON.stringify({ type: 'object.create', number: n }),
    createdAt: at + n * 1000,
    nextAttemptAt: at + n * 1000,
    isTest: false,
    depth: 1,
    traceparent: undefined,
    ...more,
  };
}

/** Writes the delivery and records one attempt, the last one: it succeeds with 2xx, and is exhausted otherwise. */
export async function deliver(
  store: DeliveryStore,
  delivery: NewDelivery,
  { status, durationMs = 10 }: { readonly status: number | undefined; readonly durationMs?: number },
): Promise<void> {
  const { id, createdAt } = delivery;
  await store.insert([delivery], { owner, expiresAt: createdAt + 1000 });
  const error = status === undefined ? 'timeout' : status >= 300 ? 'status' : undefined;
  const attempt: Attempt = {
    deliveryId: id,
    number: 1,
    startedAt: createdAt,
    durationMs,
    status,
    error,
    phase: status === undefined ? 'first-byte' : 'done',
    reply: status === undefined ? undefined : { headers: { 'content-type': 'text/plain' }, body: 'thanks' },
    node: 'node-1',
  };
  const state = error === undefined ? 'succeeded' : 'exhausted';
  await store.finish([
    {
      attempt,
      owner,
      progress: {
        state,
        attemptCount: 1,
        nextAttemptAt: undefined,
        lastStatus: status,
        lastError: error,
        finishedAt: createdAt + Math.ceil(durationMs),
      },
    },
  ]);
}
