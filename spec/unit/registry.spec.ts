// The hooks in force: what a load makes of storage, and how loads, changes and failures come together.
import { hookKey, type HookTarget } from '../../src/hooks/hook';
import { HookRegistry } from '../../src/hooks/registry';
import { SecretBoxes } from '../../src/hooks/secret-box';
import { systemClock, type Clock } from '../../src/shared/clock';
import { openRecord } from '../../src/hooks/stored-settings';
import { ManualClock } from '../support/manual-clock';
import { MemoryHookStore } from '../support/memory-hook-store';
import { readCertificate } from '../support/misbehaving-receiver';
import { boxOf } from '../support/secret-boxes';

const url = 'https://example.com/hook';
const target: HookTarget = { kind: 'function', functionName: 'f' };
const key = hookKey(target);

const started = { declared: [], isLost: false };

function openNode(
  store = new MemoryHookStore(new ManualClock()),
  encryptionKey = 'some key',
  clock: Clock = systemClock,
  previousKeys: readonly string[] = [],
): { store: MemoryHookStore; registry: HookRegistry; lines: string[]; changes: () => number } {
  const lines: string[] = [];
  const log = (line: string): void => void lines.push(line);
  const registry = new HookRegistry({
    store,
    boxes: new SecretBoxes(
      boxOf(encryptionKey),
      previousKeys.map(each => boxOf(each)),
    ),
    logger: { info: log, warn: log, error: log },
    clock,
    keys: { complete: async () => undefined, use: () => undefined, isNeededBy: () => false },
    whyUnreachable: () => undefined,
    defaults: { timeoutMs: 1000 },
  });
  let changes = 0;
  registry.onChange(() => changes++);
  return { store, registry, lines, changes: () => changes };
}

