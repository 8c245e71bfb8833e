// /hooks/functions and /hooks/triggers over REST: routes, bodies, statuses, codes and messages of the built-in.
import type ParseSdk from 'parse/node';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import {
  readOnlyMasterKey,
  startParseApplication,
  type ParseApplication,
} from '../support/parse-application';
import { transports } from '../support/rest-transports';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

type Sdk = typeof ParseSdk;

const url = 'https://example.com/hook';
const newUrl = 'http://example.com:8080/other?a=1#b';
const permissionDenied = { status: 403, body: { error: 'Permission denied' } };

/** Shown at creation, and never again. */
const secret: unknown = expect.stringMatching(/^whsec_/);

describeOnEachDatabase('the hooks REST API', database => {
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

  describe.each(Object.entries(transports))('through %s', (_name, send) => {
    const functionName = 'hello';
    const trigger = { className: 'Puppy', triggerName: 'beforeSave' };
    const functionPath = `/hooks/functions/${functionName}`;
    const triggerPath = '/hooks/triggers/Puppy/beforeSave';

    it('lists no hooks as empty bare arrays', async () => {
      expect(await send(parse, 'GET', '/hooks/functions')).toMatchObject({ status: 200, body: [] });
      expect(await send(parse, 'GET', '/hooks/triggers')).toMatchObject({ status: 200, body: [] });
    });

    it('creates, shows, lists, edits and deletes a function', async () => {
      const created = await send(parse, 'POST', '/hooks/functions', { functionName, url });
      expect(created).toMatchObject({ status: 200 });
      expect(created.body).toEqual({ functionName, url, secret });
      expect((await send(parse, 'GET', functionPath)).body).toEqual({ functionName, url });
      expect((await send(parse, 'GET', '/hooks/functions')).body).toEqual([{ functionName, url }]);
      expect((await send(parse, 'GET', '/hooks/triggers')).body).toEqual([]);
      const edited = await send(parse, 'PUT', functionPath, { url: newUrl });
      expect(edited).toMatchObject({ status: 200 });
      expect(edited.body).toEqual({ functionName, url: newUrl });
      expect((await send(parse, 'GET', '/hooks/functions')).body).toEqual([{ functionName, url: newUrl }]);
      const deleted = await send(parse, 'PUT', functionPath, { __op: 'Delete' });
      expect(deleted).toMatchObject({ status: 200 });
      expect(deleted.body).toEqual({});
      expect((await send(parse, 'GET', '/hooks/functions')).body).toEqual([]);
    });

    it('creates, shows, lists, edits and deletes a trigger', async () => {
      const created = await send(parse, 'POST', '/hooks/triggers', { ...trigger, url });
      expect(created).toMatchObject({ status: 200 });
      expect(created.body).toEqual({ ...trigger, url, secret });
      expect((await send(parse, 'GET', triggerPath)).body).toEqual({ ...trigger, url });
      expect((await send(parse, 'GET', '/hooks/triggers')).body).toEqual([{ ...trigger, url }]);
      expect((await send(parse, 'GET', '/hooks/functions')).body).toEqual([]);
      const edited = await send(parse, 'PUT', triggerPath, { url: newUrl });
      expect(edited).toMatchObject({ status: 200 });
      expect(edited.body).toEqual({ ...trigger, url: newUrl });
      expect((await send(parse, 'GET', '/hooks/triggers')).body).toEqual([{ ...trigger, url: newUrl }]);
      const deleted = await send(parse, 'PUT', triggerPath, { __op: 'Delete' });
      expect(deleted).toMatchObject({ status: 200 });
      expect(deleted.body).toEqual({});
      expect((await send(parse, 'GET', '/hooks/triggers')).body).toEqual([]);
    });

    it('refuses a second hook on the same name with 143', async () => {
      await send(parse, 'POST', '/hooks/functions', { functionName, url });
      await send(parse, 'POST', '/hooks/triggers', { ...trigger, url });
      expect(await send(parse, 'POST', '/hooks/functions', { functionName, url: newUrl })).toMatchObject({
        status: 400,
        body: { code: 143, error: 'function name: hello already exists' },
      });
      expect(await send(parse, 'POST', '/hooks/triggers', { ...trigger, url: newUrl })).toMatchObject({
        status: 400,
        body: { code: 143, error: 'class Puppy already has trigger beforeSave' },
      });
      expect((await send(parse, 'GET', functionPath)).body).toEqual({ functionName, url });
      await send(parse, 'PUT', functionPath, { __op: 'Delete' });
      await send(parse, 'PUT', triggerPath, { __op: 'Delete' });
    });

    it.each([
      ['GET', '/hooks/functions/unknown', undefined, 'no function named: unknown is defined'],
      ['PUT', '/hooks/functions/unknown', { url }, 'no function named: unknown is defined'],
      ['PUT', '/hooks/functions/unknown', {}, 'invalid hook declaration'],
      ['PUT', '/hooks/functions/unknown', { __op: 'Increment' }, 'invalid hook declaration'],
      [
        'PUT',
        '/hooks/functions/unknown',
        { __op: 'Increment', url },
        'no function named: unknown is defined',
      ],
      ['GET', '/hooks/triggers/Unknown/beforeSave', undefined, 'class Unknown does not exist'],
      ['PUT', '/hooks/triggers/Unknown/beforeSave', { url }, 'class Unknown does not exist'],
      ['PUT', '/hooks/triggers/Unknown/beforeSave', {}, 'invalid hook declaration'],
      ['POST', '/hooks/functions', {}, 'invalid hook declaration'],
      ['POST', '/hooks/functions', { functionName: 'x' }, 'invalid hook declaration'],
      ['POST', '/hooks/functions', { url }, 'invalid hook declaration'],
      ['POST', '/hooks/triggers', { className: 'Puppy', url }, 'invalid hook declaration'],
      ['POST', '/hooks/triggers', { triggerName: 'beforeSave', url }, 'invalid hook declaration'],
      [
        'POST',
        '/hooks/triggers',
        { className: 'Puppy', triggerName: 'beforeSave' },
        'invalid hook declaration',
      ],
    ])('answers %s %s %j with 143', async (method, path, body, message) => {
      const answer = await send(parse, method, path, body);
      expect(answer).toMatchObject({ status: 400, body: { code: 143, error: message } });
    });

    it('answers the delete of an unknown hook with 101', async () => {
      for (const path of ['/hooks/functions/unknown', '/hooks/triggers/Unknown/beforeSave']) {
        const answer = await send(parse, 'PUT', path, { __op: 'Delete' });
        expect(answer.body).toMatchObject({ code: 101, error: 'Object not found.' });
      }
    });
  });

  it('answers the delete of an unknown hook with HTTP 404', async () => {
    const answer = await parse.master('PUT', '/hooks/functions/unknown', { body: { __op: 'Delete' } });
    expect(answer).toMatchObject({ status: 404, body: { code: 101, error: 'Object not found.' } });
  });

  it('decides the kind by the body and not by the path, functionName first', async () => {
    const asFunction = { functionName: 'either', className: 'Puppy', triggerName: 'beforeSave', url };
    const created = await parse.master('POST', '/hooks/triggers', { body: asFunction });
    expect(created.body).toEqual({ functionName: 'either', url, secret });
    expect((await parse.master('GET', '/hooks/triggers')).body).toEqual([]);
    await parse.removeHook({ functionName: 'either' });
    const trigger = { className: 'Puppy', triggerName: 'beforeSave', url };
    expect((await parse.master('POST', '/hooks/functions', { body: trigger })).body).toEqual({
      ...trigger,
      secret,
    });
    await parse.removeHook(trigger);
  });

  it('drops fields that it does not know, and answers the four columns only', async () => {
    const created = await parse.master('POST', '/hooks/functions', {
      body: { functionName: 'extra', url, colour: 'red', timeoutMs: 100 },
    });
    expect(created.body).toEqual({
      functionName: 'extra',
      url,
      secret,
      warning: 'unknown field "colour" ignored',
    });
    await parse.removeHook({ functionName: 'extra' });
  });

  it('has neither a DELETE verb nor a route for a class alone', async () => {
    await parse.registerHook({ functionName: 'kept', url });
    for (const [method, path] of [
      ['DELETE', '/hooks/functions/kept'],
      ['GET', '/hooks/triggers/Puppy'],
      ['PATCH', '/hooks/functions/kept'],
    ] as const) {
      const answer = await parse.master(method, path);
      expect(answer.status).toBe(404);
      expect(answer.headers.get('content-type')).toContain('text/html');
    }
    expect((await parse.master('GET', '/hooks/functions/kept')).status).toBe(200);
    await parse.removeHook({ functionName: 'kept' });
  });

  it('tolerates other case, a trailing slash and a doubled first slash in the path', async () => {
    for (const path of ['/Hooks/Functions', '/hooks/functions/', '//hooks/functions']) {
      expect(await parse.master('GET', path)).toMatchObject({ status: 200, body: [] });
    }
  });

  describe('without the master key', () => {
    const requests = [
      ['GET', '/hooks/functions', undefined],
      ['GET', '/hooks/triggers', undefined],
      ['GET', '/hooks/functions/secret', undefined],
      ['POST', '/hooks/functions', { functionName: 'secret', url }],
      ['POST', '/hooks/triggers', { className: 'Secret', triggerName: 'beforeSave', url }],
      ['PUT', '/hooks/functions/secret', { url }],
      ['PUT', '/hooks/functions/secret', { __op: 'Delete' }],
    ] as const;

    it.each(requests)('refuses %s %s %j', async (method, path, body) => {
      for (const headers of [{}, { 'X-Parse-REST-API-Key': 'client' }, { 'X-Parse-Master-Key': 'wrong' }]) {
        const answer = await parse.client(method, path, { headers, ...(body && { body }) });
        expect(answer).toMatchObject(permissionDenied);
      }
      expect((await parse.master('GET', '/hooks/functions')).body).toEqual([]);
    });

    it('refuses a signed-up user, the maintenance key and an unknown application', async () => {
      const { sessionToken } = await parse.signUp();
      expect(await parse.client('GET', '/hooks/functions', { sessionToken })).toMatchObject(permissionDenied);
      const maintenance = { 'X-Parse-Maintenance-Key': 'test-maintenance-key' };
      expect(await parse.client('GET', '/hooks/functions', { headers: maintenance })).toMatchObject(
        permissionDenied,
      );
      const unknown = { 'X-Parse-Application-Id': 'unknown' };
      expect(await parse.master('GET', '/hooks/functions', { headers: unknown })).toMatchObject({
        status: 403,
        body: { error: 'unauthorized' },
      });
    });

    it('refuses in /batch too', async () => {
      const request = {
        method: 'POST',
        path: '/parse/hooks/functions',
        body: { functionName: 'batched', url },
      };
      const answer = await parse.client('POST', '/batch', { body: { requests: [request] } });
      expect(answer.body).toEqual([{ error: expect.objectContaining({ error: 'Permission denied' }) }]);
      expect((await parse.master('GET', '/hooks/functions')).body).toEqual([]);
    });
  });

  it('lets the read-only master key read and not write', async () => {
    await parse.registerHook({ functionName: 'read', url });
    const headers = { 'X-Parse-Master-Key': readOnlyMasterKey };
    expect((await parse.client('GET', '/hooks/functions', { headers })).body).toEqual([
      { functionName: 'read', url },
    ]);
    expect((await parse.client('GET', '/hooks/functions/read', { headers })).status).toBe(200);
    expect((await parse.client('GET', '/hooks/triggers', { headers })).body).toEqual([]);
    for (const [method, path, body] of [
      ['POST', '/hooks/functions', { functionName: 'write', url }],
      ['POST', '/hooks/triggers', { className: 'Puppy', triggerName: 'beforeSave', url }],
      ['PUT', '/hooks/functions/read', { url: newUrl }],
      ['PUT', '/hooks/functions/read', { __op: 'Delete' }],
    ] as const) {
      const answer = await parse.client(method, path, { headers, body });
      expect(answer).toMatchObject({ status: 400, body: { code: 119, error: 'Permission denied' } });
    }
    expect((await parse.master('GET', '/hooks/functions')).body).toEqual([{ functionName: 'read', url }]);
    await parse.removeHook({ functionName: 'read' });
  });
});

