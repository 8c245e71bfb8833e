// What operators do with the hooks of a canary scene: right, wrong, and with receivers that fail in every way.
import { randomBytes } from 'node:crypto';
import { answers } from './canary-receiver';
import { newSecret, type Scene } from './canary-scene';
import { replaceInRow } from './hook-rows';
import { readCertificate, reservePort } from './misbehaving-receiver';

export const objectTriggers = [
  'beforeSave',
  'afterSave',
  'beforeDelete',
  'afterDelete',
  'beforeFind',
  'afterFind',
];

export async function registerHooks(scene: Scene): Promise<void> {
  for (const triggerName of objectTriggers)
    await scene.hook({ className: 'Puppy', triggerName }, triggerName === 'beforeSave' ? 'object' : 'yes');
  const trusted = { includeSessionToken: true, forwardHeaders: ['user-agent', 'x-parse-installation-id'] };
  await scene.hook({ className: 'Trusted', triggerName: 'beforeSave' }, 'yes', trusted);
  for (const triggerName of objectTriggers) await scene.hook({ className: '@File', triggerName }, 'yes');
  for (const triggerName of ['beforeSave', 'afterSave'])
    await scene.hook({ className: '@Config', triggerName }, 'yes');
  await scene.hook({ className: '_Session', triggerName: 'afterLogout' }, 'yes');
  await scene.hook({ className: '_Role', triggerName: 'beforeSave' }, 'yes');
  await scene.hook({ className: '@Connect', triggerName: 'beforeConnect' }, 'yes');
  for (const triggerName of ['beforeSubscribe', 'afterEvent'])
    await scene.hook({ className: 'Ball', triggerName }, 'yes');
  await scene.hook({ functionName: 'echo' }, 'object');
  await scene.hook({ functionName: 'given' }, 'yes', { secret: newSecret(), signatures: ['v1', 'v1a'] });
  for (const algorithm of ['HS256', 'RS256', 'ES256'])
    await scene.hook({ functionName: `bearer${algorithm}` }, 'yes', { bearer: { algorithm } });
  const password = randomBytes(20).toString('hex');
  const basicPath = await scene.hook({ functionName: 'basic' }, 'yes', {
    basicAuth: { username: 'me', password },
  });
  scene.found('basicAuth password of a hook', password, basicPath);
  const key = readCertificate('receiver.key');
  // SEC 1, C.4: 7 bytes of header, then the 32 bytes that are secret.
  scene.found('tls key of a hook', (key.split('\n')[1] ?? '').slice(10, 52));
  const tls = { ca: readCertificate('ca'), cert: readCertificate('trusted'), key };
  await scene.hook({ functionName: 'mutual' }, 'yes', { tls }, scene.receiver.url('/mutual/yes', 'https'));
}

/** One function and one class per way to fail, under both policies and in shadow. */
export async function failInEveryWay(scene: Scene): Promise<void> {
  const elsewhere = {
    refused: `http://127.0.0.1:${await reservePort()}/`,
    unresolvable: 'http://name.invalid/',
    plainOnTls: scene.receiver.url('/plain/yes').replace('http:', 'https:'),
    untrusted: scene.receiver.url('/untrusted/yes', 'https'),
    forbidden: scene.receiver.url('/forbidden/yes').replace('127.0.0.1', 'localhost'),
  };
  const ways = [...Object.keys(answers), ...Object.keys(elsewhere)];
  for (const [at, way] of ways.entries()) {
    const url = (elsewhere as Readonly<Record<string, string>>)[way];
    const policy = [{}, { failurePolicy: 'allow' }, { mode: 'shadow' }][at % 3];
    const settings = {
      timeoutMs: way === 'late' ? 60 : 3000,
      maxReplyBytes: 100_000,
      ...policy,
      ...(way === 'forbidden' && { network: { allowPrivate: false } }),
    };
    // To a function any value is a result, which the receiver gives to the client.
    if (way !== 'wrong-type' && way !== 'bad-key')
      await scene.hook({ functionName: `fail${at}` }, way, { ...settings, mode: 'enforce' }, url);
    for (const triggerName of ['beforeSave', 'beforeFind', 'afterFind', 'afterSave'])
      await scene.hook({ className: `Fail${at}`, triggerName }, way, settings, url);
    // The third call finds the breaker open.
    for (let call = 0; call < 3; call += 1)
      await scene.call('POST', `/functions/fail${at}`, scene.user, { a: call });
    await scene.call('POST', `/classes/Fail${at}`, scene.user, { a: 1 });
    await scene.call('GET', `/classes/Fail${at}`, scene.master);
  }
  await scene.hook({ functionName: 'small' }, 'yes', { maxRequestBytes: 100 });
  await scene.call('POST', '/functions/small', scene.user, { a: 'x'.repeat(200) });
  const deep = { ...scene.user, 'X-Parse-Webhook-Depth': '5' };
  await scene.call('POST', '/functions/echo', deep, { a: 1 });
}

