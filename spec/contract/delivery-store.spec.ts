// What a DeliveryStore promises, on every implementation of it.
import fc from 'fast-check';
import type { Attempt, Delivery, DeliveryProgress, NewDelivery } from '../../src/events/delivery';
import type {
  ClaimRequest,
  DeliveryFilter,
  DeliveryStore,
  FinishedAttempt,
  FinishedPlace,
} from '../../src/events/delivery-store';
import { MemoryDeliveryStore } from '../../src/events/memory-delivery-store';
import { MongodbDeliveryStore } from '../../src/events/mongodb-delivery-store';
import { PostgresDeliveryStore } from '../../src/events/postgres-delivery-store';
import { systemClock } from '../../src/shared/clock';
import { describeOnEachDatabase } from '../support/databases';
import { silentLogger } from '../support/silent-logger';

interface TestStores {
  /** A store with connections of its own on the same deliveries; not migrated. */
  open(): DeliveryStore;
  dispose(): Promise<void>;
}

const noon = Date.UTC(2026, 0, 15, 12);
const minute = 60_000;
const lease = { owner: 'node-a', expiresAt: noon + minute };
const everything: Omit<ClaimRequest, 'lease'> = {
  now: noon,
  limit: 1000,
  limitPerEndpoint: 1000,
  except: [],
};

const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

let created = 0;

function newDelivery(fields: Partial<NewDelivery> = {}): NewDelivery {
  const id = `dlv_${String(++created).padStart(26, '0')}`;
  return {
    id,
    webhookId: `msg_${id}`,
    endpoint: 'subscription/one',
    type: 'object.create',
    className: 'Puppy',
    objectId: 'abc',
    body: `{"id":"${id}"}`,
    createdAt: noon,
    nextAttemptAt: noon,
    isTest: false,
    depth: 1,
    traceparent: undefined,
    ...fields,
  };
}

function newDeliveries(count: number, fields: Partial<NewDelivery> = {}): NewDelivery[] {
  return Array.from({ length: count }, () => newDelivery(fields));
}

function attemptOf(deliveryId: string, fields: Partial<Attempt> = {}): Attempt {
  return {
    deliveryId,
    number: 1,
    startedAt: noon,
    durationMs: 12.5,
    status: 200,
    error: undefined,
    phase: 'done',
    reply: undefined,
    node: 'node-a',
    ...fields,
  };
}

const succeeded: DeliveryProgress = {
  state: 'succeeded',
  attemptCount: 1,
  nextAttemptAt: undefined,
  lastStatus: 200,
  lastError: undefined,
  finishedAt: noon + 1,
};

function retryAt(nextAttemptAt: number, attemptCount = 1): DeliveryProgress {
  return {
    state: 'pending',
    attemptCount,
    nextAttemptAt,
    lastStatus: undefined,
    lastError: 'timeout',
    finishedAt: undefined,
  };
}

function finishedAs(
  deliveryId: string,
  progress: Partial<DeliveryProgress> = {},
  attempt: Partial<Attempt> = {},
): FinishedAttempt {
  return {
    attempt: attemptOf(deliveryId, attempt),
    owner: lease.owner,
    progress: { ...succeeded, ...progress },
  };
}

const idsOf = (deliveries: readonly { readonly id: string }[]): string[] => deliveries.map(({ id }) => id);

describe('a delivery store in memory', () => {
  contract(async () => {
    const store = new MemoryDeliveryStore();
    return { open: () => store, dispose: () => store.close() };
  });

  it('drops what is finished to make room, and refuses when all is pending', async () => {
    const store = new MemoryDeliveryStore({ maxRows: 3 });
    const [old, ...others] = newDeliveries(3);
    await store.insert([old!], lease);
    await store.insert(others, undefined);
    await store.finish([finishedAs(old!.id)]);
    const next = newDelivery();
    await store.insert([next], undefined);
    await expect(store.get(old!.id)).resolves.toBeUndefined();
    await expect(store.insert([newDelivery()], undefined)).rejects.toMatchObject({ fault: 'full' });
    expect((await store.countByState({})).pending).toBe(3);
  });
});

describeOnEachDatabase('a delivery store', database => {
  contract(async () => {
    const fresh = await database.create();
    const opened: DeliveryStore[] = [];
    return {
      open: () => {
        const parts = { connection: fresh.databaseURI, clock: systemClock, logger: silentLogger };
        const store =
          database.kind === 'postgres' ? new PostgresDeliveryStore(parts) : new MongodbDeliveryStore(parts);
        opened.push(store);
        return store;
      },
      dispose: async () => {
        await Promise.all(opened.map(store => store.close()));
        await fresh.drop();
      },
    };
  });
});

