// Deletes finished deliveries by age and number, on every node: the store lets each row go once.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { DeliveryStore, FinishedPlace } from './delivery-store';
import { messageOf } from './store-retries';

export interface RetentionOptions {
  /** How long a finished delivery is kept, in milliseconds. */
  readonly maxAgeMs: number;
  /** How many finished deliveries are kept. */
  readonly maxDeliveries: number;
}

export interface RetentionParts {
  readonly store: Pick<DeliveryStore, 'findLastKept' | 'purge'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly options: RetentionOptions;
}

const shortestIntervalMs = 60_000;
const longestIntervalMs = 3_600_000;
/**
 * Longer than the count took: what is kept has to be counted, and 100 million entries of an index take many seconds. What
 * is then deleted counts as rest: else a purge that takes long would let more come together for the next, up to an hour's.
 */
const intervalFactor = 20;
/** After all that is finished, where none of it is kept. */
const theEnd: FinishedPlace = { finishedAt: Number.MAX_SAFE_INTEGER, id: '' };

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
      this.#running = this.#purge(this.#stopping.signal).then(restMs =>
        this.#scheduleNext(Math.min(longestIntervalMs, Math.max(shortestIntervalMs, restMs))),
      );
    });
  }

  /** Answers how long a rest the count asks for from now on, in milliseconds. Never fails. */
  async #purge(signal: AbortSignal): Promise<number> {
    const { store, clock, logger, options } = this.#parts;
    const { maxAgeMs, maxDeliveries } = options;
    let restEndsAt = clock.monotonicMs();
    try {
      await store.purge({ finishedAt: clock.now() - maxAgeMs, id: '' }, signal);
      if (signal.aborted) return 0;
      const startedAt = clock.monotonicMs();
      const counting = maxDeliveries > 0 ? store.findLastKept(maxDeliveries) : Promise.resolve(theEnd);
      const lastKept = await counting.finally(() => {
        const countedAt = clock.monotonicMs();
        restEndsAt = countedAt + intervalFactor * (countedAt - startedAt);
      });
      if (lastKept !== undefined) await store.purge(lastKept, signal);
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) logger.warn(`webhooks: old deliveries cannot be deleted: ${messageOf(error)}`);
      this.#isFailing = true;
    }
    return restEndsAt - clock.monotonicMs();
  }
}
