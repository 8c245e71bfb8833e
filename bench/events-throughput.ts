// Deliveries per second and CPU per delivery, signed and logged: custom events that each go to twenty subscriptions, so
// that publishing is a small part. One server process for each store, interleaved, beside the floors.
import { assertClosed } from './ledger';
import { measureBare, type Sample } from './blocking-round';
import { medianOf, sharedNowMs } from './measure';
import { createSubscription, masterHeaders } from './parse-client';
import { queueFloors, type QueueFloor, type QueueSample } from './queue-floors';
import { awaitCalls, receiverUrl } from './receiver-protocol';
import { startRedis, type RedisServer } from './redis';
import type { Table, Target } from './report';
import type { BenchServer, Scene, ServerOptions } from './scene';

/** A store and a dispatcher, by the options that choose them. */
interface Setup {
  readonly name: string;
  readonly options: ServerOptions;
}

interface DeliverySample {
  readonly round: number;
  readonly deliveriesPerSecond: number;
  readonly cpuPerDeliveryUs: number;
}

export interface ThroughputReport {
  readonly tables: readonly Table[];
  readonly targets: readonly Target[];
  readonly samples: unknown;
}

const eventType = 'custom.bench';

const setups: readonly Setup[] = [
  { name: 'postgres, in-process', options: { database: 'postgres' } },
  { name: 'mongodb, in-process', options: { database: 'mongodb' } },
  { name: 'memory, in-process', options: { webhooks: { store: 'memory' } } },
];

/** The queue's Redis is the run's own, so its address is known late. */
const redisSetup = 'postgres, Redis';

function setupOfRedis({ url }: RedisServer): Setup {
  return {
    name: redisSetup,
    // One process writes the ids and works them off: what workers of their own add is another process.
    options: { database: 'postgres', webhooks: { queue: { redis: url }, deliver: true } },
  };
}

interface Running {
  readonly setup: Setup;
  readonly server: BenchServer;
  readonly samples: DeliverySample[];
}

export async function measureThroughput(scene: Scene): Promise<ThroughputReport> {
  const { options } = scene;
  const fanOut = options.smoke ? 2 : 20;
  const redis = await startRedis().catch((error: unknown) => {
    scene.skip(`deliveries, ${redisSetup}`, String(error));
    return undefined;
  });
  const running = await startSetups(scene, [...setups, ...(redis ? [setupOfRedis(redis)] : [])], fanOut);
  const floors = await queueFloors(scene);
  const bare: Sample[] = [];
  const queueSamples = new Map<QueueFloor, QueueSample[]>(floors.map(floor => [floor, []]));
  const deliveries = options.requests * fanOut;
  const cell = {
    name: 'floor',
    operation: 'save',
    concurrency: 64,
    bytes: 1000,
    delayMs: 0,
    share: 1,
  } as const;
  for (let round = 0; round <= options.rounds; round++) {
    scene.log(`events: deliveries, round ${round}`);
    for (const one of running) {
      const sample = await measureSetup(scene, one, { round, fanOut });
      if (round > 0) one.samples.push(sample);
    }
    const floor = await measureBare(scene, cell, { round, requests: deliveries });
    if (round > 0) bare.push(floor);
    for (const [queue, samples] of queueSamples) {
      const sample = await queue.measure(deliveries);
      if (round > 0) samples.push(sample);
    }
  }
  for (const floor of floors) await floor.stop();
  await scene.stopServers(running.map(({ server }) => server));
  await redis?.stop();
  const perSecondOf = (name: string): number | undefined => {
    const found = running.find(({ setup }) => setup.name === name)?.samples;
    return found && medianOf(found, ({ deliveriesPerSecond }) => deliveriesPerSecond);
  };
  return {
    tables: [tableOf(running, bare, queueSamples)],
    targets: [
      {
        figure: 'deliveries per second, signed and logged, PostgreSQL',
        comparison: '>=',
        target: 2000,
        found: perSecondOf('postgres, in-process'),
      },
      { figure: 'the same, Redis', comparison: '>=', target: 3000, found: perSecondOf(redisSetup) },
    ],
    samples: {
      stores: running.map(({ setup, samples }) => ({ name: setup.name, samples })),
      bare,
      queues: [...queueSamples].map(([{ name }, samples]) => ({ name, samples })),
    },
  };
}

