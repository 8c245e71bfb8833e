// The router beside Parse: public keys for everybody, metrics and health for the token, and the same below Parse.
import express, { type RequestHandler } from 'express';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createMetrics } from '../../src/api/metrics';
import { createPublicRouter } from '../../src/api/public-router';
import { Webhooks } from '../../src/index';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { Reply, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const metricsToken = 'a-token-for-scrapers-only';

interface Front {
  readonly server: Server;
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Response>;
}

/** An express app with nothing but the router, as a user mounts it. */
async function mount(router: RequestHandler): Promise<Front> {
  const server = createServer(express().use('/webhooks', router)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the front has no port');
  return {
    server,
    get: (path, headers = {}) =>
      fetch(`http://127.0.0.1:${address.port}/webhooks${path}`, {
        headers: { connection: 'close', ...headers },
      }),
  };
}

function close({ server }: Front): void {
  server.close();
  server.closeAllConnections();
}

const withToken = { authorization: `Bearer ${metricsToken}` };

describeOnEachDatabase('the public router', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let front: Front;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({
      database: fresh,
      webhooks: { metricsToken, breakerFailures: 2, breakerOpenMs: 600_000 },
    });
    front = await mount(parse.webhooks.router());
  });

  afterAll(async () => {
    close(front);
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  it('serves empty key sets before any hook needs a key, and keys as soon as one does', async () => {
    for (const [path, empty] of [
      ['/jwks.json', { keys: [] }],
      ['/ed25519.json', { publicKeys: [] }],
    ] as const) {
      const response = await front.get(path);
      expect(await response.json()).toEqual(empty);
      // A cache that kept it would refuse what the first key signs.
      expect(response.headers.get('cache-control')).toBe('no-store');
    }
    await parse.registerHook({
      functionName: 'keys',
      url: receiver.on('/keys', () => ({ success: 1 })),
      signatures: ['v1', 'v1a'],
      bearer: { algorithm: 'ES256' },
    });
    const { keys } = (await (await front.get('/jwks.json')).json()) as { keys: { alg: string }[] };
    // Both kinds: caches that keep this set for ten minutes will know the first token of either.
    expect(keys.map(({ alg }) => alg).sort()).toEqual(['ES256', 'RS256']);
    expect(await (await front.get('/ed25519.json')).json()).toMatchObject({
      publicKeys: [expect.any(String)],
    });
  });

  it('lets caches keep public keys for ten minutes', async () => {
    for (const [path, type] of [
      ['/jwks.json', /^application\/jwk-set\+json/],
      ['/ed25519.json', /^application\/json/],
    ] as const) {
      const response = await front.get(path);
      expect(response.status).toBe(200);
      expect(response.headers.get('cache-control')).toBe('public, max-age=600');
      expect(response.headers.get('content-type')).toMatch(type);
      const etag = response.headers.get('etag') ?? '';
      expect((await front.get(path, { 'if-none-match': etag, 'cache-control': 'max-age=0' })).status).toBe(
        304,
      );
    }
  });

  it.each([
    ['no header', {}],
    ['another token', { authorization: 'Bearer another-token-of-some-length' }],
    ['a longer token', { authorization: `Bearer ${metricsToken}x` }],
    ['the beginning of the token', { authorization: `Bearer ${metricsToken.slice(0, -1)}` }],
    ['no scheme', { authorization: metricsToken }],
    ['Basic', { authorization: `Basic ${Buffer.from(`:${metricsToken}`).toString('base64')}` }],
    ["Parse's master key", { 'x-parse-application-id': 'test-app', 'x-parse-master-key': 'test-master-key' }],
  ])('answers 403 in JSON for metrics and health with %s', async (_what, headers) => {
    // Routes of express match in any case and with a slash at the end; encoded letters do not.
    for (const path of ['/metrics', '/health', '/METRICS', '/Health/', '/metrics/', '/metrics?token=x']) {
      const response = await front.get(path, headers);
      expect([path, response.status]).toEqual([path, 403]);
      expect(await response.json()).toEqual({ code: 119, error: 'unauthorized: metricsToken is required' });
    }
    expect((await front.get('/%6detrics', headers)).status).toBeGreaterThanOrEqual(400);
  });

  it('answers 404 in JSON for everything else, hooks above all', async () => {
    for (const path of ['/', '/hooks', '/hooks/functions/keys', '/keys/rotate', '/nothing']) {
      const response = await front.get(path, withToken);
      expect([path, response.status]).toEqual([path, 404]);
      expect(await response.json()).toMatchObject({ code: 101 });
    }
  });

  it('answers 400 in JSON for paths that are not valid percent-encoding, below Parse too', async () => {
    for (const path of ['/%zz', '/health%', '/%c3%28']) {
      const response = await front.get(path, withToken);
      expect([path, response.status]).toEqual([path, 400]);
      expect(await response.json()).toEqual({ code: 143, error: 'the path is not valid percent-encoding' });
    }
    expect(await parse.master('GET', '/webhooks/hooks/functions/%zz')).toMatchObject({
      status: 400,
      body: { code: 143, error: 'the path is not valid percent-encoding' },
    });
  });

  it('serves health with the token', async () => {
    const response = await front.get('/health', withToken);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      status: 'ok',
      database: 'reachable',
      registryVersion: expect.any(String),
      broken: [],
      openBreakers: [],
    });
  });

  it('serves the same routes below Parse for the master key, and for nobody else', async () => {
    for (const path of ['/jwks.json', '/ed25519.json', '/metrics', '/health']) {
      expect((await parse.master('GET', `/webhooks${path}`)).status).toBe(200);
      expect(await parse.client('GET', `/webhooks${path}`)).toMatchObject({
        status: 403,
        body: { code: 119 },
      });
      expect(await parse.client('GET', `/webhooks${path}`, { headers: withToken })).toMatchObject({
        status: 403,
      });
    }
  });

  it('counts calls by hook, trigger and outcome, rejections by code, failures by kind, those let pass, and shows open breakers', async () => {
    const hooks = {
      changes: [() => ({ success: 1 }), {}],
      rejects: [() => ({ error: 'no' }), {}],
      fails: [() => new Reply(500, 'oops'), {}],
      passes: [() => new Reply(500, 'oops'), { failurePolicy: 'allow' }],
    } as const;
    for (const [name, [answer, settings]] of Object.entries(hooks)) {
      await parse.registerHook({
        className: `Metrics_${name}`,
        triggerName: 'beforeSave',
        url: receiver.on(`/${name}`, name === 'changes' ? () => ({ success: { a: 2 } }) : answer),
        ...settings,
      });
    }
    const save = (name: string) => parse.client('POST', `/classes/Metrics_${name}`, { body: { a: 1 } });
    for (let n = 0; n < 3; n++) await save('changes');
    for (let n = 0; n < 2; n++) expect((await save('rejects')).status).toBe(400);
    for (let n = 0; n < 3; n++) expect((await save('fails')).body.code).toBe(141);
    expect((await save('passes')).status).toBe(201);
    const response = await front.get('/metrics', withToken);
    expect(response.headers.get('content-type')).toMatch(/^text\/plain;.* version=0\.0\.4$/);
    const lines = (await response.text()).split('\n');
    for (const line of [
      'parse_webhooks_call_duration_seconds_count{hook="beforeSave Metrics_changes",trigger="beforeSave",outcome="changed"} 3',
      'parse_webhooks_call_duration_seconds_count{hook="beforeSave Metrics_rejects",trigger="beforeSave",outcome="rejected"} 2',
      'parse_webhooks_call_duration_seconds_count{hook="beforeSave Metrics_fails",trigger="beforeSave",outcome="failed"} 3',
      'parse_webhooks_rejections_total{hook="beforeSave Metrics_rejects",code="141"} 2',
      'parse_webhooks_call_failures_total{hook="beforeSave Metrics_fails",kind="status"} 2',
      'parse_webhooks_call_failures_total{hook="beforeSave Metrics_fails",kind="breaker-open"} 1',
      'parse_webhooks_failed_open_total{hook="beforeSave Metrics_passes"} 1',
      'parse_webhooks_breaker_state{hook="beforeSave Metrics_fails"} 2',
      'parse_webhooks_breaker_state{hook="beforeSave Metrics_changes"} 0',
      'parse_webhooks_calls_in_flight{hook="beforeSave Metrics_changes"} 0',
    ]) {
      expect(lines).toContain(line);
    }
    expect(lines.join('\n')).not.toMatch(/whsec_|127\.0\.0\.1/);
    const health = (await (await front.get('/health', withToken)).json()) as object;
    expect(health).toMatchObject({ openBreakers: ['beforeSave Metrics_fails'] });
  });

  it('counts requests on new connections and on those that were open', async () => {
    const fresh = await startWebhookReceiver();
    const read = async (): Promise<readonly number[]> => {
      const text = await (await front.get('/metrics', withToken)).text();
      return ['new', 'reused'].map(state =>
        Number(
          new RegExp(`^parse_webhooks_connections_total\\{state="${state}"\\} (\\d+)$`, 'm').exec(text)?.[1],
        ),
      );
    };
    try {
      await parse.registerHook({ functionName: 'kept', url: fresh.on('/kept', () => ({ success: 1 })) });
      await parse.registerHook({
        functionName: 'cut',
        url: fresh.on('/cut', () => new Reply(200, '{"success":1}', { connection: 'close' })),
      });
      const [made = NaN, reused = NaN] = await read();
      for (let n = 0; n < 3; n++) await parse.client('POST', '/functions/kept', { body: {} });
      expect(await read()).toEqual([made + 1, reused + 2]);
      // A hook has connections of its own, and this receiver closes after each answer.
      for (let n = 0; n < 2; n++) await parse.client('POST', '/functions/cut', { body: {} });
      expect(await read()).toEqual([made + 3, reused + 2]);
    } finally {
      await parse.removeHook({ functionName: 'kept' });
      await parse.removeHook({ functionName: 'cut' });
      await fresh.close();
    }
  });

  it('forgets a hook that was removed', async () => {
    const url = receiver.on('/gone', () => ({ success: 1 }));
    await parse.registerHook({ functionName: 'gone', url });
    await parse.client('POST', '/functions/gone', { body: {} });
    expect(await (await front.get('/metrics', withToken)).text()).toContain('function gone');
    await parse.removeHook({ functionName: 'gone' });
    expect(await (await front.get('/metrics', withToken)).text()).not.toContain('function gone');
  });

  it('shows calls in flight while they are', async () => {
    let answer = (): void => undefined;
    const held = new Promise<void>(resolve => (answer = resolve));
    const url = receiver.on('/held', async () => {
      await held;
      return { success: 1 };
    });
    await parse.registerHook({ functionName: 'held', url });
    const calls = [1, 2].map(() => parse.client('POST', '/functions/held', { body: {} }));
    await receiver.received('/held', 2);
    const text = await (await front.get('/metrics', withToken)).text();
    answer();
    await Promise.all(calls);
    expect(text).toContain('parse_webhooks_calls_in_flight{hook="function held"} 2');
    const { body } = await parse.master('GET', '/webhooks/metrics');
    expect(body).toContain('parse_webhooks_calls_in_flight{hook="function held"} 0');
  });
});

