// What a save costs its client and the server when somebody hears of it: at half load, by an open loop.
import {
  listenByHook,
  listenBySubscriptions,
  listenToNobody,
  measureSaves,
  type Listener,
  type SaveSample,
} from './events-scene';
import { confidenceOf, medianOf } from './measure';
import { compareProfiles } from './profile';
import type { Table, Target } from './report';
import { profileServers, type BenchServer, type Scene } from './scene';

interface SavesResult {
  readonly delayMs: number;
  readonly load: string;
  readonly perSecond: number;
  readonly variants: readonly { readonly name: string; readonly samples: readonly SaveSample[] }[];
}

export interface SavesReport {
  readonly tables: readonly Table[];
  readonly targets: readonly Target[];
  readonly samples: readonly SavesResult[];
}

type Servers = Readonly<Record<'none' | 'builtIn' | 'plugin', BenchServer>> & {
  readonly before?: BenchServer;
};

const slotSeconds = 2;
const manySubscriptions = 20;
/** Of the tree that `--against` names. */
const beforeName = 'one subscription, before';
const judgedNames: readonly string[] = ['none', 'one subscription', beforeName];
/** Times `--rounds`. */
const judgedRoundShare = 2;
/** V8 goes on optimising for some thousand requests. */
const warmUpSaves = 2000;

export async function measureEventSaves(scene: Scene): Promise<SavesReport> {
  const delays = (scene.options.smoke ? [0] : [0, 100, 1000]).filter(delayMs =>
    scene.includes(`saves, endpoint takes ${delayMs} ms`),
  );
  if (delays.length === 0) return { tables: [], targets: [], samples: [] };
  const [none, builtIn, plugin] = await Promise.all([
    scene.startServer('none'),
    scene.startServer('built-in'),
    scene.startServer('plugin'),
  ]);
  const before = scene.options.against === undefined ? undefined : await scene.startServer('before');
  const servers = { none, builtIn, plugin, ...(before && { before }) };
  const results: SavesResult[] = [];
  for (const delayMs of delays) results.push(...(await measureDelay(scene, servers, delayMs)));
  const profiles = await profileSaves(scene, servers);
  await scene.stopServers(Object.values(servers));
  return { tables: [tableOf(results), ...profiles], targets: targetsOf(results), samples: results };
}

/**
 * Twice: what the targets compare at half of what that takes, and everything at half of what the slowest takes, which for a
 * built-in hook or twenty subscriptions at a slow endpoint is next to nothing.
 */
async function measureDelay(
  scene: Scene,
  servers: Servers,
  delayMs: number,
): Promise<readonly SavesResult[]> {
  const { options } = scene;
  const className = `Event${delayMs}`;
  const listeners: Listener[] = [
    listenToNobody(servers.none, className),
    await listenByHook(scene, servers.builtIn, { className, delayMs }),
  ];
  for (const count of [1, options.smoke ? 2 : manySubscriptions]) {
    const wanted = { className: `${className}By${count}`, delayMs, count };
    listeners.push(await listenBySubscriptions(scene, servers.plugin, wanted));
  }
  if (servers.before) {
    const wanted = { className: `${className}By1`, delayMs, count: 1 };
    const listener = await listenBySubscriptions(scene, servers.before, wanted);
    listeners.push({ ...listener, name: beforeName });
  }
  for (const listener of listeners) {
    // Twenty deliveries of each warm up as well with a tenth of it.
    const requests = options.smoke ? 1 : Math.ceil(warmUpSaves / Math.max(1, listener.fanOut / 2));
    const pace = { kind: 'closed', concurrency: 64 } as const;
    // A slow endpoint takes its time for each: they are the same servers, warm from the first.
    if (delayMs === 0) await measureSaves(scene, listener, { round: -3, requests, pace });
  }
  const judged = listeners.filter(({ name }) => judgedNames.includes(name));
  return [
    await measureAtHalfLoad(scene, judged, {
      delayMs,
      load: 'of one',
      rounds: options.rounds * judgedRoundShare,
    }),
    await measureAtHalfLoad(scene, listeners, { delayMs, load: 'of the slowest', rounds: options.rounds }),
  ];
}

