// Counts and latency of attempts over time.
import { Router } from 'express';
import type { DeliveryStore, StatsBucket } from '../events/delivery-store';
import type { Clock } from '../shared/clock';
import type { JsonObject } from '../shared/json';
import { invalidRequest, readQuery } from './api-parameters';
import { toEndpointKey } from './delivery-routes';
import { mountOperation, toIso } from './operation';
import { bucketWidths, defaultBuckets, getStats, maxBuckets } from './stats-operations';

export interface StatsRoutesParts {
  readonly deliveries: Pick<DeliveryStore, 'stats'>;
  readonly clock: Pick<Clock, 'now'>;
}

export function createStatsRoutes({ deliveries, clock }: StatsRoutesParts): Router {
  const router = Router();
  mountOperation(router, getStats, async request => {
    const { bucket, since: givenSince, until = clock.now(), ...whom } = readQuery(getStats.query, request);
    const bucketMs = bucketWidths[bucket];
    const since = givenSince ?? Math.max(0, until - defaultBuckets * bucketMs);
    assertRange(since, until, bucketMs);
    const endpoint = toEndpointKey(whom);
    const buckets = await deliveries.stats({
      since,
      until,
      bucketMs,
      ...(endpoint !== undefined && { endpoint }),
    });
    return { body: { bucket, since: toIso(since), until: toIso(until), results: buckets.map(showBucket) } };
  });
  return router;
}

function assertRange(since: number, until: number, bucketMs: number): void {
  if (since >= until)
    throw invalidRequest(`since must be before until, got ${toIso(since)} and ${toIso(until)}`);
  const count = Math.ceil(until / bucketMs) - Math.floor(since / bucketMs);
  if (count > maxBuckets) {
    throw invalidRequest(
      `since and until are ${count} buckets apart, ${maxBuckets} is the most: take a wider bucket`,
    );
  }
}

function showBucket({ start, totalDurationMs, ...bucket }: StatsBucket): JsonObject {
  const { attempts, succeeded, failed, byStatusClass, durations, maxDurationMs } = bucket;
  const latencies = Object.entries(durations).map(([statusClass, { totalMs, maxMs }]) => [
    statusClass,
    { averageMs: totalMs / (byStatusClass[statusClass] ?? 1), maxMs },
  ]);
  return {
    start: toIso(start),
    attempts,
    succeeded,
    failed,
    byStatusClass,
    latencyByStatusClass: Object.fromEntries(latencies) as JsonObject,
    averageDurationMs: attempts === 0 ? 0 : totalDurationMs / attempts,
    maxDurationMs,
  };
}
