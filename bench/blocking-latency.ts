// What a blocking hook adds to the latency of a save at half load: an open loop at one rate for all variants.
import { roundsOf, type Cell } from './blocking-cells';
import { measureVariant, registerHooks, type Sample } from './blocking-round';
import { confidenceOf, medianOf, type Interval } from './measure';
import type { BenchServer, Scene } from './scene';
import type { Variant } from './server-protocol';

export interface LatencyResult {
  readonly variant: Variant;
  readonly delayMs: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The receiver's own time, p50. */
  readonly receiverMs: number;
  /** Beyond the same quantile without a hook and the receiver's own p50. */
  readonly addedP50Ms: number;
  readonly addedP99Ms: number;
  readonly addedP99Interval: Interval | undefined;
  readonly samples: readonly Sample[];
}

/** Seconds of load in one slot. */
const slotSeconds = 3;

/** Half load is half of what the server with the plugin's hook takes at concurrency 64, in this run. */
export async function measureLatencies(
  scene: Scene,
  servers: readonly BenchServer[],
): Promise<readonly LatencyResult[]> {
  const results: LatencyResult[] = [];
  const compared = servers.filter(({ variant }) => !['cloud-code', 'installed', 'before'].includes(variant));
  for (const delayMs of scene.options.smoke ? [0] : [0, 20]) {
    const cell: Cell = {
      name: `half load, receiver takes ${delayMs} ms`,
      operation: 'save',
      concurrency: 64,
      bytes: 200,
      delayMs,
      share: 1,
      roundShare: 2,
    };
    if (!scene.includes(cell.name)) continue;
    results.push(...(await measureCell(scene, compared, cell)));
  }
  return results;
}

async function measureCell(
  scene: Scene,
  servers: readonly BenchServer[],
  cell: Cell,
): Promise<readonly LatencyResult[]> {
  const { options } = scene;
  for (const server of servers) await registerHooks(scene, server, cell);
  const plugin = servers.find(({ variant }) => variant === 'plugin');
  if (plugin === undefined) return [];
  const capacities: Sample[] = [];
  const requests = Math.max(64, options.requests);
  for (let round = 0; round < (options.smoke ? 1 : 3); round++) {
    capacities.push(await measureVariant(scene, plugin, cell, { round, requests }));
  }
  const perSecond = Math.floor(medianOf(capacities, ({ requestsPerSecond }) => requestsPerSecond) / 2);
  scene.log(`blocking: ${cell.name}: ${perSecond} saves per second`);
  const samples = new Map<Variant, Sample[]>(servers.map(({ variant }) => [variant, []]));
  const slot = options.smoke ? 20 : perSecond * slotSeconds;
  for (let round = 0; round <= roundsOf(cell, options); round++) {
    for (const server of servers) {
      const pace = { kind: 'open', perSecond, seed: round } as const;
      const sample = await measureVariant(scene, server, cell, { round, requests: slot, pace });
      if (round > 0) samples.get(server.variant)?.push(sample);
    }
  }
  const of = (variant: Variant, quantile: 'p50Ms' | 'p99Ms'): number =>
    medianOf(samples.get(variant) ?? [], ({ latency }) => latency[quantile]);
  return servers.map(({ variant }) => {
    const own = samples.get(variant) ?? [];
    const none = samples.get('none') ?? [];
    const receiverMs = medianOf(own, ({ receiverOwn }) => receiverOwn?.p50Ms ?? 0);
    const p99Of = (drawn: readonly number[], rounds: readonly Sample[]): number =>
      medianOf(drawn, round => rounds[round]?.latency.p99Ms ?? NaN);
    return {
      variant,
      delayMs: cell.delayMs,
      perSecond,
      p50Ms: of(variant, 'p50Ms'),
      p99Ms: of(variant, 'p99Ms'),
      receiverMs,
      addedP50Ms: of(variant, 'p50Ms') - of('none', 'p50Ms') - receiverMs,
      addedP99Ms: of(variant, 'p99Ms') - of('none', 'p99Ms') - receiverMs,
      addedP99Interval: confidenceOf(
        own.length,
        drawn => p99Of(drawn, own) - p99Of(drawn, none) - receiverMs,
      ),
      samples: own,
    };
  });
}