async function startSetups(
  scene: Scene,
  wanted: readonly Setup[],
  fanOut: number,
): Promise<readonly Running[]> {
  const running: Running[] = [];
  for (const setup of wanted) {
    if (!scene.includes(`deliveries, ${setup.name}`)) continue;
    if (setup.options.database !== undefined && !scene.databases.has(setup.options.database)) {
      scene.skip(`deliveries, ${setup.name}`, 'MONGODB_URI is not set');
      continue;
    }
    let server: BenchServer;
    try {
      server = await scene.startServer('plugin', setup.options);
    } catch (error) {
      scene.skip(`deliveries, ${setup.name}`, `the server does not start: ${String(error)}`);
      continue;
    }
    await subscribe(scene, setup, { server, fanOut });
    running.push({ setup, server, samples: [] });
  }
  return running;
}

async function subscribe(
  scene: Scene,
  setup: Setup,
  { server, fanOut }: { readonly server: BenchServer; readonly fanOut: number },
): Promise<void> {
  for (let index = 0; index < fanOut; index++) {
    await createSubscription(server, {
      name: `bench-${index}`,
      url: receiverUrl(scene.receiver, setup.name, 0),
      events: [eventType],
    });
  }
}

async function measureSetup(
  scene: Scene,
  { setup, server }: Running,
  { round, fanOut }: { readonly round: number; readonly fanOut: number },
): Promise<DeliverySample> {
  const { requests } = scene.options;
  const cpuBefore = await server.cpuUs();
  const startedAt = sharedNowMs();
  const result = await scene.load.ask({
    origin: server.origin,
    headers: masterHeaders,
    method: 'POST',
    paths: ['/parse/webhooks/events'],
    body: JSON.stringify({ type: eventType, data: { benchAt: 0, text: 'x'.repeat(900) } }),
    requests,
    pace: { kind: 'closed', concurrency: 16 },
  });
  const expected = requests * fanOut;
  const count = await awaitCalls(scene.receiver, { key: setup.name, calls: expected, patienceMs: 15_000 });
  const cpuUs = (await server.cpuUs()) - cpuBefore;
  if (result.failure !== undefined) scene.log(`  ${setup.name}: ${result.failure}`);
  assertClosed(`deliveries, ${setup.name}, round ${round}`, [
    { what: 'events published', expected: requests, found: result.succeeded },
    { what: 'deliveries came', expected, found: count.calls },
    { what: 'different deliveries came', expected, found: count.distinct },
  ]);
  return {
    round,
    deliveriesPerSecond: (expected / (count.lastAt - startedAt)) * 1000,
    cpuPerDeliveryUs: cpuUs / expected,
  };
}

function tableOf(
  running: readonly Running[],
  bare: readonly Sample[],
  queues: ReadonlyMap<QueueFloor, readonly QueueSample[]>,
): Table {
  return {
    title: 'deliveries, and the floors: bare POSTs and no-op jobs (medians)',
    rows: [
      ...running.map(({ setup, samples }) => ({
        what: setup.name,
        'per second': medianOf(samples, ({ deliveriesPerSecond }) => deliveriesPerSecond),
        'CPU each, µs': medianOf(samples, ({ cpuPerDeliveryUs }) => cpuPerDeliveryUs),
      })),
      {
        what: 'floor: bare undici POST',
        'per second': medianOf(bare, ({ requestsPerSecond }) => requestsPerSecond),
        'CPU each, µs': medianOf(bare, ({ cpuPerRequestUs }) => cpuPerRequestUs),
      },
      ...[...queues].map(([{ name }, samples]) => ({
        what: `floor: ${name}`,
        'per second': medianOf(samples, ({ jobsPerSecond }) => jobsPerSecond),
        'CPU each, µs': medianOf(samples, ({ cpuPerJobUs }) => cpuPerJobUs),
      })),
    ],
  };
}
