// What is particular to deliveries on MongoDB: inserts whose answer is lost, and what it is asked for.
import { MongoClient, type Document } from 'mongodb';
import type { NewDelivery } from '../../src/events/delivery';
import { MongodbDeliveryStore } from '../../src/events/mongodb-delivery-store';
import { Outbox } from '../../src/events/outbox';
import { systemClock } from '../../src/shared/clock';
import { startCuttableProxy } from '../support/cuttable-proxy';
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { newDeliveries, newDelivery } from '../support/dispatching';
import { silentLogger } from '../support/silent-logger';

describeOnDatabase('mongodb', 'deliveries on MongoDB', database => {
  let fresh: FreshDatabase;

  beforeEach(async () => {
    fresh = await database.create();
  });

  afterEach(() => fresh.drop());

  /** A store behind a proxy; `inserts` are the calls of `insert`, oldest first. */
  async function openBehindProxy() {
    const proxy = await startCuttableProxy(fresh.databaseURI);
    const store = new MongodbDeliveryStore({
      connection: proxy.through(fresh.databaseURI),
      clock: systemClock,
      logger: silentLogger,
    });
    await store.migrate();
    return {
      proxy,
      store,
      close: async () => {
        await store.close();
        await proxy.close();
      },
    };
  }

  it('keeps what a second insert met as its own, when the first one fails after all', async () => {
    const { proxy, store, close } = await openBehindProxy();
    const delivery = newDelivery('somewhere');
    const muted = proxy.muteAt(delivery.id);
    const first = store.insert([delivery], undefined);
    const cut = await muted;
    const isThere = async (): Promise<boolean> => (await store.get(delivery.id)) !== undefined;
    while (!(await isThere()));
    await expect(store.insert([delivery], undefined)).rejects.toMatchObject({ fault: 'repeated-id' });
    cut();
    await expect(first).rejects.not.toMatchObject({ fault: expect.anything() });
    expect(await isThere()).toBe(true);
    await close();
  });

  it('loses nothing that was acknowledged when an answer is lost and its connection ends later', async () => {
    const { proxy, store, close } = await openBehindProxy();
    const delivery = newDelivery('somewhere');
    const inserts: Promise<void>[] = [];
    const insert = (deliveries: readonly NewDelivery[]): Promise<void> => {
      const inserting = store.insert(deliveries, undefined);
      inserts.push(inserting);
      return inserting;
    };
    const outbox = new Outbox({
      store: { insert },
      clock: systemClock,
      logger: silentLogger,
      options: { insertTimeoutMs: 100, spool: { firstDelayMs: 10 } },
    });
    const muted = proxy.muteAt(delivery.id);
    await outbox.add([delivery]);
    const cut = await muted;
    await outbox.stop(10_000);
    expect(outbox.spooled).toBe(0);
    cut();
    await Promise.allSettled(inserts);
    expect(await store.get(delivery.id)).toBeDefined();
    await close();
  });

  /** Runs `use` and gives the commands of that name that the driver sent meanwhile. */
  async function commandsOf(name: string, use: (store: MongodbDeliveryStore) => Promise<unknown>) {
    const client = new MongoClient(fresh.databaseURI, { monitorCommands: true });
    const store = new MongodbDeliveryStore({
      connection: client.db(),
      clock: systemClock,
      logger: silentLogger,
    });
    await store.migrate();
    await store.insert(newDeliveries(2500, 'somewhere'), undefined);
    await store.cancel('somewhere', 1000);
    const commands: Document[] = [];
    client.on('commandStarted', ({ commandName, command }) => {
      if (commandName === name) commands.push(command);
    });
    await use(store);
    await client.close();
    return commands;
  }

  it('counts what is kept once per purge, and not at all when there are fewer documents', async () => {
    const commands = await commandsOf('find', async store => {
      expect(await store.findLastKept(2500)).toBeUndefined();
      const lastKept = await store.findLastKept(400);
      expect(lastKept && (await store.purge(lastKept))).toBe(2100);
    });
    expect(commands.flatMap(({ skip }) => (typeof skip === 'number' ? [skip] : []))).toEqual([399]);
  });

  it('cancels many in steps, none of which takes long', async () => {
    const commands = await commandsOf('update', async store => {
      await store.insert(newDeliveries(2500, 'elsewhere'), undefined);
      expect(await store.cancel('elsewhere', 1000)).toBe(2500);
    });
    const sizes = commands.map(({ updates }) => updates[0].q._id.$in.length as number);
    expect(sizes).toEqual([1000, 1000, 500]);
  });

  it('asks the index for attempts between both ends of the time of its statistics', async () => {
    const commands = await commandsOf('aggregate', store =>
      store.stats({ since: 60_000, until: 120_000, bucketMs: 60_000, endpoint: 'somewhere' }),
    );
    expect(commands.map(({ pipeline }) => pipeline[0])).toEqual([
      {
        $match: {
          endpoint: 'somewhere',
          attempts: { $elemMatch: { startedAt: { $gte: 60_000, $lt: 120_000 } } },
        },
      },
    ]);
  });
});
