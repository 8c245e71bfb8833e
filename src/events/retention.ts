// Deletes finished deliveries by age and number, a batch at a time, on every node: the store lets each row go once.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { DeliveryStore } from './delivery-store';
import { messageOf } from './store-retries';

export interface RetentionOptions {
  /** How long a finished delivery is kept, in milliseconds. */
  readonly maxAgeMs: number;
  /** How many finished deliveries are kept. */
  readonly maxDeliveries: number;
}

export interface RetentionParts {
  readonly store: Pick<DeliveryStore, 'purge'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly options: RetentionOptions;
}

/** A look for nothing is one query. */
const intervalMs = 60_000;
/** Rows in one statement: it must not hold up saves. */
const batch = 1000;

export class Retention {
  readonly #parts: RetentionParts;
  #cancel: (() => void) | undefined;
  #isStopped = true;
  #isFailing = false;
  #running: Promise<void> = Promise.resolve();

  constructor(parts: RetentionParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#isStopped = false;
    this.#scheduleNext();
  }

  /** Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancel?.();
    await this.#running;
  }

  #scheduleNext(): void {
    if (this.#isStopped) return;
    this.#cancel = this.#parts.clock.schedule(intervalMs, () => {
      this.#running = this.#purge().finally(() => this.#scheduleNext());
    });
  }

  async #purge(): Promise<void> {
    const { store, clock, logger, options } = this.#parts;
    const { maxAgeMs, maxDeliveries } = options;
    try {
      let purged = batch;
      while (purged === batch && !this.#isStopped) {
        purged = await store.purge({
          finishedBefore: clock.now() - maxAgeMs,
          keep: maxDeliveries,
          limit: batch,
        });
      }
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) logger.warn(`webhooks: old deliveries cannot be deleted: ${messageOf(error)}`);
      this.#isFailing = true;
    }
  }
}
