// Whether memory grows over as many saves as a busy hour has: the heap after a collection, by the number of saves.
import { clientRequest, createHook, createSubscription, objectOf } from './parse-client';
import { assertClosed } from './ledger';
import { slopeOf, type Slope } from './measure';
import { awaitCalls, receiverUrl } from './receiver-protocol';
import type { Table, Target } from './report';
import type { BenchServer, Scene } from './scene';
import type { Variant } from './server-protocol';

interface Growth {
  readonly variant: Variant;
  /** Heap in bytes after so many saves. */
  readonly points: readonly (readonly [saves: number, heapBytes: number])[];
  readonly slope: Slope;
  readonly rssBytes: number;
}

export interface MemoryReport {
  readonly tables: readonly Table[];
  readonly targets: readonly Target[];
  readonly samples: readonly Growth[];
}

/** Ten a second for an hour. */
const savesOfAnHour = 36_000;
const samplesInAll = 18;
/** Caches fill and code is compiled at first: these samples are thrown away. */
const warmUpSamples = 6;
const className = 'Memory';

export async function measureMemory(scene: Scene): Promise<MemoryReport> {
  const { options } = scene;
  const saves = options.smoke ? 90 : savesOfAnHour;
  const perSample = Math.ceil(saves / samplesInAll);
  const servers = await Promise.all([scene.startServer('none'), scene.startServer('plugin')]);
  const fanOut = new Map<BenchServer, number>();
  for (const server of servers) fanOut.set(server, await listen(scene, server));
  const points = new Map<BenchServer, [number, number][]>(servers.map(server => [server, []]));
  const rssBytes = new Map<BenchServer, number>();
  for (let index = 1; index <= samplesInAll; index++) {
    if (index % 6 === 0) scene.log(`scale: memory, ${index * perSample} saves`);
    for (const server of servers) {
      await saveMany(scene, server, { requests: perSample, fanOut: fanOut.get(server) ?? 0 });
      const usage = await server.process.ask({ collect: true });
      if (index > warmUpSamples) points.get(server)?.push([index * perSample, usage.heapUsedBytes]);
      rssBytes.set(server, usage.rssBytes);
    }
  }
  await scene.stopServers(servers);
  const growths = servers.map(server => {
    const ofServer = points.get(server) ?? [];
    const { variant } = server;
    return { variant, points: ofServer, slope: slopeOf(ofServer), rssBytes: rssBytes.get(server) ?? NaN };
  });
  return {
    tables: [tableOf(growths)],
    targets: growths
      .filter(({ variant }) => variant === 'plugin')
      .map(({ slope }) => ({
        figure: 'growth of heap and buffers over an hour of saves, MB',
        comparison: '<=' as const,
        target: 1,
        ...growthOf(slope),
      })),
    samples: growths,
  };
}

/** Of an hour, in MB: the upper end of what the standard error leaves open, so that noise never passes for no growth. */
function growthOf({ perUnit, error }: Slope): Pick<Target, 'found' | 'interval'> {
  const at = (errors: number): number => ((perUnit + errors * error) * savesOfAnHour) / 1e6;
  return { found: at(1.645), interval: [at(-1.645), at(1.645)] };
}

/** A blocking hook, a notifying one and a subscription. Answers how many calls a save leads to. */
async function listen(scene: Scene, server: BenchServer): Promise<number> {
  if (server.variant === 'none') return 0;
  const url = receiverUrl(scene.receiver, 'memory', 0);
  await createHook(server, { className, triggerName: 'beforeSave', url });
  await createHook(server, { className, triggerName: 'afterSave', url });
  await createSubscription(server, {
    name: 'memory',
    url,
    events: ['object.*'],
    classes: [className],
    concurrency: 64,
  });
  return 3;
}

async function saveMany(
  scene: Scene,
  server: BenchServer,
  { requests, fanOut }: { readonly requests: number; readonly fanOut: number },
): Promise<void> {
  const pace = { kind: 'closed', concurrency: 16 } as const;
  const path = `/classes/${className}`;
  const result = await scene.load.ask(clientRequest(server, { path, body: objectOf(1000), requests, pace }));
  const expected = requests * fanOut;
  const key = fanOut === 0 ? 'nobody' : 'memory';
  const count = await awaitCalls(scene.receiver, { key, calls: expected, patienceMs: 15_000 });
  assertClosed(`memory, ${server.variant}`, [
    { what: 'saves succeeded', expected: requests, found: result.succeeded },
    { what: 'calls came', expected, found: count.calls },
  ]);
}

function tableOf(growths: readonly Growth[]): Table {
  return {
    title: 'heap and buffers after a collection, over the saves of an hour',
    rows: growths.map(({ variant, points, slope, rssBytes }) => ({
      server: variant,
      'first MB': (points[0]?.[1] ?? NaN) / 1e6,
      'last MB': (points.at(-1)?.[1] ?? NaN) / 1e6,
      'bytes per save': slope.perUnit,
      'standard error': slope.error,
      'RSS at the end, MB': rssBytes / 1e6,
    })),
  };
}
