// A database that is really stopped and started again, on the same data and the same port, while saves go on and
// deliveries wait. Only PostgreSQL: docs/testing.md says why.
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { eventually, listDeliveries, save, subscribe } from '../support/event-subscriptions';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { createPostgresDatabase } from '../support/postgres-database';
import { RestartablePostgres } from '../support/restartable-postgres';
import { Reply, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const className = 'Kept';
/** SQLSTATE cannot_connect_now: the server starts up or shuts down. */
const cannotConnectNow = '57P03';
const testLimitMs = 120_000;

describeOnDatabase('postgres', 'a database that is stopped and started again', database => {
  let server: RestartablePostgres;
  let shared: FreshDatabase;
  let restarted: FreshDatabase;
  let receiver: WebhookReceiver;
  let parse: ParseApplication;
  /** What `/kept` answers 500 to, so that it waits. */
  let isRefusing = false;

  beforeEach(async () => {
    isRefusing = false;
    server = await RestartablePostgres.start();
    shared = await database.create();
    restarted = await createPostgresDatabase(server.uri, 'restarted');
    receiver = await startWebhookReceiver();
  }, testLimitMs);

  afterEach(async () => {
    await parse.stop();
    await receiver.close();
    await shared.drop();
    await server.dispose();
  }, testLimitMs);

  const taken = new Set<string>();

  async function listen(): Promise<void> {
    taken.clear();
    const url = receiver.on('/kept', ({ body }) => {
      if (isRefusing) return new Reply(500, '');
      taken.add(String(body.data.object.name));
      return undefined;
    });
    await subscribe(parse, {
      name: 'kept',
      url,
      classes: [className],
      retry: { scheduleMs: Array.from({ length: 40 }, () => 500), jitter: 0 },
    });
  }

  /** Leaves three deliveries that wait for a retry in the database. */
  async function saveWaiting(): Promise<string[]> {
    isRefusing = true;
    const names = ['waits-1', 'waits-2', 'waits-3'];
    for (const name of names) await save(parse, className, { name });
    await receiver.received('/kept', names.length);
    return names;
  }

  async function expectDelivered(names: readonly string[]): Promise<void> {
    await eventually(
      () => listDeliveries(parse, { state: 'pending' }),
      rows => rows.length === 0 && names.every(name => taken.has(name)),
    );
    expect(names.filter(name => !taken.has(name))).toEqual([]);
    expect(await listDeliveries(parse, { state: 'exhausted' })).toEqual([]);
  }

  it(
    'holding deliveries only: every save succeeds, and all of it is delivered',
    async () => {
      parse = await startParseApplication({
        database: shared,
        webhooks: { store: { uri: restarted.databaseURI } },
      });
      await listen();
      const names = await saveWaiting();
      let isOver = false;
      const client = async (prefix: string): Promise<void> => {
        for (let n = 0; !isOver; n++) {
          await save(parse, className, { name: `${prefix}-${n}` });
          names.push(`${prefix}-${n}`);
        }
      };
      const clients = [client('a'), client('b')];
      await server.stop();
      isRefusing = false;
      const { started, letGo } = await server.beginStart();
      await eventually(
        () => server.meet(),
        code => code === cannotConnectNow,
      );
      // With nothing but that error to be had from it.
      const savedBefore = names.length;
      await eventually(
        async () => names.length,
        count => count > savedBefore + 10,
      );
      expect(await server.meet()).toBe(cannotConnectNow);
      await letGo();
      await started;
      await eventually(
        async () => parse.logs.filter(line => /store of deliveries works again/.test(line)).length,
        count => count > 0,
      );
      isOver = true;
      await Promise.all(clients);
      await expectDelivered(names);
    },
    testLimitMs,
  );

  it(
    'holding everything: what was acknowledged is delivered, without a restart of the server',
    async () => {
      parse = await startParseApplication({ database: restarted });
      await listen();
      const names = await saveWaiting();
      let isOver = false;
      let refused = 0;
      const client = async (prefix: string): Promise<void> => {
        for (let n = 0; !isOver; n++) {
          const name = `${prefix}-${n}`;
          const { status } = await parse.client('POST', `/classes/${className}`, { body: { name } });
          if (status === 201) names.push(name);
          else refused += 1;
        }
      };
      const clients = [client('a'), client('b')];
      await server.stop();
      isRefusing = false;
      const { started, letGo } = await server.beginStart();
      await eventually(
        () => server.meet(),
        code => code === cannotConnectNow,
      );
      const refusedBefore = refused;
      await eventually(
        async () => refused,
        count => count > refusedBefore + 5,
      );
      const acknowledged = names.length;
      await letGo();
      await started;
      await eventually(
        async () => names.length,
        count => count > acknowledged + 20,
      );
      isOver = true;
      await Promise.all(clients);
      await expectDelivered(names);
    },
    testLimitMs,
  );
});
