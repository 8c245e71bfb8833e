// The lane of one receiver: a breaker and a bound on calls in flight, so that one bad receiver cannot hurt another.
// Knows nothing of what a call is: who uses it says what a result tells about the receiver.
import {
  circuitBreaker,
  CircuitState,
  handleWhenResult,
  type CircuitBreakerPolicy,
  type IBackoff,
} from 'cockatiel';
import type { Clock } from '../shared/clock';
import { FailureBreaker, type FailureBreakerOptions } from './failure-breaker';

export type LaneRefusal = 'breaker-open' | 'busy';

export type LaneState = 'closed' | 'open' | 'half-open';

export type LaneResult<R> =
  { readonly kind: 'done'; readonly result: R } | { readonly kind: 'refused'; readonly refusal: LaneRefusal };

/** What a result tells about the receiver. `nothing`: it never had a fair chance to answer. */
export type Finding = 'well' | 'unwell' | 'nothing';

export interface LaneOptions extends FailureBreakerOptions {
  /** Calls in flight at once. */
  readonly maxInFlight: number;
  /** Calls that may wait for one in flight to end; more are refused at once. */
  readonly maxWaiting: number;
  /** Longest wait, in milliseconds. */
  readonly maxWaitMs: number;
  /** How long an open breaker refuses before it lets one probe through, in milliseconds. */
  readonly openMs: number;
}

export const laneDefaults: LaneOptions = {
  maxInFlight: 64,
  maxWaiting: 256,
  maxWaitMs: 250,
  failuresToOpen: 5,
  failurePercent: 50,
  openMs: 5000,
};

/** What an operator wants to hear once: `busy` when calls begin to be refused, again only after half are done. */
export type LaneEvent = 'open' | 'closed' | 'busy';

export interface LaneParts<R> {
  readonly options: LaneOptions;
  readonly clock: Pick<Clock, 'monotonicMs' | 'schedule'>;
  readonly judge: (result: R) => Finding;
  /** Probes that come and go while the receiver stays unwell are no events. */
  readonly onEvent: (event: LaneEvent) => void;
}

/**
 * cockatiel times its open state by Date.now, which steps: set back by an hour, it would stay open for one. A negative
 * duration makes it always due, and the lane lets nothing through before the time has come on the monotonic clock.
 */
const alwaysDue: IBackoff<unknown> = { duration: Number.NEGATIVE_INFINITY, next: () => alwaysDue };

/** Carries a result past the breaker that is to be counted neither as success nor as failure. */
class Uncounted<R> extends Error {
  constructor(readonly result: R) {
    super('not counted');
  }
}

export class Lane<R> {
  readonly #parts: LaneParts<R>;
  readonly #breaker: CircuitBreakerPolicy;
  readonly #waiting = new Set<(refusal: LaneRefusal | undefined) => void>();
  #state: LaneState = 'closed';
  /** Grows with every change of state: what began before the last one says nothing about now. */
  #epoch = 0;
  #probeAt = 0;
  #maxInFlight: number;
  #inFlight = 0;
  #toldBusy = false;
  #toldOpen = false;

