// Function hooks: what of a call is sent, what the caller gets, and how they stand beside cloud functions.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { masterKey, startParseApplication, type ParseApplication } from '../support/parse-application';
import {
  Reply,
  startWebhookReceiver,
  type Answerer,
  type WebhookReceiver,
} from '../support/webhook-receiver';

interface FunctionRequest {
  params: Record<string, unknown>;
}
interface ExpressStyle {
  status(code: number): ExpressStyle;
  header(name: string, value: string): ExpressStyle;
  success(result: unknown): void;
  error(error: unknown): void;
}

interface SdkObject {
  get(key: string): unknown;
}
/** What these tests use of the JS SDK in a client's process. */
interface ClientSdk {
  serverURL: string;
  initialize(appId: string): void;
  readonly Object: new (...parts: never[]) => SdkObject;
  readonly GeoPoint: new (latitude: number, longitude: number) => unknown;
  readonly Cloud: { run(name: string, parameters: object): Promise<Record<string, unknown>> };
}

describeOnEachDatabase('a function hook', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let name = '';
  let count = 0;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({
      database: fresh,
      parse: {
        cloud: (Parse: typeof globalThis.Parse) => {
          Parse.Cloud.define('plain', ({ params }: FunctionRequest) => `cloud ${String(params.a)}`);
          Parse.Cloud.define('usersOnly', () => 'cloud', { requireUser: true });
          Parse.Cloud.define('masterOnly', () => 'cloud', { requireMaster: true });
          Parse.Cloud.define('withFields', () => 'cloud', { fields: ['a'] });
          // Registered past the types, which do not know the second parameter.
          const define = Parse.Cloud.define as (name: string, handler: unknown) => void;
          define('express', (request: FunctionRequest, response: ExpressStyle) => {
            response
              .status(202)
              .header('X-From', 'cloud')
              .success(`cloud ${String(request.params.a)}`);
          });
          define('expressError', (_request: FunctionRequest, response: ExpressStyle) => {
            response.error('cloud says no');
          });
          define('expressReturn', async (_request: FunctionRequest, _response: ExpressStyle) => 'returned');
        },
      },
    });
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => {
    name = `fn${++count}`;
    receiver.forget();
  });

  async function hook(functionName: string, answer: Answerer, settings: object = {}): Promise<void> {
    await parse.registerHook({ functionName, url: receiver.on(`/${functionName}`, answer), ...settings });
  }

  it('sends name, parameters with their types, user and installation, and nothing else', async () => {
    await hook(name, () => ({ success: true }));
    const user = await parse.signUp('caller');
    const params = {
      when: { __type: 'Date', iso: '2020-02-03T04:05:06.789Z' },
      who: { __type: 'Pointer', className: '_User', objectId: user.objectId },
      picture: { __type: 'File', name: 'a.png', url: `${parse.serverURL}/files/${parse.appId}/a.png` },
      where: { __type: 'GeoPoint', latitude: 1.5, longitude: -3 },
      bytes: { __type: 'Bytes', base64: 'AAEC' },
      nested: {
        list: [{ when: { __type: 'Date', iso: '2021-01-01T00:00:00.000Z' } }, [null, 'x', 1.5, true]],
      },
      empty: {},
    };
    const answer = await parse.client('POST', `/functions/${name}`, {
      sessionToken: user.sessionToken,
      headers: { 'X-Parse-Installation-Id': 'phone-1', 'X-Parse-Cloud-Context': '{"from":"app"}' },
      body: params,
    });
    expect(answer).toMatchObject({ status: 200, body: { result: true } });
    expect(receiver.calls.map(call => call.body)).toEqual([
      {
        functionName: name,
        params,
        master: false,
        user: {
          __type: 'Object',
          className: '_User',
          objectId: user.objectId,
          username: 'caller',
          createdAt: expect.any(String),
          updatedAt: expect.any(String),
          ACL: { [user.objectId]: { read: true, write: true } },
        },
        installationId: 'phone-1',
        context: { from: 'app' },
      },
    ]);
    expect(receiver.calls[0]?.raw.toString()).not.toContain(user.sessionToken);
  });

  it('sends query parameters too, and no parameters as an empty object', async () => {
    await hook(name, () => ({ success: true }));
    await parse.client('POST', `/functions/${name}?a=1`, { body: { b: 2 } });
    await parse.client('POST', `/functions/${name}`);
    expect(receiver.calls.map(call => call.body.params)).toEqual([{ a: '1', b: 2 }, {}]);
  });

  it('sends parts of a multipart form, files as bytes', async () => {
    await hook(name, () => ({ success: true }));
    const form = new FormData();
    form.set('title', 'hello');
    form.set('upload', new Blob([Buffer.from([0, 1, 255])], { type: 'image/x-odd' }), 'odd.bin');
    const response = await fetch(`${parse.serverURL}/functions/${name}`, {
      method: 'POST',
      headers: { 'X-Parse-Application-Id': parse.appId, Connection: 'close' },
      body: form,
    });
    expect(response.status).toBe(200);
    expect(receiver.calls[0]?.body.params).toEqual({
      title: 'hello',
      upload: { filename: 'odd.bin', contentType: 'image/x-odd', data: { __type: 'Bytes', base64: 'AAH/' } },
    });
  });

  it('sends no credential that a client wrote into the body', async () => {
    await hook(name, () => ({ success: true }));
    const { sessionToken } = await parse.signUp();
    const credentials = {
      _ApplicationId: parse.appId,
      _ClientVersion: 'js8',
      _InstallationId: 'phone-2',
      _MasterKey: masterKey,
      _SessionToken: sessionToken,
      _JavaScriptKey: 'secret-js',
    };
    // As SDKs do it, and with the application id in a header as well: Parse Server then leaves the rest in the body.
    await fetch(`${parse.serverURL}/functions/${name}`, {
      method: 'POST',
      headers: { 'Content-Type': 'text/plain', Connection: 'close' },
      body: JSON.stringify({ ...credentials, a: 1 }),
    });
    await parse.client('POST', `/functions/${name}`, { body: { ...credentials, a: 1 } });
    expect(receiver.calls.map(call => call.body.params)).toEqual([{ a: 1 }, { a: 1 }]);
    for (const { raw } of receiver.calls) {
      for (const secret of [masterKey, sessionToken, 'secret-js'])
        expect(raw.toString()).not.toContain(secret);
    }
  });

  it('gives the JS SDK types again', async () => {
    await hook(name, ({ body }) => ({
      success: {
        when: body.params.when,
        place: body.params.place,
        puppy: {
          __type: 'Object',
          className: 'Puppy',
          objectId: 'p1',
          name: 'Rex',
          born: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
        },
        list: [{ __type: 'Pointer', className: 'Puppy', objectId: 'p2' }],
      },
    }));
    // A copy of its own: Parse Server has configured the one it shares with this process.
    let Sdk = undefined as unknown as ClientSdk;
    jest.isolateModules(() => {
      Sdk = jest.requireActual('parse/node');
    });
    Sdk.initialize(parse.appId);
    Sdk.serverURL = parse.serverURL;
    const when = new Date('2020-02-03T04:05:06.789Z');
    const result = await Sdk.Cloud.run(name, { when, place: new Sdk.GeoPoint(1, 2) });
    expect(receiver.calls[0]?.body.params).toEqual({
      when: { __type: 'Date', iso: when.toISOString() },
      place: { __type: 'GeoPoint', latitude: 1, longitude: 2 },
    });
    const { puppy, place, list, ...rest } = result;
    expect(rest).toEqual({ when });
    expect(puppy).toBeInstanceOf(Sdk.Object);
    expect((puppy as SdkObject).get('born')).toEqual(new Date('2020-01-01T00:00:00.000Z'));
    expect(place).toBeInstanceOf(Sdk.GeoPoint);
    expect((list as SdkObject[])[0]).toMatchObject({ id: 'p2', className: 'Puppy' });
  });

  it.each([
    ['a value', { success: 'x' }, { result: 'x' }],
    ['null', { success: null }, { result: null }],
    ['false', { success: false }, { result: false }],
    ['an empty object', { success: {} }, { result: {} }],
    ['an empty body', new Reply(200, ''), {}],
    ['204', new Reply(204, ''), {}],
  ])('answers the caller with %s', async (_what, reply, expected) => {
    await hook(name, () => reply);
    expect(await parse.client('POST', `/functions/${name}`)).toMatchObject({ status: 200, body: expected });
    expect((await parse.client('POST', `/functions/${name}`)).body).toEqual(expected);
  });

  it.each([
    ['a message', { error: 'boom' }, { code: 141, error: 'boom' }],
    ['a code', { error: { code: 1337, message: 'coded' } }, { code: 1337, error: 'coded' }],
    ['code 1', { error: { code: 1, message: 'internal' } }, { code: 141, error: 'internal' }],
    ['another object', { error: { code: 5, error: 'x' } }, { code: 141, error: { code: 5, error: 'x' } }],
    ['a number', { error: 42 }, { code: 141, error: 42 }],
    ['an error beside success', { success: 1, error: 'no' }, { code: 141, error: 'no' }],
    ['an error with status 500', new Reply(500, '{"error":"late"}'), { code: 141, error: 'late' }],
  ])('rejects with %s', async (_what, reply, expected) => {
    await hook(name, () => reply);
    expect(await parse.client('POST', `/functions/${name}`)).toMatchObject({ status: 400 });
    expect((await parse.client('POST', `/functions/${name}`)).body).toEqual(expected);
  });

  it.each([
    ['neither success nor error', '{}', 'answer has neither success nor error'],
    ['an array', '[]', 'answer has neither success nor error'],
    ['HTML', '<html>', 'answer is not JSON'],
  ])('fails by %s', async (_what, text, words) => {
    await hook(name, () => new Reply(200, text));
    expect(await parse.client('POST', `/functions/${name}`)).toMatchObject({
      status: 400,
      body: { code: 141, error: `webhook function ${name} failed: ${words}` },
    });
  });

  describe('on the name of a cloud function', () => {
    const call = (functionName: string, body: object = {}, headers: Record<string, string> = {}) =>
      parse.client('POST', `/functions/${functionName}`, { body, headers });

    afterEach(async () => {
      const { body } = await parse.master('GET', '/hooks/functions');
      for (const { functionName } of body as { functionName: string }[])
        await parse.removeHook({ functionName });
    });

    it('takes precedence, says so at creation, and gives the name back when it goes', async () => {
      expect((await call('plain', { a: 1 })).body).toEqual({ result: 'cloud 1' });
      const url = receiver.on('/plain', () => ({ success: 'hook' }));
      const created = await parse.registerHook({ functionName: 'plain', url });
      expect(created.body).toMatchObject({ warning: 'a cloudcode function with name: plain already exists' });
      expect((await call('plain')).body).toEqual({ result: 'hook' });
      const removed = await parse.removeHook({ functionName: 'plain' });
      expect(removed).toMatchObject({ status: 200, body: { functionName: 'plain' } });
      expect((await call('plain', { a: 2 })).body).toEqual({ result: 'cloud 2' });
    });

    it('keeps the validator of the cloud function', async () => {
      for (const functionName of ['usersOnly', 'masterOnly', 'withFields'])
        await hook(functionName, () => ({ success: 'hook' }));
      expect(await call('usersOnly')).toMatchObject({ status: 400, body: { code: 142 } });
      expect(await call('masterOnly')).toMatchObject({ status: 400, body: { code: 142 } });
      expect(await call('withFields')).toMatchObject({ status: 400, body: { code: 142 } });
      expect(receiver.calls).toEqual([]);
      const { sessionToken } = await parse.signUp();
      expect((await call('usersOnly', {}, { 'X-Parse-Session-Token': sessionToken })).body).toEqual({
        result: 'hook',
      });
      expect((await call('masterOnly', {}, { 'X-Parse-Master-Key': masterKey })).body).toEqual({
        result: 'hook',
      });
      expect((await call('withFields', { a: 1 })).body).toEqual({ result: 'hook' });
    });

    it('takes the place of functions with a response parameter, and gives it back', async () => {
      const before = await call('express', { a: 1 });
      expect(before).toMatchObject({ status: 202, body: { result: 'cloud 1' } });
      expect(before.headers.get('x-from')).toBe('cloud');
      await hook('express', () => ({ success: 'hook' }));
      await hook('expressError', () => new Reply(204, ''));
      expect(await call('express', { a: 1 })).toMatchObject({ status: 200, body: { result: 'hook' } });
      expect(await call('expressError')).toMatchObject({ status: 200, body: {} });
      receiver.on('/express', () => ({ error: { code: 77, message: 'no' } }));
      expect(await call('express')).toMatchObject({ status: 400, body: { code: 77, error: 'no' } });
      await parse.removeHook({ functionName: 'express' });
      await parse.removeHook({ functionName: 'expressError' });
      expect(await call('express', { a: 2 })).toMatchObject({ status: 202, body: { result: 'cloud 2' } });
      expect(await call('expressError')).toMatchObject({
        status: 400,
        body: { code: 141, error: 'cloud says no' },
      });
    });

    it.each([
      ['failurePolicy allow', { failurePolicy: 'allow' }, () => new Reply(500, 'down')],
      ['mode shadow', { mode: 'shadow' }, () => ({ success: 'not enforced' })],
      ['mode shadow, and an empty answer', { mode: 'shadow' }, () => new Reply(204, '')],
      ['mode shadow, and an error', { mode: 'shadow' }, () => ({ error: 'not enforced' })],
    ])('lets the cloud function answer with %s', async (_what, settings, answer) => {
      for (const functionName of ['plain', 'express', 'expressError', 'expressReturn'])
        await hook(functionName, answer, settings);
      expect(await call('plain', { a: 1 })).toMatchObject({ status: 200, body: { result: 'cloud 1' } });
      const express = await call('express', { a: 1 });
      expect(express).toMatchObject({ status: 202, body: { result: 'cloud 1' } });
      expect(express.headers.get('x-from')).toBe('cloud');
      expect(await call('expressError')).toMatchObject({
        status: 400,
        body: { code: 141, error: 'cloud says no' },
      });
      expect(await call('expressReturn')).toMatchObject({ status: 200, body: { result: 'returned' } });
      expect(receiver.calls).toHaveLength(4);
    });

    it('answers nothing with failurePolicy allow and no cloud function', async () => {
      await hook(name, () => new Reply(500, 'down'), { failurePolicy: 'allow' });
      const answer = await call(name);
      expect(answer).toMatchObject({ status: 200 });
      expect(answer.body).toEqual({});
    });
  });

  it('is no function any more when the hook is deleted', async () => {
    await hook(name, () => ({ success: 1 }));
    expect((await parse.client('POST', `/functions/${name}`)).status).toBe(200);
    await parse.removeHook({ functionName: name });
    expect(await parse.client('POST', `/functions/${name}`)).toMatchObject({
      status: 400,
      body: { code: 141, error: `Invalid function: "${name}"` },
    });
  });
});
