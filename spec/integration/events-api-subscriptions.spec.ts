// Subscriptions and custom events below /webhooks, as the API answers them. What a subscription may hold is not its part.
import { MemoryDeliveryStore } from '../../src/events/memory-delivery-store';
import { startEventsApi, type EventsApi } from '../support/events-api';

let api: EventsApi;

beforeEach(async () => {
  api = await startEventsApi();
});

afterEach(() => api.stop());

const url = 'https://example.com/orders';
const fields = { url, events: ['*'] };
const create = (name: string) => api.call('POST', '/webhooks/subscriptions', { name, ...fields });

async function createId(name = 'orders'): Promise<string> {
  return (await create(name)).body.objectId;
}

describe('a subscription', () => {
  it('is created with 201, and shows its secret this once', async () => {
    const { status, body } = await create('orders');
    expect(status).toBe(201);
    expect(body).toMatchObject({
      objectId: expect.any(String),
      createdAt: new Date(api.clock.now()).toISOString(),
      name: 'orders',
      url,
      secret: expect.stringMatching(/^whsec_/),
      health: { state: 'healthy', consecutiveFailures: 0 },
      oldSecretsExpireAt: [],
    });
    const one = await api.call('GET', `/webhooks/subscriptions/${body.objectId}`);
    const { secret, ...others } = body;
    expect(one).toMatchObject({ status: 200, body: others });
    const all = await api.call('GET', '/webhooks/subscriptions');
    expect(all.body).toEqual({ results: [others] });
    expect(JSON.stringify([one.body, all.body])).not.toContain(secret);
  });

  it('is refused with the reason of its registry', async () => {
    expect(await api.call('POST', '/webhooks/subscriptions', { name: 5, ...fields })).toMatchObject({
      status: 400,
      body: { code: 143, error: expect.stringMatching(/^name must be .*, got 5$/) },
    });
    expect(await api.call('POST', '/webhooks/subscriptions', [1])).toMatchObject({
      status: 400,
      body: { code: 143, error: 'the body must be a JSON object' },
    });
  });

  it.each(['PUT', 'PATCH'])('is changed by %s, which leaves what is not named', async method => {
    const path = `/webhooks/subscriptions/${await createId()}`;
    api.clock.advance(1000);
    expect(await api.call(method, path, { description: 'new' })).toMatchObject({
      status: 200,
      body: { name: 'orders', url, description: 'new', updatedAt: new Date(api.clock.now()).toISOString() },
    });
  });

  it('is paused and resumed', async () => {
    const path = `/webhooks/subscriptions/${await createId()}`;
    expect(await api.call('POST', `${path}/pause`)).toMatchObject({
      status: 200,
      body: {
        health: {
          state: 'paused',
          pauseReason: 'operator',
          pausedAt: new Date(api.clock.now()).toISOString(),
        },
      },
    });
    const { status, body } = await api.call('POST', `${path}/resume`);
    expect([status, body.health]).toEqual([200, { state: 'healthy', consecutiveFailures: 0 }]);
  });

  it('gets a new secret, its own or a given one', async () => {
    const path = `/webhooks/subscriptions/${await createId()}/secret/rotate`;
    const first = await api.call('POST', path);
    expect(first).toMatchObject({ status: 201, body: { secret: expect.stringMatching(/^whsec_/) } });
    const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
    expect(await api.call('POST', path, { secret, graceMs: 1000 })).toMatchObject({
      status: 201,
      body: {
        secret,
        oldSecretsExpireAt: [new Date(api.clock.now() + 1000).toISOString(), expect.any(String)],
      },
    });
  });

  it.each([
    [{ secret: { whsec: 'canary' } }, 'secret must be a string that begins with whsec_'],
    [{ graceMs: '5' }, 'graceMs must be a number, got "5"'],
    [{ grace: 5 }, 'unknown field "grace"'],
  ])('keeps its secret when a rotation is asked for with %j', async (body, error) => {
    const path = `/webhooks/subscriptions/${await createId()}/secret/rotate`;
    expect(await api.call('POST', path, body)).toMatchObject({ status: 400, body: { code: 143, error } });
  });

  it('is tried out with a sample event, marked as a test', async () => {
    const { status, body } = await api.call('POST', `/webhooks/subscriptions/${await createId()}/test`);
    expect(status).toBe(201);
    expect(await api.call('GET', `/webhooks/deliveries/${body.objectId}`)).toMatchObject({
      status: 200,
      body: { webhookId: body.webhookId, isTest: true, state: 'pending', type: 'object.create' },
    });
  });

  it('is deleted with an empty answer', async () => {
    const path = `/webhooks/subscriptions/${await createId()}`;
    expect(await api.call('DELETE', path)).toMatchObject({ status: 200, body: {} });
    expect((await api.call('GET', path)).status).toBe(404);
  });

  it.each(['GET', 'PUT', 'PATCH', 'DELETE', 'POST pause', 'POST resume', 'POST secret/rotate', 'POST test'])(
    'that is not there is a 404: %s',
    async route => {
      const [method = '', action] = route.split(' ');
      const path = `/webhooks/subscriptions/none${action === undefined ? '' : `/${action}`}`;
      expect(await api.call(method, path, method === 'GET' ? undefined : {})).toMatchObject({
        status: 404,
        body: { code: 101, error: expect.stringContaining('none') },
      });
    },
  );

  it('comes in pages, oldest first', async () => {
    for (const name of ['c', 'a', 'b']) {
      await create(name);
      api.clock.advance(1000);
    }
    const first = (await api.call('GET', '/webhooks/subscriptions?limit=2')).body;
    expect(first.results.map(({ name }: { name: string }) => name)).toEqual(['c', 'a']);
    const second = (await api.call('GET', `/webhooks/subscriptions?limit=2&cursor=${first.next}`)).body;
    expect(second).toEqual({ results: [expect.objectContaining({ name: 'b' })] });
    for (const query of ['limit=0', 'cursor=!', 'cursor=', 'where=1']) {
      expect((await api.call('GET', `/webhooks/subscriptions?${query}`)).status).toBe(400);
    }
  });
});

