// Deliveries per second and CPU per delivery, signed and logged: custom events that each go to twenty subscriptions, so
// that publishing is a small part. One server process for each store, interleaved, beside the floors.
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { assertClosed } from './ledger';
import { measureBare, type Sample } from './blocking-round';
import { medianOf, sharedNowMs } from './measure';
import { createSubscription, masterHeaders } from './parse-client';
import { queueFloors, type QueueFloor, type QueueSample } from './queue-floors';
import { awaitCalls, receiverUrl } from './receiver-protocol';
import type { RedisServer } from './redis';
import type { Table, Target } from './report';
import type { BenchServer, Scene, ServerOptions } from './scene';

/** A store and a dispatcher, by the options that choose them. */
interface Setup {
  readonly name: string;
  readonly options: ServerOptions;
  /** Of another process, on the same database, that delivers what the first one records. */
  readonly worker?: ServerOptions['webhooks'];
}

interface DeliverySample {
  readonly round: number;
  readonly deliveriesPerSecond: number;
  /** Where it is recorded; without a worker it is delivered there, too. */
  readonly cpuPerDeliveryUs: number;
  readonly workerCpuPerDeliveryUs: number;
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
  {
    name: 'postgres, a worker',
    options: { database: 'postgres', webhooks: { deliver: false } },
    worker: { deliver: true },
  },
];

/** The queue's Redis is the run's own, so its address is known late. */
const redisSetups = ['postgres, Redis, in-process', 'postgres, Redis, a worker'] as const;

function setupsOfRedis({ url }: RedisServer): readonly Setup[] {
  const queue = { redis: url };
  const [inProcess, withWorker] = redisSetups;
  return [
    // One process writes the ids and works them off.
    { name: inProcess, options: { database: 'postgres', webhooks: { queue, deliver: true } } },
    {
      name: withWorker,
      options: { database: 'postgres', webhooks: { queue, deliver: false } },
      worker: { queue, deliver: true },
    },
  ];
}

interface Running {
  readonly setup: Setup;
  readonly server: BenchServer;
  readonly worker: BenchServer | undefined;
  readonly samples: DeliverySample[];
}

export async function measureThroughput(scene: Scene): Promise<ThroughputReport> {
  const { options } = scene;
  const names = [...setups.map(({ name }) => name), ...redisSetups];
  if (!names.some(name => scene.includes(`deliveries, ${name}`)))
    return { tables: [], targets: [], samples: undefined };
  const fanOut = options.smoke ? 2 : 20;
  const redis = await scene.startRedis().catch((error: unknown) => {
    for (const name of redisSetups) scene.skip(`deliveries, ${name}`, String(error));
    return undefined;
  });
  const running = await startSetups(scene, [...setups, ...(redis ? setupsOfRedis(redis) : [])], fanOut);
  const floors = await queueFloors(scene, redis);
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
    roundShare: 1,
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
  await scene.stopServers(running.flatMap(({ server, worker }) => (worker ? [server, worker] : [server])));
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
      {
        figure: 'the same, Redis, in the faster of its setups',
        comparison: '>=',
        target: 3000,
        found: fastest(redisSetups.map(perSecondOf)),
      },
    ],
    samples: {
      stores: running.map(({ setup, samples }) => ({ name: setup.name, samples })),
      bare,
      queues: [...queueSamples].map(([{ name }, samples]) => ({ name, samples })),
    },
  };
}

function fastest(found: readonly (number | undefined)[]): number | undefined {
  const measured = found.filter(perSecond => perSecond !== undefined);
  return measured.length === 0 ? undefined : Math.max(...measured);
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
    let worker: BenchServer | undefined;
    try {
      server = await scene.startServer('plugin', setup.options);
      if (setup.worker) {
        const { databaseURI } = server;
        worker = await scene.startServer('plugin', { databaseURI, webhooks: setup.worker });
      }
    } catch (error) {
      scene.skip(`deliveries, ${setup.name}`, `the server does not start: ${String(error)}`);
      continue;
    }
    await subscribe(scene, setup, { server, fanOut });
    running.push({ setup, server, worker, samples: [] });
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
  { setup, server, worker }: Running,
  { round, fanOut }: { readonly round: number; readonly fanOut: number },
): Promise<DeliverySample> {
  const { requests } = scene.options;
  const cpuBefore = await server.cpuUs();
  const workerBefore = (await worker?.cpuUs()) ?? 0;
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
  // The outcome of the last ones is still to be recorded.
  await untilRecorded(server);
  const cpuUs = (await server.cpuUs()) - cpuBefore;
  const workerCpuUs = ((await worker?.cpuUs()) ?? 0) - workerBefore;
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
    workerCpuPerDeliveryUs: workerCpuUs / expected,
  };
}

const listShape = z.object({ results: z.array(z.unknown()) });

/** Resolves when no delivery waits for an attempt or its record. */
async function untilRecorded(server: BenchServer): Promise<void> {
  for (;;) {
    const response = await fetch(`${server.origin}/parse/webhooks/deliveries?state=pending&limit=1`, {
      headers: masterHeaders,
    });
    const { results } = listShape.parse(await response.json());
    if (results.length === 0) return;
    await delay(10);
  }
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
        'in the worker, µs': medianOf(samples, ({ workerCpuPerDeliveryUs }) => workerCpuPerDeliveryUs),
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
