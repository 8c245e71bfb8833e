// What a benchmark measures and how it is summed up: medians over interleaved rounds, ratios within one run.

/** One variant in one round. */
export interface Sample {
  readonly requestsPerSecond: number;
  /** CPU time of the server process per request, in microseconds. */
  readonly cpuPerRequestUs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export type Summary = Sample;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? NaN)) / 2;
}

export function summarise(samples: readonly Sample[]): Summary {
  const of = (pick: (sample: Sample) => number): number => median(samples.map(pick));
  return {
    requestsPerSecond: of(sample => sample.requestsPerSecond),
    cpuPerRequestUs: of(sample => sample.cpuPerRequestUs),
    p50Ms: of(sample => sample.p50Ms),
    p99Ms: of(sample => sample.p99Ms),
  };
}

/** The value below which `share` (0..1) of the sorted values lie. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}
