// The requests that mobile and browser SDKs send, written as those write them, through the hooks of a class.
import { describeOnEachDatabase } from '../support/databases';
import type { Answer } from '../support/parse-application';
import { startSdkApplication, type SdkApplication } from '../support/sdk-application';

describeOnEachDatabase('an app', database => {
  let server: SdkApplication;

  beforeAll(async () => {
    server = await startSdkApplication(database);
  });

  afterAll(() => server.stop());

  /** Sends what an SDK sends for a REST call. */
  type Send = (method: string, path: string, body?: Readonly<Record<string, unknown>>) => Promise<Answer>;

  /**
   * PFCommandURLRequestConstructor (iOS) and ParseRESTCommand (Android): keys in headers; a GET with parameters becomes
   * a POST with `_method`, because an address may be too long.
   */
  const asMobile =
    (headers: Readonly<Record<string, string>>): Send =>
    (method, path, body) => {
      const moved = body !== undefined && ['GET', 'DELETE'].includes(method);
      return server.parse.client(moved ? 'POST' : method, path, {
        sessionToken: server.user.sessionToken,
        headers: { 'X-Parse-Installation-Id': server.user.installationId, ...headers },
        ...(body && { body: moved ? { ...body, _method: method } : body }),
      });
    };

  /** RESTController of the JavaScript SDK, and of Moralis' fork of it: always POST, and everything in the body. */
  const asBrowser =
    (contentType: string, clientVersion: string): Send =>
    (method, path, body) =>
      server.parse.client('POST', path, {
        headers: { 'X-Parse-Application-Id': '', 'Content-Type': contentType },
        body: {
          ...body,
          ...(method !== 'POST' && { _method: method }),
          _ApplicationId: server.parse.appId,
          _ClientVersion: clientVersion,
          _InstallationId: server.user.installationId,
          _SessionToken: server.user.sessionToken,
        },
      });

  describe.each<[sdk: string, className: string, send: Send]>([
    [
      'the iOS SDK',
      'Ios',
      asMobile({
        'Content-Type': 'application/json; charset=utf-8',
        'X-Parse-Client-Version': 'i4.2.0',
        'X-Parse-OS-Version': '17.5 (21F79)',
        'X-Parse-App-Build-Version': '12',
        'X-Parse-App-Display-Version': '1.2',
      }),
    ],
    [
      'the Android SDK',
      'Android',
      asMobile({
        'User-Agent': 'Parse Android SDK API Level 34',
        'X-Parse-Client-Version': 'a4.3.0',
        'X-Parse-OS-Version': '14',
        'X-Parse-App-Build-Version': '12',
        'X-Parse-App-Display-Version': '1.2',
      }),
    ],
    ['the Moralis SDK', 'Moralis', asBrowser('text/plain', 'js1.12.0')],
    ['an SDK with its keys in a JSON body', 'Browser', asBrowser('application/json', 'js8.6.0')],
  ])('with %s', (_sdk, className, send) => {
    const path = `/classes/${className}`;
    let save: string;
    let remove: string;
    let find: string;

    beforeAll(async () => {
      save = await server.hook(className, 'beforeSave', 'shout');
      remove = await server.hook(className, 'beforeDelete', 'keep-locked');
      find = await server.hook(className, 'beforeFind', 'accept');
    });

    /** The last call to `url` of `count`, which shows who asked and nothing of how. */
    async function lastCall(url: string, count: number): Promise<unknown> {
      const call = (await server.receiver.received(url, count)).at(-1);
      expect(call?.body).toMatchObject({
        master: false,
        user: server.sentUser,
        installationId: server.user.installationId,
      });
      for (const secret of [
        server.user.sessionToken,
        '_SessionToken',
        '_ApplicationId',
        '_method',
        'ClientVersion',
      ])
        expect(JSON.stringify(call)).not.toContain(secret);
      return call?.body;
    }

    it('creates, finds, updates and deletes through the hooks', async () => {
      const created = await send('POST', path, { name: 'rex', locked: true });
      expect(created).toMatchObject({ status: 201, body: { name: 'REX', seen: true } });
      const objectId = created.body.objectId as string;
      expect(await lastCall(save, 1)).toMatchObject({
        object: { className, name: 'rex', locked: true },
      });

      const found = await send('GET', path, { where: { name: 'REX' }, limit: 1 });
      expect(found.body.results).toEqual([expect.objectContaining({ objectId, seen: true })]);
      expect(await lastCall(find, 1)).toMatchObject({ query: { where: { name: 'REX' }, limit: 1 } });

      const refused = await send('DELETE', `${path}/${objectId}`);
      expect(refused).toMatchObject({ status: 400, body: { code: 4712, error: 'REX is locked' } });
      expect(await lastCall(remove, 1)).toMatchObject({ object: { className, objectId } });

      const updated = await send('PUT', `${path}/${objectId}`, { name: 'max', locked: { __op: 'Delete' } });
      expect(updated).toMatchObject({ status: 200, body: { name: 'MAX' } });
      expect(await lastCall(save, 2)).toMatchObject({
        update: { name: 'max', locked: { __op: 'Delete' } },
        original: { name: 'REX', locked: true },
      });

      expect(await send('DELETE', `${path}/${objectId}`)).toMatchObject({ status: 200, body: {} });
      expect((await server.parse.master('GET', path)).body.results).toEqual([]);
    });

    it('saves and deletes in a batch, each answer in its place', async () => {
      const sent = (await server.receiver.received(save, 0)).length;
      const saves = await send('POST', '/batch', {
        requests: [
          { method: 'POST', path: `/parse${path}`, body: { name: 'ada' } },
          { method: 'POST', path: `/parse${path}`, body: { age: 1 } },
          { method: 'POST', path: `/parse${path}`, body: { name: 'bea' } },
        ],
      });
      expect(saves.body).toEqual([
        { success: expect.objectContaining({ name: 'ADA', seen: true }) },
        { error: { code: 4711, error: 'a puppy needs a name' } },
        { success: expect.objectContaining({ name: 'BEA', seen: true }) },
      ]);
      await lastCall(save, sent + 3);
      const [first, , last] = saves.body as { success: { objectId: string } }[];
      const changes = await send('POST', '/batch', {
        requests: [
          { method: 'PUT', path: `/parse${path}/${first?.success.objectId}`, body: { name: 'zoe' } },
          { method: 'DELETE', path: `/parse${path}/${last?.success.objectId}` },
        ],
      });
      expect(changes.body).toEqual([{ success: expect.objectContaining({ name: 'ZOE' }) }, { success: {} }]);
      await lastCall(save, sent + 4);
    });
  });
});
