// Deliveries below /webhooks: the log, replay, statistics and the removal of payloads.
import { MongodbDeliveryStore } from '../../src/events/mongodb-delivery-store';
import { PostgresDeliveryStore } from '../../src/events/postgres-delivery-store';
import { systemClock } from '../../src/shared/clock';
import { describeOnEachDatabase } from '../support/databases';
import { createDelivery, deliver } from '../support/event-deliveries';
import { startEventsApi, type EventsApi } from '../support/events-api';
import { silentLogger } from '../support/silent-logger';

let api: EventsApi;
/** A minute before the clock's time. */
let start: number;

beforeEach(async () => {
  api = await startEventsApi();
  start = api.clock.now() - 60_000;
});

afterEach(() => api.stop());

const hookEndpoint = { endpoint: 'hook/trigger/Puppy/afterSave', type: 'afterSave', className: 'Puppy' };

/** Four deliveries: delivered, exhausted and pending ones of a subscription, and a delivered one of a hook. */
async function writeFour(): Promise<void> {
  await deliver(api.store, createDelivery(1, start), { status: 204, durationMs: 12.5 });
  await deliver(api.store, createDelivery(2, start, hookEndpoint), { status: 200 });
  await deliver(api.store, createDelivery(3, start, { type: 'object.update' }), { status: undefined });
  await api.store.insert([createDelivery(4, start, { isTest: true })], undefined);
}

const id = (n: number): string => createDelivery(n, 0).id;

async function list(query = ''): Promise<readonly string[]> {
  const { status, body } = await api.call('GET', `/webhooks/deliveries${query}`);
  expect([status, body.error]).toEqual([200, undefined]);
  return (body.results as { objectId: string }[]).map(({ objectId }) => objectId);
}

const stateOf = async (n: number): Promise<string | undefined> =>
  (await api.store.get(id(n)))?.delivery.state;

describe('the list of deliveries', () => {
  beforeEach(writeFour);

  it('shows each without its body, newest first', async () => {
    const { body } = await api.call('GET', '/webhooks/deliveries');
    const at = (n: number): string => new Date(start + n * 1000).toISOString();
    expect(body).toEqual({
      results: [
        {
          objectId: id(4),
          webhookId: createDelivery(4, 0).webhookId,
          type: 'object.create',
          state: 'pending',
          attemptCount: 0,
          nextAttemptAt: at(4),
          subscription: 'orders',
          className: 'Order',
          object: { __type: 'Pointer', className: 'Order', objectId: 'order4' },
          createdAt: at(4),
          isTest: true,
        },
        expect.objectContaining({
          objectId: id(3),
          state: 'exhausted',
          attemptCount: 1,
          lastError: 'timeout',
          finishedAt: new Date(start + 3010).toISOString(),
        }),
        expect.objectContaining({ objectId: id(2), hook: 'afterSave/Puppy', type: 'afterSave' }),
        expect.objectContaining({ objectId: id(1), state: 'succeeded', lastStatus: 204 }),
      ],
    });
    for (const delivery of body.results) {
      expect(delivery).not.toHaveProperty('body');
      expect(delivery).not.toHaveProperty('request');
    }
  });

  it.each([
    ['subscription=orders', [4, 3, 1]],
    ['subscription=others', []],
    ['hook=afterSave/Puppy', [2]],
    ['hook=afterDelete/Puppy', []],
    ['className=Puppy', [2]],
    ['className=Order&objectId=order1', [1]],
    ['type=object.update', [3]],
    ['state=pending', [4]],
    ['state=succeeded,exhausted', [3, 2, 1]],
    ['state=succeeded&state=exhausted', [3, 2, 1]],
  ])('takes %s as a filter', async (query, expected) => {
    expect(await list(`?${query}`)).toEqual(expected.map(id));
  });

  it('takes times as ISO 8601 and as milliseconds', async () => {
    const iso = (at: number): string => encodeURIComponent(new Date(at).toISOString());
    expect(await list(`?since=${start + 2000}&until=${start + 4000}`)).toEqual([id(3), id(2)]);
    expect(await list(`?since=${iso(start + 2000)}&until=${iso(start + 4000)}`)).toEqual([id(3), id(2)]);
    expect(await list('?since=2029-12-31')).toHaveLength(4);
    expect(await list(`?until=${encodeURIComponent('2030-01-01T00:59:05+01:00')}`)).toHaveLength(4);
  });

  it('comes in pages', async () => {
    const pages: string[][] = [];
    let query = '?limit=3';
    for (;;) {
      const { body } = await api.call('GET', `/webhooks/deliveries${query}`);
      pages.push(body.results.map(({ objectId }: { objectId: string }) => objectId));
      if (body.next === undefined) break;
      query = `?limit=3&cursor=${body.next}`;
    }
    expect(pages).toEqual([[id(4), id(3), id(2)], [id(1)]]);
  });

  it.each([
    ['limit=0', 'limit must be an integer in 1..1000, got "0"'],
    ['limit=1001', 'limit must be an integer in 1..1000, got "1001"'],
    ['limit=ten', 'limit must be an integer in 1..1000, got "ten"'],
    ['limit=1&limit=2', 'limit must be an integer in 1..1000, got ["1","2"]'],
    ['cursor=x', 'cursor must be the next of an earlier page'],
    ['cursor=%00', 'cursor must be the next of an earlier answer, got "\\u0000"'],
    [
      `cursor=${Buffer.from('[1,"\\u0000"]').toString('base64url')}`,
      'cursor must be the next of an earlier page',
    ],
    ['state=done', 'state must be a list of pending, succeeded, exhausted, cancelled, got "done"'],
    ['state=', /^state must be a list of .*, got ""$/],
    [
      'since=yesterday',
      /^since must be an ISO 8601 time with a zone, or milliseconds since 1970, got "yesterday"$/,
    ],
    ['since=2030-01-01T00:00:00', /^since must be an ISO 8601 time with a zone/],
    [
      'hook=beforeSave/Puppy',
      /^hook must be a trigger that notifies and a class, such as afterSave\/Puppy, got/,
    ],
    ['hook=Puppy', /^hook must be a trigger that notifies/],
    ['hook=afterSave/Puppy&subscription=a', 'subscription and hook cannot both be given'],
    ['className=%00', /^className must be 1 to 256 characters/],
    ['status=pending', 'unknown parameter "status"'],
  ])('refuses %s', async (query, error) => {
    const { status, body } = await api.call('GET', `/webhooks/deliveries?${query}`);
    expect(status).toBe(400);
    expect(body).toEqual({
      code: 143,
      error: typeof error === 'string' ? error : expect.stringMatching(error),
    });
  });
});

