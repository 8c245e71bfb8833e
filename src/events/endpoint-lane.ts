// The lane of one endpoint in a dispatcher's memory: what waits for an attempt, in which order it goes, and when the
// next one may start. Makes no attempt and calls no store.
import {
  Lane,
  type Finding,
  type LaneEvent,
  type LaneOptions,
  type LaneResult,
  type LaneState,
} from '../http/lane';
import type { Clock } from '../shared/clock';
import type { AttemptEnd } from './attempt-maker';
import type { Delivery, EndpointKey } from './delivery';
import type { Endpoint } from './endpoint';
import { Fifo } from './fifo';
import type { HeldDelivery } from './held-delivery';

export interface EndpointLaneParts {
  readonly key: EndpointKey;
  readonly clock: Clock;
  readonly breaker: BreakerOptions;
  /** Bound on an endpoint's concurrency. */
  readonly maxConcurrency: number;
  /** Attempts per second of what was written before the endpoint was resumed. */
  readonly catchUpPerSecond: number;
  readonly onBreaker: (event: LaneEvent) => void;
}

export interface HeldCount {
  rows: number;
  /** UTF-16 units of bodies. */
  bodyLength: number;
}

export type BreakerOptions = Pick<LaneOptions, 'failuresToOpen' | 'failurePercent' | 'openMs'>;

/** Fresh ones go first; of so many starts one is a retry's, so that a busy endpoint's retries come to their turn. */
const startsPerRetry = 8;
/** A probe that the breaker refused is tried again after this share of its open time. */
const probeAgainShare = 0.1;

export class EndpointLane {
  readonly key: EndpointKey;
  /** In memory: waiting, being attempted, or not recorded yet. */
  readonly held: HeldCount = { rows: 0, bodyLength: 0 };
  /** Of those, what claims have found, and what was written before the endpoint was resumed. */
  readonly heldFound: HeldCount = { rows: 0, bodyLength: 0 };
  inFlight = 0;
  /** Attempts that may be under way at once; 0 while the endpoint is not known. */
  concurrency = 0;
  /** Nothing may start: the endpoint is looked for, what is left of it is cancelled, or leases are renewed. */
  isSuspended = false;
  /** The store may have more of it than a claim brought, or than there was room for. */
  mayHaveMore = false;
  cancelTimer: (() => void) | undefined;

  readonly #parts: EndpointLaneParts;
  readonly #fresh = new Fifo<HeldDelivery>();
  readonly #retries = new Fifo<HeldDelivery>();
  /** What was written while the endpoint was paused. */
  readonly #backlog = new Fifo<HeldDelivery>();
  #starts = 0;
  #breaker: { readonly url: string; readonly lane: Lane<AttemptEnd> } | undefined;
  #probeAt = 0;
  /** As the last attempt left the breaker. */
  #wasOpen = false;
  #holdUntil = 0;
  /** Wall clock. */
  #resumedAt = 0;
  #nextBacklogAt = 0;

  constructor(parts: EndpointLaneParts) {
    this.key = parts.key;
    this.#parts = parts;
  }

  get waiting(): number {
    return this.#fresh.length + this.#retries.length + this.#backlog.length;
  }

  get breaker(): LaneState {
    return this.#breaker?.lane.state ?? 'closed';
  }

  get isBreakerOpen(): boolean {
    return this.breaker !== 'closed';
  }

  /** Neither attempts nor claims before this time, on the monotonic clock. */
  get holdUntil(): number {
    return this.#holdUntil;
  }

  /** When the open breaker lets its next probe through. */
  get probeAt(): number {
    return this.#probeAt;
  }

  /** Nothing would be lost with it. */
  get isIdle(): boolean {
    return (
      this.held.rows === 0 &&
      this.inFlight === 0 &&
      !this.isSuspended &&
      !this.isBreakerOpen &&
      this.#holdUntil <= this.#parts.clock.monotonicMs()
    );
  }

