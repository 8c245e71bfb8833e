// What registration leaves in the database: one row per hook, no settings without one, and nothing half done when the
// database goes away in the middle.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { insertHookRows, readRawRows } from '../support/hook-rows';
import { startCuttableProxy, type CuttableProxy } from '../support/cuttable-proxy';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const url = 'https://example.com/hook';
const newUrl = 'https://example.com/new';

/** Shown at creation, and never again. */
const secret: unknown = expect.stringMatching(/^whsec_/);

describeOnEachDatabase('the rows of hooks', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;

  beforeAll(async () => {
    fresh = await database.create();
    parse = await startParseApplication({ database: fresh });
  });

  afterAll(async () => {
    await parse.stop();
    await fresh.drop();
  });

  const rows = async (): Promise<readonly Record<string, unknown>[]> =>
    (await readRawRows(database.kind, fresh, '_Hooks')).map(row =>
      Object.fromEntries(Object.entries(row).filter(([name, value]) => name !== '_id' && value !== null)),
    );

  it('hold exactly the four columns of the built-in', async () => {
    const trigger = { className: 'Puppy', triggerName: 'beforeSave', url };
    await parse.registerHook({ ...trigger, timeoutMs: 100, headers: { 'x-key': 'a' } });
    await parse.registerHook({ functionName: 'f', url, active: false });
    expect(await rows()).toEqual(expect.arrayContaining([trigger, { functionName: 'f', url }]));
    await parse.removeHook(trigger);
    await parse.removeHook({ functionName: 'f' });
    expect(await rows()).toEqual([]);
  });

  it.each([
    ['two with other urls', [{ url }, { url: 'https://example.com/second' }], newUrl],
    ['two of which one has the new url', [{ url }, { url: newUrl }], newUrl],
    ['two that both have the new url', [{ url: newUrl }, { url: newUrl }], newUrl],
    ['three, two with the new url', [{ url: newUrl }, { url }, { url: newUrl }], newUrl],
    ['two without a url', [{ url: null }, { url: null }], newUrl],
    ['one that has the new url already', [{ url: newUrl }], newUrl],
  ])('are one after an update, where the built-in left %s', async (_name, left, wanted) => {
    for (const names of [{ functionName: 'twice' }, { className: 'Twice', triggerName: 'beforeSave' }]) {
      await insertHookRows(
        database.kind,
        fresh,
        left.map(row => ({ ...names, ...row })),
      );
      const path = 'functionName' in names ? '/hooks/functions/twice' : '/hooks/triggers/Twice/beforeSave';
      const edited = await parse.master('PUT', path, { body: { url: wanted } });
      expect(edited).toMatchObject({ status: 200, body: { ...names, url: wanted } });
      expect((await parse.master('GET', path)).body).toEqual({ ...names, url: wanted });
      expect(await rows()).toEqual([{ ...names, url: wanted }]);
      expect((await parse.removeHook(names as { functionName: string })).status).toBe(200);
      expect(await rows()).toEqual([]);
    }
  });

  it('are listed and deleted as one, where the built-in left several', async () => {
    await insertHookRows(database.kind, fresh, [
      { functionName: 'several', url },
      { functionName: 'several', url: newUrl },
    ]);
    expect((await parse.master('GET', '/hooks/functions')).body).toHaveLength(1);
    await parse.removeHook({ functionName: 'several' });
    expect(await rows()).toEqual([]);
  });

  it('of a function that also names a class are left alone when the trigger is changed', async () => {
    const odd = {
      functionName: 'odd',
      className: 'Odd',
      triggerName: 'beforeSave',
      url: 'https://example.com/odd',
    };
    await insertHookRows(database.kind, fresh, [odd]);
    const trigger = { className: 'Odd', triggerName: 'beforeSave' };
    await parse.registerHook({ ...trigger, url });
    await parse.master('PUT', '/hooks/triggers/Odd/beforeSave', { body: { url: newUrl } });
    expect((await parse.master('GET', '/hooks/triggers')).body).toEqual([{ ...trigger, url: newUrl }]);
    await parse.removeHook(trigger);
    expect(await rows()).toEqual([odd]);
    await parse.removeHook({ functionName: 'odd' });
    expect(await rows()).toEqual([]);
  });
});