describeOnEachDatabase("metrics of an operation's time", database => {
  it("count a call cut off by totalDeadlineMs, and not one cut off by the hook's own timeoutMs", async () => {
    const fresh = await database.create();
    const receiver = await startWebhookReceiver();
    let answer = (): void => undefined;
    const held = new Promise<void>(resolve => (answer = resolve));
    const parse = await startParseApplication({ database: fresh, webhooks: { totalDeadlineMs: 400 } });
    try {
      const url = receiver.on('/held', () => held);
      await parse.registerHook({ functionName: 'patient', url, timeoutMs: 5000 });
      await parse.registerHook({ functionName: 'hasty', url, timeoutMs: 50 });
      for (const name of ['patient', 'hasty']) {
        const { body } = await parse.client('POST', `/functions/${name}`, { body: {} });
        expect([name, (body as { code?: number }).code]).toEqual([name, 124]);
      }
      const { body } = await parse.master('GET', '/webhooks/metrics');
      expect(body).toContain('parse_webhooks_budget_exceeded_total{hook="function patient"} 1');
      expect(body).not.toContain('parse_webhooks_budget_exceeded_total{hook="function hasty"}');
      expect(body).toContain('parse_webhooks_call_failures_total{hook="function hasty",kind="timeout"} 1');
    } finally {
      answer();
      await parse.stop();
      await receiver.close();
      await fresh.drop();
    }
  });
});

