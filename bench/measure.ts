// How figures are summed up: medians over interleaved rounds, ratios within one run, histograms of latencies.
import { createHistogram } from 'node:perf_hooks';
import { z } from 'zod';

export const latencyShape = z.object({
  p50Ms: z.number(),
  p90Ms: z.number(),
  p99Ms: z.number(),
  p999Ms: z.number(),
  maxMs: z.number(),
});

/** Milliseconds. */
export type Latency = z.infer<typeof latencyShape>;

/**
 * An HDR histogram of latencies, three significant figures. Node's own: it is the C library HdrHistogram itself, records
 * in 0.1 µs and needs no package; percentiles are read where they were recorded, so nothing must cross a process.
 */
export class LatencyRecorder {
  readonly #microseconds = createHistogram({ figures: 3 });

  /** Anything below a microsecond counts as one. */
  record(milliseconds: number): void {
    this.#microseconds.record(Math.max(1, Math.round(milliseconds * 1000)));
  }

  get count(): number {
    return this.#microseconds.count;
  }

  read(): Latency {
    const at = (percentile: number): number => this.#microseconds.percentile(percentile) / 1000;
    return {
      p50Ms: at(50),
      p90Ms: at(90),
      p99Ms: at(99),
      p999Ms: at(99.9),
      maxMs: this.#microseconds.count === 0 ? 0 : this.#microseconds.max / 1000,
    };
  }
}

/** NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? NaN)) / 2;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The median of one number of many samples. */
export function medianOf<Sample>(samples: readonly Sample[], pick: (sample: Sample) => number): number {
  return median(samples.map(pick));
}

/** From the lower to the upper end. */
export type Interval = readonly [low: number, high: number];

/**
 * Where a figure of `rounds` rounds lies with 90 % confidence: the bootstrap, by drawing the rounds anew 1,000 times, with
 * repetition. `compute` gets the numbers of the rounds drawn, in 0..rounds-1, and takes the same ones of every variant, as
 * these ran one after the other. Undefined for less than five rounds.
 */
export function confidenceOf(
  rounds: number,
  compute: (drawn: readonly number[]) => number,
): Interval | undefined {
  if (rounds < 5) return undefined;
  const draws = Array.from({ length: 1000 }, () =>
    compute(Array.from({ length: rounds }, () => Math.floor(Math.random() * rounds))),
  ).sort((a, b) => a - b);
  return [draws[50] ?? NaN, draws[949] ?? NaN];
}

export interface Slope {
  /** Growth of y per unit of x, by least squares. */
  readonly perUnit: number;
  /** Its standard error. */
  readonly error: number;
}

export function slopeOf(points: readonly (readonly [x: number, y: number])[]): Slope {
  const meanX = mean(points.map(([x]) => x));
  const meanY = mean(points.map(([, y]) => y));
  const spread = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  const perUnit = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / spread;
  const rest = points.reduce((sum, [x, y]) => sum + (y - meanY - perUnit * (x - meanX)) ** 2, 0);
  return { perUnit, error: Math.sqrt(rest / Math.max(1, points.length - 2) / spread) };
}

/** Monotonic milliseconds that all processes of this machine share (performance.now() starts anew in each). */
export function sharedNowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
