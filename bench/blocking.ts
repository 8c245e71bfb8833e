// Blocking hooks: the same save, delete and function call with no hook, the built-in webhooks and this package.
import { cells, mainCell, roundsOf, smokeCells, type Cell } from './blocking-cells';
import {
  isolationInterval,
  isolationRatio,
  measureIsolation,
  type IsolationResult,
} from './blocking-isolation';
import { measureLatencies, type LatencyResult } from './blocking-latency';
import { measureBare, measureVariant, registerHooks, type Sample } from './blocking-round';
import { confidenceOf, medianOf } from './measure';
import { compareProfiles } from './profile';
import type { PartResult, Table, Target } from './report';
import { profileServers, type BenchServer, type Scene } from './scene';
import { variants, type Variant } from './server-protocol';

interface CellResult {
  readonly cell: Cell;
  readonly samples: Readonly<Record<Variant | 'bare', readonly Sample[]>>;
}

/** V8 goes on optimising for some thousand requests: a server that is younger than another would look dearer. */
const warmUpRequests = 4000;

export async function runBlocking(scene: Scene): Promise<PartResult> {
  const { options } = scene;
  const wanted = variants.filter(variant => variant !== 'before' || options.against !== undefined);
  const servers = await Promise.all(wanted.map(variant => scene.startServer(variant)));
  const chosen = cells.filter(
    ({ name }) => scene.includes(name) && (!options.smoke || smokeCells.includes(name)),
  );
  const results: CellResult[] = [];
  for (const cell of chosen) {
    for (const server of servers) await registerHooks(scene, server, cell);
    // What V8 has not compiled yet would be counted to the first cell.
    if (results.length === 0 && !options.smoke) {
      for (const server of servers)
        await measureVariant(scene, server, cell, { round: 0, requests: warmUpRequests });
    }
    results.push(await runCell(scene, servers, cell));
  }
  const latencies = await measureLatencies(scene, servers);
  const plugin = servers.find(({ variant }) => variant === 'plugin');
  const isolation = plugin ? await measureIsolation(scene, plugin) : [];
  const profiled = chosen.find(({ name }) => name === mainCell) ?? chosen[0];
  const profileTables: Table[] = [];
  if (profiled) {
    const requests = options.requests * 10;
    const paths = await profileServers(scene, 'blocking', servers, async server => {
      await measureVariant(scene, server, profiled, { round: options.rounds + 1, requests });
    });
    profileTables.push(...compareProfiles(paths, requests));
  }
  return {
    part: 'blocking',
    tables: [
      cpuTable(results),
      speedTable(results),
      latencyTable(latencies),
      isolationTable(isolation),
      ...profileTables,
    ],
    targets: [...targetsOf(results, latencies), isolationTarget(isolation)],
    skipped: scene.skipped,
    samples: { cells: results, latencies, isolation },
  };
}

async function runCell(scene: Scene, servers: readonly BenchServer[], cell: Cell): Promise<CellResult> {
  const { options } = scene;
  scene.log(`blocking: ${cell.name}`);
  const samples: Record<Variant | 'bare', Sample[]> = {
    none: [],
    installed: [],
    'cloud-code': [],
    'built-in': [],
    before: [],
    'plugin-unsigned': [],
    plugin: [],
    bare: [],
  };
  const requests = Math.max(cell.concurrency, Math.round(options.requests * cell.share));
  // Round 0 warms up and is thrown away.
  for (let round = 0; round <= roundsOf(cell, options); round++) {
    for (const server of servers) {
      const sample = await measureVariant(scene, server, cell, { round, requests });
      if (round > 0) samples[server.variant].push(sample);
    }
    const bare = await measureBare(scene, cell, { round, requests });
    if (round > 0) samples.bare.push(bare);
  }
  return { cell, samples };
}

const cpuOf = (sample: Sample): number => sample.cpuPerRequestUs;
const speedOf = (sample: Sample): number => sample.requestsPerSecond;

/** CPU that a hook adds to a request, in microseconds. */
function addedCpuUs({ samples }: CellResult, variant: Variant): number {
  return medianOf(samples[variant], cpuOf) - medianOf(samples.none, cpuOf);
}

function addedCpuRatio(result: CellResult, variant: Variant): number {
  return addedCpuUs(result, variant) / addedCpuUs(result, 'built-in');
}

/** The cell with only these rounds, of every variant. */
function drawRounds({ cell, samples }: CellResult, drawn: readonly number[]): CellResult {
  const draw = (of: readonly Sample[]): readonly Sample[] =>
    drawn.flatMap(round => {
      const sample = of[round];
      return sample ? [sample] : [];
    });
  return {
    cell,
    samples: {
      none: draw(samples.none),
      installed: draw(samples.installed),
      'cloud-code': draw(samples['cloud-code']),
      'built-in': draw(samples['built-in']),
      before: draw(samples.before),
      'plugin-unsigned': draw(samples['plugin-unsigned']),
      plugin: draw(samples.plugin),
      bare: draw(samples.bare),
    },
  };
}

/** A figure of the cell, and where it lies. */
function foundIn(
  result: CellResult | undefined,
  compute: (result: CellResult) => number,
): Pick<Target, 'found' | 'interval'> {
  if (!result) return { found: undefined };
  const interval = confidenceOf(result.samples.none.length, drawn => compute(drawRounds(result, drawn)));
  return { found: compute(result), interval };
}

/** What no hook can go below: a trigger in cloud code that does nothing and a bare POST, ÷ what the built-in adds. */
function floorRatio(result: CellResult): number {
  const floor = addedCpuUs(result, 'cloud-code') + medianOf(result.samples.bare, cpuOf);
  return floor / addedCpuUs(result, 'built-in');
}

