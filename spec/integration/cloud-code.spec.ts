// Cloud Code and hooks on the same class: who runs first, what each sees, and that hooks leave no trace when they go.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadInternals } from '../../src/parse/internals';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type Answerer, type WebhookReceiver } from '../support/webhook-receiver';

interface CloudObject {
  get(key: string): unknown;
  set(key: string, value: unknown): void;
  unset(key: string): void;
  increment(key: string, amount?: number): void;
  toJSON(): Record<string, unknown>;
}
interface CloudRequest {
  object: CloudObject;
  objects: CloudObject[];
  query: { equalTo(key: string, value: unknown): void };
  context: Record<string, unknown>;
  master: boolean;
}
type Handler = (request: CloudRequest) => unknown;
type Register = (className: string, handler: Handler | undefined, validator?: unknown) => void;

/** What these tests use of parse-server lib/triggers.js. */
interface Triggers {
  triggerExists(className: string, type: string, applicationId: string): boolean;
  getFunctionNames(applicationId: string): readonly string[];
  _unregisterAll(): void;
}
const triggers = loadInternals().triggers as unknown as Triggers;

/** What these tests use of the Parse that cloud code gets. */
interface CloudSdk {
  readonly Cloud: Readonly<
    Record<'beforeSave' | 'afterSave' | 'beforeDelete' | 'beforeFind' | 'afterFind' | 'define', Register>
  >;
}

