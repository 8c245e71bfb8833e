// Deletes finished deliveries by age and number, on every node: the store lets each row go once.
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

const shortestIntervalMs = 60_000;
const longestIntervalMs = 3_600_000;
/** Longer than it took: what is kept has to be counted, and 100 million entries of an index take many seconds. */
const intervalFactor = 20;

export class Retention {
  readonly #parts: RetentionParts;
  #cancel: (() => void) | undefined;
  #stopping = new AbortController();
  #isFailing = false;
  #running: Promise<void> = Promise.resolve();

  constructor(parts: RetentionParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#stopping = new AbortController();
    this.#scheduleNext(shortestIntervalMs);
  }

  /** Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#cancel?.();
    await this.#running;
  }

  #scheduleNext(delayMs: number): void {
    const { clock } = this.#parts;
    if (this.#stopping.signal.aborted) return;
    this.#cancel = clock.schedule(delayMs, () => {
      const startedAt = clock.monotonicMs();
      this.#running = this.#purge(this.#stopping.signal).finally(() => {
        const wanted = intervalFactor * (clock.monotonicMs() - startedAt);
        this.#scheduleNext(Math.min(longestIntervalMs, Math.max(shortestIntervalMs, wanted)));
      });
    });
  }

  async #purge(signal: AbortSignal): Promise<void> {
    const { store, clock, logger, options } = this.#parts;
    const { maxAgeMs, maxDeliveries } = options;
    try {
      await store.purge({ finishedBefore: clock.now() - maxAgeMs, keep: maxDeliveries, signal });
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) logger.warn(`webhooks: old deliveries cannot be deleted: ${messageOf(error)}`);
      this.#isFailing = true;
    }
  }
}