describeOnEachDatabase('Parse.Hooks of the JS SDK', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  const sdks: Partial<Record<'inside the server' | 'over HTTP', Sdk>> = {};

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
    // The server's own copy, whose requests do not leave the process (directAccess), and one that knows only the URL.
    sdks['inside the server'] = jest.requireActual<Sdk>('parse/node');
    jest.isolateModules(() => {
      sdks['over HTTP'] = jest.requireActual<Sdk>('parse/node');
    });
    const remote = sdks['over HTTP']!;
    remote.initialize(parse.appId, 'unused', 'test-master-key');
    remote.serverURL = parse.serverURL;
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  it.each(['inside the server', 'over HTTP'] as const)(
    'registers, lists, edits and removes %s',
    async where => {
      const { Hooks, Cloud } = sdks[where]!;
      expect(await Hooks.getFunctions()).toEqual([]);
      const answerer = receiver.on('/sum', ({ body }) => ({
        success: Number(body.params.a) + Number(body.params.b),
      }));
      expect(await Hooks.createFunction('sum', url)).toEqual({ functionName: 'sum', url, secret });
      expect(await Hooks.updateFunction('sum', answerer)).toEqual({ functionName: 'sum', url: answerer });
      expect(await Hooks.getFunction('sum')).toEqual({ functionName: 'sum', url: answerer });
      expect(await Cloud.run('sum', { a: 1, b: 2 })).toBe(3);
      await expect(Hooks.createFunction('sum', url)).rejects.toMatchObject({ code: 143 });
      expect(await Hooks.removeFunction('sum')).toEqual({});
      await expect(Hooks.getFunction('sum')).rejects.toMatchObject({ code: 143 });
      await expect(Hooks.removeFunction('sum')).rejects.toMatchObject({ code: 101 });
      await expect(Cloud.run('sum', {})).rejects.toMatchObject({ code: 141 });

      expect(await Hooks.createTrigger('Cat', 'beforeSave', url)).toEqual({
        className: 'Cat',
        triggerName: 'beforeSave',
        url,
        secret,
      });
      expect(await Hooks.updateTrigger('Cat', 'beforeSave', newUrl)).toMatchObject({ url: newUrl });
      expect(await Hooks.getTriggers()).toEqual([
        { className: 'Cat', triggerName: 'beforeSave', url: newUrl },
      ]);
      expect(await Hooks.getTrigger('Cat', 'beforeSave')).toMatchObject({ url: newUrl });
      await expect(Hooks.createTrigger('_User', 'beforeSave', url)).rejects.toMatchObject({
        code: 143,
        message: expect.stringContaining('_User'),
      });
      expect(await Hooks.removeTrigger('Cat', 'beforeSave')).toEqual({});
      expect(await Hooks.getTriggers()).toEqual([]);
    },
  );
});
