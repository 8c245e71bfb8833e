// The subscriptions in force: what changes make of storage, what is shown, and what is not worked out again.
import { generateSecret } from '../../src/shared/secret-format';
import { systemClock } from '../../src/shared/clock';
import { ManualClock } from '../support/manual-clock';
import { MemoryHookStore } from '../support/memory-hook-store';
import { readCertificate } from '../support/misbehaving-receiver';
import { openMemoryNode } from '../support/subscription-node';

const fields = { name: 'orders', url: 'https://example.com/events', events: ['object.*'] };
const create = async (
  more: Record<string, unknown> = {},
  options: Parameters<typeof openMemoryNode>[0] = {},
) => {
  const node = openMemoryNode(options);
  const { view, secret } = await node.registry.create({ ...fields, ...more });
  return { ...node, id: view.objectId, view, secret };
};

describe('a registry of subscriptions', () => {
  it('shows a secret once, and stores and shows no secret in clear', async () => {
    const { registry, store, id, secret, view } = await create({
      headers: { 'x-key': 'header value' },
      basicAuth: { username: 'me', password: 'pass word' },
    });
    expect(secret).toMatch(/^whsec_/);
    expect(view).toMatchObject({
      name: 'orders',
      fields: {
        url: fields.url,
        headers: { 'x-key': '********' },
        basicAuth: { username: 'me', password: '********' },
        timeoutMs: 15_000,
      },
      health: { state: 'healthy', consecutiveFailures: 0 },
      broken: undefined,
    });
    const seen = JSON.stringify([registry.list(), registry.find(id), [...store.rows.values()]]);
    for (const text of [secret, 'header value', 'pass word']) expect(seen).not.toContain(text);
  });

  it('takes a given secret, and refuses a malformed one and one too short for a token', async () => {
    const secret = generateSecret(systemClock);
    expect((await create({ secret })).secret).toBe(secret);
    await expect(create({ secret: 'secret' })).rejects.toMatchObject({ code: 'INVALID_SUBSCRIPTION' });
    const short = `whsec_${Buffer.alloc(24).toString('base64')}`;
    await expect(create({ secret: short, bearer: { algorithm: 'HS256' } })).rejects.toMatchObject({
      code: 'INVALID_SUBSCRIPTION',
    });
  });

  it('refuses a name that is taken', async () => {
    const { registry } = await create();
    await expect(registry.create({ ...fields, url: 'https://example.com/2' })).rejects.toMatchObject({
      code: 'DUPLICATE_SUBSCRIPTION',
      parseCode: 137,
    });
    expect(registry.find(registry.list()[0]?.objectId ?? '')?.fields.url).toBe(fields.url);
  });

  it('refuses an address that may not be called', async () => {
    const { registry, store } = openMemoryNode({ whyUnreachable: () => 'it is private' });
    await expect(registry.create(fields)).rejects.toThrow('url is refused: it is private');
    expect(store.rows.size).toBe(0);
  });

  it('changes what is named, and never the name or the secret', async () => {
    const { registry, id } = await create({ timeoutMs: 5 });
    const view = await registry.update(id, { name: 'orders', description: 'new' });
    expect(view.fields).toMatchObject({ timeoutMs: 5, description: 'new' });
    await expect(registry.update(id, { name: 'other' })).rejects.toThrow('name cannot be changed');
    await expect(registry.update(id, { secret: generateSecret(systemClock) })).rejects.toThrow(
      'secret/rotate',
    );
    await expect(registry.update('nobody', {})).rejects.toMatchObject({ code: 'SUBSCRIPTION_NOT_FOUND' });
  });

  it('takes no credentials to another origin unless they are given anew', async () => {
    const { registry, id } = await create({ headers: { 'x-key': 'value' } });
    const elsewhere = 'https://elsewhere.example/events';
    await expect(registry.update(id, { url: elsewhere })).rejects.toThrow(
      /another origin, and headers\.x-key/,
    );
    await expect(registry.update(id, { url: elsewhere, headers: { 'x-key': '********' } })).rejects.toThrow(
      'headers.x-key',
    );
    expect((await registry.update(id, { url: 'https://example.com/other' })).fields.url).toContain('/other');
    const moved = await registry.update(id, { url: elsewhere, headers: { 'X-Key': 'another' } });
    expect(moved.fields.url).toBe(elsewhere);
  });

  it('refuses tls with an http url, at creation and when one of the two changes', async () => {
    const tls = { ca: readCertificate('ca') };
    const plain = 'http://example.com/events';
    const refused = { code: 'INVALID_SUBSCRIPTION', message: expect.stringContaining('tls cannot be given') };
    await expect(create({ url: plain, tls })).rejects.toMatchObject(refused);
    const { registry, store, lines, id } = await create({ tls });
    await expect(registry.update(id, { url: plain })).rejects.toMatchObject(refused);
    expect((await registry.update(id, { url: plain, tls: null })).fields).toMatchObject({ url: plain });
    await expect(registry.update(id, { tls })).rejects.toMatchObject(refused);
    await registry.update(id, { url: fields.url, tls });
    // A row that has both all the same is sent to, changed and paused as before, and told once.
    const row = store.rows.get(id);
    await store.writeSettings(id, String(row?.settings).replace(fields.url, plain));
    for (const _twice of [1, 2]) await registry.reload();
    expect(registry.endpoints.find(`subscription/${id}`)).toMatchObject({ url: plain, isPaused: false });
    expect((await registry.update(id, { timeoutMs: 5 })).broken).toBeUndefined();
    expect(lines.filter(line => line.includes('without TLS'))).toHaveLength(1);
  });

  it('rotates the secret, and shows when the former one ends', async () => {
    const { registry, clock, id, secret } = await create();
    const rotated = await registry.rotateSecret(id, { graceMs: 1000 });
    expect(rotated.secret).not.toBe(secret);
    expect(rotated.view.oldSecretsExpireAt).toEqual([clock.now() + 1000]);
    clock.advance(1000);
    expect(registry.find(id)?.oldSecretsExpireAt).toEqual([]);
    await expect(registry.rotateSecret(id, { secret: rotated.secret })).rejects.toMatchObject({
      code: 'INVALID_SUBSCRIPTION',
    });
  });

  it('is paused by active false and by pause, and resumed by active true and by resume', async () => {
    const { registry, id } = await create();
    const told: string[] = [];
    registry.onPaused(({ view, reason }) => told.push(`${view.name} ${reason}`));
    const paused = { health: { state: 'paused', pauseReason: 'operator' }, fields: { active: false } };
    const awake = { health: { state: 'healthy', pauseReason: undefined }, fields: { active: true } };
    expect(await registry.update(id, { active: false })).toMatchObject(paused);
    expect(await registry.update(id, { active: true })).toMatchObject(awake);
    expect(await registry.pause(id, 'operator')).toMatchObject(paused);
    expect(await registry.pause(id, 'operator')).toMatchObject(paused);
    expect(await registry.resume(id)).toMatchObject(awake);
    expect(told).toEqual(['orders operator', 'orders operator']);
    await registry.update(id, { active: false, description: 'paused' });
    await registry.update(id, { active: false });
    expect(told).toHaveLength(3);
  });

  it('does not resume what failed because another field is changed', async () => {
    const { registry, id } = await create();
    await registry.pause(id, 'failing');
    expect(await registry.update(id, { description: 'x', active: true })).toMatchObject({
      health: { state: 'paused', pauseReason: 'failing' },
    });
    expect((await registry.resume(id)).health.state).toBe('healthy');
  });

  it('tells dispatching when it was resumed, whatever way, also after a restart', async () => {
    const { registry, clock, id, store } = await create();
    const resumedAt = (): number | undefined => registry.endpoints.find(`subscription/${id}`)?.resumedAt;
    expect(resumedAt()).toBeUndefined();
    await registry.update(id, { active: false });
    clock.advance(1000);
    await registry.update(id, { active: true });
    expect(resumedAt()).toBe(clock.now());
    await registry.pause(id, 'gone');
    clock.advance(1000);
    await registry.resume(id);
    expect(resumedAt()).toBe(clock.now());
    // What cannot be read gets nothing either.
    await store.writeSettings(id, 'garbage');
    await registry.reload();
    clock.advance(1000);
    await registry.update(id, {
      ...fields,
      name: null,
      secret: `whsec_${Buffer.alloc(24).toString('base64')}`,
    });
    expect(resumedAt()).toBe(clock.now());
    const at = resumedAt();
    clock.advance(1000);
    const later = openMemoryNode({ clock, store }).registry;
    await later.reload();
    expect(later.endpoints.find(`subscription/${id}`)?.resumedAt).toBe(at);
    await registry.update(id, { active: true, description: 'no pause, no end of one' });
    expect(resumedAt()).toBe(at);
  });

  it('gives dispatching an endpoint that changes with the subscription only', async () => {
    const { registry, id } = await create({ retry: { scheduleMs: [1000] } });
    const key = `subscription/${id}`;
    const first = registry.endpoints.find(key);
    expect(first).toMatchObject({
      key,
      label: 'subscription orders',
      url: fields.url,
      isPaused: false,
      timeoutMs: 15_000,
      concurrency: 16,
      retry: { scheduleMs: [1000], jitter: 0.2 },
    });
    await registry.create({ ...fields, name: 'another' });
    await registry.reload();
    expect(registry.endpoints.find(key)).toBe(first);
    await registry.update(id, { timeoutMs: 7, firstByteTimeoutMs: 5 });
    expect(registry.endpoints.find(key)).toMatchObject({ timeoutMs: 7, firstByteTimeoutMs: 5 });
    expect(first?.timeoutMs).toBe(15_000);
  });

  it('holds up no other change while it cancels the deliveries of one that is removed', async () => {
    let isCancelled = (): void => undefined;
    const cancelling = new Promise<void>(resolve => (isCancelled = resolve));
    const clock = new ManualClock();
    const lock = new MemoryHookStore(clock);
    const { registry, id } = await create({}, { clock, lock, cancelDeliveries: () => cancelling });
    let isRemoved = false;
    const removed = registry.remove(id).then(() => (isRemoved = true));
    await registry.create({ ...fields, name: 'another' });
    const successor = await registry.create(fields);
    expect(successor.view.objectId).toBe(id);
    // Undefined while somebody holds the lock: then every node reads everything at each look.
    expect(await lock.readVersion()).toBeDefined();
    expect(isRemoved).toBe(false);
    isCancelled();
    await removed;
    expect(registry.find(id)).toBeDefined();
  });

  it('cancels what was created until the removal: what is younger may be of one of its name', async () => {
    const clock = new ManualClock();
    const lock = new MemoryHookStore(clock);
    const cancelledUntil: number[] = [];
    const { registry, id } = await create(
      {},
      { clock, lock, cancelDeliveries: async (_endpoint, removedAt) => cancelledUntil.push(removedAt) },
    );
    let free = (): void => undefined;
    const held = lock.exclusively(() => new Promise<void>(resolve => (free = resolve)));
    const removed = registry.remove(id);
    await new Promise(setImmediate);
    clock.advance(5000);
    free();
    await Promise.all([held, removed]);
    expect(cancelledUntil).toEqual([clock.now()]);
  });

  it('is removed though its deliveries cannot be cancelled, and says that this is done later', async () => {
    const { registry, lines, id } = await create(
      {},
      { cancelDeliveries: () => Promise.reject(new Error('away')) },
    );
    await registry.remove(id);
    expect(registry.find(id)).toBeUndefined();
    expect(lines).toEqual([expect.stringMatching(/cancelled later: Error: away/)]);
  });

  it('cancels the deliveries of one that is removed', async () => {
    const { registry, cancelled, id } = await create();
    await registry.remove(id);
    expect(cancelled).toEqual([`subscription/${id}`]);
    expect(registry.endpoints.find(`subscription/${id}`)).toBeUndefined();
    await expect(registry.remove(id)).rejects.toMatchObject({ code: 'SUBSCRIPTION_NOT_FOUND' });
  });

  it('shows what another node has counted, with one look a second', async () => {
    const lock = new MemoryHookStore(new ManualClock());
    const { registry, store, clock, id } = await create({}, { lock });
    const other = openMemoryNode({ store, clock, lock });
    await other.registry.reload();
    const failures = { count: 3, firstAt: 5, lastAt: 6, error: 'timeout' };
    await store.recordHealth(id, { successAt: undefined, failures });
    const seen = { state: 'failing', consecutiveFailures: 3, lastError: 'timeout' };
    clock.advance(1000);
    await registry.refresh();
    const { reads } = store;
    await Promise.all([other.registry.refreshHealth(), other.registry.refreshHealth()]);
    await other.registry.refreshHealth();
    expect(other.registry.find(id)?.health).toMatchObject(seen);
    expect(store.reads).toBe(reads + 1);
    await store.recordHealth(id, { successAt: 7, failures: undefined });
    await other.registry.refreshHealth(id);
    expect(other.registry.find(id)?.health).toMatchObject({ state: 'healthy', lastSuccessAt: 7 });
    expect(store.reads).toBe(reads + 1);
  });

  it('is paused by what a receiver asks for at its present address only', async () => {
    const { registry, store, clock, id } = await create();
    const url = 'https://example.com/new';
    const other = openMemoryNode({ store, clock });
    await other.registry.reload();
    await registry.update(id, { url });
    const told: string[] = [];
    other.registry.onPaused(({ reason }) => told.push(reason));
    expect((await other.registry.pause(id, 'gone', fields.url)).health.state).toBe('healthy');
    expect((await other.registry.pause(id, 'gone', url)).health.state).toBe('paused');
    expect(told).toEqual(['gone']);
  });

  it('reads again only when the version differs', async () => {
    const { registry, store } = await create();
    await registry.refresh();
    const { reads } = store;
    await registry.refresh();
    expect(store.reads).toBe(reads);
  });

  it('reads one row after a change of its own, and all with the next look', async () => {
    const { registry, store } = await create();
    const { reads } = store;
    await registry.create({ ...fields, name: 'another' });
    expect(store.reads).toBe(reads);
    expect(registry.list().map(({ name }) => name)).toEqual(['orders', 'another']);
    await registry.refresh();
    expect(store.reads).toBe(reads + 1);
  });

  it('has a broken record written anew when all of it is given', async () => {
    const { registry, store, id } = await create();
    await store.writeSettings(id, 'garbage');
    await registry.reload();
    expect(registry.find(id)).toMatchObject({ broken: expect.stringContaining('not JSON'), fields: {} });
    await expect(registry.update(id, { timeoutMs: 5 })).rejects.toThrow('secret must be given');
    const { name: _name, ...rest } = fields;
    const view = await registry.update(id, { ...rest, secret: generateSecret(systemClock) });
    expect(view).toMatchObject({ broken: undefined, name: 'orders', fields: { url: fields.url } });
  });
});
