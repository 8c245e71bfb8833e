// Takes deliveries in for a client that waits: groups them into inserts, hands what is durable to the dispatcher, and
// decides what happens when the store fails.
import { WebhookError } from '../errors';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { NewDelivery } from './delivery';
import type { DeliveryStore, Lease } from './delivery-store';
import type { DeliveryIntake, DeliveryRef, Dispatcher } from './dispatching';
import { DeliveryStoreError } from './delivery-store-error';
import { InsertBatcher, type InsertBatcherOptions, type OnStored } from './insert-batcher';
import { Spool, type SpoolOptions } from './spool';
import { messageOf, StoreTimeout, within } from './store-retries';

export interface OutboxOptions {
  /** `spool`: keep them in memory and let the client go on; `fail`: throw STORE_FAILED. Default `spool`. */
  readonly onStoreFailure: 'spool' | 'fail';
  /**
   * Longest that a client waits for the store, in milliseconds; counted anew when a part of a call that is too large for
   * one insert has been written. Default 5000.
   */
  readonly insertTimeoutMs: number;
  readonly batching?: Partial<InsertBatcherOptions>;
  readonly spool?: Partial<SpoolOptions>;
}

export const outboxDefaults: OutboxOptions = { onStoreFailure: 'spool', insertTimeoutMs: 5000 };

export interface OutboxParts {
  readonly store: Pick<DeliveryStore, 'insert'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of this process; none where others deliver. */
  readonly dispatcher?: Pick<Dispatcher, 'hasRoom' | 'createLease' | 'accept' | 'adopt' | 'wake'>;
  /** Hears of what was inserted without a lease: for a queue. Must not throw. */
  readonly onInserted?: (refs: readonly DeliveryRef[]) => void;
  readonly options?: Partial<OutboxOptions>;
}

/** One call of `add` that waits for the store. */
interface Waiting {
  deadlineAt: number;
  readonly expire: () => void;
}

export class Outbox implements DeliveryIntake {
  readonly #parts: OutboxParts;
  readonly #options: OutboxOptions;
  readonly #leased: InsertBatcher;
  readonly #unleased: InsertBatcher;
  readonly #spool: Spool;
  /** Oldest first: all wait equally long, so one timer serves all. */
  readonly #waiting = new Set<Waiting>();
  #cancelTimer: (() => void) | undefined;
  #idle: (() => void)[] = [];

