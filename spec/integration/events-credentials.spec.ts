// What a subscription's requests carry to prove who sends them, beside the body, on the bytes that its receiver got; and
// where they may not go.
import { createHash, createPublicKey, type JsonWebKey } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { Webhook } from 'standardwebhooks';
import { verify } from '../../src/receiver';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { finishedDeliveries, save, subscribe, type MadeSubscription } from '../support/event-subscriptions';
import { readCertificate } from '../support/misbehaving-receiver';
import { startParseApplication, webhookKey, type ParseApplication } from '../support/parse-application';
import { readClientCertificate, startTlsReceiver } from '../support/tls-receiver';
import { startWebhookReceiver, type ReceivedCall, type WebhookReceiver } from '../support/webhook-receiver';

describeOnEachDatabase('the requests of a subscription', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let className = '';
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
  beforeEach(() => {
    className = `Proven${++count}`;
  });

  const listen = (
    fields: object,
    url = receiver.on(`/${className}`, () => ({})),
  ): Promise<MadeSubscription> => subscribe(parse, { name: className, url, classes: [className], ...fields });

  /** The request that tells of a save made now, the `number`th of its class. */
  async function callOfSave(number = 1): Promise<ReceivedCall> {
    await save(parse, className, { text: 'Ünïcødé 中文 🐶' });
    const call = (await receiver.received(`/${className}`, number))[number - 1];
    if (!call) throw new Error('no call');
    return call;
  }

  /** Both judges agree. */
  function isSignedWith({ raw, headers }: ReceivedCall, secret: string): boolean {
    const [official, kit] = [
      () => new Webhook(secret).verify(raw, headers as Record<string, string>),
      () => verify(raw, headers, secret),
    ].map(judge => {
      try {
        judge();
        return true;
      } catch {
        return false;
      }
    });
    expect(kit).toBe(official);
    return kit === true;
  }

  it('carry its headers and its Basic authorization, and no webhook key', async () => {
    const basicAuth = { username: 'parse', password: 'a password' };
    await listen({ headers: { 'X-Own': 'its own' }, basicAuth });
    const { headers } = await callOfSave();
    expect(headers).toMatchObject({
      'x-own': 'its own',
      authorization: `Basic ${Buffer.from('parse:a password').toString('base64')}`,
    });
    expect(headers).not.toHaveProperty('x-parse-webhook-key');
  });

  it('carry the webhook key with sendWebhookKey', async () => {
    await listen({ sendWebhookKey: true });
    expect((await callOfSave()).headers['x-parse-webhook-key']).toBe(webhookKey);
  });

  it('are signed with v1 and v1a when it asks for both', async () => {
    const made = await listen({ signatures: ['v1', 'v1a'] });
    const call = await callOfSave();
    expect(isSignedWith(call, made.secret)).toBe(true);
    const { publicKeys } = (await parse.master('GET', '/webhooks/ed25519.json')).body;
    expect(verify(call.raw, call.headers, publicKeys[0]).body).toEqual(call.body);
    const changed = Buffer.concat([call.raw, Buffer.from(' ')]);
    expect(() => verify(changed, call.headers, publicKeys[0])).toThrow('no signature');
  });

  it.each(['HS256', 'RS256', 'ES256'] as const)('carry a bearer token of %s', async algorithm => {
    const made = await listen({ bearer: { algorithm } });
    const call = await callOfSave();
    const token = String(call.headers.authorization).replace('Bearer ', '');
    const { keys } = (await parse.master('GET', '/webhooks/jwks.json')).body as {
      keys: (JsonWebKey & { kid: string })[];
    };
    const jwk = keys.find(({ kid }) => kid === jwt.decode(token, { complete: true })?.header.kid);
    const key = jwk
      ? createPublicKey({ key: jwk, format: 'jwk' })
      : Buffer.from(made.secret.slice(6), 'base64');
    expect(jwk === undefined).toBe(algorithm === 'HS256');
    expect(
      jwt.verify(token, key, {
        algorithms: [algorithm],
        issuer: parse.serverURL,
        audience: `http://127.0.0.1:${receiver.port}`,
        jwtid: String(call.headers['webhook-id']),
        maxAge: 60,
      }),
    ).toMatchObject({ body_sha256: createHash('sha256').update(call.raw).digest('hex') });
  });

  it('are signed with the new and the former secret after a rotation, and with the new one alone without grace', async () => {
    const made = await listen({});
    const rotate = async (body: object): Promise<string> => {
      const path = `/webhooks/subscriptions/${made.objectId}/secret/rotate`;
      return String((await parse.master('POST', path, { body })).body.secret);
    };
    expect(isSignedWith(await callOfSave(), made.secret)).toBe(true);
    const second = await rotate({});
    const both = await callOfSave(2);
    expect([made.secret, second].map(secret => isSignedWith(both, secret))).toEqual([true, true]);
    const third = await rotate({ graceMs: 0 });
    const alone = await callOfSave(3);
    expect([second, third].map(secret => isSignedWith(alone, secret))).toEqual([false, true]);
  });

  it('are refused an address that is forbidden: at registration, and at the attempt behind a name', async () => {
    const refused = { name: className, url: 'http://169.254.169.254/', events: ['object.*'] };
    expect(await parse.master('POST', '/webhooks/subscriptions', { body: refused })).toMatchObject({
      status: 400,
      body: { code: 143, error: expect.stringContaining('169.254.169.254') },
    });
    const url = receiver.on(`/${className}`, () => ({})).replace('127.0.0.1', 'localhost');
    const retry = { scheduleMs: [], jitter: 0 };
    const made = await listen({ network: { allowPrivate: false }, retry }, url);
    await save(parse, className, {});
    expect(await finishedDeliveries(parse, made, 1)).toMatchObject([
      { state: 'exhausted', lastError: 'address' },
    ]);
    expect(receiver.calls.filter(({ path }) => path === `/${className}`)).toEqual([]);
  });

  it('show its certificate, and trust its CA', async () => {
    const strict = await startTlsReceiver({ certificate: 'trusted', asksForCertificates: true });
    try {
      const tls = { ca: readCertificate('ca'), ...readClientCertificate() };
      const retry = { scheduleMs: [], jitter: 0 };
      const made = await listen({ tls, retry }, strict.url);
      const without = await listen({ tls: { ca: tls.ca }, retry, name: `${className}-without` }, strict.url);
      await save(parse, className, {});
      expect(await finishedDeliveries(parse, made, 1)).toMatchObject([{ state: 'succeeded' }]);
      expect(await finishedDeliveries(parse, without, 1)).toMatchObject([{ state: 'exhausted' }]);
      expect(strict.clients).toEqual(['parse-server']);
    } finally {
      await strict.close();
    }
  });
});
