// What every SubscriptionStore and EventKeyStore keeps to, and how subscriptions on a database fare: rows that are
// garbage, two nodes at once, encryption keys that change.
import ParseSdk from 'parse/node';
import type { EventKeyStore } from '../../src/events/event-key-store';
import { newHealth, type SubscriptionStore } from '../../src/events/subscription-store';
import { deriveKey } from '../../src/hooks/derive-key';
import { putUnderKey } from '../../src/hooks/key-check';
import { createSecretBox, SecretBoxes, type SecretBox } from '../../src/hooks/secret-box';
import { DatabaseEventKeyStore } from '../../src/parse/database-event-key-store';
import { DatabaseHookStore } from '../../src/parse/database-hook-store';
import { DatabaseSubscriptionStore } from '../../src/parse/database-subscription-store';
import type { DatabaseController } from '../../src/parse/internals';
import { systemClock } from '../../src/shared/clock';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { ManualClock } from '../support/manual-clock';
import { MemoryEventKeyStore } from '../support/memory-event-key-store';
import { MemorySubscriptionStore } from '../support/memory-subscription-store';
import { masterKey, startParseApplication, type ParseApplication } from '../support/parse-application';
import { boxOf } from '../support/secret-boxes';
import { silentLogger } from '../support/silent-logger';
import { openSubscriptionNode } from '../support/subscription-node';

interface Stores {
  readonly clock: ManualClock;
  readonly store: SubscriptionStore;
  /** The same storage through another instance, as on another node. */
  readonly other: SubscriptionStore;
  readonly keys: EventKeyStore;
}

const row = { objectId: 'a', name: 'orders', settings: '{"url":"it\'s \\"quoted\\""}' };
const failures = (count: number, firstAt: number, lastAt = firstAt): object => ({
  count,
  firstAt,
  lastAt,
  error: 'timeout',
});