describe('one delivery', () => {
  beforeEach(writeFour);

  it('is shown with what is sent and with its attempts', async () => {
    const { status, body } = await api.call('GET', `/webhooks/deliveries/${id(1)}`);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      objectId: id(1),
      state: 'succeeded',
      request: {
        headers: { 'content-type': 'application/json', 'webhook-id': createDelivery(1, 0).webhookId },
        body: '{"type":"object.create","number":1}',
      },
      attempts: [
        {
          number: 1,
          startedAt: new Date(start + 1000).toISOString(),
          durationMs: 12.5,
          status: 204,
          phase: 'done',
          reply: { body: 'thanks' },
          node: 'node-1',
        },
      ],
    });
    const failed = (await api.call('GET', `/webhooks/deliveries/${id(3)}`)).body;
    expect(failed.attempts).toEqual([expect.objectContaining({ error: 'timeout', phase: 'first-byte' })]);
    expect(failed.attempts[0]).not.toHaveProperty('status');
  });

  it.each(['GET /webhooks/deliveries/none', 'POST /webhooks/deliveries/none/replay'])(
    'that is not there is a 404: %s',
    async route => {
      const [method = '', path = ''] = route.split(' ');
      expect(await api.call(method, path)).toMatchObject({
        status: 404,
        body: { code: 101, error: 'no delivery with objectId none' },
      });
    },
  );

  it('whose objectId no database takes is refused', async () => {
    expect((await api.call('GET', '/webhooks/deliveries/%00')).status).toBe(400);
    expect((await api.call('POST', '/webhooks/deliveries/%00/replay')).status).toBe(400);
    expect((await api.call('GET', '/webhooks/deliveries/%ff')).status).toBe(400);
  });

  it('is sent again by a replay, at once and with the same webhook-id', async () => {
    expect(await api.call('POST', `/webhooks/deliveries/${id(3)}/replay`)).toMatchObject({
      status: 201,
      body: {
        objectId: id(3),
        webhookId: createDelivery(3, 0).webhookId,
        state: 'pending',
        nextAttemptAt: new Date(api.clock.now()).toISOString(),
        attemptCount: 1,
      },
    });
    expect(api.wakes()).toBe(1);
  });

  it('is not replayed while it is pending or after its body was removed', async () => {
    expect(await api.call('POST', `/webhooks/deliveries/${id(4)}/replay`)).toMatchObject({
      status: 400,
      body: { code: 143, error: `delivery ${id(4)} is pending already` },
    });
    await api.call('DELETE', '/webhooks/objects/Order/order1/payloads');
    expect(await api.call('POST', `/webhooks/deliveries/${id(1)}/replay`)).toMatchObject({
      status: 400,
      body: { error: `delivery ${id(1)} was expunged: nothing is left to send` },
    });
    expect(api.wakes()).toBe(0);
  });
});