  /** An endpoint that moves to another receiver starts afresh: that one has done nothing wrong yet. */
  useEndpoint({ url, concurrency: wanted, resumedAt = 0 }: Endpoint): void {
    const concurrency = Math.min(wanted, this.#parts.maxConcurrency);
    this.concurrency = concurrency;
    if (resumedAt > this.#resumedAt) this.#resumeAt(resumedAt);
    if (this.#breaker?.url === url) {
      this.#breaker.lane.resize(concurrency);
      return;
    }
    const { clock, breaker, onBreaker } = this.#parts;
    const lane: Lane<AttemptEnd> = new Lane<AttemptEnd>({
      options: { ...breaker, maxInFlight: concurrency, maxWaiting: 0, maxWaitMs: 0 },
      clock,
      judge: findingOf,
      onEvent: event => {
        if (this.#breaker?.lane === lane) onBreaker(event);
      },
    });
    if (this.#breaker !== undefined) this.#holdUntil = 0;
    this.#breaker = { url, lane };
    this.#probeAt = 0;
    this.#wasOpen = false;
  }

  /** Counts one that is in memory from now on. */
  enter(held: HeldDelivery): void {
    count(this.held, held, 1);
    if (held.origin === 'found') count(this.heldFound, held, 1);
  }

  /** Counts one that is no longer in memory. */
  leave(held: HeldDelivery): void {
    count(this.held, held, -1);
    if (held.origin === 'found' || held.isBacklog) count(this.heldFound, held, -1);
  }

  push(held: HeldDelivery): void {
    this.#queueOf(held).push(held);
  }

  putBack(held: HeldDelivery): void {
    this.#queueOf(held).unshift(held);
  }

  remove(held: HeldDelivery): void {
    for (const queue of [this.#fresh, this.#retries, this.#backlog]) if (queue.remove(held)) return;
  }

  /** Takes out all that waits but `keep`, of which fresh ones are left rather than others. */
  takeWaiting(keep: number): HeldDelivery[] {
    const taken: HeldDelivery[] = [];
    while (this.waiting > keep) {
      const held = this.#backlog.shift() ?? this.#retries.shift() ?? this.#fresh.shift();
      if (held === undefined) break;
      taken.push(held);
    }
    return taken;
  }

  /**
   * When the next attempt may start, on the monotonic clock; undefined while an attempt must end first, or when
   * nothing waits.
   */
  startsAt(): number | undefined {
    if (this.waiting === 0 || this.isSuspended || this.inFlight >= this.concurrency) return undefined;
    const free = this.#fresh.length + this.#retries.length > 0 ? 0 : this.#nextBacklogAt;
    switch (this.breaker) {
      case 'closed':
        return Math.max(this.#holdUntil, free);
      case 'open':
        return Math.max(this.#holdUntil, free, this.#probeAt);
      case 'half-open':
        return undefined;
    }
  }

  /** The delivery whose turn it is. */
  takeNext(): HeldDelivery | undefined {
    this.#starts += 1;
    if (this.#starts % startsPerRetry === 0) {
      const retry = this.#retries.shift();
      if (retry) return retry;
    }
    const now = this.#parts.clock.monotonicMs();
    // In its turn also when there is always something fresher: it is paced already.
    if (this.#backlog.length > 0 && now >= this.#nextBacklogAt) {
      const spacingMs = 1000 / this.#parts.catchUpPerSecond;
      // One timer late does not become a burst; some milliseconds may be made up for.
      this.#nextBacklogAt = Math.max(this.#nextBacklogAt, now - 10 * spacingMs) + spacingMs;
      return this.#backlog.shift();
    }
    return this.#fresh.shift() ?? this.#retries.shift();
  }

  /** True when what was created then waits for its turn among what a pause left behind. */
  isBeforeResume(createdAt: number): boolean {
    return createdAt < this.#resumedAt;
  }

  /** True when rows may be claimed for it, as far as its room goes. */
  wantsRows(now: number, hasRoom: boolean): boolean {
    if (this.isSuspended || this.#holdUntil > now) return false;
    if (this.breaker === 'closed') return hasRoom;
    return this.breaker === 'open' && this.#probeAt <= now && this.held.rows === 0;
  }

  /** Runs an attempt under the breaker. */
  async run(work: () => Promise<AttemptEnd>): Promise<LaneResult<AttemptEnd>> {
    const breaker = this.#breaker;
    if (breaker === undefined) return { kind: 'refused', refusal: 'busy' };
    const { lane } = breaker;
    const isProbe = lane.state === 'open';
    const turn = await lane.run(work);
    if (this.#breaker !== breaker) return turn;
    const { clock, breaker: options } = this.#parts;
    const isOpen = lane.state === 'open';
    if (isOpen && turn.kind === 'refused') {
      this.#probeAt = clock.monotonicMs() + options.openMs * probeAgainShare;
    } else if (isOpen && (!this.#wasOpen || isProbe)) {
      // A probe that says nothing leaves the breaker's time come, but a node that cannot sign would try without end.
      this.#probeAt = clock.monotonicMs() + options.openMs;
    }
    this.#wasOpen = lane.state !== 'closed';
    return turn;
  }

  hold(forMs: number): void {
    this.#holdUntil = Math.max(this.#holdUntil, this.#parts.clock.monotonicMs() + forMs);
  }

  /** It is no longer paused, since now or since the time that is stored. */
  resume({ resumedAt }: Endpoint): void {
    this.#holdUntil = 0;
    const at = resumedAt ?? this.#parts.clock.now();
    if (at > this.#resumedAt) this.#resumeAt(at);
  }

  /** What was written before goes out at a bounded rate. */
  #resumeAt(at: number): void {
    this.#resumedAt = at;
    for (const held of this.takeWaiting(0)) this.push(held);
  }

  #queueOf(held: HeldDelivery): Fifo<HeldDelivery> {
    const { delivery } = held;
    const isBacklog = this.#waitedForResume(delivery);
    if (isBacklog !== held.isBacklog && held.origin !== 'found') {
      count(this.heldFound, held, isBacklog ? 1 : -1);
    }
    held.isBacklog = isBacklog;
    if (isBacklog) return this.#backlog;
    return delivery.attemptCount > 0 ? this.#retries : this.#fresh;
  }

  /** A replay has a pace of its own, unless it waited, too. */
  #waitedForResume({ createdAt, attemptsBeforeReplay, nextAttemptAt = 0 }: Delivery): boolean {
    if (!this.isBeforeResume(createdAt)) return false;
    return attemptsBeforeReplay === 0 || nextAttemptAt < this.#resumedAt;
  }
}

function count(sum: HeldCount, { bodyLength }: HeldDelivery, sign: 1 | -1): void {
  sum.rows += sign;
  sum.bodyLength += sign * bodyLength;
}

function findingOf(end: AttemptEnd): Finding {
  return end.kind === 'made' ? end.finding : 'nothing';
}