  constructor(parts: OutboxParts) {
    this.#parts = parts;
    this.#options = { ...outboxDefaults, ...parts.options };
    const { store, clock, logger, dispatcher } = parts;
    const { batching, spool, insertTimeoutMs } = this.#options;
    const common = { store, clock, options: { hangingAfterMs: insertTimeoutMs, ...batching } };
    this.#leased = new InsertBatcher({ ...common, createLease: () => dispatcher?.createLease() });
    this.#unleased = new InsertBatcher({ ...common, createLease: () => undefined });
    this.#spool = new Spool({
      store,
      clock,
      logger,
      onStored: deliveries => this.#announce(deliveries, undefined),
      onRepeated: deliveries => void dispatcher?.adopt(deliveries),
      ...(spool && { options: spool }),
    });
  }

  /** Deliveries that wait in memory because the store failed. */
  get spooled(): number {
    return this.#spool.size;
  }

  async add(deliveries: readonly NewDelivery[]): Promise<void> {
    if (deliveries.length === 0) return;
    // While the store is known to fail nobody waits for it to do so again.
    if (this.#spool.size > 0) {
      this.#keep(deliveries, new Error('it still does'));
      return;
    }
    const { dispatcher, clock } = this.#parts;
    if (dispatcher === undefined) return this.#insert(this.#unleased, deliveries);
    const now = clock.now();
    const goesAtOnce = ({ endpoint, nextAttemptAt }: NewDelivery): boolean =>
      nextAttemptAt <= now && dispatcher.hasRoom(endpoint);
    const first = deliveries[0];
    if (deliveries.length === 1 && first !== undefined) {
      return this.#insert(goesAtOnce(first) ? this.#leased : this.#unleased, deliveries);
    }
    const own: NewDelivery[] = [];
    const others: NewDelivery[] = [];
    for (const delivery of deliveries) (goesAtOnce(delivery) ? own : others).push(delivery);
    if (others.length === 0) return this.#insert(this.#leased, own);
    if (own.length === 0) return this.#insert(this.#unleased, others);
    await Promise.all([this.#insert(this.#leased, own), this.#insert(this.#unleased, others)]);
  }

  /** Drops what is kept in memory about this object, which is to be removed from the store. */
  withdraw(className: string, objectId: string): void {
    this.#spool.withdraw(className, objectId);
  }

  /** Waits at most `timeoutMs` for what is being written and for the spool. Call it when nobody adds any more. */
  async stop(timeoutMs: number): Promise<void> {
    const { clock, logger } = this.#parts;
    const ended = async (): Promise<void> => {
      if (this.#waiting.size > 0) await new Promise<void>(resolve => this.#idle.push(resolve));
      await this.#spool.drained();
    };
    await within(clock, timeoutMs, ended()).catch(() => undefined);
    this.#cancelTimer?.();
    const lost = this.#spool.close();
    if (lost > 0) {
      logger.error(
        `webhooks stop: the store of deliveries still fails, ${lost} that waited in memory are lost`,
      );
    }
  }

  /** Resolves when they are durable or kept. */
  #insert(batcher: InsertBatcher, deliveries: readonly NewDelivery[]): Promise<void> {
    return new Promise((resolve, reject) => {
      let rest = deliveries;
      const settle = (error?: unknown): void => {
        this.#waiting.delete(waiting);
        if (error === undefined) {
          resolve();
        } else if (error instanceof DeliveryStoreError && error.fault !== 'full') {
          this.#insertRefused(batcher, rest, error).then(resolve, reject);
        } else {
          try {
            this.#keep(rest, error);
            resolve();
          } catch (failure) {
            reject(failure instanceof Error ? failure : new Error('not stored', { cause: failure }));
          }
        }
        if (this.#waiting.size === 0) for (const wake of this.#idle.splice(0)) wake();
      };
      let isOver = false;
      const waiting: Waiting = {
        deadlineAt: 0,
        expire: () => {
          isOver = true;
          settle(new StoreTimeout(this.#options.insertTimeoutMs));
        },
      };
      const onStored: OnStored = (stored, lease) => {
        this.#announce(stored, lease);
        rest = rest.slice(stored.length);
        // Late: the store has them after all, and they need not be kept.
        if (isOver) this.#spool.forget(stored);
        else if (rest.length > 0) this.#await(waiting);
        this.#spool.tryNow();
      };
      this.#await(waiting);
      batcher.add(deliveries, onStored).then(
        () => {
          if (!isOver) settle();
        },
        (error: unknown) => {
          if (!isOver) settle(error);
        },
      );
    });
  }

  /** From now on; behind those that wait already. */
  #await(waiting: Waiting): void {
    this.#waiting.delete(waiting);
    waiting.deadlineAt = this.#parts.clock.monotonicMs() + this.#options.insertTimeoutMs;
    this.#waiting.add(waiting);
    this.#planExpiry();
  }

  /** The store refuses something among them: the others must not suffer for it. Halves, until that stands alone. */
  async #insertRefused(
    batcher: InsertBatcher,
    deliveries: readonly NewDelivery[],
    error: DeliveryStoreError,
  ): Promise<void> {
    const [first] = deliveries;
    if (deliveries.length > 1) {
      const middle = Math.ceil(deliveries.length / 2);
      // One after the other: both at once may be more than may wait.
      const failures: unknown[] = [];
      for (const half of [deliveries.slice(0, middle), deliveries.slice(middle)]) {
        await this.#insert(batcher, half).catch((failure: unknown) => failures.push(failure));
      }
      if (failures.length > 0) throw failures[0];
    } else if (error.fault !== 'repeated-id' && first !== undefined) {
      this.#parts.logger.error(
        `webhooks: the store refuses delivery ${first.id} to ${first.endpoint}, which is lost: ${error.message}`,
      );
      if (this.#options.onStoreFailure === 'fail') throw storeFailed(error);
    }
  }

  /** Throws STORE_FAILED when they are neither durable nor kept. */
  #keep(deliveries: readonly NewDelivery[], cause: unknown): void {
    if (this.#options.onStoreFailure === 'spool' && this.#spool.put(deliveries, cause)) return;
    throw storeFailed(cause);
  }

  #announce(deliveries: readonly NewDelivery[], lease: Lease | undefined): void {
    const { dispatcher, onInserted, logger } = this.#parts;
    try {
      if (lease !== undefined) {
        dispatcher?.accept(deliveries, lease);
        return;
      }
      dispatcher?.wake();
      onInserted?.(deliveries.map(({ id, endpoint }) => ({ id, endpoint })));
    } catch (error) {
      logger.error(`webhooks: deliveries were recorded, and nobody was told: ${messageOf(error)}`);
    }
  }

  #planExpiry(): void {
    const [oldest] = this.#waiting;
    if (this.#cancelTimer !== undefined || oldest === undefined) return;
    const { clock } = this.#parts;
    this.#cancelTimer = clock.schedule(
      Math.max(0, Math.ceil(oldest.deadlineAt - clock.monotonicMs())),
      () => {
        this.#cancelTimer = undefined;
        const now = clock.monotonicMs();
        for (const waiting of this.#waiting) {
          if (waiting.deadlineAt > now) break;
          waiting.expire();
        }
        this.#planExpiry();
      },
    );
  }
}

function storeFailed(cause: unknown): WebhookError {
  return new WebhookError(
    'STORE_FAILED',
    'the object was saved or deleted, but its webhooks could not be recorded',
    { cause },
  );
}
