// The worker as its users run it: a program beside a server that only saves.
import packageJson from '../../package.json';
import { describeOnDatabase, describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { describeWithService } from '../support/describe-with-service';
import type { ChildProgram } from '../support/child-program';
import { eventually } from '../support/event-subscriptions';
import { masterKey, startParseApplication, type ParseApplication } from '../support/parse-application';
import { onPostgres } from '../support/postgres-database';
import { createRedisServer, type RedisServer } from '../support/redis-server';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';
import {
  createConfigFolder,
  createWorkerConfig,
  runProgram,
  type ConfigFolder,
} from '../support/worker-program';

describeOnEachDatabase('a worker', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let folder: ConfigFolder;
  let parse: ParseApplication | undefined;
  const workers: ChildProgram[] = [];

  beforeEach(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    folder = await createConfigFolder();
  });

  afterEach(async () => {
    await Promise.all(workers.splice(0).map(worker => worker.dispose()));
    await parse?.stop();
    parse = undefined;
    await receiver.close();
    await folder.remove();
    await fresh.drop();
  });

  /** A server that saves, and a worker that has the same options. */
  async function start(
    webhooks: Readonly<Record<string, unknown>>,
    toModule: (config: string) => string,
    fileName = 'config.cjs',
  ): Promise<ChildProgram> {
    parse = await startParseApplication({ database: fresh, webhooks: { deliver: false, ...webhooks } });
    const parseServer = {
      appId: parse.appId,
      masterKey,
      serverURL: parse.serverURL,
      databaseURI: fresh.databaseURI,
      databaseOptions: fresh.databaseOptions,
      silent: true,
      // What a worker must not run.
      cloud: './there-is-no-such-file.js',
    };
    const path = await folder.write(fileName, toModule(JSON.stringify({ parseServer, webhooks })));
    const worker = runProgram('worker', '--config', path);
    workers.push(worker);
    return worker;
  }

  async function subscribeAndSave(count: number): Promise<void> {
    const url = receiver.on('/puppies', () => ({}));
    const body = { name: 'puppies', url, events: ['object.create'], classes: ['Puppy'] };
    expect(await parse?.master('POST', '/webhooks/subscriptions', { body })).toMatchObject({ status: 201 });
    for (let number = 0; number < count; number++) {
      const saved = await parse?.client('POST', '/classes/Puppy', { body: { number } });
      expect(saved).toMatchObject({ status: 201 });
    }
  }

  /** What health says of the server's way to the queue. */
  async function untilQueueIs(wanted: string): Promise<void> {
    for (;;) {
      const health = await parse?.master('GET', '/webhooks/health');
      if (health?.body.queue === wanted) return;
    }
  }

  async function expectAllDelivered(count: number): Promise<void> {
    const calls = await receiver.received('/puppies', count);
    const numbers = calls.map(({ body }) => body.data.object.number as number);
    expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_each, index) => index));
  }

  it.each([
    ['CommonJS', 'config.cjs', (config: string) => `module.exports = ${config};`],
    ['an ESM with a default export', 'config.mjs', (config: string) => `export default ${config};`],
    ['an ESM with a function', 'config.mjs', (config: string) => `export default async () => (${config});`],
  ])(
    'delivers what a server has saved, configured by %s, and ends in order',
    async (_kind, name, toModule) => {
      const worker = await start({}, toModule, name);
      await worker.waitForLine(/^worker \d+ delivers for test-app$/);
      await subscribeAndSave(20);
      await expectAllDelivered(20);
      worker.kill('SIGTERM');
      expect(await worker.exited).toEqual({ code: 0, signal: null });
      expect(worker.stdout.at(-1)).toMatch(/^worker \d+ stops on SIGTERM$/);
      expect(worker.stderr).toEqual([]);
    },
  );

  it('ends an attempt under way before it ends itself', async () => {
    const worker = await start({}, config => `module.exports = ${config};`);
    await worker.waitForLine(/delivers/);
    await subscribeAndSave(0);
    let answer = (): void => undefined;
    receiver.on('/puppies', () => new Promise<void>(resolve => (answer = resolve)));
    await parse?.client('POST', '/classes/Puppy', { body: { number: 0 } });
    await receiver.received('/puppies', 1);
    worker.kill('SIGINT');
    await worker.waitForLine(/stops on SIGINT/);
    answer();
    expect(await worker.exited).toEqual({ code: 0, signal: null });
    const listed = await parse?.master('GET', '/webhooks/deliveries?state=succeeded');
    expect(listed?.body.results.length).toBe(1);
  });

  describeWithService('redis', 'with a queue', ({ address }) => {
    let redis: RedisServer;

    beforeEach(async () => {
      redis = await createRedisServer(address);
      await redis.start();
    });

    afterEach(() => redis.dispose());

    it('delivers each once beside another worker, also while Redis is away', async () => {
      const toModule = (config: string): string => `module.exports = ${config};`;
      const worker = await start({ queue: { redis: redis.url } }, toModule);
      const second = runProgram('worker', '--config', folder.path('config.cjs'));
      workers.push(second);
      await Promise.all([worker.waitForLine(/delivers/), second.waitForLine(/delivers/)]);
      await subscribeAndSave(20);
      await untilQueueIs('connected');
      await redis.kill();
      for (let number = 20; number < 40; number++) {
        expect(await parse?.client('POST', '/classes/Puppy', { body: { number } })).toMatchObject({
          status: 201,
        });
      }
      await untilQueueIs('disconnected');
      await expectAllDelivered(40);
      worker.kill('SIGTERM');
      expect(await worker.exited).toEqual({ code: 0, signal: null });
    });
  });
});

