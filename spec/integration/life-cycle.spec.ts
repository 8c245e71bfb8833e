// What starting and stopping leave behind: for Parse Server, for cloud code, and for the next start.
import ParseServer from 'parse-server';
import { Webhooks } from '../../src/index';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { masterKey, startParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

describeOnEachDatabase('the life of Webhooks', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
  });

  afterAll(async () => {
    await receiver.close();
    await fresh.drop();
  });

  const optionsFor = (appId: string, cloud?: () => unknown) => ({
    appId,
    masterKey,
    maintenanceKey: 'test-maintenance-key',
    serverURL: 'http://127.0.0.1:1/parse',
    databaseURI: fresh.databaseURI,
    databaseOptions: {
      ...fresh.databaseOptions,
      ...(database.kind === 'postgres' && { application_name: appId }),
    },
    ...(cloud && { cloud }),
  });
  const closeDatabase = (server: ParseServer): Promise<void> =>
    server.config.databaseController.adapter.handleShutdown();

  it('refuses to start again after stop(), rather than run without cloud code', async () => {
    const printed = jest.spyOn(console, 'error').mockImplementation();
    const cloud = jest.fn();
    const webhooks = new Webhooks();
    const options = webhooks.configure(optionsFor('stopped', cloud));
    await webhooks.stop();
    const server = new ParseServer(options as never);
    await expect(server.start()).rejects.toMatchObject({ code: 'INVALID_OPTION' });
    expect(cloud).not.toHaveBeenCalled();
    await closeDatabase(server);
    printed.mockRestore();
  });

  it('waits in stop() for a start under way, and leaves no hook in force', async () => {
    const webhooks = new Webhooks();
    let entered = (): void => undefined;
    let leave = (): void => undefined;
    const inCloud = new Promise<void>(resolve => (entered = resolve));
    const left = new Promise<void>(resolve => (leave = resolve));
    const server = new ParseServer(
      webhooks.configure(
        optionsFor('hasty', async () => {
          entered();
          await left;
        }),
      ) as never,
    );
    const starting = server.start();
    await inCloud;
    const stopping = webhooks.stop();
    leave();
    await starting;
    await stopping;
    const { hooksController } = server.config as { hooksController: object };
    expect(Object.keys(hooksController)).not.toContain('createHook');
    await closeDatabase(server);
  });

  it('gives everything back when a start fails, and works when it is tried again', async () => {
    const printed = jest.spyOn(console, 'error').mockImplementation();
    const prototype = jest.requireActual('parse-server/lib/Routers/HooksRouter').HooksRouter.prototype;
    const { handleDelete } = prototype;
    let fails = true;
    const webhooks = new Webhooks();
    const server = new ParseServer(
      webhooks.configure(
        optionsFor('twice', () => {
          if (fails) throw new Error('cloud code is broken');
        }),
      ) as never,
    );
    await expect(server.start()).rejects.toThrow('cloud code is broken');
    expect(prototype.handleDelete).toBe(handleDelete);
    fails = false;
    await server.start();
    expect(prototype.handleDelete).not.toBe(handleDelete);
    await webhooks.stop();
    expect(prototype.handleDelete).toBe(handleDelete);
    await closeDatabase(server);
    printed.mockRestore();
  });

  it('serves the Parse Server that starts, also when another was constructed after it', async () => {
    const webhooks = new Webhooks();
    const first = new ParseServer(webhooks.configure(optionsFor('first-made')) as never);
    const second = new ParseServer(optionsFor('second-made') as never);
    await first.start();
    const keysOf = (server: ParseServer): string[] =>
      Object.keys((server.config as { hooksController: object }).hooksController);
    expect(keysOf(first)).toContain('createHook');
    expect(keysOf(second)).not.toContain('createHook');
    await webhooks.stop();
    await closeDatabase(first);
    await closeDatabase(second);
  });

  it('refuses a start by another copy of the SDK', async () => {
    const webhooks = new Webhooks();
    const { cloud } = webhooks.configure(optionsFor('copied')) as {
      cloud?: (parse: unknown) => Promise<void>;
    };
    await expect(cloud?.({})).rejects.toMatchObject({ code: 'BROKEN_INSTALL' });
    await webhooks.stop();
  });

  it('does not let a client past a hook, or keep one from hearing, by what it sends', async () => {
    const parse = await startParseApplication({ database: fresh, appId: 'claims' });
    const url = receiver.on('/no', () => ({ error: 'no' }));
    const heard = receiver.on('/heard', () => ({}));
    await parse.registerHook({
      className: 'Claimed',
      triggerName: 'beforeSave',
      url,
      failurePolicy: 'allow',
      maxRequestBytes: 2000,
    });
    await parse.registerHook({ className: 'Told', triggerName: 'afterSave', url: heard });
    const depth = { 'X-Parse-Webhook-Depth': '5' };
    const deep: unknown = JSON.parse(`${'['.repeat(250)}${']'.repeat(250)}`);
    const save = (body: unknown, headers = {}) => parse.client('POST', '/classes/Claimed', { body, headers });
    expect((await save({ a: 1 }, depth)).body).toEqual({
      code: 141,
      error: 'webhook beforeSave Claimed failed: webhooks call each other in a loop',
    });
    expect((await save({ a: 'x'.repeat(3000) })).status).toBe(400);
    expect((await save({ a: deep })).status).toBe(400);
    expect((await parse.master('GET', '/classes/Claimed')).body.results).toEqual([]);
    await parse.client('POST', '/classes/Told', { body: { a: 1 }, headers: depth });
    const [call] = await receiver.received('/heard', 1);
    expect(call?.headers['x-parse-webhook-depth']).toBe('1');
    await parse.stop();
  });
});
