// Triggers on files, on the configuration and on logout: what is sent, and what an answer does.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import {
  masterKey,
  startParseApplication,
  type Answer,
  type ParseApplication,
} from '../support/parse-application';
import { startWebhookReceiver, type Answerer, type WebhookReceiver } from '../support/webhook-receiver';

/** Keeps files in memory: Parse Server's own adapter needs MongoDB, and these tests are about neither. */
class FilesInMemory {
  readonly files = new Map<string, { data: Buffer; options: Record<string, unknown> }>();

  async createFile(
    name: string,
    data: Buffer,
    _contentType: string,
    options: Record<string, unknown> = {},
  ): Promise<void> {
    this.files.set(name, { data, options });
  }

  async deleteFile(name: string): Promise<void> {
    this.files.delete(name);
  }

  async getFileData(name: string): Promise<Buffer> {
    const file = this.files.get(name);
    if (!file) throw new Error('no such file');
    return file.data;
  }

  getFileLocation(config: { mount: string; applicationId: string }, name: string): string {
    return `${config.mount}/files/${config.applicationId}/${encodeURIComponent(name)}`;
  }
}

describeOnEachDatabase('special triggers', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let files: FilesInMemory;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    files = new FilesInMemory();
    parse = await startParseApplication({
      database: fresh,
      parse: { filesAdapter: files, fileUpload: { enableForPublic: true } },
    });
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => receiver.forget());

  async function hook(className: string, triggerName: string, answer: Answerer): Promise<string> {
    const path = `/${className}/${triggerName}`;
    const url = receiver.on(path, answer);
    await parse.registerHook({ className, triggerName, url });
    return path;
  }

  describe('on @File', () => {
    afterEach(async () => {
      const { body } = await parse.master('GET', '/hooks/triggers');
      for (const { className, triggerName } of body as { className: string; triggerName: string }[]) {
        await parse.removeHook({ className, triggerName });
      }
    });

    const upload = (name: string, headers: Record<string, string> = {}): Promise<Answer> =>
      parse.client('POST', `/files/${name}`, {
        headers: { 'Content-Type': 'text/plain', ...headers },
        body: 'hello',
      });

    const pathOf = (answer: Answer): string =>
      new URL(answer.body.url as string).pathname.replace('/parse', '');

    it('sends each of the six triggers what it is about, and nothing else', async () => {
      const triggers = ['beforeSave', 'afterSave', 'beforeFind', 'afterFind', 'beforeDelete', 'afterDelete'];
      for (const triggerName of triggers) await hook('@File', triggerName, () => ({ success: true }));
      const { sessionToken, objectId } = await parse.signUp();
      const uploaded = await upload('a.txt', {
        'X-Parse-Session-Token': sessionToken,
        Cookie: 'id=secret-cookie',
      });
      expect(uploaded).toMatchObject({
        status: 201,
        body: { url: expect.any(String), name: expect.stringMatching(/_a\.txt$/) },
      });
      const { name, url } = uploaded.body as { name: string; url: string };
      expect((await parse.client('GET', pathOf(uploaded))).body).toBe('hello');
      expect((await parse.master('DELETE', `/files/${name}`)).status).toBe(200);
      await receiver.received('/@File/afterSave', 1);
      await receiver.received('/@File/afterDelete', 1);
      const sent = Object.fromEntries(
        receiver.calls.map(({ body }): [string, { user?: unknown }] => [body.triggerName as string, body]),
      );
      const user: unknown = expect.objectContaining({ __type: 'Object', className: '_User', objectId });
      expect(sent).toEqual({
        beforeSave: {
          triggerName: 'beforeSave',
          className: '@File',
          file: { __type: 'File', name: 'a.txt' },
          fileSize: 5,
          master: false,
          user,
        },
        afterSave: {
          triggerName: 'afterSave',
          className: '@File',
          file: { __type: 'File', name, url },
          fileSize: 5,
          master: false,
          user,
        },
        beforeFind: {
          triggerName: 'beforeFind',
          className: '@File',
          file: { __type: 'File', name },
          master: false,
        },
        afterFind: {
          triggerName: 'afterFind',
          className: '@File',
          file: { __type: 'File', name },
          master: false,
        },
        beforeDelete: {
          triggerName: 'beforeDelete',
          className: '@File',
          file: { __type: 'File', name, url },
          master: true,
          installationId: 'cloud',
        },
        afterDelete: {
          triggerName: 'afterDelete',
          className: '@File',
          file: { __type: 'File', name, url },
          master: true,
          installationId: 'cloud',
        },
      });
      for (const { raw } of receiver.calls) {
        for (const secret of [sessionToken, masterKey, 'secret'])
          expect(raw.toString()).not.toContain(secret);
      }
    });

    it('stores the metadata and tags of a beforeSave answer', async () => {
      await hook('@File', 'beforeSave', () => ({
        success: { metadata: { owner: 'me' }, tags: { kind: 'note' } },
      }));
      const path = await hook('@File', 'afterSave', () => ({ success: true }));
      const { body } = await upload('b.txt');
      expect(files.files.get(body.name as string)?.options).toMatchObject({
        metadata: { owner: 'me' },
        tags: { kind: 'note' },
      });
      const [call] = await receiver.received(path, 1);
      expect(call?.body.file).toMatchObject({ metadata: { owner: 'me' }, tags: { kind: 'note' } });
    });

    it('stores the file as it was sent after any other success', async () => {
      for (const success of [true, null, {}, 'x', [1]]) {
        await hook('@File', 'beforeSave', () => ({ success }));
        const { status, body } = await upload('c.txt');
        expect({ success, status }).toEqual({ success, status: 201 });
        expect(files.files.get(body.name as string)?.data.toString()).toBe('hello');
        await parse.removeHook({ className: '@File', triggerName: 'beforeSave' });
      }
    });

    it.each([{ metadata: 5 }, { tags: [] }])(
      'fails by metadata or tags that are no objects: %j',
      async success => {
        await hook('@File', 'beforeSave', () => ({ success }));
        expect(await upload('d.txt')).toMatchObject({
          status: 400,
          body: { code: 141, error: 'webhook beforeSave @File failed: answer cannot be used' },
        });
      },
    );

    it('stops an upload, a download and a delete with an error', async () => {
      const { body, ...rest } = await upload('e.txt');
      const uploaded = { body, ...rest };
      for (const triggerName of ['beforeSave', 'beforeFind', 'beforeDelete']) {
        await hook('@File', triggerName, () => ({ error: { code: 4711, message: `no ${triggerName}` } }));
      }
      expect(await upload('f.txt')).toMatchObject({
        status: 400,
        body: { code: 4711, error: 'no beforeSave' },
      });
      expect(await parse.client('GET', pathOf(uploaded))).toMatchObject({
        status: 403,
        body: { code: 4711, error: 'no beforeFind' },
      });
      expect(await parse.master('DELETE', `/files/${String(body.name)}`)).toMatchObject({
        status: 400,
        body: { code: 4711, error: 'no beforeDelete' },
      });
      expect(files.files.has(body.name as string)).toBe(true);
    });

    it('stops a download with an error after it was read', async () => {
      const uploaded = await upload('g.txt');
      await hook('@File', 'afterFind', () => ({ error: 'not for you' }));
      expect(await parse.client('GET', pathOf(uploaded))).toMatchObject({
        status: 403,
        body: { code: 141, error: 'not for you' },
      });
    });
  });

  describe('on @Config', () => {
    it('sends the parameters before and after, and can refuse the change', async () => {
      await parse.master('PUT', '/config', {
        body: { params: { a: 1, when: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' } } },
      });
      await hook('@Config', 'beforeSave', () => ({ success: true }));
      await hook('@Config', 'afterSave', () => ({ success: true }));
      const saved = await parse.master('PUT', '/config', { body: { params: { a: 2 } } });
      expect(saved).toMatchObject({ status: 200, body: { result: true } });
      const [before] = await receiver.received('/@Config/beforeSave', 1);
      const [after] = await receiver.received('/@Config/afterSave', 1);
      const original = {
        className: '@Config',
        params: { a: 1, when: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' } },
      };
      expect(before?.body).toEqual({
        triggerName: 'beforeSave',
        object: { className: '@Config', params: { a: 2 } },
        original,
        master: true,
        installationId: 'cloud',
      });
      const object = {
        className: '@Config',
        params: { a: 2, when: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' } },
      };
      expect(after?.body).toEqual({
        triggerName: 'afterSave',
        object,
        original,
        update: { params: object.params },
        master: true,
        installationId: 'cloud',
      });
      receiver.on('/@Config/beforeSave', () => ({ error: 'config is frozen' }));
      expect(await parse.master('PUT', '/config', { body: { params: { a: 3 } } })).toMatchObject({
        status: 400,
        body: { code: 141, error: 'config is frozen' },
      });
      expect((await parse.client('GET', '/config')).body.params.a).toBe(2);
    });
  });

  describe('afterLogout on _Session', () => {
    it('sends the session without its token', async () => {
      const path = await hook('_Session', 'afterLogout', () => ({ success: true }));
      const { sessionToken, objectId } = await parse.signUp();
      expect((await parse.client('POST', '/logout', { sessionToken })).status).toBe(200);
      const [call] = await receiver.received(path, 1);
      expect(call?.body).toMatchObject({
        triggerName: 'afterLogout',
        object: { className: '_Session', user: { className: '_User', objectId } },
        master: false,
        user: { className: '_User', objectId },
      });
      expect(Object.keys(call?.body.object as object).sort()).toEqual(
        ['className', 'createdAt', 'createdWith', 'expiresAt', 'objectId', 'updatedAt', 'user'].sort(),
      );
      expect(call?.raw.toString()).not.toContain(sessionToken);
      expect(call?.raw.toString()).not.toMatch(/sessionToken|secret-password/i);
    });
  });
});
