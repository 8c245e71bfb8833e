// Group commit: gathers the deliveries of saves that happen at the same time into one insert. Owns no rows: a caller
// waits for its insert, and what to do when that fails is the caller's.
import type { Clock } from '../shared/clock';
import type { NewDelivery } from './delivery';
import type { DeliveryStore, Lease } from './delivery-store';
import { DeliveryStoreError } from './delivery-store-error';
import { cutIntoParts, type InsertBounds, type InsertPart } from './insert-parts';

/** `maxRows` is 500 and `maxBodyLength` 4 Mi by default; a call with more is written part by part. */
export interface InsertBatcherOptions extends InsertBounds {
  /** Longest time that deliveries wait for others while an insert could start, in milliseconds. Default 2. */
  readonly maxDelayMs: number;
  /** Inserts under way at once. Default 2. */
  readonly maxInFlight: number;
  /**
   * An insert without an answer for so long no longer counts as under way, in milliseconds: on a dead connection it
   * would keep all others back. Default 5000.
   */
  readonly hangingAfterMs: number;
  /** Deliveries that may wait; beyond it `add` fails as `full`. What comes when none waits is taken. Default 20000. */
  readonly maxWaitingRows: number;
  /** UTF-16 units of bodies that may wait. Default 64 Mi. */
  readonly maxWaitingBodyLength: number;
}

export const insertBatcherDefaults: InsertBatcherOptions = {
  maxRows: 500,
  maxBodyLength: 4 * 1024 * 1024,
  maxDelayMs: 2,
  maxInFlight: 2,
  hangingAfterMs: 5000,
  maxWaitingRows: 20_000,
  maxWaitingBodyLength: 64 * 1024 * 1024,
};

export interface InsertBatcherParts {
  readonly store: Pick<DeliveryStore, 'insert'>;
  readonly clock: Clock;
  /** Asked for at each insert; undefined leaves the deliveries to whoever claims first. */
  readonly createLease: () => Lease | undefined;
  readonly options?: Partial<InsertBatcherOptions>;
}

/** Told of deliveries that are durable now, with the lease under which they are. Must not throw. */
export type OnStored = (deliveries: readonly NewDelivery[], lease: Lease | undefined) => void;

/** A call of `add`, or a part of one. */
interface Member extends InsertPart {
  readonly resolve: (lease: Lease | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * An insert starts as soon as none is under way; what is added meanwhile goes with the next one, when that one has ended
 * or after maxDelayMs. So one save alone waits for nothing, and the more there are the larger the batches become.
 */
export class InsertBatcher {
  readonly #parts: InsertBatcherParts;
  readonly #options: InsertBatcherOptions;
  readonly #waiting: Member[] = [];
  #waitingRows = 0;
  #waitingBodyLength = 0;
  /** Of parts whose turn comes when the part before them is written. */
  #laterRows = 0;
  #laterBodyLength = 0;
  /** When each insert that has not ended was started, on the monotonic clock. */
  readonly #underWay = new Set<{ readonly startedAt: number }>();
  #startIsQueued = false;
  #cancelTimer: (() => void) | undefined;

  constructor(parts: InsertBatcherParts) {
    this.#parts = parts;
    this.#options = { ...insertBatcherDefaults, ...parts.options };
  }

  /**
   * Resolves when all of `deliveries` are durable. What is too much for one insert is written one part after the other,
   * so that other calls get in between, and `onStored` hears of each part. Fails with the error of an insert, after which
   * nothing is there but what `onStored` was told of (as far as the store keeps to that), or with a DeliveryStoreError
   * `full`.
   */
  async add(deliveries: readonly NewDelivery[], onStored: OnStored = () => undefined): Promise<void> {
    const parts = [...cutIntoParts(deliveries, this.#options)];
    this.#assertRoom(parts);
    for (const part of parts) this.#countLater(part, 1);
    let written = 0;
    try {
      for (const part of parts) {
        written += 1;
        this.#countLater(part, -1);
        onStored(part.deliveries, await this.#addPart(part));
      }
    } finally {
      for (const part of parts.slice(written)) this.#countLater(part, -1);
    }
  }

  /** What is to come of a large call is in the way of other large ones only. */
  #assertRoom(parts: readonly InsertPart[]): void {
    const { maxWaitingRows, maxWaitingBodyLength } = this.#options;
    const isLarge = parts.length > 1;
    let rows = this.#waitingRows + (isLarge ? this.#laterRows : 0);
    let bodyLength = this.#waitingBodyLength + (isLarge ? this.#laterBodyLength : 0);
    if (rows === 0) return;
    const message = `${rows} deliveries wait to be written, maxWaitingRows is ${maxWaitingRows}`;
    for (const part of parts) {
      rows += part.deliveries.length;
      bodyLength += part.bodyLength;
    }
    if (rows > maxWaitingRows || bodyLength > maxWaitingBodyLength)
      throw new DeliveryStoreError('full', message);
  }

  #countLater({ deliveries, bodyLength }: InsertPart, sign: 1 | -1): void {
    this.#laterRows += sign * deliveries.length;
    this.#laterBodyLength += sign * bodyLength;
  }

  #addPart(part: InsertPart): Promise<Lease | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...part, resolve, reject });
      this.#waitingRows += part.deliveries.length;
      this.#waitingBodyLength += part.bodyLength;
      this.#wake();
    });
  }