describeOnDatabase('postgres', 'a worker that starts beside another process', database => {
  it('starts although PostgreSQL refuses to replace the function that the other one replaces', async () => {
    const fresh = await database.create();
    const folder = await createConfigFolder();
    const parse = await startParseApplication({ database: fresh, webhooks: { deliver: false } });
    let worker: ChildProgram | undefined;
    try {
      const config = await folder.write('config.cjs', createWorkerConfig(fresh, parse.serverURL));
      await onPostgres(fresh.databaseURI, async query => {
        await query('BEGIN');
        await query(`CREATE OR REPLACE FUNCTION idempotency_delete_expired_records() RETURNS void
          LANGUAGE plpgsql AS $$ BEGIN DELETE FROM "_Idempotency" WHERE expire < NOW(); END; $$`);
        worker = runProgram('worker', '--config', config);
        // In a session of its own: a transaction sees the sessions as they were at its first look.
        await onPostgres(fresh.databaseURI, look =>
          eventually(
            () =>
              look(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
              ),
            waiting => waiting.length > 0,
          ),
        );
        await query('COMMIT');
        await worker.waitForLine(/^worker \d+ delivers for/);
      });
      expect(worker?.stderr).toEqual([]);
    } finally {
      await worker?.dispose();
      await parse.stop();
      await folder.remove();
      await fresh.drop();
    }
  });
});

describe('the command line', () => {
  let folder: ConfigFolder;

  beforeEach(async () => {
    folder = await createConfigFolder();
  });

  afterEach(() => folder.remove());

  it('tells its version and its use', async () => {
    const version = runProgram('--version');
    expect(await version.exited).toMatchObject({ code: 0 });
    expect(version.stdout).toEqual([packageJson.version]);
    const help = runProgram('worker', '--help');
    expect(await help.exited).toMatchObject({ code: 0 });
    expect(help.stdout.join('\n')).toContain('--config <file>');
  });

  it.each([
    ['', /--config <file>' not specified/],
    ['module.exports = 5;', /must export an object or a function/],
    ['module.exports = {};', /must export parseServer, an object/],
    ['module.exports = { parseServer: {}, webhooks: 5 };', /webhooks must be an object/],
    ['throw new Error("no\\nsecret");', /cannot be loaded: no secret/],
    ['module.exports = { parseServer: {} };', /appId must be given/],
    ['module.exports = { parseServer: { appId: "a" }, webhooks: { nope: 1 } };', /nope/],
  ])('refuses the configuration "%s" in one line', async (code, message) => {
    const words = code === '' ? [] : ['--config', await folder.write('config.cjs', code)];
    const program = runProgram('worker', ...words);
    expect(await program.exited).toEqual({ code: 2, signal: null });
    expect(program.stderr.length).toBe(1);
    expect(program.stderr[0]).toMatch(message);
    expect(program.stdout).toEqual([]);
  });

  it('says in one line why it could not start', async () => {
    const parseServer = {
      appId: 'test-app',
      masterKey,
      serverURL: 'http://127.0.0.1:9/parse',
      databaseURI: 'postgres://nobody@127.0.0.1:9/none',
      silent: true,
    };
    const path = await folder.write('config.cjs', `module.exports = ${JSON.stringify({ parseServer })};`);
    const program = runProgram('worker', '--config', path);
    expect(await program.exited).toEqual({ code: 1, signal: null });
    expect(program.stderr).toEqual([expect.stringMatching(/^error: .*ECONNREFUSED/)]);
  });
});
