// When a breaker opens: after failures in a row, or when too great a share of the latest calls failed. Times nothing else.
import { CircuitState, type IBreaker } from 'cockatiel';
import type { Clock } from '../shared/clock';

export interface FailureBreakerOptions {
  /** Failures in a row that open it: the quick judgement, and the one for few calls. */
  readonly failuresToOpen: number;
  /** Share of failures among the latest calls that opens it, in percent; 0: the share is not judged. */
  readonly failurePercent: number;
}

/** The calls of this time are judged together: a share that is sustained shows within it. */
export const rateWindowMs = 1000;

/**
 * Fewer calls in that time are judged with those before them, up to this many. 20, because of a receiver that fails one
 * call in ten at random half of 20 fail once in 140,000 calls, half of 10 once in 600 (binomial distribution); and a
 * receiver that hangs would never show in a second alone: 64 calls in flight that take 5 s each end 13 times a second.
 */
export const minCallsJudged = 20;

const slices = 10;
const sliceMs = rateWindowMs / slices;

interface Slice {
  /** Number of the slice since the clock began. */
  at: number;
  calls: number;
  failures: number;
}

/**
 * cockatiel's own breakers judge one thing each, and its SamplingBreaker asks for calls per second and reads Date.now,
 * which steps. Takes the place of its ConsecutiveBreaker and goes on from there.
 */
export class FailureBreaker implements IBreaker {
  /** cockatiel writes it out for a breaker that is stored; ours is not. */
  readonly state: unknown = undefined;
  readonly #options: FailureBreakerOptions;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #slices: Slice[];
  /** The latest calls, a ring: true for a failure. */
  readonly #latest: boolean[] = [];
  #nextLatest = 0;
  #inARow = 0;

  constructor(options: FailureBreakerOptions, clock: Pick<Clock, 'monotonicMs'>) {
    this.#options = options;
    this.#clock = clock;
    this.#slices = Array.from({ length: slices }, () => ({ at: -slices, calls: 0, failures: 0 }));
  }

  success(state: CircuitState): void {
    this.#inARow = 0;
    // The probe of a half-open breaker: what came before it opened is over.
    if (state === CircuitState.HalfOpen) this.#forget();
    else this.#count(false);
  }

  /** True when the breaker is to open. */
  failure(state: CircuitState): boolean {
    if (state !== CircuitState.Closed) return true;
    this.#inARow += 1;
    this.#count(true);
    return this.#inARow >= this.#options.failuresToOpen || this.#isShareReached();
  }

  #count(failed: boolean): void {
    const at = Math.floor(this.#clock.monotonicMs() / sliceMs);
    const slice = this.#slices[at % slices];
    if (slice !== undefined) {
      if (slice.at !== at) Object.assign(slice, { at, calls: 0, failures: 0 });
      slice.calls += 1;
      if (failed) slice.failures += 1;
    }
    this.#latest[this.#nextLatest] = failed;
    this.#nextLatest = (this.#nextLatest + 1) % minCallsJudged;
  }

  #isShareReached(): boolean {
    const { failurePercent } = this.#options;
    if (failurePercent === 0) return false;
    const from = Math.floor(this.#clock.monotonicMs() / sliceMs) - slices;
    let calls = 0;
    let failures = 0;
    for (const slice of this.#slices) {
      if (slice.at <= from) continue;
      calls += slice.calls;
      failures += slice.failures;
    }
    if (calls < minCallsJudged) {
      calls = minCallsJudged;
      failures = this.#latest.filter(Boolean).length;
    }
    return failures * 100 >= failurePercent * calls;
  }

  #forget(): void {
    for (const slice of this.#slices) slice.at = -slices;
    this.#latest.length = 0;
    this.#nextLatest = 0;
  }
}
