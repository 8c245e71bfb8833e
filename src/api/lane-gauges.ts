// Gauges of breakers and of calls in flight: a series for each label, worked out anew at every scrape.
import { Gauge, type Registry } from 'prom-client';
import type { LaneState } from '../http/lane';

export interface LaneReading {
  readonly breaker: LaneState;
  readonly inFlight: number;
}

export interface LabelledLane extends LaneReading {
  /** Lanes that share one are put together: the worst breaker, and all calls. */
  readonly label: string;
}

export interface LaneGaugesOptions {
  /** The label's name. */
  readonly label: string;
  readonly breaker: { readonly name: string; readonly help: string };
  readonly inFlight: { readonly name: string; readonly help: string };
  readonly read: () => Iterable<LabelledLane>;
}

const breakerValues = { closed: 0, 'half-open': 1, open: 2 } as const satisfies Record<LaneState, number>;

export function createLaneGauges(registry: Registry, options: LaneGaugesOptions): void {
  const { label, breaker, inFlight, read } = options;
  const addGauge = (
    names: { readonly name: string; readonly help: string },
    valueOf: (lane: LaneReading) => number,
    join: (a: number, b: number) => number,
  ): void => {
    new Gauge({
      ...names,
      labelNames: [label],
      registers: [registry],
      collect() {
        this.reset();
        const values = new Map<string, number>();
        for (const lane of read()) {
          const former = values.get(lane.label);
          const value = valueOf(lane);
          values.set(lane.label, former === undefined ? value : join(former, value));
        }
        for (const [value, state] of values) this.set({ [label]: value }, state);
      },
    });
  };
  addGauge(breaker, lane => breakerValues[lane.breaker], Math.max);
  addGauge(
    inFlight,
    lane => lane.inFlight,
    (a, b) => a + b,
  );
}
