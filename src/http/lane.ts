// The lane of one receiver: a breaker and a bound on calls in flight, so that one bad receiver cannot hurt another.
// Knows nothing of what a call is: who uses it says which results count as failures.
import {
  BulkheadPolicy,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  handleWhenResult,
  isBrokenCircuitError,
  type CircuitBreakerPolicy,
} from 'cockatiel';
import type { Clock } from '../shared/clock';

export type LaneRefusal = 'breaker-open' | 'busy';

export type LaneState = 'closed' | 'open' | 'half-open';

export type LaneResult<R> =
  { readonly kind: 'done'; readonly result: R } | { readonly kind: 'refused'; readonly refusal: LaneRefusal };

export interface LaneOptions {
  /** Calls in flight at once. */
  readonly maxInFlight: number;
  /** Calls that may wait for one in flight to end; more are refused at once. */
  readonly maxWaiting: number;
  /** Longest wait, in milliseconds. */
  readonly maxWaitMs: number;
  /** Failures in a row that open the breaker. */
  readonly failuresToOpen: number;
  /** How long an open breaker refuses before it lets one probe through, in milliseconds. */
  readonly openMs: number;
}

export const laneDefaults: LaneOptions = {
  maxInFlight: 64,
  maxWaiting: 256,
  maxWaitMs: 250,
  failuresToOpen: 5,
  openMs: 5000,
};

export interface LaneParts<R> {
  readonly options: LaneOptions;
  readonly clock: Clock;
  /** True when the result says that the receiver is unwell; a receiver that says no is well. */
  readonly isFailure: (result: R) => boolean;
  readonly onStateChange: (state: LaneState) => void;
}

export class Lane<R> {
  readonly #parts: LaneParts<R>;
  readonly #bulkhead: BulkheadPolicy;
  readonly #breaker: CircuitBreakerPolicy;
  #state: LaneState = 'closed';

  constructor(parts: LaneParts<R>) {
    const { options, isFailure, onStateChange } = parts;
    this.#parts = parts;
    this.#bulkhead = new BulkheadPolicy(options.maxInFlight, options.maxWaiting);
    this.#breaker = circuitBreaker(
      handleWhenResult(result => isFailure(result as R)),
      { halfOpenAfter: options.openMs, breaker: new ConsecutiveBreaker(options.failuresToOpen) },
    );
    this.#breaker.onStateChange(state => {
      this.#state = nameOf(state);
      onStateChange(this.#state);
    });
  }

  get state(): LaneState {
    return this.#state;
  }

  get inFlight(): number {
    return this.#parts.options.maxInFlight - this.#bulkhead.executionSlots;
  }

  /** Runs `work`, or refuses at once while the breaker is open, or after a short wait while too many are in flight. */
  async run(work: () => Promise<R>): Promise<LaneResult<R>> {
    // cockatiel lets calls wait for the probe of a half-open breaker; a client must not wait for that.
    if (this.#state === 'half-open') return refused('breaker-open');
    if (this.#bulkhead.executionSlots > 0) return this.#admitted(work);
    if (this.#bulkhead.queueSlots === 0) return refused('busy');
    return this.#waiting(work);
  }

  async #waiting(work: () => Promise<R>): Promise<LaneResult<R>> {
    let gaveUp = false;
    let cancel = (): void => undefined;
    const timeout = new Promise<LaneResult<R>>(resolve => {
      cancel = this.#parts.clock.schedule(this.#parts.options.maxWaitMs, () => {
        gaveUp = true;
        resolve(refused('busy'));
      });
    });
    const turn = this.#admitted(
      () => {
        cancel();
        return work();
      },
      () => gaveUp,
    );
    return Promise.race([turn, timeout]);
  }

  #admitted(work: () => Promise<R>, isOver: () => boolean = () => false): Promise<LaneResult<R>> {
    return this.#bulkhead.execute(async () => {
      // Judged when it is this call's turn: the state may have changed while it waited.
      if (isOver()) return refused('busy');
      if (this.#state === 'half-open') return refused('breaker-open');
      try {
        return { kind: 'done', result: await this.#breaker.execute(work) };
      } catch (error) {
        if (isBrokenCircuitError(error)) return refused('breaker-open');
        throw error;
      }
    });
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