describe('a registry', () => {
  it('tells when a hook was removed, before another of its key can be made', async () => {
    const clock = new ManualClock();
    const { registry } = openNode(new MemoryHookStore(clock), 'some key', clock);
    const declaration = { className: 'Puppy', triggerName: 'afterSave', url };
    const { hook } = await registry.create(declaration, 'refuse-unknown');
    const told: [string, number][] = [];
    registry.onRemoved(async (...removed) => void told.push(removed));
    const removedAt = clock.now();
    registry.onChange(() => clock.advance(1000));
    await registry.remove(hook.hook.target);
    await registry.create(declaration, 'refuse-unknown');
    const reconciledAt = clock.now();
    await registry.reconcile([], true);
    expect(told).toEqual([
      [hook.key, removedAt],
      [hook.key, reconciledAt],
    ]);
  });

  it('refuses a declaration of tls with an http url, and writes nothing', async () => {
    const { registry, store } = openNode();
    const declared = { functionName: 'f', url: 'http://example.com/', tls: { ca: readCertificate('ca') } };
    await expect(registry.reconcile([declared], false)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('hooks.0 is invalid: tls cannot be given'),
    });
    expect((await store.readAll()).hooks).toEqual([]);
    const { created } = await registry.reconcile([{ ...declared, url: 'https://example.com/' }], false);
    expect(created).toEqual(['function f']);
  });

  it('has a hook in force when its registration is answered, with defaults and its own settings', async () => {
    const { registry, changes } = openNode();
    const { hook } = await registry.create(
      { functionName: 'f', url, mode: 'shadow', colour: 'red' },
      'drop-unknown',
    );
    expect(registry.find(key)).toBe(hook);
    expect(hook).toMatchObject({
      label: 'function f',
      blocking: true,
      settings: { timeoutMs: 1000, mode: 'shadow' },
    });
    expect(changes()).toBe(1);
    await expect(registry.create({ functionName: 'f', url }, 'drop-unknown')).rejects.toMatchObject({
      code: 'DUPLICATE_HOOK',
    });
    await expect(
      registry.create({ functionName: 'g', url, colour: 1 }, 'refuse-unknown'),
    ).rejects.toMatchObject({
      code: 'INVALID_HOOK',
    });
    expect(registry.list()).toHaveLength(1);
  });

  /** Makes the next read wait; `began` resolves when it has begun. */
  function holdNextRead(store: MemoryHookStore): { began: Promise<void>; finish: (error?: Error) => void } {
    const readAll = store.readAll.bind(store);
    let finish = (_error?: Error): void => undefined;
    const held = new Promise<void>((resolve, reject) => {
      finish = error => {
        if (error) reject(error);
        else resolve();
      };
    });
    const began = new Promise<void>(resolve => {
      store.readAll = async () => {
        store.readAll = readAll;
        const state = await readAll();
        resolve();
        await held;
        return state;
      };
    });
    return { began, finish: error => finish(error) };
  }

  it('shares one read among all that ask while another is under way, and that read begins after the last', async () => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    const readsBefore = store.reads;
    const { began, finish } = holdNextRead(store);
    const first = registry.reload();
    await began;
    const later = [registry.reload(), registry.reload(), registry.reload()];
    store.rows = [{ functionName: 'f', url: 'https://example.com/later' }];
    finish();
    await Promise.all([first, ...later]);
    expect(store.reads).toBe(readsBefore + 2);
    expect(registry.find(key)?.hook.url).toBe('https://example.com/later');
  });

  it('keeps what is in force when a read fails, and reads again for those that asked meanwhile', async () => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    const { began, finish } = holdNextRead(store);
    const failing = registry.reload();
    await began;
    const next = registry.reload();
    finish(new Error('the database is gone'));
    await expect(failing).rejects.toThrow('gone');
    expect(registry.find(key)).toBeDefined();
    await next;
    expect(store.reads).toBe(3);
  });

  it('reads again only when another node changed something, or is about to', async () => {
    const { registry, store } = openNode();
    const other = openNode(store).registry;
    await registry.refresh();
    await registry.refresh();
    expect(store.reads).toBe(1);
    await other.create({ functionName: 'f', url }, 'drop-unknown');
    expect(registry.find(key)).toBeUndefined();
    await registry.refresh();
    expect(registry.find(key)).toBeDefined();
    const reads = store.reads;
    await store.exclusively(async writer => {
      await writer.removeHook(target);
      // What is read in the middle of a change is not final.
      await registry.refresh();
      expect(store.reads).toBe(reads + 1);
      await writer.writeHook({ target, url: 'https://example.com/after' });
    });
    await registry.refresh();
    expect(registry.find(key)?.hook.url).toBe('https://example.com/after');
  });

  it('keeps the counts of a hook over reads', async () => {
    const { registry } = openNode();
    const { hook } = await registry.create({ functionName: 'f', url }, 'drop-unknown');
    hook.health.calls = 7;
    const changed = await registry.update(target, { url: 'https://example.com/new' });
    expect(changed).not.toBe(hook);
    expect(changed.health.calls).toBe(7);
  });

  it('changes the url without opening the settings, and says when it was', async () => {
    const clock = new ManualClock();
    const store = new MemoryHookStore(clock);
    await openNode(store).registry.create(
      { functionName: 'f', url, headers: { 'x-a': 'secret' } },
      'drop-unknown',
    );
    const before = store.settings.get(key);
    clock.advance(1000);
    const withOtherKey = openNode(store, 'another key').registry;
    const changed = await withOtherKey.update(target, { url: 'https://example.com/new' });
    expect(changed.broken?.code).toBe('BROKEN_SECRET');
    expect(store.settings.get(key)).toEqual({ ...before, updatedAt: new Date(clock.now()).toISOString() });
  });

  it('has a hook whose settings cannot be read in force as broken, and says so once', async () => {
    const { registry, store, lines } = openNode();
    await registry.create({ functionName: 'f', url, failurePolicy: 'allow' }, 'drop-unknown');
    const row = store.settings.get(key);
    if (row) store.settings.set(key, { ...row, settings: 'garbage' });
    await registry.reload();
    await registry.reload();
    expect(registry.find(key)).toMatchObject({
      broken: { code: 'INVALID_HOOK' },
      settings: { failurePolicy: 'reject' },
    });
    expect(lines).toHaveLength(1);
    await registry.remove(target);
    const { hook: anew } = await registry.create({ functionName: 'f', url }, 'drop-unknown');
    expect(anew.broken).toBeUndefined();
  });

  it('gives a new hook nothing that one of its name left behind', async () => {
    const clock = new ManualClock();
    const store = new MemoryHookStore(clock);
    const { registry } = openNode(store);
    await registry.create({ functionName: 'f', url, headers: { 'x-a': 'secret' } }, 'drop-unknown');
    // As a crash between the two writes of a delete leaves it.
    store.rows = [];
    clock.advance(1000);
    const { hook: anew } = await registry.create({ functionName: 'f', url }, 'drop-unknown');
    expect(anew.ownSettings).toEqual({});
    expect(anew.createdAt).toBe(new Date(clock.now()).toISOString());
  });

  it('takes the last row where there are several, as the built-in would', async () => {
    const { registry, store } = openNode();
    store.rows = [
      { functionName: 'f', url },
      { functionName: 'f', url: 'https://example.com/last' },
    ];
    await registry.reload();
    expect(registry.list().map(({ hook }) => hook.url)).toEqual(['https://example.com/last']);
  });

  it('lists rows that it cannot use, replaces them and removes them', async () => {
    const { registry, store, lines } = openNode();
    store.rows = [
      { functionName: 'f', url: 'ftp://a' },
      { className: '_User', triggerName: 'beforeSave', url },
      null,
    ];
    await registry.reload();
    await registry.reload();
    expect(registry.list()).toEqual([]);
    expect(registry.unusableRows()).toHaveLength(3);
    expect(lines).toHaveLength(3);
    await expect(registry.update(target, { settings: { timeoutMs: 1 } })).rejects.toMatchObject({
      code: 'INVALID_HOOK',
    });
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    await registry.remove({ kind: 'trigger', className: '_User', triggerName: 'beforeSave' });
    expect(registry.list()).toHaveLength(1);
    expect(registry.unusableRows()).toHaveLength(1);
  });

  it('changes nothing when there is no such hook', async () => {
    const { registry, store } = openNode();
    await expect(registry.update(target, { url })).rejects.toMatchObject({ code: 'UNKNOWN_HOOK' });
    await expect(registry.remove(target)).rejects.toMatchObject({ code: 'HOOK_NOT_FOUND' });
    await expect(registry.update(target, { url: 'ftp://a' })).rejects.toMatchObject({ code: 'INVALID_HOOK' });
    expect(store.rows).toEqual([]);
    expect(store.settings.size).toBe(0);
  });

  it('tells apart what a declaration created, updated, left and found beside it', async () => {
    const { registry, store } = openNode();
    for (const functionName of ['same', 'other', 'undeclared']) {
      await registry.create({ functionName, url, headers: { 'x-a': '1' } }, 'drop-unknown');
    }
    const declared = [
      { functionName: 'same', url, headers: { 'X-A': '1' } },
      { functionName: 'other', url },
      { functionName: 'new', url },
    ];
    expect(await registry.reconcile(declared, false)).toEqual({
      created: ['function new'],
      updated: ['function other'],
      undeclared: ['function undeclared'],
      removedKeys: [],
      removed: [],
    });
    expect(registry.list()).toHaveLength(4);
    expect((await registry.reconcile(declared, true)).removed).toEqual(['function undeclared']);
    expect(store.rows).toHaveLength(3);
    expect(store.settings.size).toBe(3);
  });

  it('tells of former secrets while they sign, and forgets the others when it seals a hook anew', async () => {
    const clock = new ManualClock();
    const { registry, store } = openNode(new MemoryHookStore(clock), 'some key', clock);
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    await registry.rotateSecret(target, { graceMs: 5000 });
    const { hook } = await registry.rotateSecret(target, { graceMs: 1000 });
    const start = clock.now();
    expect(registry.oldSecretEnds(hook)).toEqual([start + 1000, start + 5000]);
    clock.advance(1000);
    expect(registry.oldSecretEnds(hook)).toEqual([start + 5000]);
    await registry.update(target, { settings: { timeoutMs: 5 } });
    const box = boxOf('some key');
    const { secrets } = openRecord(target, store.settings.get(key)?.settings ?? '', box);
    expect(secrets?.old.map(({ expiresAt }) => expiresAt)).toEqual([start + 5000]);
  });

  it('gives no hook a secret while another was sealed with another key', async () => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    const withOtherKey = openNode(store, 'another key').registry;
    store.rows.push({ functionName: 'bare', url });
    await withOtherKey.reload();
    expect([...store.settings.keys()]).toEqual([key]);
    await registry.reload();
    expect(store.settings.size).toBe(2);
  });

  const secret = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
  const contentOf = (store: MemoryHookStore): unknown => [
    [...store.rows],
    [...store.settings],
    store.keys,
    store.keyCheck,
  ];

  it('refuses a key that the database is not under, whatever is declared, and writes nothing', async () => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    const before = contentOf(store);
    const wrong = openNode(store, 'another key').registry;
    await registry.establishKey({ declared: [], isLost: false });
    for (const declared of [
      [],
      [{ functionName: 'f', url }],
      [{ functionName: 'f', url, secret }],
      [{ functionName: 'g', url, secret }],
    ]) {
      await expect(wrong.establishKey({ declared, isLost: false })).rejects.toMatchObject({
        code: 'BROKEN_SECRET',
        message: expect.stringContaining('function f'),
      });
    }
    expect(contentOf(store)).toEqual(before);
  });

  it('names what else a key does not open beside the hooks, and refuses it for that alone', async () => {
    const alsoShut = ['subscription orders'];
    const { registry, store } = openNode();
    await expect(registry.establishKey({ ...started, alsoShut })).rejects.toThrow(
      'secrets of subscription orders cannot be decrypted',
    );
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    const wrong = openNode(store, 'another key').registry;
    for (const declared of [[], [{ functionName: 'f', url, secret }]]) {
      await expect(wrong.establishKey({ declared, isLost: false, alsoShut })).rejects.toThrow(
        'secrets of function f, subscription orders cannot be decrypted',
      );
    }
    await wrong.establishKey({ declared: [], isLost: true, alsoShut });
  });

  it('tells the key of a database from before the key check by what is sealed in it', async () => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    const { keyCheck } = store;
    store.keyCheck = undefined;
    const wrong = openNode(store, 'another key').registry;
    await expect(wrong.establishKey({ declared: [], isLost: false })).rejects.toThrow('function f');
    expect(store.keyCheck).toBeUndefined();
    await registry.establishKey({ declared: [], isLost: false });
    expect(store.keyCheck).toHaveLength(keyCheck?.length ?? 0);
    await expect(wrong.establishKey({ declared: [], isLost: false })).rejects.toThrow('function f');
  });

  it('seals nothing on a node whose key the database is not under', async () => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    const wrong = openNode(store, 'another key').registry;
    const before = contentOf(store);
    const refused = {
      code: 'BROKEN_SECRET',
      message: expect.stringContaining('under another encryptionKey'),
    };
    await expect(wrong.create({ functionName: 'g', url }, 'drop-unknown')).rejects.toMatchObject(refused);
    await expect(wrong.changeKeys(async () => 'keys')).rejects.toMatchObject(refused);
    await expect(wrong.reconcile([{ functionName: 'g', url }], false)).rejects.toMatchObject(refused);
    store.rows.push({ functionName: 'bare', url });
    await expect(wrong.rotateSecret({ kind: 'function', functionName: 'bare' }, {})).rejects.toMatchObject(
      refused,
    );
    store.rows.pop();
    expect(contentOf(store)).toEqual(before);
  });

  it('seals with the previous key while the database is under that, and with its own from its own start on', async () => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    const next = openNode(store, 'the next key', systemClock, ['some key']).registry;
    await next.create({ functionName: 'g', url }, 'drop-unknown');
    await registry.reload();
    expect(registry.list().map(({ broken }) => broken)).toEqual([undefined, undefined]);
    await next.establishKey({ declared: [], isLost: false });
    const alone = openNode(store, 'the next key').registry;
    await alone.establishKey({ declared: [], isLost: false });
    await alone.reload();
    expect(alone.list().map(({ broken }) => broken)).toEqual([undefined, undefined]);
    await expect(registry.create({ functionName: 'h', url }, 'drop-unknown')).rejects.toMatchObject({
      code: 'BROKEN_SECRET',
    });
  });

  it('stays under a key that replaced its own: a server that lags behind takes no change back', async () => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    await openNode(store, 'the next key', systemClock, ['some key']).registry.establishKey(started);
    const sealed = contentOf(store);
    const lagging = openNode(store, 'some key', systemClock, ['the next key']);
    await lagging.registry.establishKey(started);
    expect(lagging.lines).toEqual([
      expect.stringContaining('was replaced by one of its previousEncryptionKeys'),
    ]);
    expect(contentOf(store)).toEqual(sealed);
    await lagging.registry.create({ functionName: 'g', url }, 'drop-unknown');
    // A third key may follow, and neither of those before it comes back.
    const former = ['some key', 'the next key'];
    await openNode(store, 'the third key', systemClock, former).registry.establishKey(started);
    for (const [own, ...others] of [
      ['some key', 'the next key', 'the third key'],
      ['the next key', 'some key', 'the third key'],
    ])
      await openNode(store, own, systemClock, others).registry.establishKey(started);
    const alone = openNode(store, 'the third key').registry;
    await alone.establishKey(started);
    await alone.reload();
    expect(alone.list().map(({ label, broken }) => [label, broken])).toEqual([
      ['function f', undefined],
      ['function g', undefined],
    ]);
  });

  it('comes under a replaced key again when the one after it is lost', async () => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    await openNode(store, 'the next key', systemClock, ['some key']).registry.establishKey(started);
    await registry.establishKey({ ...started, isLost: true });
    await registry.establishKey({ ...started, isLost: true });
    await registry.remove(target);
    await registry.create({ functionName: 'f', url }, 'drop-unknown');
    await openNode(store).registry.establishKey(started);
  });

  it('seals more hooks anew than fit under one lock', async () => {
    const { registry, store } = openNode();
    await registry.reconcile(
      Array.from({ length: 250 }, (_, at) => ({ functionName: `f${at}`, url })),
      false,
    );
    const next = openNode(store, 'the next key', systemClock, ['some key']);
    await next.registry.establishKey({ declared: [], isLost: false });
    expect(next.lines).toEqual([expect.stringContaining('secrets of 250 hooks')]);
    const alone = openNode(store, 'the next key').registry;
    await alone.reload();
    expect(alone.list().filter(({ broken }) => broken)).toEqual([]);
  });

  it('starts with a lost key only when told: hooks that do not open stay, and reject', async () => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url, failurePolicy: 'allow' }, 'drop-unknown');
    await registry.changeKeys(async () => 'keys');
    const row = store.settings.get(key);
    const next = openNode(store, 'the next key').registry;
    await next.establishKey({ declared: [], isLost: true });
    await next.reload();
    expect(next.find(key)).toMatchObject({ broken: { code: 'BROKEN_SECRET' } });
    expect(store.settings.get(key)).toEqual(row);
    expect(store.keys).toBeUndefined();
    await expect(next.establishKey({ declared: [], isLost: false })).rejects.toThrow('function f');
    await next.remove(target);
    await next.create({ functionName: 'f', url }, 'drop-unknown');
    await next.establishKey({ declared: [], isLost: false });
  });

  it.each<[string, object, object, string]>([
    [
      'a header',
      { headers: { 'X-A': 'a', 'x-b': 'b' } },
      { headers: { 'x-a': 'new' } },
      'headers.x-b was given',
    ],
    [
      'headers shown',
      { headers: { 'x-a': 'a' } },
      { headers: { 'x-a': '********' } },
      'headers.x-a was given',
    ],
    [
      'basicAuth',
      { basicAuth: { username: 'u', password: 'p' } },
      { basicAuth: { username: 'u', password: '********' } },
      'basicAuth was given',
    ],
    [
      'several',
      { basicAuth: { username: 'u', password: 'p' }, headers: { 'x-a': 'a' } },
      { timeoutMs: 5 },
      'headers.x-a, basicAuth were given',
    ],
  ])('takes no credentials to another origin: %s', async (_what, settings, change, named) => {
    const { registry, store } = openNode();
    await registry.create({ functionName: 'f', url, ...settings }, 'drop-unknown');
    const before = contentOf(store);
    for (const to of [
      'https://other.example.com/hook',
      'http://example.com/hook',
      'https://example.com:8443/',
    ]) {
      await expect(
        registry.update(target, { url: to, settings: change as Record<string, unknown> }),
      ).rejects.toMatchObject({ code: 'INVALID_HOOK', message: expect.stringContaining(named) });
      await expect(registry.update(target, { url: to })).rejects.toMatchObject({ code: 'INVALID_HOOK' });
      await expect(openNode(store, 'another key').registry.update(target, { url: to })).rejects.toMatchObject(
        {
          code: 'INVALID_HOOK',
        },
      );
    }
    expect(contentOf(store)).toEqual(before);
    await registry.update(target, { url: 'https://EXAMPLE.com:443/elsewhere' });
    await registry.update(target, {
      url: 'https://other.example.com/hook',
      settings: { headers: null, basicAuth: null },
    });
    await registry.update(target, { url });
  });

  it('takes credentials that are given anew to another origin', async () => {
    const { registry } = openNode();
    const headers = { 'x-a': 'a', 'x.b': 'b' };
    await registry.create({ functionName: 'f', url, headers }, 'drop-unknown');
    const moved = await registry.update(target, {
      url: 'https://other.example.com/hook',
      settings: { headers: { 'X-A': 'new', 'X.B': null } },
    });
    expect(moved.ownSettings.headers).toEqual({ 'x-a': 'new' });
  });
});