function followsTheContract(open: () => Stores): void {
  const record = (store: SubscriptionStore, change: object): ReturnType<SubscriptionStore['recordHealth']> =>
    store.recordHealth('a', { successAt: undefined, failures: undefined, ...change });

  afterEach(async () => {
    await open().store.remove('a');
  });

  it('is empty at first, and prepare may be called again', async () => {
    const { store, other } = open();
    await Promise.all([store.prepare(), other.prepare()]);
    expect(await store.readAll()).toEqual([]);
    expect(await store.read('a')).toBeUndefined();
  });

  it('takes one row of an id, of all that try', async () => {
    const { store, other } = open();
    const tries = Array.from({ length: 10 }, (_, at) => (at % 2 ? store : other).insert(row));
    expect((await Promise.all(tries)).filter(Boolean)).toHaveLength(1);
    expect(await store.readAll()).toHaveLength(1);
  });

  it('keeps a row with when it was made and changed', async () => {
    const { clock, store, other } = open();
    const createdAt = new Date(clock.now()).toISOString();
    await store.insert(row);
    expect(await other.read('a')).toEqual({ ...row, health: newHealth, createdAt, updatedAt: createdAt });
    clock.advance(1000);
    expect(await store.writeSettings('a', '{}')).toBe(true);
    const updatedAt = new Date(clock.now()).toISOString();
    expect(await other.readAll()).toEqual([
      { ...row, settings: '{}', health: newHealth, createdAt, updatedAt },
    ]);
    expect([await store.remove('a'), await store.remove('a')]).toEqual([true, false]);
  });

  it('answers false or undefined for a row that is not there', async () => {
    const { store } = open();
    expect(await store.writeSettings('a', '{}')).toBe(false);
    expect(await store.pause('a', { at: 1, reason: 'gone' })).toBe(false);
    expect(await store.resume('a', 1)).toBe(false);
    expect(await store.claimWarning('a')).toBe(false);
    expect(await record(store, { failures: failures(1, 5) })).toBeUndefined();
    expect(await store.readAll()).toEqual([]);
  });

  it('counts the failures of all nodes together', async () => {
    const { store, other } = open();
    await store.insert(row);
    const changes = Array.from({ length: 10 }, (_, at) =>
      record(at % 2 ? store : other, { failures: failures(3, 1000 + at, 2000) }),
    );
    await Promise.all(changes);
    const health = (await store.read('a'))?.health;
    expect(health).toMatchObject({ consecutiveFailures: 30, lastFailureAt: 2000, lastError: 'timeout' });
    expect(health?.failingSince).toBeGreaterThanOrEqual(1000);
    expect(health?.failingSince).toBeLessThan(1010);
  });

  it('forgets failures before a success, and keeps those after it', async () => {
    const { store, other } = open();
    await store.insert(row);
    expect(await record(store, { failures: failures(2, 100, 200) })).toMatchObject({
      consecutiveFailures: 2,
      failingSince: 100,
    });
    expect(await record(other, { failures: failures(1, 300) })).toMatchObject({
      consecutiveFailures: 3,
      failingSince: 100,
    });
    expect(await record(other, { successAt: 400 })).toMatchObject({
      consecutiveFailures: 0,
      failingSince: undefined,
      lastSuccessAt: 400,
      lastFailureAt: 300,
    });
    expect(await record(store, { successAt: 500, failures: failures(2, 600, 700) })).toMatchObject({
      consecutiveFailures: 2,
      failingSince: 600,
      lastSuccessAt: 500,
      lastFailureAt: 700,
    });
  });

  it('lets one of all nodes warn in each spell of failures', async () => {
    const { store, other } = open();
    await store.insert(row);
    const claims = (): Promise<boolean[]> =>
      Promise.all([store.claimWarning('a'), other.claimWarning('a'), store.claimWarning('a')]);
    expect((await claims()).filter(Boolean)).toHaveLength(1);
    expect((await claims()).filter(Boolean)).toHaveLength(0);
    await record(store, { successAt: 400 });
    expect((await claims()).filter(Boolean)).toHaveLength(1);
  });

  it('pauses with a reason, and resumes as healthy', async () => {
    const { store, other } = open();
    await store.insert(row);
    await record(store, { successAt: 100, failures: failures(5, 200, 300) });
    expect(await store.pause('a', { at: 400, reason: 'failing' })).toBe(true);
    expect((await other.read('a'))?.health).toMatchObject({ pausedAt: 400, pauseReason: 'failing' });
    expect(await other.resume('a', 500)).toBe(true);
    const resumed = { ...newHealth, lastSuccessAt: 100, lastFailureAt: 300, resumedAt: 500 };
    expect((await store.read('a'))?.health).toEqual(resumed);
    // It is known of also while it is paused again, and when attempts are counted.
    await store.pause('a', { at: 600, reason: 'operator' });
    expect(await record(other, { successAt: 700 })).toMatchObject({ resumedAt: 500 });
  });

  describe('with keys of events', () => {
    const claim = { id: 'k', eventId: 'evt_1', digest: 'd', at: 5000 };

    afterEach(() => open().keys.purge(1e13));

    it('gives a key to one claim, and the others what that one wrote', async () => {
      const { keys } = open();
      await keys.prepare();
      const claims = await Promise.all(
        Array.from({ length: 6 }, (_, at) => keys.claim({ ...claim, eventId: `evt_${at}` })),
      );
      const others = claims.filter(each => each !== undefined);
      expect(others).toHaveLength(5);
      expect(new Set(others.map(({ eventId }) => eventId)).size).toBe(1);
      expect(others[0]).toMatchObject({ id: 'k', digest: 'd', at: 5000, deliveries: undefined });
      await keys.finish('k', 0);
      expect(await keys.claim(claim)).toMatchObject({ deliveries: 0 });
    });

    it('removes what is old, and no key that was claimed anew', async () => {
      const { keys } = open();
      await keys.claim(claim);
      await keys.remove('k', 4000);
      await keys.purge(5000);
      expect(await keys.claim(claim)).toBeDefined();
      await keys.remove('k', 5000);
      expect(await keys.claim(claim)).toBeUndefined();
      await keys.purge(5001);
      expect(await keys.claim(claim)).toBeUndefined();
    });
  });
}

