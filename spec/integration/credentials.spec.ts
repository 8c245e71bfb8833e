// What else a hook may show to its receiver, and which receivers it may reach, on the real server.
import type { WebhooksOptions } from '../../src/index';
import { describeOnDatabase, describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { readRawRows, replaceInRow } from '../support/hook-rows';
import { readCertificate } from '../support/misbehaving-receiver';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { startParseProcess } from '../support/parse-process';
import { readClientCertificate, startTlsReceiver, type TlsReceiver } from '../support/tls-receiver';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const receiverCa = readCertificate('ca');
const client = readClientCertificate();

describeOnEachDatabase('credentials of a hook', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let count = 0;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  async function register(
    settings: object,
    url?: string,
  ): Promise<{ name: string; path: string; answer: Answer }> {
    const name = `shows${++count}`;
    const to = url ?? receiver.on(`/${name}`, () => ({ success: 1 }));
    const answer = await parse.master('POST', '/hooks/functions', {
      body: { functionName: name, url: to, ...settings },
    });
    return { name, path: `/webhooks/hooks/functions/${name}`, answer };
  }

  const run = (name: string): Promise<Answer> => parse.client('POST', `/functions/${name}`, { body: {} });

  async function authorizationOf(name: string): Promise<string | undefined> {
    expect((await run(name)).body).toEqual({ result: 1 });
    return receiver.calls.findLast(({ path }) => path === `/${name}`)?.headers.authorization;
  }

  /** None of the texts is in any answer, row or log line. */
  async function expectHidden(texts: readonly string[], answers: readonly Answer[]): Promise<void> {
    const places = JSON.stringify([
      answers.map(({ body }) => body as unknown),
      (await parse.master('GET', '/webhooks/hooks?limit=1000')).body,
      await readRawRows(database.kind, fresh, 'WebhookSetting'),
      parse.logs,
    ]);
    for (const text of texts) expect(places).not.toContain(JSON.stringify(text).slice(1, -1));
  }

  describe('basicAuth', () => {
    const basicAuth = { username: 'parse', password: 'canary: p@ss word' };
    const encoded = `Basic ${Buffer.from('parse:canary: p@ss word').toString('base64')}`;

    it('is sent, and its password never shown', async () => {
      const { name, path, answer } = await register({ basicAuth });
      expect(answer.status).toBe(200);
      expect(await authorizationOf(name)).toBe(encoded);
      const shown = await parse.master('GET', path);
      expect(shown.body.basicAuth).toEqual({ username: 'parse', password: '********' });
      await expectHidden(['canary', encoded], [answer, shown]);
    });

    it('keeps its password when it comes back as it was shown', async () => {
      const { name, path } = await register({ basicAuth });
      await parse.master('PATCH', path, { body: { basicAuth: { username: 'other', password: '********' } } });
      expect(await authorizationOf(name)).toBe(
        `Basic ${Buffer.from('other:canary: p@ss word').toString('base64')}`,
      );
      await parse.master('PATCH', path, { body: { basicAuth: null } });
      expect(await authorizationOf(name)).toBeUndefined();
    });

    it.each([
      [{ username: 'a:b', password: 'canary' }],
      [{ username: 'a', password: 'canary\n' }],
      [{ username: 'a' }],
      ['a:canary'],
      [{ username: 'a', password: 'canary', more: 'canary' }],
    ])('is refused as %j, without a word of the password', async given => {
      const { answer } = await register({ basicAuth: given });
      expect(answer).toMatchObject({
        status: 400,
        body: { code: 143, error: expect.stringContaining('basicAuth') },
      });
      expect(JSON.stringify(answer.body)).not.toContain('canary');
    });

    it('is refused with a hidden password that stands for none', async () => {
      const { answer } = await register({ basicAuth: { username: 'a', password: '********' } });
      expect(answer).toMatchObject({ status: 400, body: { code: 143 } });
    });
  });

  it('headers.authorization is sent as it is, and never shown', async () => {
    const { name, path, answer } = await register({ headers: { Authorization: 'Token canary-token' } });
    expect(await authorizationOf(name)).toBe('Token canary-token');
    const shown = await parse.master('GET', path);
    expect(shown.body.headers).toEqual({ authorization: '********' });
    await expectHidden(['canary-token'], [answer, shown]);
  });

  it.each([
    [{ bearer: { algorithm: 'ES256' }, basicAuth: { username: 'a', password: 'b' } }],
    [{ bearer: { algorithm: 'ES256' }, headers: { AUTHORIZATION: 'x' } }],
    [{ headers: { authorization: 'x' }, basicAuth: { username: 'a', password: 'b' } }],
  ])('two ways to set Authorization are refused: %j', async settings => {
    const refused = {
      status: 400,
      body: {
        code: 143,
        error: expect.stringMatching(/^bearer, basicAuth and headers\.authorization all set/),
      },
    };
    expect((await register(settings)).answer).toMatchObject(refused);
    const [[firstName, first] = ['', {}], [secondName, second] = ['', {}]] = Object.entries(settings);
    const { path, answer } = await register({ [firstName]: first });
    expect(answer.status).toBe(200);
    expect(await parse.master('PATCH', path, { body: { [secondName]: second } })).toMatchObject(refused);
  });

  it.each([
    'webhook-id',
    'Webhook-Signature',
    'webhook-timestamp',
    'X-Parse-Webhook-Key',
    'host',
    'content-length',
  ])('headers.%s is refused', async name => {
    expect((await register({ headers: { [name]: 'x' } })).answer).toMatchObject({
      status: 400,
      body: { code: 143, error: expect.stringContaining(name.toLowerCase()) },
    });
  });

  describe('tls', () => {
    let plain: TlsReceiver;
    let strict: TlsReceiver;

    beforeAll(async () => {
      plain = await startTlsReceiver({ certificate: 'trusted', asksForCertificates: false });
      strict = await startTlsReceiver({ certificate: 'trusted', asksForCertificates: true });
    });
    afterAll(async () => {
      await plain.close();
      await strict.close();
    });

    const failsIn = (answer: Answer): void =>
      expect(answer).toMatchObject({
        status: 400,
        body: { code: 141, error: expect.stringMatching(/^webhook function shows\d+ failed: /) },
      });

    it('trusts the CA of the hook, and only for that hook', async () => {
      const trusting = await register({ tls: { ca: receiverCa } }, plain.url);
      const other = await register({}, plain.url);
      expect((await run(trusting.name)).body).toEqual({ result: 1 });
      const refused = await run(other.name);
      expect(refused.body.error).toBe(`webhook function ${other.name} failed: TLS failed`);
      expect((await run(trusting.name)).body).toEqual({ result: 1 });
      const shown = await parse.master('GET', trusting.path);
      expect(shown.body.tls).toEqual({ ca: receiverCa });
    });

    it('shows the certificate of the hook to a receiver that asks for one, and never its key', async () => {
      const { name, path, answer } = await register({ tls: { ca: receiverCa, ...client } }, strict.url);
      expect(answer.status).toBe(200);
      expect((await run(name)).body).toEqual({ result: 1 });
      expect(strict.clients.at(-1)).toBe('parse-server');
      const shown = await parse.master('GET', path);
      expect(shown.body.tls).toEqual({ ca: receiverCa, cert: client.cert, key: '********' });
      const kept = await parse.master('PATCH', path, { body: { tls: shown.body.tls, timeoutMs: 4000 } });
      expect(kept.status).toBe(200);
      expect((await run(name)).body).toEqual({ result: 1 });
      await expectHidden([client.key, client.key.split('\n')[1] ?? ''], [answer, shown, kept]);
    });

    it('fails without a certificate, and with one of another CA: the receiver gets no request', async () => {
      const before = strict.clients.length;
      const none = await register({ tls: { ca: receiverCa } }, strict.url);
      const stranger = { cert: readCertificate('self-signed'), key: readCertificate('receiver.key') };
      const wrong = await register({ tls: { ca: receiverCa, ...stranger } }, strict.url);
      expect([none.answer.status, wrong.answer.status]).toEqual([200, 200]);
      failsIn(await run(none.name));
      failsIn(await run(wrong.name));
      expect(strict.clients).toHaveLength(before);
    });

    it('does not lend a connection with a certificate to a hook without one', async () => {
      const withOne = await register({ tls: { ca: receiverCa, ...client } }, strict.url);
      const without = await register({ tls: { ca: receiverCa } }, strict.url);
      expect((await run(withOne.name)).body).toEqual({ result: 1 });
      failsIn(await run(without.name));
    });

    it('is refused with an http URL, at registration and when one of the two changes', async () => {
      const tls = { ca: receiverCa };
      const refused = {
        status: 400,
        body: { code: 143, error: 'tls cannot be given for an http url: its connections have no TLS' },
      };
      expect((await register({ tls })).answer).toMatchObject(refused);
      const { name, path } = await register({ tls }, plain.url);
      const url = receiver.on(`/${name}`, () => ({ success: 1 }));
      expect(await parse.master('PATCH', path, { body: { url } })).toMatchObject(refused);
      // As the Dashboard does it.
      expect(await parse.master('PUT', `/hooks/functions/${name}`, { body: { url } })).toMatchObject(refused);
      expect((await parse.master('PATCH', path, { body: { url, tls: null } })).status).toBe(200);
      expect(await parse.master('PATCH', path, { body: { tls } })).toMatchObject(refused);
      expect((await parse.master('PATCH', path, { body: { timeoutMs: 4000 } })).status).toBe(200);
    });

    it('of a row whose URL became http elsewhere is told to the log, and the hook is called', async () => {
      const { name, path } = await register({ tls: { ca: receiverCa } }, plain.url);
      const url = receiver.on(`/${name}`, () => ({ success: 1 }));
      await replaceInRow(database.kind, fresh, {
        className: '_Hooks',
        where: { functionName: name },
        column: 'url',
        change: () => url,
      });
      // Registering anything makes this node read again.
      for (const _twice of [1, 2]) await register({});
      expect((await run(name)).body).toEqual({ result: 1 });
      expect((await parse.master('PATCH', path, { body: { timeoutMs: 4000 } })).status).toBe(200);
      expect(parse.logs.filter(line => line.includes(`${name} is called without TLS`))).toHaveLength(1);
    });

    const garbage = '-----BEGIN CERTIFICATE-----\ncanarycanary\n-----END CERTIFICATE-----\n';
    const broken = '-----BEGIN PRIVATE KEY-----\ncanarycanary\n-----END PRIVATE KEY-----\n';
    it.each([
      [
        'a key of another certificate',
        { cert: client.cert, key: readCertificate('receiver.key') },
        /^tls is invalid: /,
      ],
      ['a key that is none', { cert: client.cert, key: broken }, /^tls is invalid: /],
      ['a certificate that is none', { cert: garbage, key: client.key }, /^tls\.cert is invalid: \w/],
      [
        "a key in the certificate's place",
        { cert: `${client.cert}${client.key}`, key: client.key },
        /^tls\.cert is invalid: it holds something else/,
      ],
      ['a CA that is none', { ca: garbage }, /^tls\.ca is invalid: \w/],
      [
        'a CA with a key beside it',
        { ca: `${receiverCa}${client.key}` },
        /^tls\.ca is invalid: it holds something else/,
      ],
      ['a CA that is half a certificate', { ca: receiverCa.slice(0, 300) }, /^tls\.ca is invalid: \w/],
      ['a CA that is no PEM', { ca: 'canary' }, /^tls\.ca is invalid: must be PEM$/],
      ['a key that is no PEM', { ...client, key: 'canary' }, /^tls\.key is invalid: must be PEM$/],
      ['a certificate alone', { cert: client.cert }, /^tls\.cert and tls\.key belong together$/],
      ['a key alone', { key: client.key }, /^tls\.cert and tls\.key belong together$/],
      ['rejectUnauthorized', { rejectUnauthorized: false }, /rejectUnauthorized/],
      ['a hidden key that stands for none', { cert: client.cert, key: '********' }, /key has no value/],
      ['no object', 'canary', /^tls is invalid/],
    ])('is refused with %s: 143, the reason and no secret', async (_what, tls, error) => {
      const { answer } = await register({ tls });
      expect(answer).toMatchObject({ status: 400, body: { code: 143, error: expect.stringMatching(error) } });
      const { error: message } = answer.body as { error: string };
      expect(message).not.toContain('canary');
      expect(message).not.toContain(client.key.split('\n')[1]);
      expect(parse.logs.join('\n')).not.toContain('canarycanary');
    });
  });
});

