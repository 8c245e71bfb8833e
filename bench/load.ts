// The load process: sends a number of requests at a concurrency and times each of them.
import { Pool } from 'undici';
import { percentile } from './measure';
import { serve } from './processes';

export interface LoadRequest {
  readonly origin: string;
  readonly appId: string;
  readonly method: 'POST' | 'DELETE';
  /** One per request when it has as many entries, else the first for all. */
  readonly paths: readonly string[];
  readonly body: string;
  readonly requests: number;
  readonly concurrency: number;
}

export interface LoadResult {
  readonly succeeded: number;
  readonly failed: number;
  readonly elapsedMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the objects created, if any. */
  readonly objectIds: readonly string[];
}

async function run(load: LoadRequest): Promise<LoadResult> {
  const pool = new Pool(load.origin, { connections: load.concurrency });
  const headers = { 'x-parse-application-id': load.appId, 'content-type': 'application/json' };
  const durations = new Float64Array(load.requests);
  const objectIds: string[] = [];
  let next = 0;
  let succeeded = 0;
  const startedAt = performance.now();
  const worker = async (): Promise<void> => {
    while (next < load.requests) {
      const index = next++;
      const path = load.paths[load.paths.length > 1 ? index : 0] ?? '/';
      const sentAt = performance.now();
      const reply = await pool.request({ path, method: load.method, headers, body: load.body });
      const body = (await reply.body.json()) as { objectId?: string };
      durations[index] = performance.now() - sentAt;
      if (reply.statusCode < 300) succeeded += 1;
      if (body.objectId !== undefined) objectIds.push(body.objectId);
    }
  };
  await Promise.all(Array.from({ length: load.concurrency }, worker));
  const elapsedMs = performance.now() - startedAt;
  await pool.close();
  durations.sort();
  return {
    succeeded,
    failed: load.requests - succeeded,
    elapsedMs,
    p50Ms: percentile(durations, 0.5),
    p99Ms: percentile(durations, 0.99),
    objectIds,
  };
}

serve({}, run, async () => undefined);
