// Group commit of attempts: gathers those that end at the same time into one write, and does not give up while the
// store fails. Owns what has been attempted until the store knows of it.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { Attempt, DeliveryProgress } from './delivery';
import type { DeliveryStore } from './delivery-store';
import type { HeldDelivery } from './held-delivery';
import { messageOf, StoreRetries, within } from './store-retries';

export interface AttemptToRecord {
  readonly held: HeldDelivery;
  readonly attempt: Attempt;
  readonly progress: DeliveryProgress;
  /** Runs once: when the store has it, or knows that the lease was lost and nothing of it was written. */
  readonly onEnd: (end: 'recorded' | 'lost') => void;
}

export interface AttemptRecorderParts {
  readonly store: Pick<DeliveryStore, 'finish' | 'get'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly options?: Partial<AttemptRecorderOptions>;
}

export interface AttemptRecorderOptions {
  /** Attempts in one write. Default 500. */
  readonly maxRows: number;
  /** Shortest time from one write's start to the next's, and longest that attempts wait for others, in milliseconds. Default 10. */
  readonly maxDelayMs: number;
  /** Writes under way at once. Default 2. */
  readonly maxInFlight: number;
  /** After this time a write counts as failed, in milliseconds. Default 30000. */
  readonly writeTimeoutMs: number;
}

export const attemptRecorderDefaults: AttemptRecorderOptions = {
  maxRows: 500,
  maxDelayMs: 10,
  maxInFlight: 2,
  writeTimeoutMs: 30_000,
};

/**
 * A batch that the database refuses so often is halved, until the row that it refuses stands alone. That one is written
 * without the reply: the one part that a receiver wrote.
 */
const failuresBeforeSplit = 3;

interface Entry extends AttemptToRecord {
  hasEnded: boolean;
}

/**
 * A write starts at once when the last one began maxDelayMs ago; what ends meanwhile goes with the next one. Nobody waits
 * for it, and each write costs some 50 µs however small: at 600 attempts a second it holds six instead of two.
 */
export class AttemptRecorder {
  readonly #parts: AttemptRecorderParts;
  readonly #options: AttemptRecorderOptions;
  readonly #retries: StoreRetries;
  readonly #entries = new Map<string, Entry>();
  #waiting: Entry[] = [];
  #inFlight = 0;
  /** On the monotonic clock: one write after the other would be small ones. */
  #gatherUntil = 0;
  #startIsQueued = false;
  #cancelTimer: (() => void) | undefined;
  #idle: (() => void)[] = [];
  #cancelWaits = new Set<() => void>();
  #closed = false;

