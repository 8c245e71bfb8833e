// A database whose disk is full: what clients are told, and what is delivered once there is room again. PostgreSQL gives
// its own error, by a trigger; in MongoDB's place a proxy gives it, in MongoDB's protocol.
import { describeOnEachDatabase, type DatabaseKind, type FreshDatabase } from '../support/databases';
import { eventually, listDeliveries, save, subscribe } from '../support/event-subscriptions';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { onPostgres } from '../support/postgres-database';
import { startRefusingMongodbProxy } from '../support/refusing-mongodb-proxy';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';
import type { WebhooksOptions } from '../../src/index';

const className = 'Kept';
const deliveries = '_webhook_delivery';

interface FillableDisk {
  /** Of the store of deliveries. */
  readonly uri: string;
  fill(): Promise<void>;
  empty(): Promise<void>;
  close(): Promise<void>;
}

async function createFillableDisk(kind: DatabaseKind, { databaseURI }: FreshDatabase): Promise<FillableDisk> {
  switch (kind) {
    case 'postgres':
      return {
        uri: databaseURI,
        // SQLSTATE disk_full, and the words that PostgreSQL has for it.
        fill: () =>
          onPostgres(databaseURI, async query => {
            await query(`CREATE FUNCTION refuse_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              RAISE EXCEPTION 'could not extend file "base/5/16384": No space left on device'
                USING ERRCODE = '53100', HINT = 'Check free disk space.'; END $$`);
            await query(
              `CREATE TRIGGER full_disk BEFORE INSERT ON "${deliveries}" EXECUTE FUNCTION refuse_full()`,
            );
          }),
        empty: () =>
          onPostgres(databaseURI, async query => {
            await query('DROP FUNCTION refuse_full CASCADE');
          }),
        close: async () => undefined,
      };
    case 'mongodb': {
      const proxy = await startRefusingMongodbProxy(databaseURI);
      return {
        uri: proxy.through(databaseURI),
        fill: async () =>
          proxy.refuse(deliveries, {
            code: 14_031,
            codeName: 'OutOfDiskSpace',
            errmsg: 'No space left on device',
          }),
        empty: async () => {
          expect(proxy.refused).toBeGreaterThan(0);
          proxy.relent();
        },
        close: () => proxy.close(),
      };
    }
    default:
      return kind satisfies never;
  }
}

describeOnEachDatabase('a store of deliveries whose disk is full', database => {
  let own: FreshDatabase;
  let other: FreshDatabase;
  let disk: FillableDisk;
  let receiver: WebhookReceiver;
  let parse: ParseApplication;

  beforeEach(async () => {
    own = await database.create();
    other = await database.create();
    disk = await createFillableDisk(database.kind, other);
    receiver = await startWebhookReceiver();
  });
  afterEach(async () => {
    await parse.stop();
    await receiver.close();
    await disk.close();
    await other.drop();
    await own.drop();
  });

  async function start(options: WebhooksOptions): Promise<void> {
    parse = await startParseApplication({
      database: own,
      webhooks: { ...options, store: { uri: disk.uri } },
    });
    await subscribe(parse, { name: 'kept', url: receiver.on('/kept', () => ({})), classes: [className] });
  }

  async function namesCome(count: number): Promise<string[]> {
    const calls = await receiver.received('/kept', count);
    return calls.map(({ body }) => body.data.object.name as string).sort();
  }

  it('"spool": saves succeed, and all is delivered, once, when there is room again', async () => {
    await start({});
    await save(parse, className, { name: 'before' });
    await namesCome(1);
    await disk.fill();
    const names = ['full-1', 'full-2', 'full-3'];
    for (const name of names) await save(parse, className, { name });
    expect(receiver.calls).toHaveLength(1);
    expect(
      parse.logs.filter(line => /error .*kept in memory and lost if .*No space left on device/.test(line)),
    ).toHaveLength(1);
    await disk.empty();
    expect(await namesCome(4)).toEqual(['before', ...names]);
    await eventually(
      () => listDeliveries(parse, { state: 'succeeded' }),
      rows => rows.length === 4,
    );
    expect(receiver.calls).toHaveLength(4);
  });

  it('"fail": the client is told that the object was saved and nobody was told', async () => {
    await start({ onStoreFailure: 'fail' });
    await disk.fill();
    const answer = await parse.client('POST', `/classes/${className}`, { body: { name: 'full' } });
    expect([answer.status, answer.body]).toEqual([
      400,
      { code: 141, error: 'the object was saved or deleted, but its webhooks could not be recorded' },
    ]);
    const { body } = await parse.master('GET', `/classes/${className}`);
    expect(body.results).toMatchObject([{ name: 'full' }]);
    await disk.empty();
    await save(parse, className, { name: 'after' });
    expect(await namesCome(1)).toEqual(['after']);
  });
});
