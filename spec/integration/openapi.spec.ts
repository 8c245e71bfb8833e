// GET /webhooks/openapi.json, held against the server: every route is in it, and every answer is what it says.
import { WebhookError } from '../../src/errors';
import { MemoryDeliveryStore } from '../../src/events/memory-delivery-store';
import { subscriptionObjectId } from '../../src/events/subscription-record';
import { describeOnEachDatabase } from '../support/databases';
import {
  findAnswerErrors,
  findDocumentErrors,
  findRequestErrors,
  findSchemaErrors,
  listOperations,
  type ApiDocument,
} from '../support/api-document';
import { createDelivery, deliver } from '../support/event-deliveries';
import { eventually, listDeliveries, save, subscribe } from '../support/event-subscriptions';
import { startEventsApi, type EventsApi } from '../support/events-api';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { transports } from '../support/rest-transports';
import { startWebhookReceiver } from '../support/webhook-receiver';

const url = 'https://example.com/hook';
const events = ['object.*', 'custom.order.paid'];
const first = subscriptionObjectId('orders');
const delivery = (n: number): string => `dlv_${String(n).padStart(26, '0')}`;

interface Step {
  readonly operation: string;
  readonly status: number;
  /** Default the documented path. */
  readonly path?: string;
  readonly body?: unknown;
}

const hooks = '/webhooks/hooks';
const subscription = '/webhooks/subscriptions/{objectId}';
const one = `/webhooks/subscriptions/${first}`;
const functionPath = `${hooks}/functions/{functionName}`;
const triggerPath = `${hooks}/triggers/{className}/{triggerName}`;

/** In this order: the later ones need the earlier ones. */
const steps: readonly Step[] = [
  { operation: 'get /webhooks/openapi.json', status: 200 },
  { operation: 'get /webhooks/health', status: 200 },
  { operation: 'get /webhooks/metrics', status: 200 },
  { operation: 'get /webhooks/jwks.json', status: 200 },
  { operation: 'get /webhooks/ed25519.json', status: 200 },
  { operation: 'post /webhooks/keys/rotate', status: 201, body: { key: 'ES256' } },
  { operation: 'post /webhooks/keys/rotate', status: 400, body: { key: 'HS256' } },
  { operation: 'get /webhooks/hooks', status: 200 },
  { operation: `get ${functionPath}`, path: `${hooks}/functions/f`, status: 200 },
  { operation: `get ${functionPath}`, path: `${hooks}/functions/g`, status: 404 },
  { operation: `patch ${functionPath}`, path: `${hooks}/functions/f`, status: 200, body: { timeoutMs: 9 } },
  {
    operation: `post ${functionPath}/secret/rotate`,
    path: `${hooks}/functions/f/secret/rotate`,
    status: 201,
  },
  { operation: `delete ${functionPath}`, path: `${hooks}/functions/f`, status: 200 },
  { operation: `get ${triggerPath}`, path: `${hooks}/triggers/Puppy/afterSave`, status: 200 },
  {
    operation: `patch ${triggerPath}`,
    path: `${hooks}/triggers/Puppy/afterSave`,
    status: 200,
    body: { url: `${url}/2`, where: { age: 1 }, timeoutMs: null },
  },
  {
    operation: `post ${triggerPath}/secret/rotate`,
    path: `${hooks}/triggers/Puppy/afterSave/secret/rotate`,
    status: 201,
  },
  { operation: `delete ${triggerPath}`, path: `${hooks}/triggers/Puppy/afterSave`, status: 200 },
  { operation: 'post /webhooks/subscriptions', status: 201, body: { name: 'orders', url, events } },
  { operation: 'post /webhooks/subscriptions', status: 400, body: { name: 'orders' } },
  { operation: 'get /webhooks/subscriptions', status: 200 },
  { operation: 'get /webhooks/subscriptions', path: '/webhooks/subscriptions?limit=0', status: 400 },
  { operation: `get ${subscription}`, path: one, status: 200 },
  { operation: `get ${subscription}`, path: '/webhooks/subscriptions/none', status: 404 },
  { operation: `put ${subscription}`, path: one, status: 200, body: { description: 'x' } },
  { operation: `patch ${subscription}`, path: one, status: 200, body: { description: 'y' } },
  { operation: `post ${subscription}/pause`, path: `${one}/pause`, status: 200 },
  { operation: `get ${subscription}`, path: one, status: 200 },
  { operation: `post ${subscription}/resume`, path: `${one}/resume`, status: 200 },
  { operation: `post ${subscription}/secret/rotate`, path: `${one}/secret/rotate`, status: 201 },
  { operation: `post ${subscription}/test`, path: `${one}/test`, status: 201 },
  { operation: 'post /webhooks/events', status: 201, body: { type: 'custom.a', data: {} } },
  { operation: 'post /webhooks/events', status: 400, body: { type: 'object.create', data: {} } },
  { operation: 'get /webhooks/deliveries', status: 200 },
  { operation: 'get /webhooks/deliveries', path: '/webhooks/deliveries?limit=1', status: 200 },
  {
    operation: 'get /webhooks/deliveries/{objectId}',
    path: `/webhooks/deliveries/${delivery(1)}`,
    status: 200,
  },
  {
    operation: 'get /webhooks/deliveries/{objectId}',
    path: `/webhooks/deliveries/${delivery(2)}`,
    status: 200,
  },
  { operation: 'get /webhooks/deliveries/{objectId}', path: '/webhooks/deliveries/none', status: 404 },
  {
    operation: 'post /webhooks/deliveries/{objectId}/replay',
    path: `/webhooks/deliveries/${delivery(1)}/replay`,
    status: 201,
  },
  { operation: 'post /webhooks/deliveries/replay', status: 200, body: { all: true, dryRun: true } },
  { operation: 'post /webhooks/deliveries/replay', status: 201, body: { all: true } },
  { operation: 'get /webhooks/stats', status: 200 },
  {
    operation: 'delete /webhooks/objects/{className}/{objectId}/payloads',
    path: '/webhooks/objects/Order/order1/payloads',
    status: 200,
  },
  { operation: `delete ${subscription}`, path: one, status: 200 },
];

