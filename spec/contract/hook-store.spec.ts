// What every HookStore keeps to, and what the one in a database adds: a lock that outlives no holder.
import ParseSdk from 'parse/node';
import { hookKey, type Hook, type HookTarget } from '../../src/hooks/hook';
import type { HookStore, HookWriter } from '../../src/hooks/hook-store';
import { DatabaseHookStore } from '../../src/parse/database-hook-store';
import type { DatabaseController } from '../../src/parse/internals';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { insertHookRows, readRawRows } from '../support/hook-rows';
import { ManualClock } from '../support/manual-clock';
import { MemoryHookStore } from '../support/memory-hook-store';
import { startParseApplication, type ParseApplication } from '../support/parse-application';

const functionTarget: HookTarget = { kind: 'function', functionName: 'hello' };
const triggerTarget: HookTarget = { kind: 'trigger', className: 'Puppy', triggerName: 'beforeSave' };
const targets = [functionTarget, triggerTarget];
const hookOn = (target: HookTarget, url = 'https://example.com/a'): Hook => ({ target, url });

interface Stores {
  readonly clock: ManualClock;
  readonly store: HookStore;
  /** The same storage through another instance, as on another node. */
  readonly other: HookStore;
}

function followsTheContract(open: () => Stores): void {
  const write = (work: (writer: HookWriter) => Promise<void>): Promise<void> =>
    open().store.exclusively(work);

  afterEach(async () => {
    const { store } = open();
    await store.exclusively(async writer => {
      for (const target of targets) {
        await writer.removeHook(target);
        await writer.removeSetting(target);
      }
    });
  });

  it('is empty at first, and prepare may be called again', async () => {
    const { store, other } = open();
    await Promise.all([store.prepare(), other.prepare(), store.prepare()]);
    expect(await store.readHooks()).toEqual([]);
    expect(await store.readAll()).toMatchObject({
      version: await store.readVersion(),
      hooks: [],
      settings: [],
    });
  });

  it.each(targets)('keeps one row for $kind, whose url changes', async target => {
    const { store, other } = open();
    for (const url of ['https://example.com/a', 'https://example.com/b', 'https://example.com/b']) {
      await write(writer => writer.writeHook(hookOn(target, url)));
      for (const each of [store, other]) {
        const rows = await each.readHooks();
        expect(rows).toHaveLength(1);
        const { kind: _kind, ...names } = target;
        expect(rows[0]).toMatchObject({ ...names, url });
      }
    }
    await write(writer => writer.removeHook(target));
    expect(await other.readHooks()).toEqual([]);
  });

  it.each(targets)('keeps settings of $kind with when they were made and changed', async target => {
    const { clock, other } = open();
    // A row without a hook is removed by prepare only.
    const at = (): string => new Date(clock.now()).toISOString();
    const createdAt = at();
    const settings = '{"headers":{"x-key":"v1.abc"},"where":{"a":"it\'s \\"quoted\\""}}';
    await write(async writer => {
      expect(await writer.readSetting(target)).toBeUndefined();
      const row = { key: hookKey(target), settings: '{}', createdAt, updatedAt: createdAt };
      expect(await writer.writeSetting(target, '{}')).toEqual(row);
    });
    clock.advance(60_000);
    const row = { key: hookKey(target), settings, createdAt, updatedAt: at() };
    await write(async writer => expect(await writer.writeSetting(target, settings)).toEqual(row));
    expect((await other.readAll()).settings).toEqual([row]);
    await write(async writer => {
      expect(await writer.readSetting(target)).toEqual(row);
      await writer.removeSetting(target);
      await writer.removeSetting(target);
      await writer.removeHook(target);
    });
    expect((await other.readAll()).settings).toEqual([]);
  });

  it('removes settings without a hook in prepare, and no others', async () => {
    const { store } = open();
    await write(async writer => {
      await writer.writeHook(hookOn(functionTarget));
      for (const target of targets) await writer.writeSetting(target, '{}');
    });
    await store.prepare();
    expect((await store.readAll()).settings.map(({ key }) => key)).toEqual(['function/hello']);
  });

  it('keeps the server keys and the key check apart, and reads all of it under the lock too', async () => {
    const { other } = open();
    await write(async writer => {
      await writer.writeKeys('keys');
      await writer.writeKeyCheck('check');
      await writer.writeSetting(functionTarget, '{}');
    });
    for (const keyCheck of ['check', 'another check']) {
      await write(writer => writer.writeKeyCheck(keyCheck));
      expect(await other.readAll()).toMatchObject({ keys: 'keys', keyCheck });
    }
    let underTheLock: unknown;
    await write(async writer => {
      await writer.removeKeys();
      expect(await writer.readKeys()).toBeUndefined();
      expect(await writer.readKeyCheck()).toBe('another check');
      underTheLock = await writer.readAll();
    });
    // Not under the lock: that read waits, on the clock, for the change to end.
    const { version: _version, ...all } = await other.readAll();
    expect(underTheLock).toEqual(all);
    expect(all.keys).toBeUndefined();
  });

  it('has another version after every change, and the same without one', async () => {
    const { store, other } = open();
    const before = await store.readVersion();
    expect(before).toEqual(expect.any(String));
    expect(await other.readVersion()).toBe(before);
    await write(writer => writer.writeHook(hookOn(functionTarget)));
    const after = await other.readVersion();
    expect(after).not.toBe(before);
    expect((await store.readAll()).version).toBe(after);
    await store.readHooks();
    expect(await store.readVersion()).toBe(after);
  });

  it('has no version while a change is under way, and another one after a change that failed', async () => {
    const { store, other } = open();
    const before = await store.readVersion();
    const change = write(async () => {
      expect(await other.readVersion()).toBeUndefined();
      throw new Error('in the middle');
    });
    await expect(change).rejects.toThrow('in the middle');
    expect(await other.readVersion()).toEqual(expect.any(String));
    expect(await other.readVersion()).not.toBe(before);
  });

  it('lists the nodes that left word since an instant, and forgets those silent for an hour', async () => {
    const { clock, store, other } = open();
    await store.announce({ node: 'a', seenAt: clock.now() });
    clock.advance(1000);
    const since = clock.now();
    await other.announce({ node: 'b', seenAt: since });
    await other.announce({ node: 'b', seenAt: since + 1 });
    expect(await store.readNodes(since)).toEqual([{ node: 'b', seenAt: since + 1 }]);
    expect((await store.readNodes(0)).map(({ node }) => node).sort()).toEqual(['a', 'b']);
    clock.advance(3_600_000);
    await store.announce({ node: 'b', seenAt: clock.now() });
    expect((await store.readNodes(0)).map(({ node }) => node)).toEqual(['b']);
  });

  it('runs changes one after the other, whichever instance they are made on', async () => {
    const { clock, store, other } = open();
    // The lock of a database is waited for on the clock.
    const ticking = setInterval(() => clock.advance(5), 1);
    try {
      await write(async writer => {
        await writer.writeSetting(functionTarget, '0');
      });
      await Promise.all(
        Array.from({ length: 20 }, (_, at) =>
          (at % 2 === 0 ? store : other).exclusively(async writer => {
            const row = await writer.readSetting(functionTarget);
            await writer.writeSetting(functionTarget, String(Number(row?.settings) + 1));
          }),
        ),
      );
      expect((await store.readAll()).settings[0]?.settings).toBe('20');
    } finally {
      clearInterval(ticking);
    }
  });
}