/** Every route of the plugin with every caller, and every refusal that could quote a secret. */
export async function useRoutes(scene: Scene): Promise<void> {
  const puppy = '/webhooks/hooks/triggers/Puppy/beforeSave';
  const declared = { className: 'Bad', triggerName: 'beforeSave', url: scene.receiver.url('/bad/yes') };
  const reading = ['', '/functions/echo', '/triggers/Puppy/beforeSave', '/functions/nope'];
  for (const caller of scene.callers) {
    for (const path of reading) await scene.call('GET', `/webhooks/hooks${path}`, caller);
    for (const path of ['/functions', '/triggers', '/functions/echo', '/triggers/Puppy/beforeSave'])
      await scene.call('GET', `/hooks${path}`, caller);
    for (const path of ['jwks.json', 'ed25519.json', 'metrics', 'health', 'openapi.json', 'nope'])
      await scene.call('GET', `/webhooks/${path}`, caller);
    for (const path of ['deliveries', 'stats', 'subscriptions'])
      await scene.call('GET', `/webhooks/${path}`, caller);
    for (const className of ['WebhookSetting', 'WebhookState', '_Hooks'])
      await scene.call('GET', `/classes/${className}`, caller);
  }
  for (const path of ['jwks.json', 'ed25519.json', 'metrics', 'health', 'nope']) {
    await scene.call('GET', `/${path}`, {}, undefined, scene.routerURL);
    const token = { Authorization: `Bearer ${scene.metricsToken}` };
    await scene.call('GET', `/${path}`, token, undefined, scene.routerURL);
    await scene.call('GET', `/${path}`, scene.master, undefined, scene.routerURL);
  }
  await scene.call('PATCH', puppy, scene.master, {
    timeoutMs: 4000,
    headers: { 'x-own-secret': '********' },
  });
  const moving = await scene.call('GET', '/webhooks/hooks/triggers/Puppy/afterFind', scene.master);
  scene.moved.set('/put/yes', new URL(String(moving.url)).pathname);
  await scene.call('PUT', '/hooks/triggers/Puppy/afterFind', scene.master, {
    url: scene.receiver.url('/put/yes'),
  });
  for (const key of ['ed25519', 'RS256', 'ES256', 'nope'])
    await scene.call('POST', '/webhooks/keys/rotate', scene.master, { key });
  const given = newSecret();
  for (const body of [{}, { secret: given, graceMs: 1000 }]) {
    const { secret } = await scene.call('POST', `${puppy}/secret/rotate`, scene.master, body);
    scene.found('secret of a hook', String(secret).slice('whsec_'.length));
  }
  const bad = (name: string): string => scene.secret(`${name} that is refused`);
  for (const settings of [
    { headers: { 'x-a': `${bad('header value')}\n` } },
    { headers: { 'x-a': { nested: bad('header value') } } },
    { headers: bad('header value') },
    { headers: [bad('header value')] },
    { basicAuth: { username: 'me', password: `${bad('password')}\u0001` } },
    { basicAuth: { username: 'me', password: bad('password'), more: 1 } },
    { basicAuth: bad('password') },
    { bearer: { algorithm: 'HS256', secret: bad('secret') } },
    { bearer: { algorithm: 'HS256' }, headers: { authorization: bad('header value') } },
    { tls: { key: bad('tls key') } },
    { tls: { cert: readCertificate('trusted'), key: `-----BEGIN KEY-----\n${bad('tls key')}` } },
    { tls: bad('tls key') },
    { secret: `whsec_!${bad('secret')}` },
    { secret: bad('secret') },
    { secret: { nested: bad('secret') } },
  ]) {
    await scene.call('POST', '/hooks/triggers', scene.master, { ...declared, ...settings });
    await scene.call('PATCH', puppy, scene.master, settings);
    await scene.call('POST', `${puppy}/secret/rotate`, scene.master, settings);
  }
  const withPassword = scene.receiver.url('/x').replace('http://', `http://me:${bad('password')}@`);
  for (const url of [withPassword, `ftp://me:${bad('password')}@h/`, `http://me:${bad('password')}@h :1/`]) {
    await scene.call('POST', '/hooks/triggers', scene.master, { ...declared, url });
    await scene.call('PATCH', puppy, scene.master, { url });
  }
  await scene.call('POST', '/hooks/triggers', scene.master, '{"className": "Bad", "headers"');
  const listed = (await scene.call('GET', '/webhooks/deliveries?limit=200', scene.master)) as {
    results: { objectId: string }[];
  };
  for (const { objectId } of listed.results)
    await scene.call('GET', `/webhooks/deliveries/${objectId}`, scene.master);
  await breakStoredSettings(scene);
  await scene.call('DELETE', '/webhooks/hooks/functions/echo', scene.master);
  await scene.call('PUT', '/hooks/functions/given', scene.master, { __op: 'Delete' });
}

/** A row that a later version wrote, with a field that this one does not know. */
async function breakStoredSettings(scene: Scene): Promise<void> {
  await scene.hook({ functionName: 'later' }, 'yes');
  await replaceInRow(scene.kind, scene.database, {
    className: 'WebhookSetting',
    where: { hook: 'function/later' },
    column: 'settings',
    change: text => text.replace('{', '{"fromLater":1,'),
  });
  // Registering anything makes this node read again.
  await scene.hook({ functionName: 'another' }, 'yes');
  await scene.call('POST', '/functions/later', scene.user, {});
  await scene.call('GET', '/webhooks/hooks/functions/later', scene.master);
  await scene.call('GET', '/webhooks/health', scene.master);
}
