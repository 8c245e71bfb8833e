// The store of deliveries fails while Parse Server's own database works: what clients are told, and what is delivered after it.
import { describeOnDatabase, describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startCuttableProxy, type CuttableProxy } from '../support/cuttable-proxy';
import { eventually, listDeliveries, save, subscribe } from '../support/event-subscriptions';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { onPostgres } from '../support/postgres-database';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';
import type { WebhooksOptions } from '../../src/index';

const className = 'Kept';
/** Longest that a save waits for the store (Outbox), and as much again for a busy machine. */
const saveLimitMs = 10_000;

async function listen(parse: ParseApplication, receiver: WebhookReceiver): Promise<void> {
  await subscribe(parse, { name: 'kept', url: receiver.on('/kept', () => ({})), classes: [className] });
}

/** Names of the objects that came, each as often as it came. */
async function namesCome(receiver: WebhookReceiver, count: number): Promise<string[]> {
  const calls = await receiver.received('/kept', count);
  return calls.map(({ body }) => body.data.object.name as string).sort();
}

describeOnEachDatabase('a store of deliveries that cannot be reached', database => {
  let own: FreshDatabase;
  let other: FreshDatabase;
  let proxy: CuttableProxy;
  let receiver: WebhookReceiver;
  let parse: ParseApplication | undefined;

  beforeEach(async () => {
    own = await database.create();
    other = await database.create();
    proxy = await startCuttableProxy(other.databaseURI);
    receiver = await startWebhookReceiver();
  });
  afterEach(async () => {
    await parse?.stop();
    parse = undefined;
    await receiver.close();
    await proxy.close();
    await other.drop();
    await own.drop();
  });

  async function start(options: WebhooksOptions): Promise<ParseApplication> {
    parse = await startParseApplication({
      database: own,
      webhooks: { ...options, store: { uri: proxy.through(other.databaseURI) } },
    });
    await listen(parse, receiver);
    return parse;
  }

  it('"spool": saves succeed, and all is delivered once it is back', async () => {
    const started = await start({});
    await save(started, className, { name: 'before' });
    await namesCome(receiver, 1);
    const cut = proxy.cutAt('the-cut');
    const startedAt = performance.now();
    await save(started, className, { name: 'the-cut' });
    await cut;
    for (const name of ['while-1', 'while-2', 'while-3']) await save(started, className, { name });
    expect(performance.now() - startedAt).toBeLessThan(saveLimitMs);
    expect(
      started.logs.filter(line => /error .*kept in memory and lost if this process ends/.test(line)),
    ).toHaveLength(1);
    await proxy.mend();
    expect(new Set(await namesCome(receiver, 5))).toEqual(
      new Set(['before', 'the-cut', 'while-1', 'while-2', 'while-3']),
    );
    await eventually(
      () => listDeliveries(started, { state: 'pending' }),
      rows => rows.length === 0,
    );
    expect(receiver.calls).toHaveLength(5);
    expect(started.logs.filter(line => /store of deliveries works again/.test(line))).toHaveLength(1);
  });

  // Not on MongoDB: there a timer outlives the server by up to the operation's limit, and jest calls it an open handle.
  if (database.kind === 'postgres') {
    it('the server stops in time when nothing comes from it and nothing ends', async () => {
      const started = await start({ drainTimeoutMs: 100 });
      await save(started, className, { name: 'before' });
      await namesCome(receiver, 1);
      proxy.silence();
      await save(started, className, { name: 'unheard' });
      const startedAt = performance.now();
      await started.stop();
      parse = undefined;
      // Before the limit of the operation that hangs, which would end it anyhow.
      expect(performance.now() - startedAt).toBeLessThan(25_000);
      expect(started.logs.filter(line => /are lost/.test(line))).toHaveLength(1);
    });
  }

  it('"fail": the client is told that the object was saved and nobody was told', async () => {
    const started = await start({ onStoreFailure: 'fail' });
    const cut = proxy.cutAt('the-cut');
    const answer = await started.client('POST', `/classes/${className}`, { body: { name: 'the-cut' } });
    await cut;
    expect([answer.status, answer.body]).toEqual([
      400,
      { code: 141, error: 'the object was saved or deleted, but its webhooks could not be recorded' },
    ]);
    const { body } = await started.master('GET', `/classes/${className}`);
    expect(body.results).toMatchObject([{ name: 'the-cut' }]);
    const [{ objectId }] = (await started.master('GET', '/webhooks/subscriptions')).body.results;
    const test = await started.master('POST', `/webhooks/subscriptions/${objectId}/test`);
    expect([test.status, test.body]).toEqual([
      503,
      { code: 124, error: 'the event could not be recorded; try again later' },
    ]);
    await proxy.mend();
    const again = await eventually(
      () => started.client('POST', `/classes/${className}`, { body: { name: 'after' } }),
      ({ status }) => status === 201,
    );
    expect(again.status).toBe(201);
    expect(
      await eventually(
        () => namesCome(receiver, 1),
        names => names.includes('after'),
      ),
    ).toContain('after');
  });
});

describeOnDatabase('postgres', 'a store of deliveries that restarts or turns read-only', database => {
  let own: FreshDatabase;
  let other: FreshDatabase;
  let receiver: WebhookReceiver;
  let parse: ParseApplication;

  beforeEach(async () => {
    own = await database.create();
    other = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: own, webhooks: { store: { uri: other.databaseURI } } });
    await listen(parse, receiver);
  });
  afterEach(async () => {
    await parse.stop();
    await receiver.close();
    await other.drop();
    await own.drop();
  });

  /** Runs a statement on Parse Server's database, with `$name` for the name of the store's, and ends the store's sessions. */
  async function disturb(statement?: string): Promise<void> {
    const name = new URL(other.databaseURI).pathname.slice(1);
    await onPostgres(own.databaseURI, async query => {
      if (statement !== undefined) await query(statement.replace('$name', `"${name}"`));
      await query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`);
    });
  }

  it('all is delivered although every session ends again and again under load', async () => {
    const names = Array.from({ length: 60 }, (_, n) => `n${String(n).padStart(2, '0')}`);
    const queue = [...names];
    const client = async (): Promise<void> => {
      for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
        await save(parse, className, { name });
        if (queue.length % 15 === 0) await disturb();
      }
    };
    await Promise.all(Array.from({ length: 4 }, client));
    await eventually(
      () => listDeliveries(parse, { state: 'pending' }),
      rows => rows.length === 0 && receiver.calls.length >= names.length,
    );
    expect([...new Set(await namesCome(receiver, names.length))]).toEqual(names);
  });

  it('saves succeed while it is read-only, and are delivered when it no longer is', async () => {
    await disturb('ALTER DATABASE $name SET default_transaction_read_only = on');
    for (const name of ['a', 'b']) await save(parse, className, { name });
    expect(receiver.calls).toEqual([]);
    await disturb('ALTER DATABASE $name RESET default_transaction_read_only');
    expect(await namesCome(receiver, 2)).toEqual(['a', 'b']);
  });
});
