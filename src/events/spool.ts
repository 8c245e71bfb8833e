// Deliveries that the store would not take, kept in memory until it does. A process that dies loses them: that is what
// the log says, loudly, once when it begins.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { NewDelivery } from './delivery';
import type { DeliveryStore } from './delivery-store';
import { DeliveryStoreError } from './delivery-store-error';
import { insertBatcherDefaults } from './insert-batcher';
import { cutIntoParts } from './insert-parts';
import { messageOf, within } from './store-retries';

export interface SpoolOptions {
  /** Deliveries kept. Default 10000. */
  readonly maxRows: number;
  /** UTF-16 units of their bodies. Default 32 Mi. */
  readonly maxBodyLength: number;
  /** Between tries, in milliseconds. Default 250, doubled up to 2000: while they wait here, a crash loses them. */
  readonly firstDelayMs: number;
  readonly longestDelayMs: number;
}

export const spoolDefaults: SpoolOptions = {
  maxRows: 10_000,
  maxBodyLength: 32 * 1024 * 1024,
  firstDelayMs: 250,
  longestDelayMs: 2000,
};

export interface SpoolParts {
  readonly store: Pick<DeliveryStore, 'insert'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** They are durable now, without a lease. */
  readonly onStored: (deliveries: readonly NewDelivery[]) => void;
  /** They were durable already: a try had taken effect whose answer was lost, perhaps under a lease. */
  readonly onRepeated: (deliveries: readonly NewDelivery[]) => void;
  readonly options?: Partial<SpoolOptions>;
}

/** A try that hangs is given up after this, in milliseconds; what it does later is met as a repeated id. */
const insertTimeoutMs = 15_000;
/** Tries that were given up and still hang; with more, their end is waited for: they hold connections and memory. */
const maxHanging = 3;

export class Spool {
  readonly #parts: SpoolParts;
  readonly #options: SpoolOptions;
  /** Oldest first. */
  readonly #rows = new Map<string, NewDelivery>();
  #bodyLength = 0;
  #stored = 0;
  #dropped = 0;
  #failures = 0;
  #hanging = 0;
  #isDraining = false;
  #cancelWait: (() => void) | undefined;
  #abandonTry: (() => void) | undefined;
  #idle: (() => void)[] = [];
  #closed = false;

  constructor(parts: SpoolParts) {
    this.#parts = parts;
    this.#options = { ...spoolDefaults, ...parts.options };
  }

  get size(): number {
    return this.#rows.size;
  }