describe('a HookStore in memory', () => {
  const clock = new ManualClock();
  const store = new MemoryHookStore(clock);
  followsTheContract(() => ({ clock, store, other: store }));
});

describeOnEachDatabase('a HookStore in a database', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let controller: DatabaseController;
  let clock: ManualClock;
  let warnings: string[];
  let store: DatabaseHookStore;
  let other: DatabaseHookStore;
  const leaseMs = 10_000;

  beforeAll(async () => {
    fresh = await database.create();
    // Only for its database: its own poll would be one more reader.
    parse = await startParseApplication({ database: fresh, webhooks: { pollIntervalMs: 60_000 } });
    controller = (ParseSdk as unknown as { Server: { database: DatabaseController } }).Server.database;
  });

  beforeEach(async () => {
    clock = new ManualClock();
    warnings = [];
    const logger = {
      info: () => undefined,
      warn: (message: string) => void warnings.push(message),
      error: () => undefined,
    };
    store = new DatabaseHookStore({ database: controller, clock, logger });
    other = new DatabaseHookStore({ database: controller, clock, logger });
    // The clock begins anew and stands: a lock that a failed test left would hold up every test after it.
    await setState({ lockOwner: 'none', lockExpiresAt: 0 });
    await store.prepare();
  });

  afterAll(async () => {
    await parse.stop();
    await fresh.drop();
  });

  const setState = (fields: object): Promise<unknown> =>
    controller.update('WebhookState', { objectId: 'registry' }, fields);

  /** Moves the clock on in small steps until `promise` settles. */
  async function whileTimePasses<T>(promise: Promise<T>): Promise<T> {
    const ticking = setInterval(() => clock.advance(50), 1);
    try {
      return await promise;
    } finally {
      clearInterval(ticking);
    }
  }

  describe('as every HookStore', () => followsTheContract(() => ({ clock, store, other })));

  it('writes the four columns of the built-in and one row, also over several', async () => {
    await insertHookRows(database.kind, fresh, [
      { functionName: 'hello', url: 'https://example.com/1' },
      { functionName: 'hello', url: 'https://example.com/2' },
    ]);
    await store.exclusively(writer => writer.writeHook(hookOn(functionTarget)));
    const rows = await readRawRows(database.kind, fresh, '_Hooks');
    expect(rows).toHaveLength(1);
    const filled = Object.entries(rows[0]!).filter(([name, value]) => name !== '_id' && value !== null);
    expect(Object.fromEntries(filled)).toEqual({ functionName: 'hello', url: 'https://example.com/a' });
    await store.exclusively(writer => writer.removeHook(functionTarget));
  });

  it('takes the lock of a dead holder over when its lease is over, and not before', async () => {
    const expiresAt = clock.now() + leaseMs;
    await setState({ lockOwner: 'a dead node', lockExpiresAt: expiresAt });
    let ranAt = 0;
    await whileTimePasses(
      store.exclusively(async () => {
        ranAt = clock.now();
      }),
    );
    expect(ranAt).toBeGreaterThan(expiresAt);
    expect(ranAt).toBeLessThan(expiresAt + 1000);
    expect(warnings).toEqual([]);
  });

  it('has a version again when the lease of a dead holder is over, other than before it', async () => {
    const before = await store.readVersion();
    await setState({ lockOwner: 'a dead node', lockExpiresAt: clock.now() + leaseMs });
    expect(await store.readVersion()).toBeUndefined();
    clock.advance(leaseMs + 1);
    const left = await store.readVersion();
    expect(left).toEqual(expect.any(String));
    expect(left).not.toBe(before);
    expect(await other.readVersion()).toBe(left);
    await store.exclusively(async () => undefined);
    expect(await other.readVersion()).not.toBe(left);
  });

  it('gives up with STORE_BUSY when the lock cannot be had', async () => {
    await setState({ lockOwner: 'a busy node', lockExpiresAt: clock.now() + 10 * leaseMs });
    const work = jest.fn();
    await expect(whileTimePasses(store.exclusively(work))).rejects.toMatchObject({ code: 'STORE_BUSY' });
    expect(work).not.toHaveBeenCalled();
    await setState({ lockOwner: 'none', lockExpiresAt: 0 });
    await store.exclusively(async () => undefined);
  });

  it('writes nothing when the lease is over before the write', async () => {
    const change = store.exclusively(async writer => {
      clock.advance(leaseMs);
      await writer.writeHook(hookOn(functionTarget));
    });
    await expect(change).rejects.toMatchObject({ code: 'STORE_BUSY' });
    expect(await store.readHooks()).toEqual([]);
  });

  it('warns when another took the lock over meanwhile, leaves it to that one, and changes the version', async () => {
    let inOther: string | undefined;
    const change = store.exclusively(async writer => {
      clock.advance(leaseMs + 1);
      await other.exclusively(otherWriter =>
        otherWriter.writeHook(hookOn(functionTarget, 'https://example.com/other')),
      );
      inOther = await other.readVersion();
      await writer.writeHook(hookOn(functionTarget));
    });
    await expect(change).rejects.toMatchObject({ code: 'STORE_BUSY' });
    expect(warnings).toEqual([expect.stringContaining('longer than 10000 ms')]);
    expect(await store.readHooks()).toMatchObject([{ url: 'https://example.com/other' }]);
    expect(await store.readVersion()).not.toBe(inOther);
    await store.exclusively(writer => writer.removeHook(functionTarget));
  });

  it('reads everything anew while a change is under way, until it is whole', async () => {
    let reading: Promise<unknown> | undefined;
    await store.exclusively(async writer => {
      await writer.writeSetting(functionTarget, '{"timeoutMs":1}');
      reading = whileTimePasses(other.readAll());
      await writer.writeHook(hookOn(functionTarget));
    });
    expect(await reading).toMatchObject({ version: expect.any(String), hooks: [{ functionName: 'hello' }] });
    await store.exclusively(async writer => {
      await writer.removeHook(functionTarget);
      await writer.removeSetting(functionTarget);
    });
  });

  it('takes what is there when a change does not end, and says so by having no version', async () => {
    await store.exclusively(async () => {
      expect(await whileTimePasses(other.readAll())).toMatchObject({
        version: undefined,
        hooks: [],
        settings: [],
      });
    });
  });
});