async function measureAtHalfLoad(
  scene: Scene,
  listeners: readonly Listener[],
  wanted: { readonly delayMs: number; readonly load: SavesResult['load']; readonly rounds: number },
): Promise<SavesResult> {
  const { options } = scene;
  const { delayMs, load } = wanted;
  const rounds = options.smoke ? options.rounds : wanted.rounds;
  const perSecond = await findHalfLoad(scene, listeners);
  scene.log(`events: saves, endpoint takes ${delayMs} ms, half load ${load}: ${perSecond} saves per second`);
  const samples = new Map<Listener, SaveSample[]>(listeners.map(listener => [listener, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const listener of listeners) {
      const pace = { kind: 'open', perSecond, seed: round } as const;
      const requests = options.smoke ? 20 : perSecond * slotSeconds;
      const sample = await measureSaves(scene, listener, { round, requests, pace });
      if (round > 0) samples.get(listener)?.push(sample);
    }
  }
  return {
    delayMs,
    load,
    perSecond,
    variants: [...samples].map(([{ name }, ofListener]) => ({ name, samples: ofListener })),
  };
}

/** Where the time of a save goes that nobody, a built-in hook, or one subscription hears of. */
async function profileSaves(scene: Scene, servers: Servers): Promise<readonly Table[]> {
  const { options } = scene;
  if (options.profile === undefined) return [];
  const wanted = { className: 'Profiled', delayMs: 0, count: 1 };
  const listeners = [
    listenToNobody(servers.none, wanted.className),
    await listenByHook(scene, servers.builtIn, wanted),
    await listenBySubscriptions(scene, servers.plugin, wanted),
  ];
  const requests = options.requests * 10;
  const pace = { kind: 'closed', concurrency: 16 } as const;
  const paths = await profileServers(scene, 'events', Object.values(servers), async server => {
    const listener = listeners.find(each => each.server === server);
    if (listener) await measureSaves(scene, listener, { round: options.rounds + 1, requests, pace });
  });
  return compareProfiles(paths, requests);
}

/** Half of what the slowest of them takes at concurrency 16. */
async function findHalfLoad(scene: Scene, listeners: readonly Listener[]): Promise<number> {
  const capacities: number[] = [];
  for (const listener of listeners) {
    const pace = { kind: 'closed', concurrency: 16 } as const;
    const requests = scene.options.smoke ? 16 : 300;
    for (const round of [-2, -1]) {
      const { savesPerSecond } = await measureSaves(scene, listener, { round, requests, pace });
      if (round === -1) capacities.push(savesPerSecond);
    }
  }
  return Math.max(1, Math.floor(Math.min(...capacities) / 2));
}

const p50Of = ({ load }: SaveSample): number => load.latency.p50Ms;
const cpuOf = ({ cpuPerSaveUs }: SaveSample): number => cpuPerSaveUs;
const firstByteOf = ({ calls }: SaveSample): number => calls.firstByte.p99Ms;

function samplesOf(result: SavesResult | undefined, name: string): readonly SaveSample[] {
  return result?.variants.find(variant => variant.name === name)?.samples ?? [];
}

function tableOf(results: readonly SavesResult[]): Table {
  return {
    title: 'saves at half load, open loop (medians); first byte: from the planned moment of the save',
    rows: results.flatMap(result =>
      result.variants.map(({ name, samples }) => ({
        'endpoint takes, ms': result.delayMs,
        'half load': result.load,
        heard: name,
        'saves/s': result.perSecond,
        'p50 ms': medianOf(samples, p50Of),
        'p99 ms': medianOf(samples, ({ load }) => load.latency.p99Ms),
        'p50 ÷ none': medianOf(samples, p50Of) / medianOf(samplesOf(result, 'none'), p50Of),
        'CPU per save µs': medianOf(samples, cpuOf),
        'first byte p99 ms': medianOf(samples, firstByteOf),
      })),
    ),
  };
}

/** A figure of the medians with one subscription and with none, and where it lies. */
function foundIn(
  result: SavesResult | undefined,
  pick: (sample: SaveSample) => number,
  compute: (one: number, none: number, before: number) => number,
): Pick<Target, 'found' | 'interval'> {
  const one = samplesOf(result, 'one subscription').map(pick);
  const none = samplesOf(result, 'none').map(pick);
  const before = samplesOf(result, beforeName).map(pick);
  const of = (drawn: readonly number[]): number => {
    const median = (figures: readonly number[]): number => medianOf(drawn, round => figures[round] ?? NaN);
    return compute(median(one), median(none), median(before));
  };
  return { found: of([...one.keys()]), interval: confidenceOf(one.length, of) };
}

function targetsOf(results: readonly SavesResult[]): readonly Target[] {
  const judged = results.filter(({ load }) => load === 'of one');
  const slow = judged.find(({ delayMs }) => delayMs === 1000);
  const quick = judged.find(({ delayMs }) => delayMs === 0);
  const beforeTargets: readonly Target[] =
    samplesOf(quick, beforeName).length === 0
      ? []
      : [
          {
            figure: 'CPU added by one subscription, now ÷ before',
            comparison: '<=',
            target: 1,
            ...foundIn(quick, cpuOf, (one, none, before) => (one - none) / (before - none)),
          },
        ];
  return [
    ...beforeTargets,
    {
      figure: 'save p50 with a subscription to a 1 s endpoint ÷ without',
      comparison: '<=',
      target: 1.15,
      ...foundIn(slow, p50Of, (one, none) => one / none),
    },
    {
      figure: 'CPU added by one subscription, delivery included ÷ CPU of the save',
      comparison: '<=',
      target: 0.5,
      ...foundIn(quick, cpuOf, (one, none) => (one - none) / none),
    },
    {
      figure: 'save to first byte at half load, p99 in ms',
      comparison: '<',
      target: 100,
      ...foundIn(quick, firstByteOf, one => one),
    },
  ];
}
