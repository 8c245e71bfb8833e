// What both kinds of dispatch promise, on every store: all in one process, and a queue in Redis with workers behind it.
import type { EndpointKey, NewDelivery } from '../../src/events/delivery';
import type { DeliveryStore } from '../../src/events/delivery-store';
import { describeOnEachDatabase } from '../support/databases';
import { openDatabaseStore, openMemoryStore, type OpenedStore } from '../support/delivery-stores';
import { describeWithService } from '../support/describe-with-service';
import {
  createRedisFleet,
  startInProcessFleet,
  type Fleet,
  type FleetParts,
} from '../support/dispatch-fleets';
import {
  AttemptLedger,
  newDeliveries,
  newDelivery,
  RecordingLogger,
  TestEndpoints,
} from '../support/dispatching';
import { createRedisServer, type RedisServer } from '../support/redis-server';
import { Reply, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

interface Kind {
  /** With `deliverers` that deliver, the process that saves among them if it does. */
  start(parts: FleetParts, deliverers: number): Promise<Fleet>;
}

const hour = 3_600_000;

describe('dispatch in the process', () => {
  const kind: Kind = {
    start: async (parts, deliverers) => {
      const fleet = await startInProcessFleet(parts);
      for (let count = 1; count < deliverers; count++) await fleet.addDeliverer();
      return fleet;
    },
  };
  describeStores(kind);
});

describeWithService('redis', 'dispatch through a queue', ({ address }) => {
  let redis: RedisServer;

  beforeAll(async () => {
    redis = await createRedisServer(address);
    await redis.start();
  });

  afterAll(() => redis.dispose());

  const kind: Kind = {
    start: async (parts, deliverers) => {
      await redis.flushAll();
      const fleet = createRedisFleet(parts, { redis: redis.url });
      for (let count = 0; count < deliverers; count++) await fleet.addDeliverer();
      return fleet;
    },
  };
  describeStores(kind);
});

function describeStores(kind: Kind): void {
  describe('in memory', () => contract(kind, openMemoryStore));
  describeOnEachDatabase('in a database', database => contract(kind, () => openDatabaseStore(database)));
}

function contract(kind: Kind, openStore: () => Promise<OpenedStore>): void {
  let opened: OpenedStore;
  let store: DeliveryStore;
  let endpoints: TestEndpoints;
  let ledger: AttemptLedger;
  let receiver: WebhookReceiver;
  let fleet: Fleet | undefined;

  beforeEach(async () => {
    opened = await openStore();
    store = opened.store;
    endpoints = new TestEndpoints();
    ledger = new AttemptLedger();
    receiver = await startWebhookReceiver();
  });

  afterEach(async () => {
    await fleet?.stop();
    fleet = undefined;
    await receiver.close();
    await opened.dispose();
  });

  async function start(deliverers = 1): Promise<Fleet> {
    const logger = new RecordingLogger();
    fleet = await kind.start({ store, endpoints, observer: ledger, logger, pollMs: 100 }, deliverers);
    return fleet;
  }

  function serve(name: string, fields: Parameters<TestEndpoints['set']>[1] = {}): EndpointKey {
    const key = `subscription/${name}`;
    endpoints.set(key, { url: receiver.on(`/${name}`, () => ({})), ...fields });
    return key;
  }

  const idsAt = (name: string): (string | string[] | undefined)[] =>
    receiver.calls.filter(({ path }) => path === `/${name}`).map(({ headers }) => headers['webhook-id']);

  const sentIds = (): (string | string[] | undefined)[] =>
    receiver.calls.map(({ headers }) => headers['webhook-id']).sort();

  const webhookIdsOf = (deliveries: readonly NewDelivery[]): string[] =>
    deliveries.map(({ webhookId }) => webhookId).sort();

  it('delivers everything that was taken in, each once', async () => {
    const { outbox } = await start();
    const deliveries = ['one', 'two', 'three'].flatMap(name => newDeliveries(200, serve(name)));
    await Promise.all(deliveries.map(delivery => outbox.add([delivery])));
    await ledger.until(() => ledger.ended.length >= 600);
    expect(sentIds()).toEqual(webhookIdsOf(deliveries));
    expect(await store.countByState({})).toMatchObject({ pending: 0, succeeded: 600 });
  });

  it('delivers each once while several deliver', async () => {
    const { outbox } = await start(3);
    const deliveries = newDeliveries(400, serve('good'));
    await Promise.all(deliveries.map(delivery => outbox.add([delivery])));
    await ledger.until(() => ledger.ended.length >= 400);
    expect(sentIds()).toEqual(webhookIdsOf(deliveries));
  });

  it('delivers once what is named twice', async () => {
    const { outbox, announce } = await start(2);
    const deliveries = newDeliveries(100, serve('good'));
    await outbox.add(deliveries);
    await announce(deliveries);
    await announce(deliveries);
    await ledger.until(() => ledger.ended.length >= 100);
    const last = newDelivery(serve('last'));
    await outbox.add([last]);
    await ledger.until(() => ledger.ended.length >= 101);
    expect(sentIds()).toEqual(webhookIdsOf([...deliveries, last]));
  });

  it('delays nothing for an endpoint that is slow', async () => {
    const { outbox } = await start();
    const slow = serve('slow', { timeoutMs: 20_000 });
    const answers: (() => void)[] = [];
    receiver.on('/slow', () => new Promise<void>(resolve => answers.push(resolve)));
    await outbox.add(newDeliveries(600, slow));
    await receiver.received('/slow', 16);
    const good = serve('good');
    const deliveries = newDeliveries(100, good);
    await Promise.all(deliveries.map(delivery => outbox.add([delivery])));
    await ledger.until(() => ledger.of(good).length >= 100);
    expect(ledger.of(slow)).toEqual([]);
    expect(idsAt('slow').length).toBe(16);
    expect(idsAt('good').sort()).toEqual(webhookIdsOf(deliveries));
  });

  it('leaves alone what another node has', async () => {
    const { outbox, announce } = await start();
    const key = serve('good');
    const taken = newDeliveries(20, key);
    await store.insert(taken, { owner: 'another node', expiresAt: Date.now() + hour });
    await announce(taken);
    const own = newDeliveries(20, key);
    await outbox.add(own);
    await ledger.until(() => ledger.ended.length >= 20);
    expect(sentIds()).toEqual(webhookIdsOf(own));
  });

  it('asks nothing of ids that are not in the store', async () => {
    const { outbox, announce } = await start();
    const key = serve('good');
    await announce(newDeliveries(20, key));
    const known = newDelivery(key);
    await outbox.add([known]);
    await ledger.until(() => ledger.ended.length >= 1);
    expect(sentIds()).toEqual([known.webhookId]);
  });

  it('tries again by the schedule', async () => {
    const { outbox } = await start();
    const key = serve('flaky', { retry: { scheduleMs: [10, 20], jitter: 0 } });
    let calls = 0;
    receiver.on('/flaky', () => (++calls < 3 ? new Reply(500, 'no') : {}));
    const delivery = newDelivery(key);
    await outbox.add([delivery]);
    await ledger.until(() => ledger.ended.length >= 3);
    expect((await store.get(delivery.id))?.delivery).toMatchObject({ state: 'succeeded', attemptCount: 3 });
  });

  it('keeps what is due later until then', async () => {
    const { outbox } = await start();
    const key = serve('good');
    const later = newDelivery(key, { nextAttemptAt: Date.now() + hour });
    const now = newDelivery(key);
    await outbox.add([later, now]);
    await ledger.until(() => ledger.ended.length >= 1);
    expect(sentIds()).toEqual([now.webhookId]);
    expect(await store.countByState({})).toMatchObject({ pending: 1, succeeded: 1 });
  });

  it('keeps the backlog of a paused endpoint', async () => {
    const { outbox } = await start();
    const paused = serve('paused', { isPaused: true });
    await outbox.add(newDeliveries(30, paused));
    await outbox.add(newDeliveries(30, serve('good')));
    await ledger.until(() => ledger.ended.length >= 30);
    expect(idsAt('paused')).toEqual([]);
    endpoints.set(paused, { isPaused: false });
    await ledger.until(() => ledger.of(paused).length >= 30);
    expect(new Set(idsAt('paused')).size).toBe(30);
  });

  it('goes on with what was written while nobody delivered', async () => {
    const deliveries = newDeliveries(300, serve('good'));
    await store.insert(deliveries, undefined);
    await start(2);
    await ledger.until(() => ledger.ended.length >= 300);
    expect(sentIds()).toEqual(webhookIdsOf(deliveries));
  });

  it('hands on what a deliverer leaves behind when it stops', async () => {
    const started = await start();
    const leaving = await started.addDeliverer();
    const deliveries = newDeliveries(600, serve('good'));
    const added = Promise.all(deliveries.map(delivery => started.outbox.add([delivery])));
    await receiver.received('/good', 100);
    await leaving.stop(20_000);
    await added;
    await ledger.until(() => ledger.countById().size >= 600);
    expect(sentIds()).toEqual(webhookIdsOf(deliveries));
  });
}
