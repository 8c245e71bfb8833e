// When a dispatcher asks the store for what is due: at once after a hint, when the next delivery is due, and by a short
// poll. One claim at a time; never faster than the store answers.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { Delivery, EndpointKey } from './delivery';
import type { DeliveryStore, Lease } from './delivery-store';
import { StoreRetries, within } from './store-retries';

/** What may be claimed now. */
export interface ClaimRoom {
  readonly limit: number;
  readonly limitPerEndpoint: number;
  readonly maxBodyLength: number;
  readonly maxBodyLengthPerEndpoint: number;
  readonly except: readonly EndpointKey[];
}

export interface ClaimLoopParts {
  readonly store: Pick<DeliveryStore, 'claim' | 'nextDueAt' | 'release'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly pollMs: number;
  /** A lease with an owner of its own. */
  readonly createLease: () => Lease;
  /** Undefined while there is no room at all. */
  readonly room: () => ClaimRoom | undefined;
  readonly onClaimed: (deliveries: readonly Delivery[], lease: Lease) => void;
  /** The wall clock jumped against the monotonic one: leases are to be renewed before anybody takes them for expired. */
  readonly onClockStep: () => Promise<void>;
}

/** A claim that takes longer counts as failed, in milliseconds. What it brings later is used. */
const claimTimeoutMs = 30_000;
/** Hints that come at the same time become one claim. */
const leastDelayMs = 5;
/** What is due and was not given is locked by others: not worth more haste. */
const contendedDelayMs = 50;
/** Each claim that fails halves the next one, down to this part: it may have asked for more than comes in time. */
const leastPart = 1 / 64;
/** NTP slews smaller differences. */
const clockStepMs = 2000;
/** After a step, nodes of the same machine get so many polls to renew their leases before this one claims. */
const pollsAfterStep = 3;

export class ClaimLoop {
  readonly #parts: ClaimLoopParts;
  readonly #retries: StoreRetries;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();
  #isWoken = false;
  /** No hint ends the next sleep. */
  #mustRest = false;
  #endSleep: (() => void) | undefined;
  #wallAhead: number;
  /** Of the room, what the next claim asks for. */
  #part = 1;

  constructor(parts: ClaimLoopParts) {
    this.#parts = parts;
    this.#retries = new StoreRetries({ logger: parts.logger, trouble: 'deliveries cannot be claimed' });
    this.#wallAhead = this.#measureClock();
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Claims soon. */
  wake(): void {
    this.#isWoken = true;
    this.#endSleep?.();
  }

  /** Resolves when no claim is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#endSleep?.();
    await this.#running;
  }

  /** By a function of its own: what an `await` has changed is not seen by the compiler. */
  #isStopped(): boolean {
    return this.#stopped;
  }

  async #run(): Promise<void> {
    let isFirst = true;
    while (!this.#isStopped()) {
      const { clock, pollMs } = this.#parts;
      const begunAt = clock.monotonicMs();
      const delayMs = await this.#round(isFirst);
      isFirst = false;
      // A store that takes long gets as long a rest.
      const restMs = Math.min(pollMs, clock.monotonicMs() - begunAt);
      if (!this.#isStopped()) await this.#sleep(Math.max(delayMs, restMs), Math.max(leastDelayMs, restMs));
    }
  }

  /** Answers how long to wait before the next one, in milliseconds. Never fails. */
  async #round(isFirst: boolean): Promise<number> {
    const { store, clock, pollMs, room, createLease, onClaimed, onClockStep } = this.#parts;
    this.#mustRest = false;
    if (this.#hasClockStepped() && !isFirst) {
      this.#mustRest = true;
      await onClockStep();
      return pollsAfterStep * pollMs;
    }
    this.#isWoken = false;
    const free = room();
    if (free === undefined) return pollMs;
    const lease = createLease();
    const take = async (deliveries: readonly Delivery[]): Promise<void> => {
      if (deliveries.length === 0) return;
      if (this.#stopped) await this.#giveBack(deliveries, lease);
      else onClaimed(deliveries, lease);
    };
    try {
      const claiming = store.claim({ lease, now: clock.now(), ...this.#partOf(free) });
      const claimed = await within(clock, claimTimeoutMs, claiming, late => void take(late));
      this.#part = Math.min(1, 2 * this.#part);
      await take(claimed);
      if (claimed.length > 0) {
        this.#retries.succeeded();
        return 0;
      }
      const dueAt = await within(clock, claimTimeoutMs, store.nextDueAt(free.except));
      this.#retries.succeeded();
      if (dueAt === undefined) return pollMs;
      return Math.min(pollMs, Math.max(contendedDelayMs, dueAt - clock.now()));
    } catch (error) {
      this.#mustRest = true;
      this.#part = Math.max(leastPart, this.#part / 2);
      return this.#retries.failed(error);
    }
  }

  #partOf(room: ClaimRoom): ClaimRoom {
    const partOf = (whole: number): number => Math.max(1, Math.floor(this.#part * whole));
    return { ...room, limit: partOf(room.limit), maxBodyLength: partOf(room.maxBodyLength) };
  }

  async #giveBack(deliveries: readonly Delivery[], { owner }: Lease): Promise<void> {
    const ids = deliveries.map(({ id }) => id);
    // Without success the leases end by themselves.
    await this.#parts.store.release(owner, ids, this.#parts.clock.now()).catch(() => undefined);
  }

  /** A hint ends it after `leastMs`, unless a failing store or a clock that stepped asks for the whole delay. */
  async #sleep(delayMs: number, leastMs: number): Promise<void> {
    const { clock } = this.#parts;
    const wait = (forMs: number, endsAtHint: boolean): Promise<void> =>
      new Promise(resolve => {
        const end = (): void => {
          if (!endsAtHint && !this.#stopped) return;
          cancel();
          this.#endSleep = undefined;
          resolve();
        };
        const cancel = clock.schedule(forMs, () => {
          this.#endSleep = undefined;
          resolve();
        });
        this.#endSleep = end;
        if (this.#stopped) end();
      });
    if (this.#mustRest) return wait(delayMs, false);
    await wait(Math.min(leastMs, Math.max(delayMs, 1)), false);
    if (!this.#isWoken && delayMs > leastMs && !this.#stopped) await wait(delayMs - leastMs, true);
  }

  #measureClock(): number {
    return this.#parts.clock.now() - this.#parts.clock.monotonicMs();
  }

  #hasClockStepped(): boolean {
    const ahead = this.#measureClock();
    const stepped = Math.abs(ahead - this.#wallAhead) > clockStepMs;
    this.#wallAhead = ahead;
    return stepped;
  }
}