  constructor(parts: LaneParts<R>) {
    this.#parts = parts;
    this.#maxInFlight = parts.options.maxInFlight;
    this.#breaker = circuitBreaker(
      handleWhenResult(finding => finding !== 'well'),
      { halfOpenAfter: alwaysDue, breaker: new FailureBreaker(parts.options, parts.clock) },
    );
    this.#breaker.onStateChange(state => this.#changeState(nameOf(state)));
  }

  get state(): LaneState {
    return this.#state;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Changes the bound; calls in flight above it end as they would. */
  resize(maxInFlight: number): void {
    if (maxInFlight === this.#maxInFlight) return;
    this.#maxInFlight = maxInFlight;
    this.#admitWaiting();
  }

  /**
   * Runs `work`, or refuses: at once while the breaker is open, and after a wait of at most `maxWaitMs`, or `waitMs` if
   * that is less, while too many are in flight. `work` must settle: until then a half-open breaker has its one probe.
   */
  async run(work: () => Promise<R>, waitMs = Number.POSITIVE_INFINITY): Promise<LaneResult<R>> {
    if (this.#isShut()) return refused('breaker-open');
    if (this.#inFlight < this.#maxInFlight) {
      this.#inFlight += 1;
    } else {
      const refusal = await this.#waitForTurn(Math.min(waitMs, this.#parts.options.maxWaitMs));
      if (refusal !== undefined) return refused(refusal);
    }
    try {
      // Judged again: the state may have changed while this call waited.
      if (this.#isShut()) return refused('breaker-open');
      return { kind: 'done', result: await this.#runCounted(work) };
    } finally {
      this.#inFlight -= 1;
      this.#admitWaiting();
      if (this.#inFlight <= this.#maxInFlight / 2) this.#toldBusy = false;
    }
  }

  #isShut(): boolean {
    switch (this.#state) {
      case 'closed':
        return false;
      case 'open':
        return this.#parts.clock.monotonicMs() < this.#probeAt;
      case 'half-open':
        // cockatiel would let calls wait for the end of the probe; a client must not wait for that.
        return true;
    }
  }

  /** Resolves with nothing when a place in flight was handed over, else with the reason. */
  #waitForTurn(waitMs: number): Promise<LaneRefusal | undefined> {
    return new Promise(resolve => {
      const settle = (refusal: LaneRefusal | undefined): void => {
        this.#waiting.delete(settle);
        cancel();
        if (refusal === 'busy') this.#tellBusy();
        resolve(refusal);
      };
      let cancel = (): void => undefined;
      if (waitMs <= 0 || this.#waiting.size >= this.#parts.options.maxWaiting) {
        settle('busy');
        return;
      }
      this.#waiting.add(settle);
      cancel = this.#parts.clock.schedule(waitMs, () => settle('busy'));
    });
  }

  #admitWaiting(): void {
    for (const settle of this.#waiting) {
      if (this.#inFlight >= this.#maxInFlight) return;
      // Taken here and not when the waiting call goes on: nobody can come in between.
      this.#inFlight += 1;
      settle(undefined);
    }
  }

  /** Must reach the breaker in the same turn as #isShut: nothing may change its state in between. */
  async #runCounted(work: () => Promise<R>): Promise<R> {
    const isProbe = this.#state === 'open';
    const epoch = this.#epoch;
    let done: { readonly result: R } | undefined;
    try {
      await this.#breaker.execute(async (): Promise<Finding> => {
        const result = await work();
        done = { result };
        const finding = this.#parts.judge(result);
        // A probe that says nothing leaves the breaker open and its time come, so that the next call is the probe.
        if (isProbe && finding === 'nothing') return 'nothing';
        // 64 calls may hang for 30 s each: those that end after the receiver recovered must not open the breaker again.
        if (finding === 'nothing' || (!isProbe && epoch !== this.#epoch)) throw new Uncounted(result);
        if (finding === 'unwell')
          this.#probeAt = this.#parts.clock.monotonicMs() + this.#parts.options.openMs;
        return finding;
      });
    } catch (error) {
      if (!(error instanceof Uncounted)) throw error;
    }
    if (done === undefined) throw new Error('the breaker ran nothing');
    return done.result;
  }

  #changeState(state: LaneState): void {
    this.#state = state;
    this.#epoch += 1;
    if (state === 'half-open') return;
    if (state === 'open') for (const settle of [...this.#waiting]) settle('breaker-open');
    const isOpen = state === 'open';
    if (isOpen === this.#toldOpen) return;
    this.#toldOpen = isOpen;
    this.#parts.onEvent(isOpen ? 'open' : 'closed');
  }

  #tellBusy(): void {
    if (this.#toldBusy) return;
    this.#toldBusy = true;
    this.#parts.onEvent('busy');
  }
}

function refused(refusal: LaneRefusal): { readonly kind: 'refused'; readonly refusal: LaneRefusal } {
  return { kind: 'refused', refusal };
}

function nameOf(state: CircuitState): LaneState {
  switch (state) {
    case CircuitState.Closed:
      return 'closed';
    case CircuitState.HalfOpen:
      return 'half-open';
    case CircuitState.Open:
    case CircuitState.Isolated:
      return 'open';
  }
}