describeOnEachDatabase('settings whose hook was removed behind our back', database => {
  it('do not come back with a hook of that name', async () => {
    const fresh = await database.create();
    const receiver = await startWebhookReceiver();
    const hookUrl = receiver.on('/f', () => ({ success: 1 }));
    const settings = { timeoutMs: 77, headers: { 'X-Key': 'of-the-old-receiver' } };
    let parse = await startParseApplication({ database: fresh });
    try {
      // While stopped, Parse Server's own controller is at work, as after a way back to the built-in.
      for (const functionName of ['removed', 'kept'])
        await parse.registerHook({ functionName, url, ...settings });
      await parse.webhooks.stop();
      await parse.removeHook({ functionName: 'removed' });
      await parse.stop();
      parse = await startParseApplication({ database: fresh });
      expect(await readRawRows(database.kind, fresh, 'WebhookSetting')).toHaveLength(1);
      await insertHookRows(database.kind, fresh, [{ functionName: 'removed', url: hookUrl }]);
      await parse.registerHook({ functionName: 'other', url });
      expect((await parse.client('POST', '/functions/removed', { body: {} })).body).toEqual({ result: 1 });
      expect(receiver.calls[0]?.headers).not.toHaveProperty('x-key');
      expect((await parse.master('GET', '/webhooks/hooks/functions/removed')).body.timeoutMs).toBe(5000);
      expect((await parse.master('GET', '/webhooks/hooks/functions/kept')).body.timeoutMs).toBe(77);
    } finally {
      await parse.stop();
      await receiver.close();
      await fresh.drop();
    }
  });
});

describeOnEachDatabase('a registration while the database goes away', database => {
  let fresh: FreshDatabase;
  let proxy: CuttableProxy;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  /** Less than the lease of the lock, 10 s. */
  const boundMs = 8000;

  beforeAll(async () => {
    fresh = await database.create();
    proxy = await startCuttableProxy(fresh.databaseURI);
    receiver = await startWebhookReceiver();
    // Both are 30 s by default: how long a query waits for a server, and a heartbeat for an answer on a dead connection.
    const databaseOptions =
      database.kind === 'mongodb' ? { serverSelectionTimeoutMS: 1000, connectTimeoutMS: 1000 } : {};
    parse = await startParseApplication({
      database: { ...fresh, databaseURI: proxy.through(fresh.databaseURI), databaseOptions },
      webhooks: { pollIntervalMs: 50 },
    });
  });

  afterAll(async () => {
    await parse.stop();
    await proxy.close();
    await receiver.close();
    await fresh.drop();
  });

  /** What is in force: the list of this node's memory, without a read of the rows. */
  const inForce = async (): Promise<unknown> =>
    (await parse.client('POST', '/functions/cut', { body: {} })).body;

  it.each([
    ['before anything is written', 'lockOwner'],
    ['between the settings and the hook', '_Hooks'],
  ])('answers an error in bounded time and installs nothing half: cut %s', async (_name, text) => {
    const hook = {
      functionName: 'cut',
      url: receiver.on('/cut', () => ({ success: 'called' })),
      timeoutMs: 4321,
    };
    const startedAt = performance.now();
    const cut = proxy.cutAt(text);
    const answer = await parse.master('POST', '/hooks/functions', { body: hook });
    await cut;
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.body).not.toHaveProperty('functionName');
    expect(performance.now() - startedAt).toBeLessThan(boundMs);
    expect(await inForce()).toMatchObject({ code: 141, error: 'Invalid function: "cut"' });
    // The server lives on, and says that it cannot read.
    expect((await parse.client('GET', '/health')).status).toBe(200);
    await proxy.mend();
    const stored = await readRawRows(database.kind, fresh, '_Hooks');
    expect(stored).toEqual([]);
    // The lock that could not be given back holds nobody up until its lease ends.
    const mendedAt = performance.now();
    expect((await parse.master('POST', '/hooks/functions', { body: hook })).body).toEqual({
      functionName: 'cut',
      url: hook.url,
      secret,
    });
    expect(performance.now() - mendedAt).toBeLessThan(boundMs);
    expect(await inForce()).toEqual({ result: 'called' });
    expect((await parse.master('GET', '/webhooks/hooks/functions/cut')).body.timeoutMs).toBe(4321);
    await parse.removeHook({ functionName: 'cut' });
    expect(await readRawRows(database.kind, fresh, 'WebhookSetting')).toEqual([]);
  });

  it('has in force what is stored once the database is back, though the answer was an error', async () => {
    const hook = { functionName: 'cut', url: receiver.on('/cut', () => ({ success: 'called' })) };
    // The release of the lock is the first statement that counts the version up: by then the row is written.
    const cut = proxy.cutAt(database.kind === 'postgres' ? '+ 1' : '$inc');
    const answering = parse.master('POST', '/hooks/functions', { body: hook });
    await cut;
    const stored = await readRawRows(database.kind, fresh, '_Hooks');
    expect(stored).toHaveLength(1);
    const answer = await answering;
    await proxy.mend();
    // Whatever the client was told, memory follows storage.
    const giveUpAt = performance.now() + boundMs;
    let now = await inForce();
    while (JSON.stringify(now) !== '{"result":"called"}' && performance.now() < giveUpAt)
      now = await inForce();
    expect(now).toEqual({ result: 'called' });
    expect([200, 400, 500]).toContain(answer.status);
    expect((await parse.removeHook({ functionName: 'cut' })).status).toBe(200);
  });
});
