// A hook whose URL changes to another origin: what was given for the old one does not go along.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { readRawRows } from '../support/hook-rows';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const readCertificate = (name: string): string =>
  readFileSync(join(__dirname, '../support/certificates', name), 'utf8');

describeOnEachDatabase('a hook that is sent to another origin', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let before: WebhookReceiver;
  let after: WebhookReceiver;
  let from: string;
  let to: string;

  beforeAll(async () => {
    fresh = await database.create();
    [before, after] = [await startWebhookReceiver(), await startWebhookReceiver()];
    from = before.on('/hook', () => ({ success: 'before' }));
    to = after.on('/hook', () => ({ success: 'after' }));
    parse = await startParseApplication({ database: fresh });
  });

  afterAll(async () => {
    await parse.stop();
    await before.close();
    await after.close();
    await fresh.drop();
  });

  afterEach(async () => {
    after.forget();
    await parse.removeHook({ functionName: 'moved' });
  });

  const register = (settings: object): Promise<Answer> =>
    parse.registerHook({ functionName: 'moved', url: from, ...settings });
  const put = (body: object): Promise<Answer> => parse.master('PUT', '/hooks/functions/moved', { body });
  const patch = (body: object): Promise<Answer> =>
    parse.master('PATCH', '/webhooks/hooks/functions/moved', { body });
  const run = async (): Promise<unknown> =>
    (await parse.client('POST', '/functions/moved', { body: {} })).body.result;
  const basicAuth = { username: 'parse', password: 'a password' };
  const tls = { cert: readCertificate('client.pem'), key: readCertificate('client.key') };

  it.each<[string, object, object]>([
    ['headers.x-key', { headers: { 'X-Key': 'a' } }, { headers: { 'x-KEY': '********' } }],
    ['headers.x-key', { headers: { 'X-Key': 'a' } }, { headers: { 'x-other': 'b' } }],
    ['basicAuth', { basicAuth }, { basicAuth: { ...basicAuth, password: '********' } }],
    ['headers.x-key, basicAuth', { basicAuth, headers: { 'x-key': 'a' } }, { timeoutMs: 1000 }],
  ])('is refused while it has %s of the old one: all stays as it was', async (named, settings, change) => {
    await register(settings);
    const rows = (): Promise<unknown> =>
      Promise.all(['_Hooks', 'WebhookSetting'].map(name => readRawRows(database.kind, fresh, name)));
    const stored = await rows();
    for (const answer of [
      await put({ url: to }),
      await put({ functionName: 'moved', url: to }),
      await patch({ url: to }),
      await patch({ url: to, ...change }),
    ]) {
      expect(answer).toMatchObject({ status: 400, body: { code: 143 } });
      expect(answer.body.error).toMatch(/^url leads to another origin, and /);
      expect(answer.body.error).toContain(`and ${named} w`);
    }
    expect(await rows()).toEqual(stored);
    expect(await run()).toBe('before');
    expect(after.calls).toEqual([]);
  });

  it('is refused while it has tls of the old one: all stays as it was', async () => {
    // Nothing is called here: neither has a listener that speaks TLS.
    const [here, there] = [from, to].map(url => url.replace('http:', 'https:'));
    await register({ url: here, tls });
    for (const answer of [
      await put({ url: there }),
      await put({ functionName: 'moved', url: there }),
      await patch({ url: there }),
      await patch({ url: there, tls: { ...tls, key: '********' } }),
    ]) {
      expect(answer).toMatchObject({ status: 400, body: { code: 143 } });
      expect(answer.body.error).toMatch(/^url leads to another origin, and tls w/);
    }
    const kept = await parse.master('GET', '/webhooks/hooks/functions/moved');
    expect(kept.body).toMatchObject({ url: here, tls: { key: '********' } });
  });

  it('takes an authority of its own along, which is no credential', async () => {
    const [here, there] = [from, to].map(url => url.replace('http:', 'https:'));
    const ca = readCertificate('ca.pem');
    await register({ url: here, tls: { ca } });
    expect(await patch({ url: there })).toMatchObject({ status: 200, body: { url: there, tls: { ca } } });
  });

  it('takes what is given anew along, and not what is taken back with null', async () => {
    const { body } = await register({ headers: { 'X-Key': 'a', 'X-Other': 'b' }, basicAuth });
    const answer = await patch({
      url: to,
      headers: { 'x-key': 'new', 'x-other': null },
      basicAuth: null,
    });
    expect(answer).toMatchObject({ status: 200, body: { url: to, headers: { 'x-key': '********' } } });
    expect(await run()).toBe('after');
    const [call] = after.calls;
    expect(call?.headers).toMatchObject({ 'x-key': 'new' });
    expect(call?.headers).not.toHaveProperty('x-other');
    expect(call?.headers).not.toHaveProperty('authorization');
    // The secret is never sent: it stays, and so do signatures.
    const verifier = new Webhook(String(body.secret));
    expect(() => verifier.verify(String(call?.raw), call?.headers as Record<string, string>)).not.toThrow();
  });

  it('goes by url alone when it has none, as from the Dashboard, and within its origin in any case', async () => {
    await register({ timeoutMs: 1234 });
    expect(await put({ url: to })).toMatchObject({ status: 200, body: { url: to } });
    expect(await run()).toBe('after');
    expect(await patch({ url: from })).toMatchObject({ status: 200, body: { url: from, timeoutMs: 1234 } });
    await patch({ headers: { 'x-key': 'a' } });
    const elsewhere = before.on('/elsewhere', () => ({ success: 'elsewhere' }));
    expect((await put({ url: elsewhere })).status).toBe(200);
    expect((await patch({ url: from, headers: { 'x-key': '********' } })).status).toBe(200);
    expect(await run()).toBe('before');
  });
});