describe('the OpenAPI document', () => {
  let api: EventsApi;
  let document: ApiDocument;

  beforeAll(async () => {
    api = await startEventsApi();
    document = (await api.call('GET', '/webhooks/openapi.json')).body;
    await api.registry.create({ functionName: 'f', url }, 'refuse-unknown');
    const settings = {
      headers: { 'X-Key': 'a' },
      basicAuth: { username: 'u', password: 'p' },
      changed: ['age'],
    };
    await api.registry.create(
      { className: 'Puppy', triggerName: 'afterSave', url, ...settings },
      'refuse-unknown',
    );
    const before = api.clock.now() - 60_000;
    const hook = { endpoint: 'hook/trigger/Puppy/afterSave', type: 'afterSave', objectId: undefined };
    await deliver(api.store, createDelivery(1, before), { status: 200 });
    await deliver(api.store, createDelivery(2, before, hook), { status: undefined });
    await deliver(api.store, createDelivery(3, before, { className: undefined }), { status: 500 });
  });

  afterAll(() => api.stop());

  it('is valid OpenAPI 3.1', () => {
    expect(document).toMatchObject({ openapi: '3.1.0' });
    expect(findDocumentErrors(document)).toEqual([]);
    expect(findSchemaErrors(document)).toEqual([]);
  });

  it('names each operation once', () => {
    const ids = Object.values(document.paths).flatMap(item =>
      Object.values(item).map(({ operationId }) => operationId),
    );
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('has every route that is mounted, and no other', () => {
    const mounted = listRoutes(api.handler).map(
      ({ method, path }) => `${method} /webhooks${path.replace(/:(\w+)/g, '{$1}')}`,
    );
    expect(mounted.length).toBeGreaterThan(30);
    expect([...listOperations(document)].sort()).toEqual(mounted.sort());
  });

  it('is tried out below as a whole', () => {
    const tried = new Set(steps.map(({ operation }) => operation));
    expect(listOperations(document).filter(operation => !tried.has(operation))).toEqual([]);
  });

  it.each(steps)('says what $operation answers with $status', async ({ operation, status, path, body }) => {
    const [method = '', documentedPath = ''] = operation.split(' ');
    const answer = await api.call(method.toUpperCase(), path ?? documentedPath, body);
    expect([answer.status, answer.body]).toEqual([status, answer.body]);
    expect(findAnswerErrors(document, operation, answer)).toEqual([]);
    if (body === undefined) return;
    expect(findRequestErrors(document, operation, body).length === 0).toBe(status < 300);
  });

  it('says where a body must be given', () => {
    const required = (path: string): boolean | undefined => document.paths[path]?.post?.requestBody?.required;
    for (const path of ['events', 'subscriptions', 'keys/rotate'])
      expect([path, required(`/webhooks/${path}`)]).toEqual([path, true]);
    expect(required(`${subscription}/secret/rotate`)).toBe(false);
  });

  it('says what is answered while the store is away, and when something breaks', async () => {
    const failing = new MemoryDeliveryStore();
    const away = await startEventsApi(failing);
    try {
      for (const [error, status, body] of [
        [new Error('connect ECONNREFUSED canary:5432'), 503, { code: 124, error: /try again/ }],
        [new WebhookError('STORE_BUSY', 'busy'), 503, { code: 124, error: /busy/ }],
        [new TypeError('canary'), 500, { code: 141, error: /internal error/ }],
      ] as const) {
        failing.list = () => Promise.reject(error);
        const answer = await away.call('GET', '/webhooks/deliveries');
        expect(answer).toMatchObject({
          status,
          body: { code: body.code, error: expect.stringMatching(body.error) },
        });
        expect(JSON.stringify(answer.body)).not.toContain('canary');
        expect(findAnswerErrors(document, 'get /webhooks/deliveries', answer)).toEqual([]);
      }
    } finally {
      await away.stop();
    }
  });

  it('says what other keys than the master key are answered', async () => {
    for (const [key, method, path] of [
      ['none', 'GET', '/webhooks/openapi.json'],
      ['read-only', 'POST', '/webhooks/events'],
    ] as const) {
      const answer = await api.callAs(key, method, path);
      expect(answer.status).toBe(403);
      expect(findAnswerErrors(document, `${method.toLowerCase()} ${path}`, answer)).toEqual([]);
    }
  });
});

describeOnEachDatabase('the OpenAPI document of a running server', database => {
  it('says what the server answers to every operation', async () => {
    const fresh = await database.create();
    const receiver = await startWebhookReceiver();
    let parse: ParseApplication | undefined;
    try {
      const started = (parse = await startParseApplication({ database: fresh }));
      const own = receiver.on('/hook', () => ({}));
      await parse.registerHook({ functionName: 'f', url: own });
      await parse.registerHook({ className: 'Puppy', triggerName: 'afterSave', url: own });
      // Rows of the log: one of an object, one of the hook, whose bodies differ.
      await subscribe(parse, { name: 'log', url: receiver.on('/log', () => ({})) });
      await save(parse, 'Puppy', { age: 1 });
      const rows = await eventually(
        () => listDeliveries(started, { limit: '10' }),
        found => found.length === 2 && found.every(({ state }) => state === 'succeeded'),
      );
      const ids = rows.map(({ objectId }) => String(objectId));
      const { body: document } = await parse.master('GET', '/webhooks/openapi.json');
      const failures: unknown[] = [];
      for (const { operation, status, path, body } of steps) {
        const [method = '', documentedPath = ''] = operation.split(' ');
        // The steps name the rows that they were given elsewhere; here the server has made its own.
        const here = (path ?? documentedPath)
          .replace(delivery(1), ids[0] ?? '')
          .replace(delivery(2), ids[1] ?? '');
        const answer = await parse.master(method.toUpperCase(), here, body === undefined ? {} : { body });
        const errors = findAnswerErrors(document, operation, answer);
        if (answer.status !== status || errors.length > 0)
          failures.push({ operation, status, answered: answer.status, body: answer.body, errors });
      }
      expect(failures).toEqual([]);
    } finally {
      await parse?.stop();
      await receiver.close();
      await fresh.drop();
    }
  });

  it('says what the server answers', async () => {
    const fresh = await database.create();
    let parse: ParseApplication | undefined;
    try {
      parse = await startParseApplication({ database: fresh });
      await parse.registerHook({
        functionName: 'f',
        url,
        signatures: ['v1a'],
        bearer: { algorithm: 'ES256' },
      });
      const { body: document } = await parse.master('GET', '/webhooks/openapi.json');
      expect(findDocumentErrors(document)).toEqual([]);
      const gets = listOperations(document).filter(each => /^get [^{]*$/.test(each));
      expect(gets.length).toBeGreaterThan(4);
      for (const operation of [...gets, `get ${functionPath}`]) {
        const path = operation.replace('get ', '').replace('{functionName}', 'f');
        const answer = await parse.master('GET', path);
        expect(findAnswerErrors(document, operation, answer)).toEqual([]);
      }
      // Five webhooks led here, and the header that says so came with the master key.
      for (const [depth, status] of [
        ['5', 400],
        ['4', 201],
      ] as const) {
        const answer = await parse.master('POST', '/webhooks/events', {
          body: { type: 'custom.a', data: {} },
          headers: { 'X-Parse-Webhook-Depth': depth },
        });
        expect([answer.status, answer.body]).toEqual([status, answer.body]);
        expect(findAnswerErrors(document, 'post /webhooks/events', answer)).toEqual([]);
      }
      await parse.registerHook({ functionName: 'g', url });
      // SDKs have numbers in the body where a query has text.
      const bySdk = transports['credentials in a text/plain body'];
      const page = await bySdk?.(parse, 'GET', '/webhooks/hooks', { limit: 1 });
      expect(page).toMatchObject({ status: 200, body: { results: [{ functionName: 'f' }] } });
    } finally {
      await parse?.stop();
      await fresh.drop();
    }
  });
});

interface MountedRoute {
  readonly method: string;
  readonly path: string;
}

/** What express routers hold: routes, and routers within. */
function listRoutes(router: unknown): MountedRoute[] {
  if (typeof router !== 'function' || !('stack' in router) || !Array.isArray(router.stack)) return [];
  return (router.stack as readonly unknown[]).flatMap(layer => {
    const { route, handle } = layer as {
      readonly route?: { readonly path: string; readonly methods: Readonly<Record<string, boolean>> };
      readonly handle?: unknown;
    };
    if (!route) return listRoutes(handle);
    return Object.keys(route.methods).map(method => ({ method, path: route.path }));
  });
}