describe('a replay of many', () => {
  beforeEach(writeFour);

  const replay = (body: unknown) => api.call('POST', '/webhooks/deliveries/replay', body);

  it('takes the finished deliveries that the filter names', async () => {
    expect(await replay({ subscription: 'orders', since: new Date(start).toISOString() })).toMatchObject({
      status: 201,
      body: { count: 2 },
    });
    expect(await Promise.all([1, 2, 3].map(stateOf))).toEqual(['pending', 'succeeded', 'pending']);
    expect(api.wakes()).toBe(1);
  });

  it('takes states as a list and as text with commas', async () => {
    expect((await replay({ state: 'exhausted,cancelled', dryRun: true })).body).toEqual({
      count: 1,
      dryRun: true,
    });
    expect((await replay({ state: ['exhausted', 'succeeded'], dryRun: true })).body.count).toBe(3);
  });

  it('is spread over time at the rate asked for', async () => {
    await replay({ state: 'succeeded', perSecond: 2 });
    const due = [1, 2].map(async n => (await api.store.get(id(n)))?.delivery.nextAttemptAt);
    expect(await Promise.all(due)).toEqual([api.clock.now(), api.clock.now() + 500]);
  });

  it('only counts in a dry run', async () => {
    expect(await replay({ all: true, dryRun: true })).toMatchObject({
      status: 200,
      body: { count: 3, dryRun: true },
    });
    expect(await stateOf(1)).toBe('succeeded');
    expect(api.wakes()).toBe(0);
  });

  it('counts in a dry run what it takes then, so nothing whose body was removed', async () => {
    await api.call('DELETE', '/webhooks/objects/Order/order1/payloads');
    expect((await replay({ all: true, dryRun: true })).body.count).toBe(2);
    expect((await replay({ all: true })).body).toEqual({ count: 2 });
  });

  it('wakes nobody when it finds nothing', async () => {
    expect(await replay({ type: 'custom.none' })).toMatchObject({ status: 201, body: { count: 0 } });
    expect(api.wakes()).toBe(0);
  });

  it.each([
    [{}, 'a replay needs a filter, or "all": true'],
    [{ dryRun: true }, 'a replay needs a filter, or "all": true'],
    [{ all: false, perSecond: 5 }, 'a replay needs a filter, or "all": true'],
    [{ all: 'yes' }, 'all must be true or false, got "yes"'],
    [{ all: true, perSecond: 0 }, 'perSecond must be an integer in 1..1000, got 0'],
    [{ all: true, perSecond: 1001 }, 'perSecond must be an integer in 1..1000, got 1001'],
    [{ all: true, perSecond: '50' }, 'perSecond must be an integer in 1..1000, got "50"'],
    [{ state: ['pending'] }, 'state must not name pending: it is on its way'],
    [{ state: [] }, 'state must be a list of pending, succeeded, exhausted, cancelled, got []'],
    [{ states: ['exhausted'] }, 'unknown field "states"'],
    [[], 'the body must be a JSON object'],
  ])('refuses %j', async (body, error) => {
    expect(await replay(body)).toMatchObject({ status: 400, body: { code: 143, error } });
    expect(await stateOf(1)).toBe('succeeded');
  });
});

describe('the payloads of an object', () => {
  it('are removed from deliveries and their attempts, and what was pending is cancelled', async () => {
    await deliver(api.store, createDelivery(1, start), { status: 200 });
    await api.store.insert([createDelivery(2, start, { objectId: 'order1' })], undefined);
    await deliver(api.store, createDelivery(3, start), { status: 200 });
    expect(await api.call('DELETE', '/webhooks/objects/Order/order1/payloads')).toMatchObject({
      status: 200,
      body: { count: 2 },
    });
    const first = (await api.call('GET', `/webhooks/deliveries/${id(1)}`)).body;
    expect(first.request.body).toBe('{}');
    expect(first.attempts[0]).not.toHaveProperty('reply');
    expect(await Promise.all([2, 3].map(stateOf))).toEqual(['cancelled', 'succeeded']);
    expect((await api.call('GET', `/webhooks/deliveries/${id(3)}`)).body.request.body).toContain('number');
  });
});

