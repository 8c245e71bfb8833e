// The load process: sends a number of requests at a pace and times each of them.
import { Pool } from 'undici';
import { isJsonObject } from '../src/shared/json';
import { loadProtocol, type LoadRequest, type LoadResult } from './load-protocol';
import { LatencyRecorder, sharedNowMs } from './measure';
import { serve } from './processes';

/** Sockets of an open loop: more than can be under way at half load, and a bound if the server stalls. */
const openLoopConnections = 256;

interface Tally {
  succeeded: number;
  failed: number;
  failure: string | undefined;
  readonly latency: LatencyRecorder;
  readonly objectIds: string[];
}

async function run(load: LoadRequest): Promise<LoadResult> {
  const { pace } = load;
  const connections = pace.kind === 'closed' ? pace.concurrency : openLoopConnections;
  const pool = new Pool(load.origin, { connections, pipelining: 1 });
  const tally: Tally = {
    succeeded: 0,
    failed: 0,
    failure: undefined,
    latency: new LatencyRecorder(),
    objectIds: [],
  };
  const cpuBefore = process.cpuUsage();
  const startedAt = sharedNowMs();
  if (pace.kind === 'closed') await runClosed(load, pool, tally, pace.concurrency);
  else await runOpen(load, pool, tally, momentsOf(load.requests, pace.perSecond, pace.seed));
  const elapsedMs = sharedNowMs() - startedAt;
  const { user, system } = process.cpuUsage(cpuBefore);
  await pool.close();
  const { latency, failure, ...counts } = tally;
  return {
    ...counts,
    ...(failure !== undefined && { failure }),
    elapsedMs,
    latency: latency.read(),
    cpuUs: user + system,
  };
}

async function runClosed(load: LoadRequest, pool: Pool, tally: Tally, concurrency: number): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < load.requests) {
      const index = next++;
      await sendOne(load, pool, tally, { index, plannedAt: sharedNowMs() });
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
}

/** Due requests are looked for every millisecond: a wait of up to one is part of all latencies alike. */
async function runOpen(
  load: LoadRequest,
  pool: Pool,
  tally: Tally,
  moments: readonly number[],
): Promise<void> {
  const startedAt = sharedNowMs() + 10;
  const underWay: Promise<void>[] = [];
  while (underWay.length < moments.length) {
    const now = sharedNowMs() - startedAt;
    for (
      let due = moments[underWay.length];
      due !== undefined && due <= now;
      due = moments[underWay.length]
    ) {
      underWay.push(sendOne(load, pool, tally, { index: underWay.length, plannedAt: startedAt + due }));
    }
    await new Promise(resolve => setTimeout(resolve, 1));
  }
  await Promise.all(underWay);
}

async function sendOne(
  load: LoadRequest,
  pool: Pool,
  tally: Tally,
  one: { readonly index: number; readonly plannedAt: number },
): Promise<void> {
  const { method, headers, paths } = load;
  const path = paths[paths.length > 1 ? one.index : 0] ?? '/';
  const body = load.body.replace('"benchAt":0', () => `"benchAt":${one.plannedAt.toFixed(3)}`);
  try {
    const reply = await pool.request({ path, method, headers, body: method === 'POST' ? body : null });
    const text = await reply.body.text();
    tally.latency.record(sharedNowMs() - one.plannedAt);
    if (reply.statusCode < 300) tally.succeeded += 1;
    else fail(tally, `${reply.statusCode} ${text.slice(0, 200)}`);
    const answer: unknown = text === '' ? undefined : JSON.parse(text);
    if (isJsonObject(answer) && typeof answer['objectId'] === 'string')
      tally.objectIds.push(answer['objectId']);
  } catch (error) {
    fail(tally, String(error));
  }
}

function fail(tally: Tally, reason: string): void {
  tally.failed += 1;
  tally.failure ??= reason;
}

/** Milliseconds from the start: exponential gaps, the same for the same seed, so all variants meet the same bursts. */
function momentsOf(requests: number, perSecond: number, seed: number): readonly number[] {
  let state = seed >>> 0;
  let at = 0;
  return Array.from({ length: requests }, () => {
    // Numerical Recipes' linear congruential generator: enough for gaps.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    at += (-Math.log(1 - state / 2 ** 32) * 1000) / perSecond;
    return at;
  });
}

serve(loadProtocol, {}, { answer: run, stop: () => undefined });