  #wake(): void {
    const inFlight = this.#countInFlight();
    if (this.#waiting.length === 0 || inFlight >= this.#options.maxInFlight) return;
    if (inFlight === 0 || this.#isBatchFull()) {
      this.#queueStart();
      return;
    }
    this.#cancelTimer ??= this.#parts.clock.schedule(this.#options.maxDelayMs, () => {
      this.#cancelTimer = undefined;
      this.#start();
    });
  }

  /** Without those that hang. */
  #countInFlight(): number {
    const hangingSince = this.#parts.clock.monotonicMs() - this.#options.hangingAfterMs;
    let count = 0;
    for (const { startedAt } of this.#underWay) if (startedAt > hangingSince) count += 1;
    return count;
  }

  #isBatchFull(): boolean {
    return (
      this.#waitingRows >= this.#options.maxRows || this.#waitingBodyLength >= this.#options.maxBodyLength
    );
  }

  /** Not at once: what the same turn of the event loop adds goes along. */
  #queueStart(): void {
    if (this.#startIsQueued) return;
    this.#startIsQueued = true;
    queueMicrotask(() => {
      this.#startIsQueued = false;
      this.#start();
    });
  }

  #start(): void {
    if (this.#waiting.length === 0 || this.#countInFlight() >= this.#options.maxInFlight) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const batch = this.#takeBatch();
    const insert = { startedAt: this.#parts.clock.monotonicMs() };
    this.#underWay.add(insert);
    void this.#insert(batch).finally(() => {
      this.#underWay.delete(insert);
      this.#wake();
    });
    // The rest may fill another batch.
    this.#wake();
  }

  #takeBatch(): readonly Member[] {
    let rows = 0;
    let bodyLength = 0;
    const end = this.#waiting.findIndex((member, index) => {
      rows += member.deliveries.length;
      bodyLength += member.bodyLength;
      return index > 0 && (rows > this.#options.maxRows || bodyLength > this.#options.maxBodyLength);
    });
    const batch = this.#waiting.splice(0, end < 0 ? this.#waiting.length : end);
    for (const member of batch) {
      this.#waitingRows -= member.deliveries.length;
      this.#waitingBodyLength -= member.bodyLength;
    }
    return batch;
  }

  /**
   * Never fails: every member hears of its own end. When the store refuses the deliveries, the batch is halved until
   * those that it refuses are alone: one bad call among 500 costs about 18 more inserts.
   */
  async #insert(batch: readonly Member[]): Promise<void> {
    try {
      const lease = this.#parts.createLease();
      await this.#parts.store.insert(
        batch.flatMap(({ deliveries }) => deliveries),
        lease,
      );
      for (const member of batch) member.resolve(lease);
    } catch (error) {
      if (batch.length === 1 || !(error instanceof DeliveryStoreError)) {
        for (const member of batch) member.reject(error);
        return;
      }
      const middle = Math.ceil(batch.length / 2);
      await this.#insert(batch.slice(0, middle));
      await this.#insert(batch.slice(middle));
    }
  }
}
