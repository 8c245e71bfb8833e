// Other starts of the server of a canary scene: with another encryption key and a proxy, and those that are refused.
import { inspect } from 'node:util';
import { Webhooks, type WebhooksOptions } from '../../src/index';
import { startServer, type Scene } from './canary-scene';
import type { ProxyBehaviour } from './connect-proxy';
import { reservePort } from './misbehaving-receiver';

const proxyFailures: readonly ProxyBehaviour[] = [403, 407, 502, 'echo', 'reset', 'speak-first', 'hang'];

/** After a start with a new encryption key and the one before, all that is kept is used, through a proxy with a password. */
export async function startAnew(scene: Scene): Promise<void> {
  const { proxy, encryptionKey: previous, metricsToken } = scene;
  scene.encryptionKey = scene.secret('encryptionKey');
  const credentials = [1, 2].map(() => scene.secret('user name and password of the proxy'));
  scene.parse = await startServer(scene, {
    encryptionKey: scene.encryptionKey,
    previousEncryptionKeys: [previous],
    metricsToken,
    proxy: { url: `http://${credentials.join(':')}@${proxy.host}:${proxy.port}` },
    // To a proxy, loopback is its own: it has to be listed.
    network: { allow: ['127.0.0.0/8'] },
    breakerFailures: 1000,
  });
  try {
    expect(scene.lines.some(({ text }) => text.includes('kept under a previous'))).toBe(true);
    for (const name of ['basic', 'mutual', 'bearerHS256', 'bearerRS256', 'bearerES256'])
      expect(await scene.call('POST', `/functions/${name}`, scene.user, { a: 1 })).toEqual({ result: true });
    const { objectId } = await scene.call('POST', '/classes/Puppy', scene.user, { name: 'a' });
    await scene.call('PUT', `/classes/Puppy/${objectId}`, scene.user, { name: 'b' });
    await scene.call('DELETE', `/classes/Puppy/${objectId}`, scene.user);
    for (const [at, behaviour] of proxyFailures.entries()) {
      proxy.behave(behaviour);
      // One that has no connection yet.
      const settings = behaviour === 'hang' ? { timeoutMs: 300 } : {};
      await scene.hook({ functionName: `proxied${at}` }, 'yes', settings);
      await scene.call('POST', `/functions/proxied${at}`, scene.user, { a: 1 });
    }
    proxy.behave('tunnel');
    for (const path of ['hooks', 'hooks/functions/basic', 'subscriptions', 'deliveries', 'metrics', 'health'])
      await scene.call('GET', `/webhooks/${path}`, scene.master);
    const rotate = '/webhooks/hooks/functions/basic/secret/rotate';
    const { secret } = await scene.call('POST', rotate, scene.master, {});
    scene.found('secret of a hook', String(secret).slice('whsec_'.length));
    await proxy.close();
    await scene.hook({ functionName: 'unproxied' }, 'yes');
    await scene.call('POST', '/functions/unproxied', scene.user, { a: 1 });
  } finally {
    await scene.parse.stop();
  }
}

/** Options and starts that are refused: errors are printed with their causes. */
export async function startWrongly(scene: Scene): Promise<void> {
  const { encryptionKey, metricsToken } = scene;
  const see = (...said: readonly unknown[]): void => {
    scene.answers.push({ route: 'start', text: inspect(said, { depth: 10 }) });
  };
  // Parse Server prints what a start fails with.
  const printed = jest.spyOn(console, 'error').mockImplementation(see);
  const attempt = async (work: () => unknown): Promise<void> => {
    try {
      await work();
    } catch (error) {
      see(error);
      return;
    }
    throw new Error('what should be refused was taken');
  };
  const bad = (name: string): string => scene.secret(`${name} that is refused`);
  const url = scene.receiver.url('/declared/yes');
  for (const options of [
    { encryptionKey, metricsToken, encryptionkey: 1 },
    { encryptionKey: [encryptionKey] },
    { previousEncryptionKeys: [encryptionKey, 1] },
    { previousEncryptionKeys: encryptionKey },
    { metricsToken: { metricsToken } },
    { hooks: bad('header value') },
    { hooks: [bad('header value')] },
    { defaults: { headers: { 'x-a': bad('header value') } } },
    { queue: { redis: `http://me:${bad('queue password')}@127.0.0.1` } },
    { queue: { redis: [bad('queue password')] } },
    { store: { uri: [bad('store password')] } },
    { proxy: `http://me:${bad('proxy password')}@127.0.0.1:3128` },
    { proxy: { url: `http://me:${bad('proxy password')}@127.0.0.1:3128/path` } },
    { proxy: { url: `http://me:%zz${bad('proxy password')}@127.0.0.1:3128` } },
    { proxy: { url: `http://me:${bad('proxy password')}@127.0.0.1:3128`, ca: 'no PEM' } },
    { proxy: { url: `http://127.0.0.1:3128`, password: bad('proxy password') } },
  ])
    await attempt(() => new Webhooks(options as unknown as WebhooksOptions));
  const closedPort = await reservePort();
  const start = async (webhooks: WebhooksOptions): Promise<void> => {
    await (await startServer(scene, webhooks)).stop();
  };
  for (const declared of [
    { headers: { 'x-a': `${bad('header value')}\n` } },
    { headers: { 'x-a': bad('header value') }, timeoutms: 1 },
    { basicAuth: { username: 'a', password: bad('password'), more: 1 } },
    { secret: bad('secret') },
    { url: `http://me:${bad('password')}@h :1/` },
  ])
    await attempt(() => start({ encryptionKey, hooks: [{ functionName: 'declared', url, ...declared }] }));
  await attempt(() => start({ encryptionKey: scene.secret('encryptionKey') }));
  await attempt(() =>
    start({
      encryptionKey: scene.secret('encryptionKey'),
      previousEncryptionKeys: [scene.secret('encryptionKey')],
    }),
  );
  for (const uri of [
    `postgres://me:${bad('store password')}@127.0.0.1:${closedPort}/webhooks`,
    `postgres://me:${bad('store password')}@h :1/webhooks`,
    `mongodb://me:${bad('store password')}@127.0.0.1:${closedPort}/webhooks?serverSelectionTimeoutMS=100`,
    `mongodb://me:${bad('store password')}@127.0.0.1:${closedPort}/webhooks?nonsense=1`,
    `mysql://me:${bad('store password')}@127.0.0.1:${closedPort}/webhooks`,
  ])
    await attempt(() => start({ encryptionKey, store: { uri } }));
  for (const redis of [
    `redis://me:${bad('queue password')}@h :1`,
    `redis://me:%zz${bad('queue password')}@127.0.0.1`,
  ])
    await attempt(() => start({ encryptionKey, queue: { redis } }));
  // A queue that is away stops nothing.
  const redis = `redis://me:${bad('queue password')}@127.0.0.1:${closedPort}`;
  await start({ encryptionKey, queue: { redis } });
  expect(printed).toHaveBeenCalled();
  printed.mockRestore();
}
