// Triggers about one object, on ordinary classes and on _Role: the exact request, and what an answer does.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { masterKey, startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const isoDate: unknown = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

describeOnEachDatabase('triggers about one object', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let user: { sessionToken: string; objectId: string };
  /** The user as every request shows it. */
  let sentUser: Record<string, unknown>;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
    user = await parse.signUp('walker');
    sentUser = {
      __type: 'Object',
      className: '_User',
      objectId: user.objectId,
      username: 'walker',
      createdAt: isoDate,
      updatedAt: isoDate,
      ACL: { [user.objectId]: { read: true, write: true } },
    };
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => receiver.forget());

  async function hook(className: string, triggerName: string, answer: () => unknown): Promise<string> {
    const path = `/${className}/${triggerName}`;
    await parse.registerHook({ className, triggerName, url: receiver.on(path, answer) });
    return path;
  }

  async function bodyOf(path: string): Promise<unknown> {
    return (await receiver.received(path, 1))[0]?.body;
  }

  it('beforeSave of a new object sends these fields and no others', async () => {
    const path = await hook('Puppy', 'beforeSave', () => ({ success: true }));
    const { status } = await parse.client('POST', '/classes/Puppy', {
      sessionToken: user.sessionToken,
      headers: {
        'X-Parse-Installation-Id': 'phone-1',
        'X-Parse-Cloud-Context': '{"from":"app"}',
        Cookie: 'a=secret-cookie',
      },
      body: {
        name: 'Spot',
        born: { __type: 'Date', iso: '2020-02-03T04:05:06.789Z' },
        home: { __type: 'GeoPoint', latitude: 1.5, longitude: -2 },
        owner: { __type: 'Pointer', className: '_User', objectId: user.objectId },
        friends: {
          __op: 'AddRelation',
          objects: [{ __type: 'Pointer', className: '_User', objectId: user.objectId }],
        },
        toys: { __op: 'AddUnique', objects: ['ball'] },
        walks: { __op: 'Increment', amount: 2 },
        tag: { nested: { deep: [1, null, 'x'] } },
        picture: { __type: 'File', name: 'spot.png' },
        nothing: null,
        ACL: { '*': { read: true } },
      },
    });
    expect(status).toBe(201);
    expect(await bodyOf(path)).toEqual({
      triggerName: 'beforeSave',
      object: {
        className: 'Puppy',
        name: 'Spot',
        born: { __type: 'Date', iso: '2020-02-03T04:05:06.789Z' },
        home: { __type: 'GeoPoint', latitude: 1.5, longitude: -2 },
        owner: { __type: 'Pointer', className: '_User', objectId: user.objectId },
        friends: { __type: 'Relation', className: '_User' },
        toys: ['ball'],
        walks: 2,
        tag: { nested: { deep: [1, null, 'x'] } },
        // The REST guide lets clients leave the url out; Parse Server's triggers choke on that.
        picture: {
          __type: 'File',
          name: 'spot.png',
          url: `${parse.serverURL}/files/${parse.appId}/spot.png`,
        },
        nothing: null,
        ACL: { '*': { read: true } },
      },
      master: false,
      user: sentUser,
      installationId: 'phone-1',
      context: { from: 'app' },
    });
  });

  it('beforeSave of an update sends the object as it will be, the original and the change with its operations', async () => {
    const { body } = await parse.master('POST', '/classes/Cat', {
      body: { name: 'Tom', lives: 9, tail: 'long' },
    });
    const path = await hook('Cat', 'beforeSave', () => ({ success: true }));
    await parse.client('PUT', `/classes/Cat/${body.objectId}`, {
      body: { lives: { __op: 'Increment', amount: -1 }, tail: { __op: 'Delete' } },
    });
    expect(await bodyOf(path)).toEqual({
      triggerName: 'beforeSave',
      object: {
        className: 'Cat',
        objectId: body.objectId,
        name: 'Tom',
        lives: 8,
        createdAt: isoDate,
        updatedAt: isoDate,
      },
      original: {
        className: 'Cat',
        objectId: body.objectId,
        name: 'Tom',
        lives: 9,
        tail: 'long',
        createdAt: isoDate,
        updatedAt: isoDate,
      },
      update: { lives: { __op: 'Increment', amount: -1 }, tail: { __op: 'Delete' } },
      master: false,
    });
  });

  it('says master, and no user, when the master key makes the request', async () => {
    const path = await hook('ByMaster', 'beforeSave', () => ({ success: true }));
    await parse.master('POST', '/classes/ByMaster', { sessionToken: user.sessionToken, body: { a: 1 } });
    expect(await bodyOf(path)).toEqual({
      triggerName: 'beforeSave',
      object: { className: 'ByMaster', a: 1 },
      // No user: the master key wins over a session token sent with it.
      master: true,
      installationId: 'cloud',
    });
  });

  it('afterSave of a new object sends what was stored', async () => {
    const path = await hook('Kitten', 'afterSave', () => ({ success: true }));
    const created = await parse.client('POST', '/classes/Kitten', {
      sessionToken: user.sessionToken,
      body: { name: 'Mia', n: { __op: 'Increment', amount: 3 } },
    });
    expect(await bodyOf(path)).toEqual({
      triggerName: 'afterSave',
      object: {
        className: 'Kitten',
        objectId: created.body.objectId,
        name: 'Mia',
        n: 3,
        createdAt: created.body.createdAt,
        updatedAt: created.body.createdAt,
      },
      master: false,
      user: sentUser,
    });
  });

  it('afterSave of an update sends the original and, as update, every key that differs with its new value', async () => {
    const { body } = await parse.master('POST', '/classes/Horse', {
      body: {
        name: 'Fury',
        n: 1,
        gone: 'x',
        same: 'y',
        tags: ['a'],
        born: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
      },
    });
    const path = await hook('Horse', 'afterSave', () => ({ success: true }));
    const updated = await parse.client('PUT', `/classes/Horse/${body.objectId}`, {
      body: {
        n: { __op: 'Increment', amount: 1 },
        gone: { __op: 'Delete' },
        same: 'y',
        tags: { __op: 'Add', objects: ['b'] },
        fresh: true,
      },
    });
    expect(updated.status).toBe(200);
    expect(await bodyOf(path)).toEqual({
      triggerName: 'afterSave',
      object: {
        className: 'Horse',
        objectId: body.objectId,
        name: 'Fury',
        n: 2,
        same: 'y',
        tags: ['a', 'b'],
        fresh: true,
        born: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
        createdAt: body.createdAt,
        updatedAt: updated.body.updatedAt,
      },
      original: {
        className: 'Horse',
        objectId: body.objectId,
        name: 'Fury',
        n: 1,
        gone: 'x',
        same: 'y',
        tags: ['a'],
        born: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
        createdAt: body.createdAt,
        updatedAt: isoDate,
      },
      update: { n: 2, gone: { __op: 'Delete' }, tags: ['a', 'b'], fresh: true },
      master: false,
    });
  });

  it('beforeDelete and afterDelete send the object that goes', async () => {
    const before = await hook('Fish', 'beforeDelete', () => ({ success: true }));
    const after = await hook('Fish', 'afterDelete', () => ({ success: true }));
    const { body } = await parse.master('POST', '/classes/Fish', { body: { name: 'Nemo' } });
    const deleted = await parse.client('DELETE', `/classes/Fish/${body.objectId}`, {
      sessionToken: user.sessionToken,
    });
    expect(deleted).toMatchObject({ status: 200, body: {} });
    const object = {
      className: 'Fish',
      objectId: body.objectId,
      name: 'Nemo',
      createdAt: body.createdAt,
      updatedAt: body.createdAt,
    };
    const common = { object, master: false, user: sentUser };
    expect(await bodyOf(before)).toEqual({ triggerName: 'beforeDelete', ...common });
    expect(await bodyOf(after)).toEqual({ triggerName: 'afterDelete', ...common });
  });

  it('a beforeDelete error keeps the object', async () => {
    await hook('Stone', 'beforeDelete', () => ({ error: 'stones stay' }));
    const { body } = await parse.master('POST', '/classes/Stone', { body: { a: 1 } });
    const answer = await parse.master('DELETE', `/classes/Stone/${body.objectId}`);
    expect(answer).toMatchObject({ status: 400, body: { code: 141, error: 'stones stay' } });
    expect((await parse.master('GET', `/classes/Stone/${body.objectId}`)).status).toBe(200);
  });

  it.each([
    ['a date that is none', { born: { __type: 'Date', iso: 'yesterday' } }, /date/],
    ['a pointer to nothing', { to: { __type: 'Pointer', className: 'Bone' } }, /./],
  ])('answers %s with an error, and lives on', async (_what, body, message) => {
    const path = await hook(`Odd${Object.keys(body).join('')}`, 'beforeSave', () => ({ success: true }));
    const answer = await parse.client('POST', `/classes/${path.split('/')[1]}`, { body });
    expect(answer).toMatchObject({ status: 400, body: { code: 107, error: expect.stringMatching(message) } });
    expect(receiver.calls).toEqual([]);
  });

  it('sends an object that the SDK cannot write as JSON after it was stored', async () => {
    const path = await hook('Photo', 'afterSave', () => ({ success: true }));
    const created = await parse.client('POST', '/classes/Photo', {
      body: {
        file: { __type: 'File', name: 'a b.png' },
      },
    });
    expect(created).toMatchObject({ status: 201 });
    expect(await bodyOf(path)).toMatchObject({
      object: {
        file: { __type: 'File', name: 'a b.png', url: `${parse.serverURL}/files/${parse.appId}/a%20b.png` },
      },
    });
    const stored = await parse.client('GET', `/classes/Photo/${created.body.objectId}`);
    expect(stored.body.file).toMatchObject({ __type: 'File', name: 'a b.png' });
  });

  it('carries context from beforeSave to afterSave', async () => {
    await hook('Carried', 'beforeSave', () => ({ success: true }));
    const path = await hook('Carried', 'afterSave', () => ({ success: true }));
    await parse.client('POST', '/classes/Carried', {
      headers: { 'X-Parse-Cloud-Context': '{"a":{"b":1}}' },
      body: { a: 1 },
    });
    expect(await bodyOf(path)).toMatchObject({ context: { a: { b: 1 } } });
  });

  describe('on _Role', () => {
    it('creates, changes, finds and deletes roles with every trigger hooked', async () => {
      const calls: string[] = [];
      for (const triggerName of [
        'beforeSave',
        'afterSave',
        'beforeDelete',
        'afterDelete',
        'beforeFind',
        'afterFind',
      ]) {
        await hook('_Role', triggerName, () => {
          calls.push(triggerName);
          return { success: true };
        });
      }
      const member = { __type: 'Pointer', className: '_User', objectId: user.objectId };
      const created = await parse.master('POST', '/roles', {
        body: {
          name: 'Walkers',
          ACL: { '*': { read: true } },
          users: { __op: 'AddRelation', objects: [member] },
        },
      });
      expect(created).toMatchObject({ status: 201, body: { objectId: expect.any(String) } });
      const roleId = created.body.objectId as string;
      expect(await bodyOf('/_Role/beforeSave')).toEqual({
        triggerName: 'beforeSave',
        object: {
          className: '_Role',
          name: 'Walkers',
          ACL: { '*': { read: true } },
          users: { __type: 'Relation', className: '_User' },
        },
        master: true,
        installationId: 'cloud',
      });
      expect(await bodyOf('/_Role/afterSave')).toMatchObject({
        object: { className: '_Role', objectId: roleId, name: 'Walkers' },
      });
      const members = await parse.master(
        'GET',
        `/users?where=${encodeURIComponent(
          JSON.stringify({
            $relatedTo: { object: { __type: 'Pointer', className: '_Role', objectId: roleId }, key: 'users' },
          }),
        )}`,
      );
      expect(members.body.results).toMatchObject([{ objectId: user.objectId }]);
      const updated = await parse.master('PUT', `/roles/${roleId}`, { body: { motto: 'walk' } });
      expect(updated.status).toBe(200);
      expect((await parse.master('GET', `/roles/${roleId}`)).body).toMatchObject({
        name: 'Walkers',
        motto: 'walk',
      });
      expect((await parse.master('DELETE', `/roles/${roleId}`)).status).toBe(200);
      await receiver.received('/_Role/afterDelete', 1);
      expect(new Set(calls)).toEqual(
        new Set(['beforeSave', 'afterSave', 'beforeFind', 'afterFind', 'beforeDelete', 'afterDelete']),
      );
    });

    it('lets the receiver change a role that is being made', async () => {
      receiver.on('/_Role/beforeSave', () => ({ success: { motto: 'changed' } }));
      const created = await parse.master('POST', '/roles', {
        body: {
          name: 'Talkers',
          ACL: {},
          users: {
            __op: 'AddRelation',
            objects: [{ __type: 'Pointer', className: '_User', objectId: user.objectId }],
          },
        },
      });
      expect(created).toMatchObject({ status: 201, body: { motto: 'changed' } });
      const where = JSON.stringify({
        $relatedTo: {
          object: { __type: 'Pointer', className: '_Role', objectId: created.body.objectId },
          key: 'users',
        },
      });
      const members = await parse.master('GET', `/users?where=${encodeURIComponent(where)}`);
      expect(members.body.results).toHaveLength(1);
    });
  });

  describe('secrets', () => {
    it('leave in no body of any trigger, whatever way a client authenticates', async () => {
      const triggers = ['beforeSave', 'afterSave', 'beforeDelete', 'afterDelete', 'beforeFind', 'afterFind'];
      for (const triggerName of triggers) await hook('Safe', triggerName, () => ({ success: true }));
      const ways: Record<string, string>[] = [
        { 'X-Parse-Session-Token': user.sessionToken },
        { 'X-Parse-Master-Key': masterKey },
        { Authorization: `Basic ${Buffer.from(`${parse.appId}:${masterKey}`).toString('base64')}` },
      ];
      for (const way of ways) {
        const headers = {
          ...way,
          Cookie: 'id=secret-cookie',
          'X-Parse-REST-API-Key': 'secret-rest-key',
          'X-Custom': 'secret-custom',
        };
        const { body } = await parse.client('POST', '/classes/Safe', {
          headers,
          body: { a: 1, owner: { __type: 'Pointer', className: '_User', objectId: user.objectId } },
        });
        await parse.client('PUT', `/classes/Safe/${body.objectId}`, { headers, body: { a: 2 } });
        await parse.client('GET', `/classes/Safe?include=owner`, { headers });
        await parse.client('DELETE', `/classes/Safe/${body.objectId}`, { headers });
      }
      await receiver.received('/Safe/afterDelete', ways.length);
      await receiver.received('/Safe/afterSave', 2 * ways.length);
      expect(receiver.calls.length).toBeGreaterThanOrEqual(ways.length * triggers.length);
      for (const { body, raw, path } of receiver.calls) {
        const text = raw.toString('utf8');
        const found = [
          user.sessionToken,
          'secret',
          masterKey,
          'Basic ',
          '127.0.0.1',
          'password',
          'authData',
        ].filter(secret => text.includes(secret));
        expect({ path, found }).toEqual({ path, found: [] });
        for (const name of ['log', 'ip', 'config', 'headers', 'isReadOnly'])
          expect(body).not.toHaveProperty(name);
      }
    });

    it('of embedded and included users do not leave either', async () => {
      const path = await hook('Team', 'beforeSave', () => ({ success: true }));
      await parse.client('POST', '/classes/Team', {
        body: {
          member: {
            className: '_User',
            objectId: 'x',
            sessionToken: 'r:embedded',
            password: 'embedded-password',
            name: 'kept',
          },
          odd: { className: 'constructor', a: 1 },
        },
      });
      expect(await bodyOf(path)).toMatchObject({
        object: {
          member: { className: '_User', objectId: 'x', name: 'kept' },
          odd: { className: 'constructor', a: 1 },
        },
      });
      expect(receiver.calls[0]?.raw.toString()).not.toMatch(/embedded/);
    });
  });
});
