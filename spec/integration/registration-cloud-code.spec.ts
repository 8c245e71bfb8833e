// Hooks and the application's own cloud code on the same names: warnings, validators, and what a delete brings back.
import type ParseSdk from 'parse/node';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

type Sdk = typeof ParseSdk;

const url = 'https://example.com/hook';

function cloud({ Cloud }: Sdk): void {
  Cloud.define('own', () => 'from cloud code');
  Cloud.define('guarded', () => 'from cloud code', { requireUser: true });
  Cloud.beforeSave('Puppy', ({ object }) => {
    object.set('trail', [...((object.get('trail') as string[] | undefined) ?? []), 'cloud']);
  });
  Cloud.beforeSave('Guarded', () => undefined, { requireUser: true });
}

/** Shown at creation, and never again. */
const secret: unknown = expect.stringMatching(/^whsec_/);

describeOnEachDatabase('a hook beside cloud code', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let parse: ParseApplication;
  let fromWebhook: string;
  let trailUrl: string;

  const start = (): Promise<ParseApplication> => startParseApplication({ database: fresh, parse: { cloud } });

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    fromWebhook = receiver.on('/function', () => ({ success: 'from webhook' }));
    trailUrl = receiver.on('/trail', ({ body }) => ({
      success: { trail: [...(body.object.trail as string[]), 'webhook'] },
    }));
    parse = await start();
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  const run = async (name: string, sessionToken?: string): Promise<unknown> =>
    (
      await parse.client('POST', `/functions/${name}`, {
        body: {},
        ...(sessionToken !== undefined && { sessionToken }),
      })
    ).body;
  const trailOf = async (): Promise<unknown> =>
    (await parse.client('POST', '/classes/Puppy', { body: { a: 1 } })).body.trail;

  it('warns when cloud code has a function of that name, and takes precedence', async () => {
    const warning = 'a cloudcode function with name: own already exists';
    const created = await parse.registerHook({ functionName: 'own', url });
    expect(created.body).toEqual({ functionName: 'own', url, warning, secret });
    const edited = await parse.master('PUT', '/hooks/functions/own', { body: { url: fromWebhook } });
    expect(edited.body).toEqual({ functionName: 'own', url: fromWebhook, warning });
    expect((await parse.master('GET', '/hooks/functions')).body).toEqual([
      { functionName: 'own', url: fromWebhook },
    ]);
    expect(await run('own')).toEqual({ result: 'from webhook' });
  });

  it('answers a delete with the cloud function that is back, and that runs again', async () => {
    const deleted = await parse.removeHook({ functionName: 'own' });
    expect(deleted).toMatchObject({ status: 200 });
    expect(deleted.body).toEqual({ functionName: 'own' });
    expect(await run('own')).toEqual({ result: 'from cloud code' });
  });

  it('warns when cloud code has a trigger there, runs both, and answers a delete with the trigger', async () => {
    const trigger = { className: 'Puppy', triggerName: 'beforeSave' };
    expect(await trailOf()).toEqual(['cloud']);
    const warning = 'beforeSave trigger already defined for class Puppy in cloud code';
    expect((await parse.registerHook({ ...trigger, url: trailUrl })).body).toEqual({
      ...trigger,
      url: trailUrl,
      warning,
      secret,
    });
    expect(await trailOf()).toEqual(['cloud', 'webhook']);
    expect((await parse.removeHook(trigger)).body).toEqual(trigger);
    expect(await trailOf()).toEqual(['cloud']);
  });

  it('keeps the validator of a cloud function while a hook stands there and after', async () => {
    const { sessionToken } = await parse.signUp();
    const refused = { code: 142, error: expect.stringContaining('login') };
    expect(await run('guarded')).toMatchObject(refused);
    await parse.registerHook({ functionName: 'guarded', url: fromWebhook });
    expect(await run('guarded')).toMatchObject(refused);
    expect(await run('guarded', sessionToken)).toEqual({ result: 'from webhook' });
    await parse.removeHook({ functionName: 'guarded' });
    expect(await run('guarded')).toMatchObject(refused);
    expect(await run('guarded', sessionToken)).toEqual({ result: 'from cloud code' });
  });

  it('keeps the validator of a cloud trigger while a hook stands there and after', async () => {
    const guarded = { className: 'Guarded', triggerName: 'beforeSave' };
    const save = () => parse.client('POST', '/classes/Guarded', { body: { a: 1 } });
    await parse.registerHook({ ...guarded, url: receiver.on('/accept', () => ({ success: true })) });
    receiver.forget();
    expect(await save()).toMatchObject({ status: 400, body: { code: 142 } });
    expect(receiver.calls).toEqual([]);
    await parse.removeHook(guarded);
    expect(await save()).toMatchObject({ status: 400, body: { code: 142 } });
  });

  it('leaves cloud code alone when a hook that does not exist is deleted', async () => {
    expect(await parse.removeHook({ functionName: 'own' })).toMatchObject({
      status: 404,
      body: { code: 101 },
    });
    expect(await parse.removeHook({ className: 'Puppy', triggerName: 'beforeSave' })).toMatchObject({
      status: 404,
      body: { code: 101 },
    });
    expect(await run('own')).toEqual({ result: 'from cloud code' });
    expect(await trailOf()).toEqual(['cloud']);
  });

  it('has the same precedence and order after a restart', async () => {
    await parse.registerHook({ functionName: 'own', url: fromWebhook });
    await parse.registerHook({ functionName: 'guarded', url: fromWebhook });
    await parse.registerHook({ className: 'Puppy', triggerName: 'beforeSave', url: trailUrl });
    await parse.stop();
    parse = await start();
    expect(await run('own')).toEqual({ result: 'from webhook' });
    expect(await run('guarded')).toMatchObject({ code: 142 });
    expect(await trailOf()).toEqual(['cloud', 'webhook']);
    expect((await parse.removeHook({ functionName: 'own' })).body).toEqual({ functionName: 'own' });
    expect(await run('own')).toEqual({ result: 'from cloud code' });
  });
});

