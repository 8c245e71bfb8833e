// The plugin's network policy and a hook's own, together on the real server: the hook's narrows and never widens.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const refusedUrl = { status: 400, body: { code: 143, error: expect.stringMatching(/^url is refused: /) } };
const refusedCall = { code: 141, error: expect.stringMatching(/failed: address is not allowed$/) };

describeOnEachDatabase("a hook's own network", database => {
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

  async function withPolicy(network: object, work: (parse: ParseApplication) => Promise<void>) {
    const parse = await startParseApplication({ database: fresh, webhooks: { network } });
    try {
      await work(parse);
    } finally {
      await parse.stop();
    }
  }

  const register = (parse: ParseApplication, hook: object): Promise<Answer> =>
    parse.master('POST', '/hooks/functions', { body: { functionName: 'f', ...hook } });
  const call = async (parse: ParseApplication): Promise<unknown> =>
    (await parse.client('POST', '/functions/f', { body: {} })).body;

  it("does not open what the plugin's closes, at registration and at a change", async () => {
    await withPolicy({ allowPrivate: false }, async parse => {
      const url = receiver.on('/f', () => ({ success: 1 }));
      const ports = [receiver.port];
      for (const network of [{ ports }, { allowPrivate: true }, { allow: ['127.0.0.0/8'] }, {}])
        expect(await register(parse, { url, network })).toMatchObject(refusedUrl);
      const named = 'http://receiver.example.com/';
      expect((await register(parse, { url: named, network: { allowPrivate: true } })).status).toBe(200);
      const path = '/webhooks/hooks/functions/f';
      expect(await parse.master('PATCH', path, { body: { url } })).toMatchObject(refusedUrl);
      expect((await parse.master('GET', path)).body.url).toBe(named);
    });
  });

  it('does not open metadata services', async () => {
    await withPolicy({}, async parse => {
      const url = 'http://169.254.169.254/latest';
      const network = { allow: ['169.254.169.254'] };
      expect(await register(parse, { url, network })).toMatchObject(refusedUrl);
    });
  });

  it("does not open what a name resolves to and the plugin's closes", async () => {
    await withPolicy({ allowPrivate: false }, async parse => {
      const url = receiver.on('/f', () => ({ success: 1 })).replace('127.0.0.1', 'localhost');
      const network = { allow: ['localhost', '127.0.0.0/8', '::1'] };
      expect((await register(parse, { url, network })).status).toBe(200);
      expect(await call(parse)).toMatchObject(refusedCall);
      expect(receiver.calls).toEqual([]);
    });
  });

  it('is refused at the call when it was stored under a wider policy', async () => {
    const url = receiver.on('/f', () => ({ success: 1 }));
    await withPolicy({}, async parse => {
      const network = { ports: [receiver.port] };
      expect((await register(parse, { url, network })).status).toBe(200);
      expect(await call(parse)).toEqual({ result: 1 });
    });
    await withPolicy({ allowPrivate: false }, async parse => {
      expect(await call(parse)).toMatchObject(refusedCall);
      expect(receiver.calls).toHaveLength(1);
    });
  });

  it("narrows the plugin's: by ranges, ports and names", async () => {
    await withPolicy({}, async parse => {
      const literal = receiver.on('/f', () => ({ success: 1 }));
      const url = literal.replace('127.0.0.1', 'localhost');
      for (const network of [{ allowPrivate: false }, { ports: [443] }, { deny: ['127.0.0.0/8'] }])
        expect(await register(parse, { url: literal, network })).toMatchObject(refusedUrl);
      expect(await register(parse, { url, network: { deny: ['localhost'] } })).toMatchObject(refusedUrl);
      const network = { deny: ['127.0.0.0/8', '::1'] };
      expect((await register(parse, { url, network })).status).toBe(200);
      expect(await call(parse)).toMatchObject(refusedCall);
      // A kept connection of an open hook is not lent to the closed one.
      await parse.registerHook({ functionName: 'beside', url });
      expect((await parse.client('POST', '/functions/beside', { body: {} })).body).toEqual({ result: 1 });
      expect(await call(parse)).toMatchObject(refusedCall);
    });
  });

  it("calls what both allow, and the plugin's holds again when it is taken away", async () => {
    await withPolicy({ allowPrivate: false, allow: ['127.0.0.0/8'] }, async parse => {
      const url = receiver.on('/f', () => ({ success: 1 }));
      const network = { ports: [receiver.port] };
      expect((await register(parse, { url, network })).status).toBe(200);
      expect(await call(parse)).toEqual({ result: 1 });
      const path = '/webhooks/hooks/functions/f';
      const closed = { network: { allowPrivate: false } };
      expect(await parse.master('PATCH', path, { body: closed })).toMatchObject(refusedUrl);
      expect((await parse.master('PATCH', path, { body: { network: null } })).status).toBe(200);
      expect(await call(parse)).toEqual({ result: 1 });
    });
  });
});