describeOnEachDatabase('the public router without a metricsToken', database => {
  it('answers 503 before the start and after the stop, during it no empty key set, and keeps metrics closed', async () => {
    const fresh = await database.create();
    const lines: number[] = [];
    const closed = await mount(new Webhooks().router());
    try {
      const response = await closed.get('/jwks.json');
      expect(response.status).toBe(503);
      expect(await response.json()).toEqual({ code: 141, error: 'webhooks are not running' });
      expect(response.headers.get('cache-control')).toBeNull();
    } finally {
      close(closed);
    }
    let front: Front | undefined;
    const webhooksOf: { current?: Webhooks } = {};
    const configure = jest.spyOn(Webhooks.prototype, 'configure');
    const parse = await startParseApplication({
      database: fresh,
      parse: {
        // Cloud code runs in the middle of the start.
        cloud: async () => {
          webhooksOf.current = configure.mock.contexts[0] as Webhooks;
          front = await mount(webhooksOf.current.router());
          lines.push((await front.get('/jwks.json')).status);
        },
      },
    });
    configure.mockRestore();
    try {
      expect(lines).toEqual([503]);
      expect((await front?.get('/jwks.json'))?.status).toBe(200);
      for (const headers of [{}, { authorization: 'Bearer ' }, { authorization: 'Bearer undefined' }]) {
        expect((await front?.get('/metrics', headers))?.status).toBe(403);
        expect((await front?.get('/health', headers))?.status).toBe(403);
      }
    } finally {
      await parse.stop();
    }
    expect((await front?.get('/jwks.json'))?.status).toBe(503);
    if (front) close(front);
    await fresh.drop();
  });
});

