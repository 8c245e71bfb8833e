// What operators do with the subscriptions of a canary scene: right, wrong, and with receivers that fail.
import { randomBytes } from 'node:crypto';
import { newSecret, type Scene } from './canary-scene';
import { readCertificate } from './misbehaving-receiver';

/** Attempted at once and soon again, then exhausted. */
const retry = { scheduleMs: [50], jitter: 0 };
const failing = ['error-page', 'error-encoded', 'no-answer', 'redirect', 'garbage', 'too-large', 'reset'];

/** With every credential, and one for each way to fail. */
export async function registerSubscriptions(scene: Scene): Promise<void> {
  const basicAuth = { username: 'me', password: randomBytes(20).toString('hex') };
  await scene.subscription('yes', { sendWebhookKey: true, secret: newSecret() });
  await scene.subscription('no-content', { basicAuth, signatures: ['v1', 'v1a'], retry });
  for (const algorithm of ['HS256', 'RS256', 'ES256'])
    await scene.subscription('yes', { bearer: { algorithm }, events: ['object.create'] });
  const tls = {
    ca: readCertificate('ca'),
    cert: readCertificate('trusted'),
    key: readCertificate('receiver.key'),
  };
  await scene.subscription('yes', { tls }, scene.receiver.url('/s/mutual/yes', 'https'));
  for (const way of failing)
    await scene.subscription(way, {
      retry,
      basicAuth: { ...basicAuth, password: randomBytes(20).toString('hex') },
    });
}

/** Every route of subscriptions, deliveries and events, and every refusal that could quote a secret. */
export async function useSubscriptions(scene: Scene): Promise<void> {
  const { master } = scene;
  const objectId = await scene.subscription('yes', {
    events: ['custom.canary', 'subscription.*', 'delivery.*'],
  });
  const path = `/webhooks/subscriptions/${objectId}`;
  await scene.call('POST', '/webhooks/events', master, { type: 'custom.canary', data: { a: 1 } });
  await scene.call('POST', `${path}/test`, master);
  for (const caller of scene.callers) await scene.call('GET', path, caller);
  await scene.call('PATCH', path, master, { timeoutMs: 4000, headers: { 'x-own-secret': '********' } });
  for (const action of ['pause', 'resume']) await scene.call('POST', `${path}/${action}`, master);
  for (const body of [{}, { secret: newSecret(), graceMs: 1000 }]) {
    const { secret } = await scene.call('POST', `${path}/secret/rotate`, master, body);
    scene.found('secret of a subscription', String(secret).slice('whsec_'.length));
  }
  const bad = (name: string): string => scene.secret(`${name} that is refused`);
  const url = scene.receiver.url('/bad/yes');
  for (const settings of [
    { headers: { 'x-a': `${bad('header value')}\n` } },
    { headers: { 'x-a': { nested: bad('header value') } } },
    { headers: bad('header value') },
    { basicAuth: { username: 'me', password: `${bad('password')}\u0001` } },
    { basicAuth: bad('password') },
    { bearer: { algorithm: 'HS256', secret: bad('secret') } },
    { bearer: { algorithm: 'HS256' }, headers: { authorization: bad('header value') } },
    { tls: { cert: readCertificate('trusted'), key: `-----BEGIN KEY-----\n${bad('tls key')}` } },
    { tls: bad('tls key') },
    { secret: `whsec_!${bad('secret')}` },
    { secret: { nested: bad('secret') } },
    { url: url.replace('http://', `http://me:${bad('password')}@`) },
    { url: url.replace('127.0.0.1', 'localhost') },
  ]) {
    const body = { name: 'bad', url, events: ['*'], ...settings };
    if (!('url' in settings) || settings.url.includes('@'))
      expect(await scene.call('POST', '/webhooks/subscriptions', master, body)).toMatchObject({ code: 143 });
    await scene.call('PATCH', path, master, settings);
    await scene.call('PUT', path, master, body);
    await scene.call('POST', `${path}/secret/rotate`, master, settings);
  }
  const { results } = (await scene.call('GET', '/webhooks/deliveries?limit=100&state=exhausted', master)) as {
    readonly results: readonly {
      readonly objectId: string;
      readonly object?: { readonly objectId: string };
    }[];
  };
  expect(results.length).toBeGreaterThan(2);
  for (const { objectId: delivery } of results)
    await scene.call('GET', `/webhooks/deliveries/${delivery}`, master);
  const [first, second] = results;
  await scene.call('POST', `/webhooks/deliveries/${first?.objectId}/replay`, master);
  await scene.call('POST', '/webhooks/deliveries/replay', master, { className: 'Puppy', state: 'exhausted' });
  await scene.call('DELETE', `/webhooks/objects/Puppy/${second?.object?.objectId}/payloads`, master);
  for (const bucket of ['minute', 'day']) await scene.call('GET', `/webhooks/stats?bucket=${bucket}`, master);
  await scene.call('DELETE', path, master);
}