describe('a SubscriptionStore in memory', () => {
  const clock = new ManualClock();
  const store = new MemorySubscriptionStore(clock);
  const keys = new MemoryEventKeyStore();
  followsTheContract(() => ({ clock, store, other: store, keys }));
});

describeOnEachDatabase('a SubscriptionStore in a database', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let controller: DatabaseController;
  let stores: Stores;

  beforeAll(async () => {
    fresh = await database.create();
    parse = await startParseApplication({ database: fresh, webhooks: { pollIntervalMs: 60_000 } });
    controller = (ParseSdk as unknown as { Server: { database: DatabaseController } }).Server.database;
    const clock = new ManualClock();
    const open = (): SubscriptionStore => new DatabaseSubscriptionStore({ database: controller, clock });
    stores = { clock, store: open(), other: open(), keys: new DatabaseEventKeyStore(controller) };
    await Promise.all([stores.store.prepare(), stores.keys.prepare()]);
  });

  afterAll(async () => {
    await parse.stop();
    await fresh.drop();
  });

  followsTheContract(() => stores);

  let ownBox: SecretBox;

  beforeAll(async () => {
    ownBox = createSecretBox(await deriveKey(masterKey), systemClock);
  });

  const openLock = (): DatabaseHookStore =>
    new DatabaseHookStore({ database: controller, clock: stores.clock, logger: silentLogger });
  const openNode = (boxes = new SecretBoxes(ownBox)) => {
    const { clock } = stores;
    const store = new DatabaseSubscriptionStore({ database: controller, clock });
    return openSubscriptionNode({ clock, store, lock: openLock(), boxes });
  };
  const fields = (name: string): Record<string, unknown> => ({
    name,
    url: 'https://example.com/events',
    events: ['object.*'],
    classes: ['Order'],
    headers: { 'x-api-key': 'value of a key' },
  });

  it.each(['WebhookSubscription', 'WebhookEventKey'])('shows no client the class %s', async className => {
    for (const [method, body] of [
      ['GET', undefined],
      ['POST', { name: 'mine' }],
    ] as const) {
      const { status } = await parse.client(method, `/classes/${className}`, { body });
      expect([method, status]).toEqual([method, expect.any(Number)]);
      expect(status).toBeGreaterThanOrEqual(400);
    }
    const hook = { className, triggerName: 'beforeSave', url: 'https://example.com' };
    expect((await parse.master('POST', '/hooks/triggers', { body: hook })).status).toBeGreaterThanOrEqual(
      400,
    );
  });

  describe('with registries of two nodes', () => {
    afterEach(async () => {
      for (const { objectId } of await stores.store.readAll()) await stores.store.remove(objectId);
    });

    it('makes one subscription of many creates, and shows it to the other node', async () => {
      const [a, b] = [openNode(), openNode()];
      const ticking = setInterval(() => stores.clock.advance(5), 1);
      const tries = await Promise.allSettled(
        Array.from({ length: 6 }, (_, at) => (at % 2 ? a : b).registry.create(fields('orders'))),
      ).finally(() => clearInterval(ticking));
      const refusals = tries.filter(each => each.status === 'rejected').map(({ reason }) => reason);
      expect(refusals).toHaveLength(5);
      for (const refusal of refusals)
        expect(refusal).toMatchObject({ code: 'DUPLICATE_SUBSCRIPTION', parseCode: 137 });
      await Promise.all([a.registry.refresh(), b.registry.refresh()]);
      expect(a.registry.list()).toEqual(b.registry.list());
      expect(a.registry.list()).toMatchObject([
        { name: 'orders', fields: { headers: { 'x-api-key': '********' } } },
      ]);
      expect(JSON.stringify(await stores.store.readAll())).not.toContain('value of a key');
    });

    it('tells other nodes of a pause and its end', async () => {
      const [a, b] = [openNode(), openNode()];
      const { view } = await a.registry.create(fields('orders'));
      const key = `subscription/${view.objectId}`;
      await b.registry.refresh();
      await a.registry.pause(view.objectId, 'gone');
      await b.registry.refresh();
      expect(b.registry.find(view.objectId)?.health).toMatchObject({ state: 'paused', pauseReason: 'gone' });
      expect(b.registry.endpoints.find(key)?.isPaused).toBe(true);
      expect(b.registry.endpoints.paused()).toEqual([key]);
      await b.registry.resume(view.objectId);
      await a.registry.refresh();
      expect(a.registry.endpoints.paused()).toEqual([]);
    });

    it('shows what another node has counted, without a change of the version', async () => {
      const [a, b] = [openNode(), openNode()];
      const { view } = await a.registry.create(fields('orders'));
      await b.registry.refresh();
      const failures = { count: 2, firstAt: 100, lastAt: 200, error: 'timeout' };
      await stores.store.recordHealth(view.objectId, { successAt: undefined, failures });
      stores.clock.advance(1000);
      await b.registry.refresh();
      await b.registry.refreshHealth();
      expect(b.registry.find(view.objectId)?.health).toMatchObject({
        state: 'failing',
        consecutiveFailures: 2,
        lastError: 'timeout',
      });
    });

    it('lists garbage as broken, and takes no notice of it elsewhere', async () => {
      const node = openNode();
      await node.registry.create(fields('orders'));
      const garbage = [
        { objectId: 'g1' },
        { objectId: 'g2', name: 'half' },
        { objectId: 'g3', name: 'text', settings: 'no JSON' },
        { objectId: 'g4', name: 'list', settings: '[1]' },
        { objectId: 'g5', name: 'empty', settings: '{}' },
        { objectId: 'g6', name: 'no-secret', settings: '{"url":"https://example.com","events":["*"]}' },
        { objectId: 'g7', name: 'odd', settings: '{"url":7,"events":"all","secrets":"v1.AAAA"}' },
      ];
      for (const each of garbage) await controller.create('WebhookSubscription', { ...each });
      await node.registry.reload();
      const views = node.registry.list();
      expect(views.filter(({ broken }) => broken === undefined).map(({ name }) => name)).toEqual(['orders']);
      expect(views.filter(({ broken }) => broken !== undefined)).toHaveLength(garbage.length);
      expect(node.matcher.listensTo('Order', 'create')).toBe(true);
      // Its deliveries wait: they are not those of an endpoint that is gone.
      expect(node.registry.endpoints.find('subscription/g3')).toMatchObject({ isPaused: true });
      expect(() => node.matcher.ofTest('g3', 0)).toThrow(/subscription text is broken.*JSON/);
      for (const { objectId } of garbage) await node.registry.remove(objectId);
      expect(node.registry.list()).toHaveLength(1);
    });

    it('names the subscriptions that another encryption key shuts, and seals them anew under a new one', async () => {
      await openNode().registry.create(fields('orders'));
      const another = boxOf('another');
      const wrong = openNode(new SecretBoxes(another));
      await wrong.registry.reload();
      expect(wrong.registry.undecryptable()).toEqual(['subscription orders']);
      const boxes = new SecretBoxes(another, [ownBox]);
      const rotated = openNode(boxes);
      await rotated.registry.reload();
      expect(rotated.registry.undecryptable()).toEqual([]);
      // The database stays under the former key until a start puts it under the new one.
      expect(await rotated.registry.reseal()).toBe(0);
      await openLock().exclusively(writer => putUnderKey(writer, boxes));
      expect(await rotated.registry.reseal()).toBe(1);
      expect(await rotated.registry.reseal()).toBe(0);
      await wrong.registry.reload();
      expect(wrong.registry.undecryptable()).toEqual([]);
    });
  });
});