describe('the public router when something breaks', () => {
  it('answers 500 in JSON and tells nothing of the error; the log has where it was, and not its message', async () => {
    const fail = (): never => {
      throw new TypeError('canary\n    at canary');
    };
    const lines: string[] = [];
    const log = (line: string): void => void lines.push(line);
    const metrics = {
      ...createMetrics({ listHooks: () => [], readLane: fail, readSubscriptions: fail, readEvents: fail }),
      render: async () => fail(),
    };
    const front = await mount(
      createPublicRouter({
        metrics,
        publicKeys: fail,
        readDatabase: fail,
        readEvents: fail,
        registryVersion: fail,
        areKeysReadable: fail,
        listHooks: fail,
        laneOf: fail,
        metricsToken,
        logger: { info: log, warn: log, error: log },
      }),
    );
    try {
      for (const path of ['/jwks.json', '/ed25519.json', '/metrics', '/health']) {
        const response = await front.get(`${path}?canary`, withToken);
        expect([path, response.status]).toEqual([path, 500]);
        expect(await response.json()).toEqual({ code: 141, error: 'internal error' });
        expect(lines.splice(0)).toEqual([
          expect.stringMatching(
            new RegExp(
              `^webhooks: GET "${path}" of the public router failed: TypeError at fail .*public-router`,
            ),
          ),
        ]);
      }
      expect((await front.get('/nothing')).status).toBe(404);
      expect(lines).toEqual([]);
    } finally {
      close(front);
    }
  });
});