  constructor(parts: AttemptRecorderParts) {
    this.#parts = parts;
    this.#options = { ...attemptRecorderDefaults, ...parts.options };
    this.#retries = new StoreRetries({
      logger: parts.logger,
      trouble: 'attempts of deliveries cannot be recorded',
    });
  }

  /** Attempts that the store does not know yet. */
  get size(): number {
    return this.#entries.size;
  }

  add(attempt: AttemptToRecord): void {
    const entry: Entry = { ...attempt, hasEnded: false };
    this.#entries.set(attempt.held.id, entry);
    this.#waiting.push(entry);
    this.#wake();
  }

  /** The delivery was seen in the store as it is after this attempt: a write took effect whose answer was lost. */
  confirm(id: string): void {
    const entry = this.#entries.get(id);
    if (entry) this.#end(entry, 'recorded');
  }

  /** attemptCount that the delivery will have; undefined when no attempt of it waits. */
  attemptCountOf(id: string): number | undefined {
    return this.#entries.get(id)?.progress.attemptCount;
  }

  /** Resolves when the store knows all. */
  async drained(): Promise<void> {
    if (this.#entries.size === 0) return;
    await new Promise<void>(resolve => this.#idle.push(resolve));
  }

  /** Tries no more. What is left is attempted again by whoever claims it. */
  close(): void {
    this.#closed = true;
    this.#cancelTimer?.();
    for (const cancel of this.#cancelWaits) cancel();
    this.#waiting = [];
    this.#entries.clear();
    this.#tellIdle();
  }

  #wake(): void {
    if (this.#closed || this.#waiting.length === 0 || this.#inFlight >= this.#options.maxInFlight) return;
    const gatherMs = this.#gatherUntil - this.#parts.clock.monotonicMs();
    if ((this.#inFlight === 0 && gatherMs <= 0) || this.#waiting.length >= this.#options.maxRows) {
      if (this.#startIsQueued) return;
      this.#startIsQueued = true;
      // Not at once: what ends in the same turn of the event loop goes along.
      setImmediate(() => {
        this.#startIsQueued = false;
        this.#start();
      });
      return;
    }
    this.#cancelTimer ??= this.#parts.clock.schedule(
      gatherMs > 0 ? gatherMs : this.#options.maxDelayMs,
      () => {
        this.#cancelTimer = undefined;
        this.#start();
      },
    );
  }

  #start(): void {
    if (this.#closed || this.#waiting.length === 0 || this.#inFlight >= this.#options.maxInFlight) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const batch = this.#waiting.splice(0, this.#options.maxRows);
    this.#gatherUntil = this.#parts.clock.monotonicMs() + this.#options.maxDelayMs;
    this.#inFlight += 1;
    void this.#write(batch, 0).finally(() => {
      this.#inFlight -= 1;
      this.#wake();
    });
    this.#wake();
  }

  /** Never fails. `failures`: of this batch so far. */
  async #write(batch: readonly Entry[], failures: number, isRefused = false): Promise<void> {
    const left = batch.filter(({ hasEnded }) => !hasEnded);
    if (left.length === 0 || this.#closed) return;
    const { store, clock } = this.#parts;
    const withoutReply = left.length === 1 && isRefused;
    let recorded: ReadonlySet<string>;
    try {
      const writing = store.finish(
        left.map(({ held, attempt, progress }) => ({
          attempt: withoutReply ? { ...attempt, reply: undefined } : attempt,
          owner: held.owner,
          progress,
        })),
      );
      recorded = new Set(await within(clock, this.#options.writeTimeoutMs, writing));
      this.#retries.succeeded();
    } catch (error) {
      await this.#wait(this.#retries.failed(error));
      const refuses = isAboutValues(error) && failures + 1 >= failuresBeforeSplit;
      if (!refuses || left.length === 1) {
        await this.#write(left, failures + 1, refuses);
        return;
      }
      const middle = Math.ceil(left.length / 2);
      await this.#write(left.slice(0, middle), failuresBeforeSplit - 1);
      await this.#write(left.slice(middle), failuresBeforeSplit - 1);
      return;
    }
    for (const entry of left) {
      if (recorded.has(entry.held.id)) this.#end(entry, 'recorded');
      else await this.#endUnanswered(entry, failures > 0);
    }
  }

  /** Its lease is not held. After a failed try it may be that the try took effect. */
  async #endUnanswered(entry: Entry, mayBeRecorded: boolean): Promise<void> {
    if (entry.hasEnded) return;
    if (!mayBeRecorded) {
      this.#end(entry, 'lost');
      return;
    }
    const { store, clock } = this.#parts;
    const { number, startedAt, node } = entry.attempt;
    try {
      const found = await within(clock, this.#options.writeTimeoutMs, store.get(entry.held.id));
      const isThere = found?.attempts.some(
        attempt => attempt.number === number && attempt.startedAt === startedAt && attempt.node === node,
      );
      this.#end(entry, isThere === true ? 'recorded' : 'lost');
    } catch {
      this.#end(entry, 'lost');
    }
  }

  #end(entry: Entry, end: 'recorded' | 'lost'): void {
    if (entry.hasEnded || this.#closed) return;
    entry.hasEnded = true;
    this.#entries.delete(entry.held.id);
    try {
      entry.onEnd(end);
    } catch (error) {
      this.#parts.logger.error(`webhooks: an observer of deliveries failed: ${messageOf(error)}`);
    }
    if (this.#entries.size === 0) this.#tellIdle();
  }

  /** Cut short by `close`. */
  #wait(delayMs: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise(resolve => {
      const done = (): void => {
        this.#cancelWaits.delete(done);
        cancel();
        resolve();
      };
      const cancel = this.#parts.clock.schedule(delayMs, done);
      this.#cancelWaits.add(done);
    });
  }

  #tellIdle(): void {
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/**
 * Of PostgreSQL: data exceptions, integrity, limits (https://www.postgresql.org/docs/current/errcodes-appendix.html). Of
 * MongoDB: a document too large, a bad value. All else is about the database, and the same may work later.
 */
function isAboutValues(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('code' in error)) return false;
  const { code } = error;
  return typeof code === 'string'
    ? /^(22|23|54)...$/.test(code)
    : [2, 10334, 17419, 17420].includes(Number(code));
}
