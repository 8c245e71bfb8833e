// What is particular to deliveries on MongoDB: inserts whose answer is lost.
import type { NewDelivery } from '../../src/events/delivery';
import { MongodbDeliveryStore } from '../../src/events/mongodb-delivery-store';
import { Outbox } from '../../src/events/outbox';
import { systemClock } from '../../src/shared/clock';
import { silentLogger } from '../../src/shared/logger';
import { startCuttableProxy } from '../support/cuttable-proxy';
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { newDelivery } from '../support/dispatching';

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
});