function speedRatio({ samples }: CellResult, variant: Variant): number {
  return medianOf(samples[variant], speedOf) / medianOf(samples.none, speedOf);
}

function cpuTable(results: readonly CellResult[]): Table {
  return {
    title: 'CPU of the server process per request, µs (medians), and what the hook adds, ÷ built-in',
    rows: results.map(result => ({
      scenario: result.cell.name,
      none: medianOf(result.samples.none, cpuOf),
      'installed +': addedCpuUs(result, 'installed'),
      'cloud code +': addedCpuUs(result, 'cloud-code'),
      'built-in +': addedCpuUs(result, 'built-in'),
      'unsigned +': addedCpuUs(result, 'plugin-unsigned'),
      'plugin +': addedCpuUs(result, 'plugin'),
      ...(result.samples.before.length > 0 && { 'before +': addedCpuUs(result, 'before') }),
      'bare POST': medianOf(result.samples.bare, cpuOf),
      'floor ÷': floorRatio(result),
      'unsigned ÷': addedCpuRatio(result, 'plugin-unsigned'),
      'plugin ÷': addedCpuRatio(result, 'plugin'),
    })),
  };
}

function speedTable(results: readonly CellResult[]): Table {
  return {
    title: 'requests per second (medians), and ÷ without a hook; p99 of plugin, ms',
    rows: results.map(result => ({
      scenario: result.cell.name,
      'none /s': medianOf(result.samples.none, speedOf),
      'installed ÷': speedRatio(result, 'installed'),
      'cloud code ÷': speedRatio(result, 'cloud-code'),
      'built-in ÷': speedRatio(result, 'built-in'),
      'unsigned ÷': speedRatio(result, 'plugin-unsigned'),
      'plugin ÷': speedRatio(result, 'plugin'),
      'bare POST /s': medianOf(result.samples.bare, speedOf),
      'none p99': medianOf(result.samples.none, ({ latency }) => latency.p99Ms),
      'plugin p99': medianOf(result.samples.plugin, ({ latency }) => latency.p99Ms),
    })),
  };
}

function latencyTable(results: readonly LatencyResult[]): Table {
  return {
    title:
      'latency at half load, open loop, from the planned moment, ms (medians); added: beyond none and receiver',
    rows: results.map(
      ({ variant, delayMs, perSecond, p50Ms, p99Ms, receiverMs, addedP50Ms, addedP99Ms }) => ({
        variant,
        'receiver takes': delayMs,
        'saves/s': perSecond,
        p50: p50Ms,
        p99: p99Ms,
        'receiver’s own p50': receiverMs,
        'added p50': addedP50Ms,
        'added p99': addedP99Ms,
      }),
    ),
  };
}

function isolationTable(results: readonly IsolationResult[]): Table {
  return {
    title: 'latency of saves with a hook beside another hook, open loop, ms (medians)',
    rows: results.map(({ neighbour, perSecond, p50Ms, p99Ms }) => ({
      'the other receiver': neighbour === 'again' ? 'answers (once more)' : neighbour,
      'saves/s': perSecond,
      p50: p50Ms,
      p99: p99Ms,
    })),
  };
}

function isolationTarget(results: readonly IsolationResult[]): Target {
  return {
    figure: 'p99 beside a receiver that hangs ÷ beside one that answers',
    comparison: '<=',
    target: 1.1,
    found: isolationRatio(results),
    interval: isolationInterval(results),
  };
}

function targetsOf(results: readonly CellResult[], latencies: readonly LatencyResult[]): readonly Target[] {
  const main = results.find(({ cell }) => cell.name === mainCell);
  const saves = results.filter(({ cell }) => cell.operation === 'save' && cell.delayMs === 0);
  const worst = (variant: Variant): number | undefined =>
    saves.length === 0 ? undefined : Math.max(...saves.map(result => addedCpuRatio(result, variant)));
  const latencyTargets = latencies
    .filter(({ variant }) => variant === 'plugin')
    .map(({ delayMs, addedP99Ms, addedP99Interval }) => ({
      figure: `latency added over the receiver’s own, p99 in ms (receiver takes ${delayMs} ms)`,
      comparison: '<' as const,
      target: 5,
      found: addedP99Ms,
      interval: addedP99Interval,
    }));
  const compared = main && main.samples.before.length > 0 ? main : undefined;
  return [
    ...(compared
      ? [
          {
            figure: `CPU added, now ÷ before (${mainCell})`,
            comparison: '<=' as const,
            target: 1,
            ...foundIn(compared, result => addedCpuUs(result, 'plugin') / addedCpuUs(result, 'before')),
          },
        ]
      : []),
    {
      figure: `CPU added, plugin ÷ built-in (${mainCell})`,
      comparison: '<=',
      target: 0.5,
      ...foundIn(main, result => addedCpuRatio(result, 'plugin')),
    },
    { figure: 'the same, worst save', comparison: '<=', target: 0.5, found: worst('plugin') },
    {
      figure: `CPU added without signature, plugin ÷ built-in (${mainCell})`,
      comparison: '<=',
      target: 0.35,
      ...foundIn(main, result => addedCpuRatio(result, 'plugin-unsigned')),
    },
    { figure: 'the same, worst save', comparison: '<=', target: 0.35, found: worst('plugin-unsigned') },
    {
      figure: `saves/s with a hook ÷ without (${mainCell})`,
      comparison: '>=',
      target: 0.8,
      ...foundIn(main, result => speedRatio(result, 'plugin')),
    },
    ...latencyTargets,
  ];
}
