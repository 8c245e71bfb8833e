// The contract of a queue that tells workers which deliveries were written. It carries ids only and may lose them: the
// row in the store is the truth, and what no queue names is found by claiming.
import type { DeliveryRef } from './dispatching';

/** `disconnected`: what is offered now is dropped, and workers find it by claiming. */
export type QueueConnection = 'connected' | 'disconnected';

export interface DeliveryQueueProducer {
  readonly connection: QueueConnection;
  /** Queues them soon, or drops them. Never waits, never throws, and holds a bounded number of them. */
  offer(refs: readonly DeliveryRef[]): void;
  /** Queues what was offered, for a short while at most, and disconnects. Never fails. */
  close(): Promise<void>;
}

export interface DeliveryQueueConsumer {
  readonly connection: QueueConnection;
  /** Begins to take; whenever the queue is away it comes back by itself. */
  start(): void;
  /** Takes no more, lets what was taken be handed over, for a short while at most, and disconnects. Never fails. */
  close(): Promise<void>;
}
