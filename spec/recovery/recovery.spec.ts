// Server processes that die at a random moment under load: whatever a client was told had happened is delivered.
// RECOVERY_RUNS: runs on each database, default 10, and a tenth as many with a worker,
// without and with a queue. RECOVERY_SEED: makes the choices of one run again.
import { randomInt } from 'node:crypto';
import type { WebhooksOptions } from '../../src/index';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { describeWithService } from '../support/describe-with-service';
import { createRedisServer, type RedisServer } from '../support/redis-server';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';
import { className, describeReport, runCrash, type CrashRunParts, type CrashRunReport } from './crash-run';
import { ServerFleet } from './server-fleet';
import { WorkerSlot } from './worker-slot';

const { RECOVERY_RUNS: givenRuns, RECOVERY_SEED: givenSeed } = process.env;
const firstSeed = givenSeed === undefined ? randomInt(2 ** 31) : Number(givenSeed);
const runs = givenSeed === undefined ? Number(givenRuns ?? 10) : 1;
/** Each takes longer than one of the others: a worker starts as a process of its own, too. */
const workerRuns = Math.ceil(runs / 10);
const servers = 2;
const runLimitMs = 200_000;

/** Short: they are what a crash makes others wait for. */
const options: WebhooksOptions = {
  dispatch: { leaseMs: 3600, pollMs: 200 },
  // Attempts that fail on purpose are no reason to rest.
  breakerOpenMs: 100,
};

describeOnEachDatabase('servers that are killed under load', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let fleet: ServerFleet | undefined;
  let worker: WorkerSlot | undefined;

  beforeEach(async () => {
    receiver = await startWebhookReceiver();
    fresh = await database.create();
  });
  afterEach(async () => {
    await worker?.dispose();
    worker = undefined;
    await fleet?.stop();
    fleet = undefined;
    await receiver.close();
    await fresh.drop();
  });

  async function startFleet(webhooks: WebhooksOptions): Promise<ServerFleet> {
    const started = new ServerFleet(servers, fresh, webhooks);
    fleet = started;
    await started.start(async first => {
      for (const name of ['first', 'second']) {
        const subscription = await first.master('POST', '/webhooks/subscriptions', {
          name,
          url: receiver.on(`/${name}`, () => undefined),
          events: ['object.*'],
          classes: [className],
          timeoutMs: 1500,
          retry: { scheduleMs: Array.from({ length: 30 }, () => 200) },
        });
        expect(subscription.status).toBe(201);
      }
      const hook = { className, triggerName: 'afterSave', url: receiver.on('/hook', () => undefined) };
      const registered = await first.master('POST', '/hooks/triggers', { ...hook, timeoutMs: 1500 });
      expect(registered.status).toBe(200);
    });
    return started;
  }

  function tell(report: CrashRunReport): void {
    process.stderr.write(`recovery on ${database.kind}: ${describeReport(report)}\n`);
  }

  async function runMany(count: number, parts: Omit<CrashRunParts, 'receiver' | 'seed'>): Promise<void> {
    const failures: string[] = [];
    for (let run = 0; run < count; run++) {
      const report = await runCrash({ ...parts, receiver, seed: firstSeed + run });
      tell(report);
      if (report.lost.length > 0 || report.renamed.length > 0)
        failures.push(describeReport(report), ...report.lost, ...report.renamed);
    }
    expect(failures).toEqual([]);
  }

  it(
    'lose nothing that was acknowledged',
    async () => runMany(runs, { fleet: await startFleet(options) }),
    runs * runLimitMs,
  );

  async function runWithWorker(more: WebhooksOptions = {}): Promise<void> {
    const started = await startFleet({ ...options, ...more, deliver: false });
    const { serverURL } = await started.pick(0);
    worker = await WorkerSlot.start(fresh, serverURL, { ...options, ...more });
    await runMany(workerRuns, { fleet: started, worker });
  }

  it(
    'lose nothing that was acknowledged where a worker delivers, which is killed, too',
    () => runWithWorker(),
    workerRuns * runLimitMs,
  );

  describeWithService('redis', 'with a queue', ({ address }) => {
    let redis: RedisServer;

    beforeEach(async () => {
      redis = await createRedisServer(address);
      await redis.start();
    });
    afterEach(() => redis.dispose());

    it(
      'lose nothing that was acknowledged where a worker delivers, which is killed, too',
      () => runWithWorker({ queue: { redis: redis.url } }),
      workerRuns * runLimitMs,
    );
  });

  it(
    'lose nothing when all of them die with everything still to deliver',
    async () => {
      const started = await startFleet(options);
      const report = await runCrash({
        fleet: started,
        receiver,
        seed: firstSeed,
        refuseUntilCrash: true,
        killAll: true,
      });
      tell(report);
      expect(report.lost).toEqual([]);
    },
    runLimitMs,
  );

  // The control: what tells of losses above does tell of them.
  it(
    'lose it where deliveries are kept in memory only',
    async () => {
      const started = await startFleet({ ...options, store: 'memory' });
      const report = await runCrash({
        fleet: started,
        receiver,
        seed: firstSeed,
        refuseUntilCrash: true,
        killAll: true,
      });
      tell(report);
      expect(report.lost.length).toBeGreaterThan(0);
    },
    runLimitMs,
  );
});
