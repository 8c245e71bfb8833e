// What can be set of a dispatcher, and what it does by default.
import { laneDefaults } from '../http/lane';
import type { BreakerOptions } from './endpoint-lane';

export interface DispatcherOptions {
  /**
   * Attempts under way at once, of all endpoints together; up to twice as many where endpoints have none. Default 1000.
   */
  readonly maxInFlight: number;
  /** Longest time between looks into the store, in milliseconds. Default 1000. */
  readonly pollMs: number;
  /** Length of a lease in milliseconds, if no endpoint's timeoutMs asks for a longer one. Default 60000. */
  readonly leaseMs: number;
  /**
   * An attempt begins only under a lease that outlives its time-out by this: its end has to be written, and the clocks
   * of nodes differ. Milliseconds, default 10000.
   */
  readonly leaseMarginMs: number;
  /**
   * Bound on what an endpoint's concurrency counts for: the connections that its lane may open. A wait for one would be
   * taken for the receiver's slowness. Default 128, as `maxConnectionsPerOrigin`.
   */
  readonly maxConcurrency: number;
  /**
   * Deliveries of one endpoint in memory; four for each place in its concurrency where that is more. Half of them for what
   * is handed over by saves or named by a queue, half for what claims find. Default 512.
   */
  readonly maxRowsPerEndpoint: number;
  /**
   * UTF-16 units of bodies of one endpoint in memory, in the same halves; the body that reaches a bound still comes.
   * Default 16 Mi.
   */
  readonly maxBodyLengthPerEndpoint: number;
  /**
   * Deliveries in memory. When it is nearly reached, each endpoint that has some may have its fair share; what others
   * hold beyond that goes back. Default 50000.
   */
  readonly maxRows: number;
  /** UTF-16 units of bodies in memory, shared in the same way. Default 128 Mi. */
  readonly maxBodyLength: number;
  /** Deliveries in one claim. 1..1000, default 500. */
  readonly claimRows: number;
  /** Attempts per second and node of what an endpoint's pause left behind. Default 100. */
  readonly catchUpPerSecond: number;
  /** An endpoint that asked for its pause gets nothing for so long, until the pause is in force. Milliseconds, default 10000. */
  readonly holdMs: number;
  /** Of each endpoint; defaults as for hooks. */
  readonly breaker: BreakerOptions;
}

export const dispatcherDefaults: DispatcherOptions = {
  maxInFlight: 1000,
  pollMs: 1000,
  leaseMs: 60_000,
  leaseMarginMs: 10_000,
  maxConcurrency: 128,
  maxRowsPerEndpoint: 512,
  maxBodyLengthPerEndpoint: 16 * 1024 * 1024,
  maxRows: 50_000,
  maxBodyLength: 128 * 1024 * 1024,
  claimRows: 500,
  catchUpPerSecond: 100,
  holdMs: 10_000,
  breaker: {
    failuresToOpen: laneDefaults.failuresToOpen,
    failurePercent: laneDefaults.failurePercent,
    openMs: laneDefaults.openMs,
  },
};