describeOnEachDatabase('Cloud Code and a hook on one class', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let Cloud: CloudSdk['Cloud'];
  let className = '';
  let count = 0;
  let order: string[] = [];

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({
      database: fresh,
      parse: { cloud: (sdk: CloudSdk) => void ({ Cloud } = sdk) },
    });
  });

  afterAll(async () => {
    await parse.stop();
    // What it registered is not to meet the next database's.
    triggers._unregisterAll();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => {
    className = `Both${++count}`;
    order = [];
    receiver.forget();
  });

  async function hook(triggerName: string, answer: Answerer, settings: object = {}): Promise<void> {
    const url = receiver.on(`/${className}/${triggerName}`, call => {
      order.push('hook');
      return answer(call);
    });
    await parse.registerHook({ className, triggerName, url, ...settings });
  }

  const save = (body: object) => parse.client('POST', `/classes/${className}`, { body });
  const stored = async (id: unknown) =>
    (await parse.master('GET', `/classes/${className}/${String(id)}`)).body as Record<string, unknown>;

  it.each(['cloud code first', 'hook first'])(
    'runs cloud code before the hook, %s registered',
    async first => {
      const cloud = (): void =>
        Cloud.beforeSave(className, ({ object }) => {
          order.push('cloud');
          object.set('by', 'cloud');
        });
      if (first === 'cloud code first') cloud();
      await hook('beforeSave', ({ body }) => ({ success: { by: `${String(body.object.by)}, hook` } }));
      if (first === 'hook first') cloud();
      const { body } = await save({ a: 1 });
      expect(order).toEqual(['cloud', 'hook']);
      expect(await stored(body.objectId)).toMatchObject({ a: 1, by: 'cloud, hook' });
    },
  );

  it('sends the object as cloud code left it, on a create and on an update', async () => {
    // Parse Server on PostgreSQL cannot delete from a column that is not there.
    await save({ unwanted: 'x' });
    Cloud.beforeSave(className, ({ object }) => {
      object.set('set', { by: 'cloud' });
      object.unset('unwanted');
      object.increment('n', 10);
    });
    await hook('beforeSave', () => ({ success: true }));
    const { body } = await save({ n: 1, unwanted: 'x' });
    expect(receiver.calls[0]?.body.object).toEqual({ className, set: { by: 'cloud' }, n: 11 });
    const updated = await parse.client('PUT', `/classes/${className}/${body.objectId}`, {
      body: { n: { __op: 'Increment', amount: 5 } },
    });
    expect(updated).toMatchObject({ status: 200 });
    expect(receiver.calls[1]?.body).toMatchObject({
      object: { n: 26 },
      update: { n: { __op: 'Increment', amount: 15 } },
    });
    expect(await stored(body.objectId)).toMatchObject({ n: 26, set: { by: 'cloud' } });
    expect(await stored(body.objectId)).not.toHaveProperty('unwanted');
  });

  it('keeps what cloud code did when the hook changes something else', async () => {
    Cloud.beforeSave(className, ({ object }) => {
      object.set('cloud', 1);
      object.increment('n');
      object.unset('gone');
    });
    await hook('beforeSave', ({ body }) => ({ success: { ...body.object, hook: 2 } }));
    const { body } = await save({ n: 1, gone: 'x', a: 1 });
    expect(await stored(body.objectId)).toMatchObject({ cloud: 1, hook: 2, n: 2, a: 1 });
    expect(await stored(body.objectId)).not.toHaveProperty('gone');
  });

  it('gives what cloud code returns without a promise no meaning, as without a hook', async () => {
    Cloud.beforeSave(className, () => ({ object: { other: 1 } }));
    const without = await save({ a: 1 });
    await hook('beforeSave', () => ({ success: true }));
    const hooked = await save({ a: 1 });
    for (const { body } of [without, hooked]) {
      const object = await stored(body.objectId);
      expect(object).toMatchObject({ a: 1 });
      expect(object).not.toHaveProperty('other');
    }
  });

  it('takes the object that cloud code returns for the change', async () => {
    // In a promise: what a beforeSave returns otherwise counts for nothing, with a hook or without.
    Cloud.beforeSave(className, async ({ object }) => ({
      object: { ...object.toJSON(), returned: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' } },
    }));
    await hook('beforeSave', ({ body }) => ({ success: { ...body.object, hook: true } }));
    const { body } = await save({ a: 1 });
    expect(receiver.calls[0]?.body.object).toMatchObject({
      a: 1,
      returned: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
    });
    expect(await stored(body.objectId)).toMatchObject({
      a: 1,
      hook: true,
      returned: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
    });
  });

  it('does not call the hook when cloud code throws', async () => {
    Cloud.beforeSave(className, () => {
      throw new Error('cloud says no');
    });
    await hook('beforeSave', () => ({ success: true }));
    expect(await save({ a: 1 })).toMatchObject({ status: 400, body: { code: 141, error: 'cloud says no' } });
    expect(receiver.calls).toEqual([]);
  });

  it('keeps the validator, and does not call the hook when it refuses', async () => {
    Cloud.beforeSave(className, () => undefined, {
      fields: { a: { required: true, default: 7 } },
      requireUser: true,
    });
    await hook('beforeSave', () => ({ success: true }));
    expect(await save({ a: 1 })).toMatchObject({ status: 400, body: { code: 142 } });
    expect(receiver.calls).toEqual([]);
    const { sessionToken } = await parse.signUp();
    const { body } = await parse.client('POST', `/classes/${className}`, { sessionToken, body: { b: 1 } });
    expect(receiver.calls[0]?.body.object).toEqual({ className, b: 1, a: 7 });
    expect(await stored(body.objectId)).toMatchObject({ a: 7, b: 1 });
  });

  it('calls the hook also where skipWithMasterKey leaves cloud code out', async () => {
    Cloud.beforeSave(className, () => void order.push('cloud'), { skipWithMasterKey: true });
    await parse.master('POST', `/classes/${className}`, { body: { a: 1 } });
    expect(order).toEqual([]);
    await hook('beforeSave', () => ({ success: { hook: true } }));
    const { body } = await parse.master('POST', `/classes/${className}`, { body: { a: 1 } });
    expect(order).toEqual(['hook']);
    expect(await stored(body.objectId)).toMatchObject({ a: 1, hook: true });
    await save({ a: 2 });
    expect(order).toEqual(['hook', 'cloud', 'hook']);
  });

  it('tells the hook what cloud code put into context', async () => {
    Cloud.beforeSave(className, ({ context }) => void (context.from = 'cloud'));
    await hook('beforeSave', () => ({ success: true }));
    await save({ a: 1 });
    expect(receiver.calls[0]?.body.context).toEqual({ from: 'cloud' });
  });

  it('lets both change a query and its results', async () => {
    Cloud.beforeFind(className, ({ query }) => query.equalTo('cloud', true));
    Cloud.afterFind(className, ({ objects }) => {
      for (const object of objects) object.set('seen', 'cloud');
      return objects;
    });
    for (const [cloud, hooked] of [
      [true, true],
      [true, false],
      [false, true],
    ])
      await save({ cloud, hooked });
    await hook('beforeFind', ({ body }) => ({ success: { where: { ...body.query.where, hooked: true } } }));
    await hook('afterFind', ({ body }) => ({
      success: body.objects.map((object: { seen: string }) => ({ ...object, seen: `${object.seen}, hook` })),
    }));
    const { body } = await parse.client('GET', `/classes/${className}`);
    expect(body.results).toMatchObject([{ cloud: true, hooked: true, seen: 'cloud, hook' }]);
    expect(body.results).toHaveLength(1);
  });

  it('notifies after cloud code ran, even when that throws', async () => {
    Cloud.afterSave(className, ({ object }) => {
      order.push(`cloud ${String(object.get('a'))}`);
      throw new Error('too late');
    });
    await hook('afterSave', () => ({ success: true }));
    expect((await save({ a: 1 })).status).toBe(201);
    await receiver.received(`/${className}/afterSave`, 1);
    expect(order).toEqual(['cloud 1', 'hook']);
  });

  it('says at creation that cloud code is there, and gives it back at deletion', async () => {
    Cloud.beforeSave(className, ({ object }) => object.set('by', 'cloud'));
    const url = receiver.on('/warned', () => ({ success: { by: 'hook' } }));
    const created = await parse.registerHook({ className, triggerName: 'beforeSave', url });
    expect(created.body.warning).toBe(
      `beforeSave trigger already defined for class ${className} in cloud code`,
    );
    expect((await save({})).body).toMatchObject({ by: 'hook' });
    const removed = await parse.removeHook({ className, triggerName: 'beforeSave' });
    expect(removed.body).toEqual({ className, triggerName: 'beforeSave' });
    expect((await save({})).body).toMatchObject({ by: 'cloud' });
  });

  it('lets cloud code go, and the hook stay, at Parse.Cloud.beforeSave(class, undefined)', async () => {
    Cloud.beforeSave(className, () => void order.push('cloud'));
    await hook('beforeSave', () => ({ success: true }));
    Cloud.beforeSave(className, undefined);
    await save({ a: 1 });
    expect(order).toEqual(['hook']);
    await parse.removeHook({ className, triggerName: 'beforeSave' });
    expect(triggers.triggerExists(className, 'beforeSave', parse.appId)).toBe(false);
  });

  it('uninstalls the trigger when a hook without cloud code is deleted', async () => {
    expect(triggers.triggerExists(className, 'beforeSave', parse.appId)).toBe(false);
    await hook('beforeSave', () => ({ success: true }));
    expect(triggers.triggerExists(className, 'beforeSave', parse.appId)).toBe(true);
    await parse.removeHook({ className, triggerName: 'beforeSave' });
    expect(triggers.triggerExists(className, 'beforeSave', parse.appId)).toBe(false);
  });

  it('leaves no name behind at Parse.Cloud.define(name, undefined)', () => {
    Cloud.define(className, () => undefined);
    expect(triggers.getFunctionNames(parse.appId)).toContain(className);
    Cloud.define(className, undefined);
    expect(triggers.getFunctionNames(parse.appId)).not.toContain(className);
  });

  it('causes no warning about duplicates by hooks that come, go and come again', async () => {
    const warnings = (): string[] => parse.logs.filter(line => line.includes('Duplicate cloud functions'));
    const before = warnings().length;
    await hook('beforeSave', () => ({ success: true }));
    Cloud.beforeSave(className, () => undefined);
    for (let n = 0; n < 3; n++) {
      await parse.removeHook({ className, triggerName: 'beforeSave' });
      await hook('beforeSave', () => ({ success: true }));
    }
    await parse.registerHook({ functionName: className, url: receiver.on('/f', () => ({ success: 1 })) });
    Cloud.define(className, () => 1);
    await parse.removeHook({ functionName: className });
    expect(warnings()).toHaveLength(before);
  });
});

