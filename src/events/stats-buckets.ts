// Puts counts of attempts, grouped by a database, together into buckets.
import type { StatsBucket } from './delivery-store';

/** Attempts of one bucket that are alike. */
export interface AttemptGroup {
  /** Start of the bucket. */
  readonly start: number;
  /** First digit of the HTTP status; undefined without a reply. */
  readonly statusDigit: number | undefined;
  readonly succeeded: boolean;
  readonly attempts: number;
  readonly totalDurationMs: number;
  readonly maxDurationMs: number;
}

/** Oldest bucket first. */
export function sumStatsBuckets(groups: readonly AttemptGroup[]): readonly StatsBucket[] {
  const buckets = new Map<number, StatsBucket>();
  for (const group of groups) {
    const bucket = buckets.get(group.start) ?? emptyBucket(group.start);
    const { attempts, totalDurationMs, maxDurationMs } = group;
    const statusClass = group.statusDigit === undefined ? 'none' : `${group.statusDigit}xx`;
    buckets.set(group.start, {
      start: group.start,
      attempts: bucket.attempts + attempts,
      succeeded: bucket.succeeded + (group.succeeded ? attempts : 0),
      failed: bucket.failed + (group.succeeded ? 0 : attempts),
      byStatusClass: {
        ...bucket.byStatusClass,
        [statusClass]: (bucket.byStatusClass[statusClass] ?? 0) + attempts,
      },
      durations: {
        ...bucket.durations,
        [statusClass]: {
          totalMs: (bucket.durations[statusClass]?.totalMs ?? 0) + totalDurationMs,
          maxMs: Math.max(bucket.durations[statusClass]?.maxMs ?? 0, maxDurationMs),
        },
      },
      totalDurationMs: bucket.totalDurationMs + totalDurationMs,
      maxDurationMs: Math.max(bucket.maxDurationMs, maxDurationMs),
    });
  }
  return [...buckets.values()].sort((a, b) => a.start - b.start);
}

function emptyBucket(start: number): StatsBucket {
  return {
    start,
    attempts: 0,
    succeeded: 0,
    failed: 0,
    byStatusClass: {},
    durations: {},
    totalDurationMs: 0,
    maxDurationMs: 0,
  };
}