describeOnEachDatabase('stop()', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let fromWebhook: string;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    fromWebhook = receiver.on('/function', () => ({ success: 'from webhook' }));
  });

  afterAll(async () => {
    await receiver.close();
    await fresh.drop();
  });

  const run = async (parse: ParseApplication, name: string): Promise<unknown> =>
    (await parse.client('POST', `/functions/${name}`, { body: {} })).body;

  it('gives Parse Server its own controller, routes and functions back', async () => {
    const parse = await startParseApplication({ database: fresh, parse: { cloud } });
    try {
      await parse.registerHook({ functionName: 'own', url: fromWebhook });
      await parse.registerHook({ functionName: 'hooked', url: fromWebhook });
      await parse.webhooks.stop();
      await parse.webhooks.stop();
      expect(await run(parse, 'own')).toEqual({ result: 'from cloud code' });
      expect(await run(parse, 'hooked')).toMatchObject({ code: 141, error: 'Invalid function: "hooked"' });
      // The built-in takes any URL and answers a delete with nothing.
      const builtIn = await parse.master('POST', '/hooks/functions', {
        body: { functionName: 'any', url: 'ftp://a' },
      });
      expect(builtIn).toMatchObject({ status: 200, body: { functionName: 'any', url: 'ftp://a' } });
      expect((await parse.removeHook({ functionName: 'any' })).body).toEqual({});
      expect((await parse.removeHook({ functionName: 'own' })).body).toEqual({});
      expect((await parse.removeHook({ functionName: 'hooked' })).body).toEqual({});
      expect((await parse.master('GET', '/webhooks/hooks')).status).toBe(404);
    } finally {
      await parse.stop();
    }
  });

  it('lets another Webhooks serve another Parse Server of the same process', async () => {
    for (const functionName of ['first', 'second']) {
      const parse = await startParseApplication({ database: fresh, parse: { cloud } });
      try {
        await parse.registerHook({ functionName, url: fromWebhook });
        expect(await run(parse, functionName)).toEqual({ result: 'from webhook' });
        expect((await parse.removeHook({ functionName })).body).toEqual({});
        expect(await run(parse, 'own')).toEqual({ result: 'from cloud code' });
      } finally {
        await parse.stop();
      }
    }
  });

  it('of one application leaves the hooks of another in the same process in force', async () => {
    // On one database: Parse Server keeps one schema cache per process.
    const first = await startParseApplication({ database: fresh, appId: 'first' });
    const second = await startParseApplication({ database: fresh, appId: 'second', parse: { cloud } });
    try {
      await first.registerHook({ functionName: 'mine', url: fromWebhook });
      await first.removeHook({ functionName: 'mine' });
      await first.stop();
      const created = await second.registerHook({ functionName: 'own', url: fromWebhook });
      expect(created.body).toHaveProperty('warning');
      expect(await run(second, 'own')).toEqual({ result: 'from webhook' });
      expect((await second.removeHook({ functionName: 'own' })).body).toEqual({ functionName: 'own' });
      expect(await run(second, 'own')).toEqual({ result: 'from cloud code' });
    } finally {
      await second.stop();
    }
    const again = await startParseApplication({ database: fresh, appId: 'first', parse: { cloud } });
    try {
      await again.registerHook({ functionName: 'own', url: fromWebhook });
      expect(await run(again, 'own')).toEqual({ result: 'from webhook' });
      expect((await again.removeHook({ functionName: 'own' })).body).toEqual({ functionName: 'own' });
      expect(await run(again, 'own')).toEqual({ result: 'from cloud code' });
    } finally {
      await again.stop();
    }
  });
});