  /** False when there is no room for all of them: then none is kept. Those that it has already count once. */
  put(deliveries: readonly NewDelivery[], cause: unknown): boolean {
    const { logger } = this.#parts;
    const added = deliveries.filter(({ id }) => !this.#rows.has(id));
    const bodyLength = added.reduce((sum, { body }) => sum + body.length, 0);
    const isFull =
      this.#rows.size + added.length > this.#options.maxRows ||
      this.#bodyLength + bodyLength > this.#options.maxBodyLength;
    if (isFull || this.#closed) {
      if (this.#dropped === 0) {
        logger.error(
          `webhooks: the store of deliveries fails and ${this.#rows.size} wait in memory: there is no room for more, deliveries are lost`,
        );
      }
      this.#dropped += added.length;
      return false;
    }
    if (this.#rows.size === 0) {
      logger.error(
        `webhooks: the store of deliveries fails, they are kept in memory and lost if this process ends: ${messageOf(cause)}`,
      );
    }
    for (const delivery of added) this.#rows.set(delivery.id, delivery);
    this.#bodyLength += bodyLength;
    void this.#drain();
    return true;
  }

  /** Drops what is about this object: it shall not be stored any more. */
  withdraw(className: string, objectId: string): void {
    for (const [id, delivery] of this.#rows) {
      if (delivery.className !== className || delivery.objectId !== objectId) continue;
      this.#rows.delete(id);
      this.#bodyLength -= delivery.body.length;
    }
    this.#tellWhenEmpty();
    if (this.#rows.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** The store has them after all. */
  forget(deliveries: readonly NewDelivery[]): void {
    for (const { id, body } of deliveries) {
      if (!this.#rows.delete(id)) continue;
      this.#bodyLength -= body.length;
      this.#stored += 1;
    }
    this.#tellWhenEmpty();
  }

  /** Does not wait for the time of the next try: the store has just been seen to work. */
  tryNow(): void {
    this.#cancelWait?.();
  }

  /** Tries at once. Resolves when it is empty. */
  async drained(): Promise<void> {
    this.tryNow();
    if (this.#rows.size === 0) return;
    await new Promise<void>(resolve => this.#idle.push(resolve));
  }

  /** Tries no more; answers how many are lost. */
  close(): number {
    this.#closed = true;
    this.#cancelWait?.();
    this.#abandonTry?.();
    for (const resolve of this.#idle.splice(0)) resolve();
    return this.#rows.size;
  }

  /** Never fails. */
  async #drain(): Promise<void> {
    if (this.#isDraining) return;
    this.#isDraining = true;
    await this.#wait(this.#options.firstDelayMs);
    while (this.#rows.size > 0 && !this.#closed) {
      const batch = this.#nextBatch();
      try {
        const repeated = await this.#insert(batch);
        this.#failures = 0;
        this.forget(batch);
        this.#parts.onStored(batch);
        if (repeated.length > 0) this.#parts.onRepeated(repeated);
      } catch {
        this.#failures += 1;
        const { firstDelayMs, longestDelayMs } = this.#options;
        await this.#wait(Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(this.#failures, 16)));
      }
    }
    this.#isDraining = false;
  }

  #nextBatch(): readonly NewDelivery[] {
    const [first] = cutIntoParts(this.#rows.values(), insertBatcherDefaults);
    return first?.deliveries ?? [];
  }

  /** A batch in which the store refuses something is halved until that stands alone. Answers those that it had. */
  async #insert(batch: readonly NewDelivery[]): Promise<readonly NewDelivery[]> {
    try {
      await this.#insertInTime(batch);
      return [];
    } catch (error) {
      if (!(error instanceof DeliveryStoreError) || error.fault === 'full') throw error;
      const [first] = batch;
      if (batch.length > 1) {
        const middle = Math.ceil(batch.length / 2);
        const repeated = await this.#insert(batch.slice(0, middle));
        return [...repeated, ...(await this.#insert(batch.slice(middle)))];
      }
      if (error.fault === 'repeated-id') return batch;
      if (first !== undefined) {
        this.#parts.logger.error(
          `webhooks: the store refuses delivery ${first.id} to ${first.endpoint}, which is lost: ${error.message}`,
        );
      }
      return [];
    }
  }

  async #insertInTime(batch: readonly NewDelivery[]): Promise<void> {
    const { store, clock } = this.#parts;
    if (this.#hanging >= maxHanging) throw new Error('earlier tries hang');
    this.#hanging += 1;
    const inserting = store.insert(batch, undefined).finally(() => (this.#hanging -= 1));
    const abandoned = new Promise<never>((_resolve, reject) => {
      this.#abandonTry = () => reject(new Error('the spool is closed'));
    });
    await within(clock, insertTimeoutMs, Promise.race([inserting, abandoned]));
  }

  #tellWhenEmpty(): void {
    if (this.#rows.size > 0 || this.#stored === 0) return;
    const dropped = this.#dropped > 0 ? `, ${this.#dropped} were lost` : '';
    this.#parts.logger.info(
      `webhooks: the store of deliveries works again, ${this.#stored} that waited in memory are in it${dropped}`,
    );
    this.#stored = 0;
    this.#dropped = 0;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Cut short by `tryNow`, `drained` and `close`. */
  #wait(delayMs: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise(resolve => {
      const done = (): void => {
        cancel();
        this.#cancelWait = undefined;
        resolve();
      };
      const cancel = this.#parts.clock.schedule(delayMs, done);
      this.#cancelWait = done;
    });
  }
}