describeOnDatabase('postgres', 'certificates of receivers', database => {
  it('are checked even if NODE_TLS_REJECT_UNAUTHORIZED is 0', async () => {
    const fresh = await database.create();
    const bad = await startTlsReceiver({ certificate: 'self-signed', asksForCertificates: false });
    const old = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    const second = startParseProcess({ database: { ...fresh, drop: async () => undefined } });
    if (old === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = old;
    const parse = await second;
    try {
      for (const [functionName, tls] of [
        ['plain', null],
        ['withCa', { ca: receiverCa }],
      ] as const) {
        const hook = { functionName, url: bad.url, tls };
        expect((await parse.master('POST', '/hooks/functions', hook)).status).toBe(200);
        expect(await parse.master('POST', `/functions/${functionName}`, {})).toMatchObject({
          status: 400,
          body: { code: 141, error: `webhook function ${functionName} failed: TLS failed` },
        });
      }
      expect(bad.handshakes()).toBeGreaterThan(0);
      expect(bad.clients).toEqual([]);
    } finally {
      await parse.stop();
      await bad.close();
      await fresh.drop();
    }
  });
});

describeOnEachDatabase('the network policy', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;

  beforeEach(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
  });

  afterEach(async () => {
    await receiver.close();
    await fresh.drop();
  });

  async function withServer(webhooks: WebhooksOptions, work: (parse: ParseApplication) => Promise<void>) {
    const parse = await startParseApplication({ database: fresh, webhooks });
    try {
      await work(parse);
    } finally {
      await parse.stop();
    }
  }

  const register = (parse: ParseApplication, hook: object): Promise<Answer> =>
    parse.master('POST', '/hooks/functions', { body: hook });

  it('of the plugin refuses addresses at registration, whatever their spelling, and at a change of the URL', async () => {
    await withServer({ network: { allowPrivate: false } }, async parse => {
      for (const host of ['127.0.0.1', '2130706433', '0x7f.1', '[::1]', '10.0.0.1', '[::ffff:192.168.0.1]']) {
        const answer = await register(parse, {
          functionName: 'refused',
          url: `http://${host}:${receiver.port}/x`,
        });
        expect(answer).toMatchObject({
          status: 400,
          body: { code: 143, error: expect.stringMatching(/^url is refused: .*(loopback|private)/) },
        });
      }
      const url = 'http://receiver.example.com/';
      expect((await register(parse, { functionName: 'named', url })).status).toBe(200);
      const literal = { url: `http://127.0.0.1:${receiver.port}/x` };
      for (const [method, path] of [
        ['PUT', '/hooks/functions/named'],
        ['PATCH', '/webhooks/hooks/functions/named'],
      ] as const) {
        expect(await parse.master(method, path, { body: literal })).toMatchObject({
          status: 400,
          body: { code: 143, error: expect.stringMatching(/^url is refused/) },
        });
      }
      expect((await parse.master('GET', '/webhooks/hooks/functions/named')).body.url).toBe(url);
    });
  });

  it('refuses link-local addresses by default', async () => {
    await withServer({}, async parse => {
      expect(
        await register(parse, { functionName: 'metadata', url: 'http://169.254.169.254/latest' }),
      ).toMatchObject({
        status: 400,
        body: { code: 143, error: expect.stringMatching(/^url is refused: /) },
      });
    });
  });

  it('refuses declared hooks at start', async () => {
    const printed = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    const start = withServer(
      { network: { allowPrivate: false }, hooks: [{ functionName: 'f', url: 'http://127.0.0.1/' }] },
      async () => undefined,
    );
    await expect(start).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/^hooks\.0 is invalid: url is refused: /),
    });
    printed.mockRestore();
  });

  it('of the plugin refuses names at the call: the client gets 141 and no address, the log the reason', async () => {
    await withServer({ network: { allowPrivate: false } }, async parse => {
      const url = receiver.on('/x', () => ({ success: { a: 2 } })).replace('127.0.0.1', 'localhost');
      await parse.registerHook({ functionName: 'named', url });
      const answer = await parse.client('POST', '/functions/named', { body: {} });
      expect(answer).toMatchObject({
        status: 400,
        body: { code: 141, error: 'webhook function named failed: address is not allowed' },
      });
      expect(JSON.stringify(answer.body)).not.toMatch(/127|::1|localhost/);
      expect(parse.logs.some(line => /function named failed.*localhost.*loopback/.test(line))).toBe(true);
      await parse.registerHook({
        className: 'Lenient',
        triggerName: 'beforeSave',
        url,
        failurePolicy: 'allow',
      });
      expect(await parse.client('POST', '/classes/Lenient', { body: { a: 1 } })).toMatchObject({
        status: 201,
      });
      expect(receiver.calls).toEqual([]);
      const { body } = await parse.master('GET', '/webhooks/hooks/triggers/Lenient/beforeSave');
      expect(body.health).toMatchObject({ failedOpen: 1, lastFailure: 'address', breaker: 'closed' });
    });
  });

  it('of a hook is refused when it is malformed', async () => {
    const malformed = [
      { allow: ['10.1.0.0/8'] },
      { deny: 'localhost' },
      { ports: [70_000] },
      { allowPrivate: 'no' },
      { denied: [] },
    ];
    await withServer({}, async parse => {
      for (const network of malformed) {
        expect(
          await register(parse, { functionName: 'f', url: 'https://example.com/', network }),
        ).toMatchObject({ status: 400, body: { code: 143, error: expect.stringMatching(/^network/) } });
      }
    });
  });
});