describe('the statistics', () => {
  beforeEach(writeFour);

  it('count attempts by time and status class, network failures included', async () => {
    const { status, body } = await api.call('GET', '/webhooks/stats');
    expect(status).toBe(200);
    const hour = 3_600_000;
    expect(body).toEqual({
      bucket: 'hour',
      since: new Date(api.clock.now() - 60 * hour).toISOString(),
      until: new Date(api.clock.now()).toISOString(),
      results: [
        {
          start: new Date(api.clock.now() - hour).toISOString(),
          attempts: 3,
          succeeded: 2,
          failed: 1,
          byStatusClass: { '2xx': 2, none: 1 },
          latencyByStatusClass: {
            '2xx': { averageMs: expect.any(Number), maxMs: expect.any(Number) },
            none: { averageMs: expect.any(Number), maxMs: expect.any(Number) },
          },
          averageDurationMs: 32.5 / 3,
          maxDurationMs: 12.5,
        },
      ],
    });
  });

  it('are those of a subscription or a hook when one is named', async () => {
    const attempts = async (query: string): Promise<number[]> =>
      (await api.call('GET', `/webhooks/stats?bucket=minute&${query}`)).body.results.map(
        (bucket: { attempts: number }) => bucket.attempts,
      );
    expect(await attempts('subscription=orders')).toEqual([2]);
    expect(await attempts('hook=afterSave/Puppy')).toEqual([1]);
    expect(await attempts(`since=${start + 3000}&until=${start + 4000}`)).toEqual([1]);
  });

  it.each([
    ['bucket=week', /^bucket must be minute, hour or day, got "week"$/],
    ['since=5&until=5', /^since must be before until, got 1970-01-01T00:00:00.005Z and 1970/],
    ['since=0', /buckets apart, 1500 is the most: take a wider bucket$/],
    ['since=8640000000000000', /^since must be before until/],
    ['since=8640000000000001', /^since must be an ISO 8601 time/],
    ['hook=afterSave/Puppy&subscription=a', /cannot both be given$/],
    ['limit=5', /^unknown parameter "limit"$/],
  ])('refuse %s', async (query, error) => {
    const { status, body } = await api.call('GET', `/webhooks/stats?${query}`);
    expect([status, body.code]).toEqual([400, 143]);
    expect(body.error).toMatch(error);
  });
});

describeOnEachDatabase('the API of deliveries in a database', database => {
  it('answers what its store has, and no request with a 5xx', async () => {
    const fresh = await database.create();
    const parts = { connection: fresh.databaseURI, clock: systemClock, logger: silentLogger };
    const store =
      database.kind === 'postgres' ? new PostgresDeliveryStore(parts) : new MongodbDeliveryStore(parts);
    await store.migrate();
    await api.stop();
    api = await startEventsApi(store);
    try {
      await writeFour();
      expect(await list('?subscription=orders&state=succeeded,exhausted')).toEqual([id(3), id(1)]);
      const { next } = (await api.call('GET', '/webhooks/deliveries?limit=3')).body;
      expect(await list(`?limit=3&cursor=${next}`)).toEqual([id(1)]);
      expect((await api.call('GET', '/webhooks/stats?bucket=day')).body.results).toEqual([
        expect.objectContaining({ attempts: 3, byStatusClass: { '2xx': 2, none: 1 } }),
      ]);
      const bulk = { hook: 'afterSave/Puppy' };
      expect((await api.call('POST', '/webhooks/deliveries/replay', bulk)).body).toEqual({ count: 1 });
      expect((await api.call('POST', `/webhooks/deliveries/${id(3)}/replay`)).status).toBe(201);
      expect((await api.call('DELETE', '/webhooks/objects/Order/order1/payloads')).body).toEqual({
        count: 1,
      });

      const oddTexts = ['%00', '%C3%A9%F0%9F%90%B6', "'%3B--", '%5C', '%25', '$where', '{"$gt":1}'];
      for (const text of oddTexts.map(each => each.replace(/[{}"$:]/g, encodeURIComponent))) {
        for (const name of [
          'subscription',
          'hook',
          'className',
          'objectId',
          'type',
          'state',
          'since',
          'cursor',
        ]) {
          expect((await api.call('GET', `/webhooks/deliveries?${name}=${text}`)).status).toBeLessThan(500);
        }
        expect((await api.call('GET', `/webhooks/deliveries/${text}`)).status).toBeLessThan(500);
        expect((await api.call('POST', `/webhooks/deliveries/${text}/replay`)).status).toBeLessThan(500);
        expect((await api.call('DELETE', `/webhooks/objects/${text}/${text}/payloads`)).status).toBeLessThan(
          500,
        );
      }
      for (const query of [
        'since=8640000000000000',
        'until=8640000000000000',
        'since=0000-01-01',
        'until=0',
      ]) {
        expect((await api.call('GET', `/webhooks/deliveries?${query}`)).status).toBe(200);
        expect((await api.call('GET', `/webhooks/stats?${query}`)).status).toBeLessThan(500);
      }
      const surrogate = { className: '\ud800', objectId: 'x'.repeat(256), dryRun: true };
      expect((await api.call('POST', '/webhooks/deliveries/replay', surrogate)).status).toBeLessThan(500);
    } finally {
      await store.close();
      await fresh.drop();
    }
  });
});