function contract(setUp: () => Promise<TestStores>): void {
  let stores: TestStores;
  let store: DeliveryStore;

  beforeEach(async () => {
    stores = await setUp();
    store = stores.open();
    await store.migrate();
  });

  afterEach(() => stores.dispose());

  /** Inserts with the lease of node-a and finishes at once. */
  async function insertFinished(
    deliveries: readonly NewDelivery[],
    progress: Partial<DeliveryProgress> = {},
    attempt: Partial<Attempt> = {},
  ): Promise<void> {
    await store.insert(deliveries, lease);
    const held = await store.finish(deliveries.map(({ id }) => finishedAs(id, progress, attempt)));
    expect(held).toHaveLength(deliveries.length);
  }

  async function getDelivery(id: string): Promise<Delivery> {
    const found = await store.get(id);
    if (found === undefined) throw new Error(`no delivery ${id}`);
    return found.delivery;
  }

  const claimAll = (fields: Partial<ClaimRequest> = {}): Promise<readonly Delivery[]> =>
    store.claim({ lease, ...everything, ...fields });

  describe('migrate', () => {
    it('can run again and keeps what is there', async () => {
      const delivery = newDelivery();
      await store.insert([delivery], undefined);
      await store.migrate();
      await expect(getDelivery(delivery.id)).resolves.toMatchObject({ id: delivery.id });
    });

    it('can run on many nodes at once', async () => {
      const other = await setUp();
      try {
        const nodes = Array.from({ length: 4 }, () => other.open());
        await Promise.all(nodes.map(node => node.migrate()));
        await nodes[0]!.insert([newDelivery()], undefined);
        await expect(nodes[3]!.countByState({})).resolves.toMatchObject({ pending: 1 });
      } finally {
        await other.dispose();
      }
    });
  });

  describe('insert', () => {
    it('keeps every field', async () => {
      const delivery = newDelivery({ nextAttemptAt: noon + 5, isTest: true, depth: 3, traceparent });
      await store.insert([delivery], undefined);
      expect(await store.get(delivery.id)).toEqual({
        delivery: {
          ...delivery,
          state: 'pending',
          attemptCount: 0,
          attemptsBeforeReplay: 0,
          lastStatus: undefined,
          lastError: undefined,
          finishedAt: undefined,
        },
        attempts: [],
      });
    });

    it('gives a claim the trace, too', async () => {
      await store.insert([newDelivery({ traceparent }), newDelivery()], undefined);
      const claimed = await claimAll();
      expect(claimed.map(delivery => delivery.traceparent)).toEqual([traceparent, undefined]);
    });

    it('keeps a delivery that is about no object', async () => {
      const delivery = newDelivery({ className: undefined, objectId: undefined, type: 'custom.order.paid' });
      await store.insert([delivery], undefined);
      await expect(getDelivery(delivery.id)).resolves.toMatchObject({
        className: undefined,
        objectId: undefined,
        type: 'custom.order.paid',
      });
    });

    it.each([
      ['other scripts and emoji', JSON.stringify({ text: 'Grüße, 你好, عربى, 👩‍👩‍👧 \u2028' })],
      ['escaped control characters', JSON.stringify({ text: 'a\u0000b\u001f\\u0000"\\' })],
      ['a lone surrogate', JSON.stringify({ text: '\ud800' })],
      ['a megabyte', JSON.stringify({ text: 'é"'.repeat(350_000) })],
    ])('keeps a body with %s byte for byte', async (_name, body) => {
      const delivery = newDelivery({ body });
      await store.insert([delivery], undefined);
      expect((await getDelivery(delivery.id)).body === body).toBe(true);
      const [claimed] = await claimAll();
      expect(claimed?.body === body).toBe(true);
    });

    it('keeps any text in names and ids of objects', async () => {
      const name = fc.string({ unit: 'binary' }).filter(text => !/[\0\ud800-\udfff]/u.test(text));
      await fc.assert(
        fc.asyncProperty(name, name, async (objectId, endpoint) => {
          const delivery = newDelivery({ objectId, endpoint: `subscription/${endpoint}` });
          await store.insert([delivery], undefined);
          await expect(getDelivery(delivery.id)).resolves.toMatchObject({
            objectId,
            endpoint: `subscription/${endpoint}`,
          });
        }),
        { numRuns: 20, seed: 4 },
      );
    });

    it('does nothing without deliveries', async () => {
      await store.insert([], undefined);
      await expect(store.countByState({})).resolves.toEqual({
        pending: 0,
        succeeded: 0,
        exhausted: 0,
        cancelled: 0,
      });
    });

    it('refuses an id that is there already and writes none of the others', async () => {
      const there = newDelivery();
      await store.insert([there], undefined);
      const before = newDelivery();
      const after = newDelivery();
      await expect(
        store.insert([before, { ...there, body: '{"other":1}' }, after], lease),
      ).rejects.toMatchObject({ name: 'DeliveryStoreError', fault: 'repeated-id' });
      expect(await getDelivery(there.id)).toMatchObject({ body: there.body, state: 'pending' });
      expect(await store.get(before.id)).toBeUndefined();
      expect(await store.get(after.id)).toBeUndefined();
    });

    it('refuses an id that comes twice and writes nothing', async () => {
      const twice = newDelivery();
      await expect(store.insert([newDelivery(), twice, twice], undefined)).rejects.toMatchObject({
        fault: 'repeated-id',
      });
      expect((await store.countByState({})).pending).toBe(0);
    });

    it('with a lease keeps others from claiming until the lease ends', async () => {
      const delivery = newDelivery();
      await store.insert([delivery], lease);
      const other = { owner: 'node-b', expiresAt: noon + 2 * minute };
      expect(await claimAll({ lease: other, now: lease.expiresAt - 1 })).toEqual([]);
      expect(idsOf(await claimAll({ lease: other, now: lease.expiresAt }))).toEqual([delivery.id]);
    });
  });

  describe('claim', () => {
    it('gives whole deliveries', async () => {
      const delivery = newDelivery();
      await store.insert([delivery], undefined);
      expect(await claimAll()).toEqual([await getDelivery(delivery.id)]);
    });

    it('leaves what is not due yet', async () => {
      const [due, later] = [newDelivery(), newDelivery({ nextAttemptAt: noon + 1 })];
      await store.insert([due, later], undefined);
      expect(idsOf(await claimAll())).toEqual([due.id]);
      expect(idsOf(await claimAll({ now: noon + 1 }))).toEqual([later.id]);
    });

    it('gives nothing twice while the lease holds', async () => {
      await store.insert(newDeliveries(3), undefined);
      expect(await claimAll()).toHaveLength(3);
      expect(await claimAll({ lease: { owner: 'node-b', expiresAt: noon + minute } })).toEqual([]);
    });

    it('leaves what is finished or cancelled', async () => {
      await insertFinished(newDeliveries(2));
      await store.insert(newDeliveries(2, { endpoint: 'subscription/gone' }), undefined);
      await store.cancel('subscription/gone', noon);
      expect(await claimAll({ now: noon + 10 * minute })).toEqual([]);
    });

    it('takes the fresh before retries, each by the time they were due, then by id', async () => {
      const retries = [newDelivery(), newDelivery()];
      await store.insert(retries, lease);
      await store.finish([
        finishedAs(retries[0]!.id, retryAt(noon - 5000)),
        finishedAs(retries[1]!.id, retryAt(noon - 9000, 7)),
      ]);
      const fresh = [
        newDelivery({ nextAttemptAt: noon }),
        newDelivery({ nextAttemptAt: noon - 10, endpoint: 'subscription/two' }),
        newDelivery({ nextAttemptAt: noon - 10 }),
      ];
      await store.insert(fresh, undefined);
      expect(idsOf(await claimAll())).toEqual(
        idsOf([fresh[1]!, fresh[2]!, fresh[0]!, retries[1]!, retries[0]!]),
      );
    });

    it('takes at most `limit`, first things first', async () => {
      const late = newDelivery({ nextAttemptAt: noon });
      const early = newDelivery({ nextAttemptAt: noon - 1, endpoint: 'subscription/two' });
      await store.insert([late, early], undefined);
      expect(idsOf(await claimAll({ limit: 1 }))).toEqual([early.id]);
      expect(idsOf(await claimAll({ limit: 1 }))).toEqual([late.id]);
    });

    it('takes at most `limitPerEndpoint` of one endpoint, fresh and retries together', async () => {
      const backlog = newDeliveries(6, { endpoint: 'subscription/slow', nextAttemptAt: noon - minute });
      await store.insert(backlog, lease);
      await store.finish(backlog.slice(0, 2).map(({ id }) => finishedAs(id, retryAt(noon - minute))));
      await store.release(lease.owner, idsOf(backlog.slice(2)), noon - minute);
      const prompt = newDeliveries(2, { endpoint: 'subscription/prompt' });
      await store.insert(prompt, undefined);
      expect(idsOf(await claimAll({ limitPerEndpoint: 3 }))).toEqual(
        idsOf([...backlog.slice(2, 4), ...prompt, backlog[0]!]),
      );
      expect(idsOf(await claimAll({ limitPerEndpoint: 4 }))).toEqual(
        idsOf([...backlog.slice(4, 6), backlog[1]!]),
      );
    });

    it('keeps an eighth of the places of an endpoint for retries, at least one', async () => {
      const retries = newDeliveries(6);
      await store.insert(retries, lease);
      await store.finish(retries.map(({ id }) => finishedAs(id, retryAt(noon))));
      const fresh = newDeliveries(100, { nextAttemptAt: noon - minute });
      await store.insert(fresh, undefined);
      const claimRounds = async (limits: Partial<ClaimRequest>): Promise<string[]> =>
        (await claimAll(limits)).map(({ attemptCount }) => (attemptCount > 0 ? 'retry' : 'fresh'));
      expect(await claimRounds({ limit: 16 })).toEqual([
        ...new Array<string>(14).fill('fresh'),
        'retry',
        'retry',
      ]);
      expect(await claimRounds({ limitPerEndpoint: 16 })).toEqual([
        ...new Array<string>(14).fill('fresh'),
        'retry',
        'retry',
      ]);
      expect(await claimRounds({ limitPerEndpoint: 2 })).toEqual(['fresh', 'retry']);
      // Of a single place nothing can be set aside.
      expect(await claimRounds({ limitPerEndpoint: 1 })).toEqual(['fresh']);
      expect(await claimRounds({ limitPerEndpoint: 8 })).toEqual([
        ...new Array<string>(7).fill('fresh'),
        'retry',
      ]);
      expect(await claimRounds({ limitPerEndpoint: 8 })).toEqual(new Array<string>(8).fill('fresh'));
    });

    it('gives a single place to a retry that is older', async () => {
      const [retry] = newDeliveries(1);
      await store.insert([retry!], lease);
      await store.finish([finishedAs(retry!.id, retryAt(noon - minute))]);
      await store.insert(newDeliveries(5), undefined);
      expect(idsOf(await claimAll({ limitPerEndpoint: 1 }))).toEqual([retry!.id]);
    });

    it('keeps places for retries among many endpoints that have old ones', async () => {
      const [retry] = newDeliveries(1, { endpoint: 'subscription/retrying' });
      await store.insert([retry!], lease);
      await store.finish([finishedAs(retry!.id, retryAt(noon - 2 * minute))]);
      const others = Array.from({ length: 40 }, (_, index) =>
        newDelivery({ endpoint: `subscription/${index}`, nextAttemptAt: noon - minute }),
      );
      await store.insert(others, undefined);
      expect(idsOf(await claimAll({ limit: 20, limitPerEndpoint: 4 }))).toContain(retry!.id);
    });

    it('stops at the body that reaches a length, of all and of one endpoint', async () => {
      const body = `"${'x'.repeat(998)}"`;
      const [one, two] = [
        newDeliveries(10, { body }),
        newDeliveries(10, { body, endpoint: 'subscription/two', nextAttemptAt: noon + 1 }),
      ];
      await store.insert([...one, ...two], undefined);
      const now = noon + 1;
      expect(idsOf(await claimAll({ now, maxBodyLength: 1 }))).toEqual(idsOf(one.slice(0, 1)));
      expect(idsOf(await claimAll({ now, maxBodyLength: 2000 }))).toEqual(idsOf(one.slice(1, 3)));
      expect(idsOf(await claimAll({ now, maxBodyLength: 5000, maxBodyLengthPerEndpoint: 2500 }))).toEqual(
        idsOf([...one.slice(3, 6), ...two.slice(0, 2)]),
      );
      expect(await claimAll({ now })).toHaveLength(12);
    });

    it('leaves the endpoints of `except` alone', async () => {
      const [one, two] = [newDelivery(), newDelivery({ endpoint: 'subscription/two' })];
      await store.insert([one, two], undefined);
      expect(idsOf(await claimAll({ except: ['subscription/one', 'subscription/none'] }))).toEqual([two.id]);
      expect(await claimAll({ except: ['subscription/one'] })).toEqual([]);
      expect(idsOf(await claimAll())).toEqual([one.id]);
    });

    it('reaches every one of many endpoints', async () => {
      const deliveries = Array.from({ length: 150 }, (_, index) =>
        newDelivery({ endpoint: `subscription/${index}`, nextAttemptAt: noon - index }),
      );
      await store.insert(deliveries, undefined);
      const first = await claimAll({ limit: 100, limitPerEndpoint: 1 });
      expect(idsOf(first)).toEqual(idsOf(deliveries.slice(50).reverse()));
      const rest = await claimAll({ limit: 100, limitPerEndpoint: 1 });
      expect(idsOf(rest)).toEqual(idsOf(deliveries.slice(0, 50).reverse()));
    });

    it('steps over leased deliveries at the front', async () => {
      await store.insert(newDeliveries(50, { nextAttemptAt: noon - 10 }), lease);
      const behind = newDelivery();
      await store.insert([behind], undefined);
      expect(idsOf(await claimAll({ limit: 5, limitPerEndpoint: 5 }))).toEqual([behind.id]);
    });

    it('takes over expired leases in their old place', async () => {
      const old = newDelivery({ nextAttemptAt: noon - minute });
      await store.insert([old], { owner: 'dead', expiresAt: noon - 1 });
      const young = newDelivery({ nextAttemptAt: noon - 2 });
      await store.insert([young], undefined);
      expect(idsOf(await claimAll())).toEqual([old.id, young.id]);
    });

    it('gives no delivery to two of ten claimers at once, and all of them to somebody', async () => {
      const deliveries = Array.from({ length: 300 }, (_, index) =>
        newDelivery({ endpoint: `subscription/${index % 4}` }),
      );
      await store.insert(deliveries, undefined);
      const other = stores.open();
      const claimed: string[] = [];
      // All of one owner: a call must know its own from those of its siblings.
      const claimer = async (index: number): Promise<void> => {
        const request = { lease, ...everything, limit: 20, limitPerEndpoint: 7 };
        const claims = await (index % 2 === 0 ? store : other).claim(request);
        claimed.push(...idsOf(claims));
      };
      for (let round = 0; round < 50 && claimed.length < deliveries.length; round++) {
        await Promise.all(Array.from({ length: 10 }, (_, index) => claimer(index)));
      }
      expect([...claimed].sort()).toEqual(idsOf(deliveries).sort());
    });
  });

  describe('claimByIds', () => {
    it('gives those that are due and free', async () => {
      const [due, later, leased, done] = [
        newDelivery(),
        newDelivery({ nextAttemptAt: noon + 1 }),
        newDelivery(),
        newDelivery(),
      ];
      await store.insert([due, later], undefined);
      await store.insert([leased], { owner: 'node-b', expiresAt: noon + 1 });
      await insertFinished([done]);
      const ids = [...idsOf([due, later, leased, done]), 'dlv_unknown'];
      expect(await store.claimByIds(ids, lease, { now: noon })).toEqual([await getDelivery(due.id)]);
      expect(idsOf(await store.claimByIds(ids, lease, { now: noon + 1 })).sort()).toEqual([
        later.id,
        leased.id,
      ]);
    });

    it('gives each to one of ten callers at once', async () => {
      const deliveries = newDeliveries(40);
      await store.insert(deliveries, undefined);
      const other = stores.open();
      const claims = await Promise.all(
        Array.from({ length: 10 }, (_, index) =>
          (index % 2 === 0 ? store : other).claimByIds(idsOf(deliveries), lease, { now: noon }),
        ),
      );
      expect(idsOf(claims.flat()).sort()).toEqual(idsOf(deliveries));
    });

    it('gives nothing for no ids', async () => {
      expect(await store.claimByIds([], lease, { now: noon })).toEqual([]);
    });

    it('stops at the body that reaches a length', async () => {
      const deliveries = newDeliveries(5, { body: `"${'x'.repeat(998)}"` });
      await store.insert(deliveries, undefined);
      const ids = idsOf(deliveries);
      const claimed = await store.claimByIds(ids, lease, { now: noon, maxBodyLength: 2500 });
      expect(idsOf(claimed).sort()).toEqual(ids.slice(0, 3));
      expect(await store.claimByIds(ids.slice(3), lease, { now: noon, maxBodyLength: 1 })).toHaveLength(1);
    });
  });

  describe('leases', () => {
    it('are prolonged for their owner only', async () => {
      const [mine, taken, done] = [newDelivery(), newDelivery(), newDelivery()];
      await store.insert([mine, done], lease);
      await store.insert([taken], { owner: 'node-b', expiresAt: noon + minute });
      await store.finish([finishedAs(done.id)]);
      const later = noon + 5 * minute;
      expect(await store.renew(lease.owner, [...idsOf([mine, taken, done]), 'dlv_unknown'], later)).toEqual([
        mine.id,
      ]);
      const claimed = await claimAll({
        lease: { owner: 'node-c', expiresAt: later },
        now: later - 1,
      });
      expect(idsOf(claimed)).toEqual([taken.id]);
    });

    it('are still held after they expired, as long as nobody took them over', async () => {
      const delivery = newDelivery();
      await store.insert([delivery], { owner: lease.owner, expiresAt: noon - minute });
      expect(await store.renew(lease.owner, [delivery.id], noon + 1)).toEqual([delivery.id]);
      expect(await store.finish([finishedAs(delivery.id)])).toEqual([delivery.id]);
    });

    it('are given back by their owner only', async () => {
      const [mine, other] = [newDelivery(), newDelivery()];
      await store.insert([mine], lease);
      await store.insert([other], { owner: 'node-b', expiresAt: noon + minute });
      await store.release(lease.owner, idsOf([mine, other]), noon + 1000);
      expect(await claimAll({ now: noon + 999 })).toEqual([]);
      const [claimed, ...more] = await claimAll({ now: noon + 1000 });
      expect([claimed?.id, claimed?.attemptCount, claimed?.nextAttemptAt, more]).toEqual([
        mine.id,
        0,
        noon + 1000,
        [],
      ]);
    });
  });

  describe('finish', () => {
    it('records the attempt and ends the delivery', async () => {
      const delivery = newDelivery();
      await store.insert([delivery], lease);
      const attempt = attemptOf(delivery.id, {
        reply: { headers: { 'a.b': '$x', n: null }, body: 'nul \u0000, Grüße 👩‍👩‍👧' },
      });
      expect(await store.finish([{ attempt, owner: lease.owner, progress: succeeded }])).toEqual([
        delivery.id,
      ]);
      expect(await store.get(delivery.id)).toEqual({
        delivery: {
          ...delivery,
          ...succeeded,
          attemptsBeforeReplay: 0,
        },
        attempts: [attempt],
      });
    });

    it('records what failed and when the next attempt is due', async () => {
      const delivery = newDelivery();
      await store.insert([delivery], lease);
      const first = attemptOf(delivery.id, { status: undefined, error: 'timeout', phase: 'connect' });
      await store.finish([{ attempt: first, owner: lease.owner, progress: retryAt(noon + 5000) }]);
      expect(await getDelivery(delivery.id)).toMatchObject(retryAt(noon + 5000));
      expect(await claimAll({ now: noon + 4999 })).toEqual([]);
      expect(await claimAll({ now: noon + 5000 })).toMatchObject([{ id: delivery.id, attemptCount: 1 }]);
      const second = attemptOf(delivery.id, { number: 2, startedAt: noon + 5000 });
      await store.finish([
        { attempt: second, owner: lease.owner, progress: { ...succeeded, attemptCount: 2 } },
      ]);
      expect(await store.get(delivery.id)).toMatchObject({
        delivery: { state: 'succeeded', attemptCount: 2, lastStatus: 200, lastError: undefined },
        attempts: [first, second],
      });
    });

    it('moves many at once and tells whose lease was lost', async () => {
      const mine = newDeliveries(30);
      const lost = newDelivery({ nextAttemptAt: noon - 1 });
      await store.insert([...mine, lost], lease);
      const other = { owner: 'node-b', expiresAt: noon + 2 * minute };
      await store.claimByIds([lost.id], other, { now: lease.expiresAt });
      const before = await store.get(lost.id);
      const held = await store.finish([
        finishedAs(lost.id),
        ...mine.map(({ id }, index) => finishedAs(id, index % 2 === 0 ? {} : retryAt(noon + 1))),
        finishedAs('dlv_unknown'),
      ]);
      expect([...held].sort()).toEqual(idsOf(mine));
      expect(await store.get(lost.id)).toEqual(before);
      expect(await store.countByState({})).toMatchObject({ pending: 16, succeeded: 15 });
    });

    it('changes nothing the second time', async () => {
      const delivery = newDelivery();
      await store.insert([delivery], lease);
      await store.finish([finishedAs(delivery.id)]);
      const before = await store.get(delivery.id);
      expect(await store.finish([finishedAs(delivery.id, retryAt(noon))])).toEqual([]);
      expect(await store.get(delivery.id)).toEqual(before);
    });

    it('does nothing without attempts', async () => {
      expect(await store.finish([])).toEqual([]);
    });
  });

  describe('nextDueAt', () => {
    it('is undefined when nothing is pending', async () => {
      await insertFinished([newDelivery()]);
      expect(await store.nextDueAt([])).toBeUndefined();
    });

    it('is the earliest of all endpoints but those of `except`, retries included', async () => {
      const retry = newDelivery();
      await store.insert([retry], lease);
      await store.finish([finishedAs(retry.id, retryAt(noon + 100))]);
      await store.insert(
        [
          newDelivery({ endpoint: 'subscription/two', nextAttemptAt: noon + 200 }),
          newDelivery({ endpoint: 'subscription/two', nextAttemptAt: noon + 300 }),
        ],
        undefined,
      );
      expect(await store.nextDueAt([])).toBe(noon + 100);
      expect(await store.nextDueAt(['subscription/one'])).toBe(noon + 200);
      expect(await store.nextDueAt(['subscription/one', 'subscription/two'])).toBeUndefined();
    });

    it('counts a leased delivery from the end of its lease', async () => {
      await store.insert([newDelivery()], lease);
      await store.insert([newDelivery({ nextAttemptAt: noon + 1 })], { owner: 'b', expiresAt: noon + 500 });
      expect(await store.nextDueAt([])).toBe(noon + 500);
      await store.insert([newDelivery({ nextAttemptAt: noon + 400 })], undefined);
      expect(await store.nextDueAt([])).toBe(noon + 400);
    });
  });

  describe('list and countByState', () => {
    it('lists the newest first, without bodies', async () => {
      const [old, young] = [newDelivery(), newDelivery({ createdAt: noon + 1 })];
      await store.insert([old, young], undefined);
      const page = await store.list({}, { limit: 10 });
      const { body: _body, ...summary } = await getDelivery(young.id);
      expect(idsOf(page.deliveries)).toEqual([young.id, old.id]);
      expect(page.deliveries[0]).toEqual(summary);
      expect(page.next).toBeUndefined();
    });

    it('walks through all pages without gap or repetition while rows come in', async () => {
      const deliveries = newDeliveries(25).map((delivery, index) => ({
        ...delivery,
        createdAt: noon + Math.floor(index / 4),
      }));
      await store.insert(deliveries, undefined);
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await store.list({}, { limit: 4, ...(cursor !== undefined && { cursor }) });
        seen.push(...idsOf(page.deliveries));
        cursor = page.next;
        await store.insert([newDelivery({ createdAt: noon + 1000 })], undefined);
      } while (cursor !== undefined);
      expect(seen).toEqual(idsOf(deliveries).reverse());
    });

    it('ends with a page that is exactly full', async () => {
      await store.insert(newDeliveries(4), undefined);
      const page = await store.list({}, { limit: 2 });
      expect(await store.list({}, { limit: 2, cursor: page.next! })).toMatchObject({ next: undefined });
    });

    it.each([
      '',
      'x',
      Buffer.from('{"a":1}').toString('base64url'),
      Buffer.from('["1","2"]').toString('base64url'),
    ])('refuses the cursor %j', async cursor => {
      await expect(store.list({}, { limit: 2, cursor })).rejects.toMatchObject({ fault: 'invalid-cursor' });
    });

    it('filters by every field, alone and together', async () => {
      const plain = newDelivery();
      const other = newDelivery({
        endpoint: 'hook/afterSave/Cat',
        type: 'afterSave',
        className: 'Cat',
        objectId: 'xyz',
        createdAt: noon + 10,
      });
      await store.insert([plain], undefined);
      await insertFinished([other], { state: 'exhausted', lastStatus: 500 });
      const filters: DeliveryFilter[] = [
        { endpoint: other.endpoint },
        { type: 'afterSave' },
        { className: 'Cat' },
        { objectId: 'xyz' },
        { states: ['exhausted', 'succeeded'] },
        { since: noon + 10 },
        { since: noon + 1, until: noon + 11, className: 'Cat', states: ['exhausted'] },
      ];
      for (const filter of filters) {
        expect([filter, idsOf((await store.list(filter, { limit: 10 })).deliveries)]).toEqual([
          filter,
          [other.id],
        ]);
        expect(await store.countByState(filter)).toEqual({
          pending: 0,
          succeeded: 0,
          exhausted: 1,
          cancelled: 0,
        });
      }
      expect(idsOf((await store.list({ until: noon + 10 }, { limit: 10 })).deliveries)).toEqual([plain.id]);
      expect((await store.list({ states: [] }, { limit: 10 })).deliveries).toEqual([]);
      expect((await store.list({ className: 'Cat', objectId: 'abc' }, { limit: 10 })).deliveries).toEqual([]);
    });

    it('takes filters as values and not as queries', async () => {
      await store.insert([newDelivery()], undefined);
      for (const text of ["' OR true --", '$1', '{"$ne":1}']) {
        expect((await store.list({ endpoint: text }, { limit: 10 })).deliveries).toEqual([]);
      }
    });
  });

  it('has no delivery of an unknown id', async () => {
    expect(await store.get('dlv_unknown')).toBeUndefined();
  });

  describe('stats', () => {
    it('counts attempts by bucket and status class, network failures included', async () => {
      const [one, two, three, four] = [
        newDelivery(),
        newDelivery(),
        newDelivery(),
        newDelivery({ endpoint: 'subscription/two' }),
      ];
      await store.insert([one, two, three, four], lease);
      await store.finish([
        finishedAs(one.id, {}, { startedAt: noon, durationMs: 10 }),
        finishedAs(
          two.id,
          {},
          { startedAt: noon + minute - 1, durationMs: 30.5, status: 503, error: 'status' },
        ),
        finishedAs(three.id, retryAt(noon + minute), {
          startedAt: noon + minute,
          durationMs: 5,
          status: undefined,
          error: 'dns',
        }),
        finishedAs(four.id, {}, { startedAt: noon + minute, durationMs: 7, status: 204 }),
      ]);
      await store.claimByIds([three.id], lease, { now: noon + minute });
      await store.finish([
        finishedAs(three.id, {}, { number: 2, startedAt: noon + 2 * minute, durationMs: 1 }),
      ]);
      const buckets = await store.stats({ since: noon, until: noon + 2 * minute, bucketMs: minute });
      expect(buckets).toEqual([
        {
          start: noon,
          attempts: 2,
          succeeded: 1,
          failed: 1,
          byStatusClass: { '2xx': 1, '5xx': 1 },
          durations: { '2xx': { totalMs: 10, maxMs: 10 }, '5xx': { totalMs: 30.5, maxMs: 30.5 } },
          totalDurationMs: 40.5,
          maxDurationMs: 30.5,
        },
        {
          start: noon + minute,
          attempts: 2,
          succeeded: 1,
          failed: 1,
          byStatusClass: { '2xx': 1, none: 1 },
          durations: { '2xx': { totalMs: 7, maxMs: 7 }, none: { totalMs: 5, maxMs: 5 } },
          totalDurationMs: 12,
          maxDurationMs: 7,
        },
      ]);
      const ofOne = await store.stats({
        since: noon,
        until: noon + 60 * minute,
        bucketMs: 60 * minute,
        endpoint: 'subscription/two',
      });
      expect(ofOne).toMatchObject([{ start: noon, attempts: 1, byStatusClass: { '2xx': 1 } }]);
    });

    it('is empty without attempts', async () => {
      expect(await store.stats({ since: 0, until: noon, bucketMs: minute })).toEqual([]);
    });
  });

  describe('replay', () => {
    it('makes one pending again with the same webhookId, and attempts count on', async () => {
      const [delivery, other] = newDeliveries(2);
      await insertFinished([delivery!, other!], { state: 'exhausted', attemptCount: 3, lastStatus: 500 });
      expect(await store.replay({ id: delivery!.id }, { dueAt: noon + 50, perSecond: 1 })).toBe(1);
      expect(await claimAll({ now: noon + 49 })).toEqual([]);
      const [claimed] = await claimAll({ now: noon + 50 });
      expect(claimed).toMatchObject({
        id: delivery!.id,
        webhookId: delivery!.webhookId,
        body: delivery!.body,
        state: 'pending',
        attemptCount: 3,
        attemptsBeforeReplay: 3,
        finishedAt: undefined,
      });
      await store.finish([
        finishedAs(delivery!.id, { attemptCount: 4 }, { number: 4, startedAt: noon + 50 }),
      ]);
      const found = await store.get(delivery!.id);
      expect(found?.delivery).toMatchObject({ state: 'succeeded', attemptCount: 4 });
      expect(found?.attempts.map(({ number }) => number)).toEqual([1, 4]);
    });

    it('spreads many evenly over the seconds, oldest first', async () => {
      const deliveries = newDeliveries(7);
      await insertFinished([...deliveries].reverse(), { state: 'cancelled' });
      expect(await store.replay({ states: ['cancelled'] }, { dueAt: noon, perSecond: 3 })).toBe(7);
      const dueAt = await Promise.all(
        deliveries.map(async ({ id }) => (await getDelivery(id)).nextAttemptAt),
      );
      expect(dueAt).toEqual([0, 333, 666, 1000, 1333, 1666, 2000].map(offset => noon + offset));
    });

    it('goes on from step to step', async () => {
      const deliveries = newDeliveries(1100);
      await insertFinished(deliveries);
      expect(await store.replay({}, { dueAt: noon, perSecond: 100 })).toBe(1100);
      await expect(getDelivery(deliveries[1099]!.id)).resolves.toMatchObject({
        nextAttemptAt: noon + 10_990,
      });
    });

    it('follows the filter and leaves what is pending', async () => {
      const pending = newDelivery({ nextAttemptAt: noon + 7 });
      await store.insert([pending], undefined);
      const [failed, done] = newDeliveries(2);
      await insertFinished([failed!], { state: 'exhausted' });
      await insertFinished([done!]);
      const schedule = { dueAt: noon + 1, perSecond: 10 };
      expect(await store.replay({ states: ['exhausted', 'pending'], className: 'Puppy' }, schedule)).toBe(1);
      expect(await store.replay({ className: 'Cat' }, schedule)).toBe(0);
      expect(await getDelivery(pending.id)).toMatchObject({ nextAttemptAt: noon + 7 });
      expect(await getDelivery(done!.id)).toMatchObject({ state: 'succeeded' });
    });
  });

  it('counts what a replay would take', async () => {
    await insertFinished(newDeliveries(2, { className: 'Cat' }), { state: 'exhausted' });
    await insertFinished(newDeliveries(3));
    await insertFinished(newDeliveries(1, { objectId: 'private' }));
    await store.expunge('Puppy', 'private', noon);
    await store.insert(newDeliveries(1), undefined);
    const count = (filter: DeliveryFilter): Promise<number> => store.countReplayable(filter);
    expect(await count({})).toBe(5);
    expect(await count({ states: ['exhausted', 'cancelled'] })).toBe(2);
    expect(await count({ states: ['succeeded'], className: 'Puppy' })).toBe(3);
    expect(await count({ states: ['pending'] })).toBe(0);
    expect(await store.replay({}, { dueAt: noon, perSecond: 10 })).toBe(5);
    expect(await count({})).toBe(0);
  });

  describe('cancel', () => {
    it('ends what is pending of one endpoint, fresh, retried or leased', async () => {
      const [fresh, retried, leased, done] = newDeliveries(4);
      const other = newDelivery({ endpoint: 'subscription/one2' });
      await store.insert([fresh!, other], undefined);
      await store.insert([retried!, leased!], lease);
      await store.finish([finishedAs(retried!.id, retryAt(noon + 5))]);
      await insertFinished([done!]);
      expect(await store.cancel('subscription/one', noon + 3)).toBe(3);
      expect(await getDelivery(retried!.id)).toMatchObject({
        state: 'cancelled',
        attemptCount: 1,
        nextAttemptAt: undefined,
        finishedAt: noon + 3,
        lastError: 'timeout',
      });
      expect(await store.countByState({})).toEqual({ pending: 1, succeeded: 1, exhausted: 0, cancelled: 3 });
      expect(await store.finish([finishedAs(leased!.id)])).toEqual([]);
      expect(await store.cancel('subscription/one', noon + 4)).toBe(0);
    });

    it('leaves what was created after a time', async () => {
      const [before, then, later] = [noon - 1, noon, noon + 1].map(createdAt => newDelivery({ createdAt }));
      await store.insert([before!, then!, later!], undefined);
      expect(await store.cancel('subscription/one', noon + 9, noon)).toBe(2);
      expect(await getDelivery(then!.id)).toMatchObject({ state: 'cancelled', finishedAt: noon + 9 });
      expect(await getDelivery(later!.id)).toMatchObject({ state: 'pending' });
    });

    it('ends thousands, fresh and retried, and leaves thousands of a successor among them', async () => {
      const spread = (count: number, fields: Partial<NewDelivery> = {}): NewDelivery[] =>
        Array.from({ length: count }, (_, n) => newDelivery({ nextAttemptAt: noon + (n % 3), ...fields }));
      const retried = spread(1100);
      await store.insert(retried, lease);
      await store.finish(retried.map(({ id }, n) => finishedAs(id, retryAt(noon + (n % 3)))));
      await store.insert(spread(2300), undefined);
      await store.insert(spread(1200, { createdAt: noon + 1 }), undefined);
      await store.insert(newDeliveries(1, { endpoint: 'subscription/other' }), undefined);
      expect(await store.cancel('subscription/one', noon + 9, noon)).toBe(3400);
      expect(await store.countByState({})).toMatchObject({ pending: 1201, cancelled: 3400 });
      expect(await store.countByState({ since: noon + 1 })).toMatchObject({ pending: 1200 });
    });
  });

  describe('purge', () => {
    const finishAt = async (finishedAt: number): Promise<string> => {
      const delivery = newDelivery();
      await insertFinished([delivery], { finishedAt });
      return delivery.id;
    };

    const endedBefore = (finishedAt: number): FinishedPlace => ({ finishedAt, id: '' });

    const purgeTo = async (keep: number): Promise<number> => {
      const lastKept = await store.findLastKept(keep);
      return lastKept === undefined ? 0 : store.purge(lastKept);
    };

    const listed = async (): Promise<string[]> =>
      idsOf((await store.list({}, { limit: 100 })).deliveries).sort();

    it('deletes what ended before, with its attempts, and nothing that is pending', async () => {
      const pending = newDelivery({ createdAt: noon - 100 * minute });
      await store.insert([pending], undefined);
      await finishAt(noon - 1);
      const young = await finishAt(noon);
      expect(await store.purge(endedBefore(noon))).toBe(1);
      expect(await listed()).toEqual([pending.id, young]);
      expect(await store.stats({ since: 0, until: noon + minute, bucketMs: minute })).toMatchObject([
        { attempts: 1 },
      ]);
    });

    it('keeps as many as it is told, of those that ended last', async () => {
      await store.insert(newDeliveries(2), undefined);
      expect(await store.findLastKept(1)).toBeUndefined();
      const [first, second, third] = [
        await finishAt(noon + 30),
        await finishAt(noon + 10),
        await finishAt(noon + 20),
      ];
      expect(await store.findLastKept(4)).toBeUndefined();
      expect(await store.findLastKept(2)).toEqual({ finishedAt: noon + 20, id: third });
      expect(await purgeTo(3)).toBe(0);
      expect(await purgeTo(2)).toBe(1);
      expect(await store.get(first)).toBeDefined();
      expect(await store.get(second)).toBeUndefined();
      expect(await store.purge(endedBefore(Number.MAX_SAFE_INTEGER))).toBe(2);
      expect(await store.countByState({})).toMatchObject({ pending: 2, succeeded: 0 });
    });

    it('deletes what is old and what is too much, of the same moment by id, in as many steps as it takes', async () => {
      const old = newDeliveries(1100);
      const sameMoment = newDeliveries(1205);
      await insertFinished(old, { finishedAt: noon - 1 });
      await insertFinished(sameMoment, { finishedAt: noon });
      expect(await store.purge(endedBefore(noon))).toBe(1100);
      expect(await purgeTo(1204)).toBe(1);
      expect(await purgeTo(5)).toBe(1199);
      expect(await listed()).toEqual(idsOf(sameMoment.slice(-5)));
    });

    it('lets many do it at once, and deletes nothing that is to be kept', async () => {
      await insertFinished(newDeliveries(50), { finishedAt: noon });
      const purged = await Promise.all(Array.from({ length: 3 }, () => purgeTo(20)));
      expect(purged.reduce((sum, count) => sum + count)).toBe(30);
      expect(await listed()).toHaveLength(20);
    });

    it('does no more when it is told to stop', async () => {
      const id = await finishAt(noon - 1);
      const { signal } = new AbortController();
      expect(await store.purge(endedBefore(noon), AbortSignal.abort())).toBe(0);
      expect(await listed()).toEqual([id]);
      expect(await store.purge(endedBefore(noon), signal)).toBe(1);
    });
  });

  describe('expunge', () => {
    it('empties bodies and replies of one object in every state and cancels what is pending', async () => {
      const [done, fresh, leased, retried] = newDeliveries(4);
      const other = newDelivery({ objectId: 'other' });
      await insertFinished([done!, other], {}, { reply: { body: 'secret' } });
      await store.insert([fresh!], undefined);
      await store.insert([leased!, retried!], lease);
      await store.finish([finishedAs(retried!.id, retryAt(noon), { reply: { body: 'secret' } })]);
      expect(await store.expunge('Puppy', 'abc', noon + 9)).toBe(4);
      for (const { id } of [done!, fresh!, leased!, retried!]) {
        const found = await store.get(id);
        expect(JSON.stringify(found)).not.toContain('secret');
        expect(found?.delivery).toMatchObject({ body: '{}', objectId: 'abc' });
      }
      expect(await getDelivery(done!.id)).toMatchObject({ state: 'succeeded', finishedAt: noon + 1 });
      expect(await getDelivery(fresh!.id)).toMatchObject({ state: 'cancelled', finishedAt: noon + 9 });
      expect(await store.get(other.id)).toMatchObject({
        delivery: { body: other.body },
        attempts: [{ reply: { body: 'secret' } }],
      });
      const late = finishedAs(leased!.id, {}, { reply: { body: 'secret' } });
      expect(await store.finish([late])).toEqual([]);
    });

    it('leaves nothing to replay', async () => {
      const delivery = newDelivery();
      await insertFinished([delivery]);
      await store.expunge('Puppy', 'abc', noon);
      expect(await store.replay({}, { dueAt: noon, perSecond: 1 })).toBe(0);
      expect(await getDelivery(delivery.id)).toMatchObject({ state: 'succeeded' });
    });

    it('finds nothing of an object without deliveries', async () => {
      expect(await store.expunge('Puppy', 'none', noon)).toBe(0);
    });
  });

  it('wakes a listener for deliveries without a lease, where it can', async () => {
    let woken = (): void => undefined;
    const wake = new Promise<void>(resolve => (woken = resolve));
    const stop = await store.listen?.(() => woken());
    if (stop === undefined) return;
    try {
      await stores.open().insert([newDelivery()], undefined);
      await wake;
    } finally {
      await stop();
      await stop();
    }
  });

  it('can be closed twice', async () => {
    const other = stores.open();
    await other.countByState({});
    await other.close();
    await other.close();
  });

  it('stays whole when claims, finishes, renewals and cancellations cross', async () => {
    const deliveries = Array.from({ length: 120 }, (_, index) =>
      newDelivery({ endpoint: `subscription/${index % 3}` }),
    );
    await store.insert(deliveries, undefined);
    const other = stores.open();
    const finishedBy = new Map<string, number>();
    const worker = async (index: number): Promise<void> => {
      const node = index % 2 === 0 ? store : other;
      const own = { owner: `worker-${index}`, expiresAt: noon + minute };
      for (;;) {
        const claims = await node.claim({ lease: own, ...everything, limit: 10, limitPerEndpoint: 5 });
        if (claims.length === 0) return;
        await node.renew(own.owner, idsOf(claims), noon + 2 * minute);
        const held = await node.finish(claims.map(({ id }) => ({ ...finishedAs(id), owner: own.owner })));
        for (const id of held) finishedBy.set(id, (finishedBy.get(id) ?? 0) + 1);
      }
    };
    const [cancelled] = await Promise.all([
      other.cancel('subscription/2', noon),
      ...Array.from({ length: 6 }, (_, index) => worker(index)),
    ]);
    expect([...finishedBy.values()].every(times => times === 1)).toBe(true);
    const counts = await store.countByState({});
    expect(counts).toMatchObject({ succeeded: finishedBy.size, cancelled });
    expect(counts.pending + counts.succeeded + counts.cancelled).toBe(deliveries.length);
    const rest = await claimAll();
    expect(counts.pending).toBe(rest.length);
  });
}
