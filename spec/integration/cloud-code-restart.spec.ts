// Several Parse Servers with cloud code and hooks in one process: one after the other, side by side, overlapping.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadInternals } from '../../src/parse/internals';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const { triggers } = loadInternals();
const native = { ...triggers };

/** What these tests use of the Parse that cloud code gets. */
interface CloudSdk {
  readonly Cloud: {
    beforeSave(
      className: string,
      handler: (request: { object: CloudObject }) => void,
      validator?: object,
    ): void;
  };
}
interface CloudObject {
  set(key: string, value: unknown): void;
}

const guardedFile = `
  globalThis.cloudFileLoads = (globalThis.cloudFileLoads ?? 0) + 1;
  Parse.Cloud.define('guarded', () => 'cloud', { requireUser: true });
  Parse.Cloud.beforeSave('Guarded', ({ object }) => { object.set('by', 'cloud'); }, { requireUser: true });`;
const refused = { status: 400, body: { code: 142 } };

describeOnEachDatabase('Parse Servers of one process', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let folder: string;
  let running: ParseApplication[] = [];

  beforeEach(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    folder = await mkdtemp(join(tmpdir(), 'cloud-code-restart-'));
  });

  afterEach(async () => {
    for (const parse of running) await parse.stop();
    running = [];
    // What one test registered is not to meet the next one.
    triggers._unregisterAll();
    await rm(folder, { recursive: true, force: true });
    await receiver.close();
    await fresh.drop();
  });

  async function start(appId: string, cloud: unknown): Promise<ParseApplication> {
    const parse = await startParseApplication({ database: fresh, appId, parse: { cloud } });
    running.push(parse);
    return parse;
  }

  async function stop(parse: ParseApplication): Promise<void> {
    running = running.filter(other => other !== parse);
    await parse.stop();
  }

  async function writeGuarded(): Promise<string> {
    const path = join(folder, 'main.js');
    await writeFile(path, guardedFile);
    return path;
  }

  async function hookGuarded(parse: ParseApplication): Promise<void> {
    const url = receiver.on('/function', () => ({ success: 'hook' }));
    await parse.registerHook({ functionName: 'guarded', url });
    const saves = receiver.on('/save', ({ body }) => ({
      success: { by: `${String(body.object.by)}, hook` },
    }));
    await parse.registerHook({ className: 'Guarded', triggerName: 'beforeSave', url: saves });
  }

  async function expectGuarded(
    parse: ParseApplication,
    expected: { result: string; by: string },
  ): Promise<void> {
    expect(await parse.client('POST', '/functions/guarded')).toMatchObject(refused);
    expect(await parse.client('POST', '/classes/Guarded', { body: {} })).toMatchObject(refused);
    const { sessionToken } = await parse.signUp();
    expect((await parse.client('POST', '/functions/guarded', { sessionToken })).body).toEqual({
      result: expected.result,
    });
    expect((await parse.client('POST', '/classes/Guarded', { sessionToken, body: {} })).body).toMatchObject({
      by: expected.by,
    });
    expect(parse.logs.filter(line => line.includes('Duplicate cloud functions'))).toEqual([]);
  }

  it('keep validators and cloud code of a file that the first of them loaded, under hooks and without', async () => {
    const cloud = await writeGuarded();
    const loadsBefore = Number(Reflect.get(globalThis, 'cloudFileLoads') ?? 0);
    const first = await start('restarted', cloud);
    await expectGuarded(first, { result: 'cloud', by: 'cloud' });
    await hookGuarded(first);
    await expectGuarded(first, { result: 'hook', by: 'cloud, hook' });
    await stop(first);

    const second = await start('restarted', cloud);
    await expectGuarded(second, { result: 'hook', by: 'cloud, hook' });
    await second.removeHook({ functionName: 'guarded' });
    await second.removeHook({ className: 'Guarded', triggerName: 'beforeSave' });
    await expectGuarded(second, { result: 'cloud', by: 'cloud' });
    await stop(second);

    const third = await start('restarted', cloud);
    await expectGuarded(third, { result: 'cloud', by: 'cloud' });
    await hookGuarded(third);
    await expectGuarded(third, { result: 'hook', by: 'cloud, hook' });
    expect(Reflect.get(globalThis, 'cloudFileLoads')).toBe(loadsBefore + 1);
  });

  it('say of a hook on cloud code of an earlier one that cloud code is there', async () => {
    const cloud = await writeGuarded();
    await stop(await start('restarted', cloud));
    const second = await start('restarted', cloud);
    const url = receiver.on('/function', () => ({ success: 'hook' }));
    const created = await second.registerHook({ functionName: 'guarded', url });
    expect(created.body.warning).toBe('a cloudcode function with name: guarded already exists');
  });

  it('keep the hooks of one when another stops and cloud code registers late', async () => {
    let Cloud: CloudSdk['Cloud'] | undefined;
    const a = await start('app-a', () => undefined);
    const b = await start('app-b', (sdk: CloudSdk) => void ({ Cloud } = sdk));
    const url = receiver.on('/late', ({ body }) => ({ success: { by: `${String(body.object.by)}, hook` } }));
    await b.registerHook({ className: 'Late', triggerName: 'beforeSave', url });
    await stop(a);
    Cloud?.beforeSave('Late', ({ object }) => {
      object.set('by', 'late');
    });
    const { body } = await b.client('POST', '/classes/Late', { body: {} });
    expect(body).toMatchObject({ by: 'late, hook' });
    await stop(b);
    expect(triggers).toEqual(native);
  });

  it('keep hooks and validators when the next one of an application starts before the last has stopped', async () => {
    const cloud = await writeGuarded();
    const first = await start('overlapping', cloud);
    await hookGuarded(first);
    const second = await start('overlapping', cloud);
    await expectGuarded(second, { result: 'hook', by: 'cloud, hook' });
    await stop(first);
    await expectGuarded(second, { result: 'hook', by: 'cloud, hook' });
    const { Cloud } = loadInternals().sdk as unknown as CloudSdk;
    const url = receiver.on('/late', ({ body }) => ({ success: { by: `${String(body.object.by)}, hook` } }));
    await second.registerHook({ className: 'Late', triggerName: 'beforeSave', url });
    Cloud.beforeSave('Late', ({ object }) => {
      object.set('by', 'late');
    });
    const { body } = await second.client('POST', '/classes/Late', { body: {} });
    expect(body).toMatchObject({ by: 'late, hook' });
    await stop(second);
    expect(triggers).toEqual(native);
  });
});