describe('a custom event', () => {
  const event = { type: 'custom.order.paid', data: { total: 5, items: [{ sku: 'a' }] } };

  beforeEach(() => create('orders'));

  /** Type and data of what was stored for the subscription. */
  async function published(): Promise<readonly unknown[]> {
    const { deliveries } = await api.store.list({}, { limit: 1000 });
    return Promise.all(
      deliveries.map(async ({ id }) => {
        const { type, data } = JSON.parse((await api.store.get(id))?.delivery.body ?? '');
        return { type, data };
      }),
    );
  }

  it('is published with 201', async () => {
    expect(await api.call('POST', '/webhooks/events', event)).toMatchObject({
      status: 201,
      body: { eventId: expect.stringMatching(/^evt_/), deliveries: 1 },
    });
    expect(await published()).toEqual([event]);
  });

  it('with a key that was used before is answered as before, with 200', async () => {
    const key = { 'Idempotency-Key': 'order-5' };
    const first = await api.call('POST', '/webhooks/events', event, key);
    const second = await api.call('POST', '/webhooks/events', event, key);
    expect([first.status, second.status]).toEqual([201, 200]);
    expect(second.body).toEqual(first.body);
    expect(await published()).toHaveLength(1);
  });

  it.each([
    [{ type: 'object.create', data: {} }, /^type must be custom\. and a dotted name, got "object.create"$/],
    [{ type: 'custom', data: {} }, /^type must be custom\./],
    [{ type: 'custom.', data: {} }, /^type must be custom\./],
    [{ data: {} }, /^type must be custom\. and a dotted name, got undefined$/],
    [{ type: 'custom.a' }, /^data must be a JSON object, got undefined$/],
    [{ type: 'custom.a', data: [] }, /^data must be a JSON object, got \[\]$/],
    [{ type: 'custom.a', data: {}, classes: 1 }, /^unknown field "classes"$/],
  ])('is refused as %j', async (body, error) => {
    const answer = await api.call('POST', '/webhooks/events', body);
    expect([answer.status, answer.body.code]).toEqual([400, 143]);
    expect(answer.body.error).toMatch(error);
    expect(await published()).toEqual([]);
  });

  it.each([
    ['{"type": "custom.a", "data": {"__proto__": 1}}', 'data must have no key __proto__'],
    [`{"type": "custom.a", "data": {"a": ${'['.repeat(50_000)}${']'.repeat(50_000)}}}`, /^data must be/],
    [`{"type": "custom.a", "data": {"a": "${'x'.repeat(300_000)}"}}`, /^data must be at most 262144 bytes/],
  ])('is refused when its data are dangerous or too large (%#)', async (body, error) => {
    const answer = await api.call('POST', '/webhooks/events', body);
    expect([answer.status, answer.body.code]).toEqual([400, 143]);
    expect(answer.body.error).toMatch(error);
  });

  it('with a key that was used for another event is refused', async () => {
    const key = { 'Idempotency-Key': 'order-5' };
    await api.call('POST', '/webhooks/events', event, key);
    const other = await api.call('POST', '/webhooks/events', { ...event, data: {} }, key);
    expect(other).toMatchObject({ status: 400, body: { code: 143 } });
    expect(await published()).toHaveLength(1);
  });

  it('is refused with a key that is too long', async () => {
    const answer = await api.call('POST', '/webhooks/events', event, { 'Idempotency-Key': 'x'.repeat(256) });
    expect(answer.status).toBe(400);
    expect(answer.body.error).toMatch(/^idempotency-key must be 1 to 255 characters of printable US-ASCII/);
  });
});

describe('the keys that may use the routes of events', () => {
  it.each([
    ['GET', '/webhooks/subscriptions', 200],
    ['GET', '/webhooks/deliveries', 200],
    ['GET', '/webhooks/stats', 200],
    ['GET', '/webhooks/openapi.json', 200],
    ['POST', '/webhooks/subscriptions', 403],
    ['POST', '/webhooks/events', 403],
    ['POST', '/webhooks/deliveries/replay', 403],
    ['DELETE', '/webhooks/objects/Order/o/payloads', 403],
  ] as const)(
    '%s %s is %i with the read-only master key, and 403 without a key',
    async (method, path, status) => {
      expect((await api.callAs('read-only', method, path)).status).toBe(status);
      expect(await api.callAs('none', method, path)).toMatchObject({ status: 403, body: { code: 119 } });
    },
  );
});

describe('a store that is full', () => {
  it('is answered with 503, to be tried again', async () => {
    const small = await startEventsApi(new MemoryDeliveryStore({ maxRows: 1 }));
    try {
      const { body } = await small.call('POST', '/webhooks/subscriptions', { name: 'orders', ...fields });
      const test = `/webhooks/subscriptions/${body.objectId}/test`;
      expect((await small.call('POST', test)).status).toBe(201);
      expect(await small.call('POST', test)).toMatchObject({ status: 503, body: { code: 124 } });
    } finally {
      await small.stop();
    }
  });
});