describeOnEachDatabase('a restart', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let folder: string;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    folder = await mkdtemp(join(tmpdir(), 'cloud-code-'));
  });

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
    await receiver.close();
    await fresh.drop();
  });

  it('changes neither the order nor who answers, with cloud code in a file', async () => {
    const trigger = receiver.on('/trigger', ({ body }) => ({
      success: { by: `${String(body.object.by)}, hook` },
    }));
    const url = receiver.on('/function', () => ({ success: 'hook' }));
    for (const start of ['first', 'second']) {
      // A file of its own for each start, as this process would not load one twice.
      const cloud = join(folder, `${start}.js`);
      await writeFile(
        cloud,
        `Parse.Cloud.beforeSave('Kept', ({ object }) => { object.set('by', 'file'); });
         Parse.Cloud.define('kept', () => 'file');`,
      );
      const parse = await startParseApplication({ database: fresh, parse: { cloud } });
      try {
        if (start === 'first') {
          await parse.registerHook({ className: 'Kept', triggerName: 'beforeSave', url: trigger });
          await parse.registerHook({ functionName: 'kept', url });
        }
        expect((await parse.client('POST', '/classes/Kept', { body: {} })).body).toMatchObject({
          by: 'file, hook',
        });
        expect((await parse.client('POST', '/functions/kept')).body).toEqual({ result: 'hook' });
        expect(parse.logs.filter(line => line.includes('Duplicate cloud functions'))).toEqual([]);
      } finally {
        await parse.stop();
        // A new process would begin without them.
        triggers._unregisterAll();
      }
    }
  });
});
