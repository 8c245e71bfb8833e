// What a beforeSave answer does to the object: overrides, never lost updates.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type Answerer, type WebhookReceiver } from '../support/webhook-receiver';

describeOnEachDatabase('a beforeSave answer', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let className = '';
  let count = 0;
  let userId = '';

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh, parse: { allowCustomObjectId: true } });
    userId = (await parse.signUp()).objectId;
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => {
    className = `Item${++count}`;
    receiver.forget();
  });

  async function hook(answer: Answerer, settings: object = {}): Promise<void> {
    const url = receiver.on(`/${className}`, answer);
    await parse.registerHook({ className, triggerName: 'beforeSave', url, ...settings });
  }

  async function create(body: object): Promise<string> {
    const answer = await parse.master('POST', `/classes/${className}`, { body });
    expect(answer).toMatchObject({ status: 201 });
    return answer.body.objectId as string;
  }

  const put = (id: string, body: object) => parse.client('PUT', `/classes/${className}/${id}`, { body });
  const stored = async (id: string) =>
    (await parse.master('GET', `/classes/${className}/${id}`)).body as Record<string, unknown>;

  it('that names some keys sets those and leaves the client its others', async () => {
    await hook(() => ({ success: { b: 'set', c: 3 } }));
    const id = await create({ a: 1, b: 'sent' });
    expect(await stored(id)).toMatchObject({ a: 1, b: 'set', c: 3 });
  });

  it('tells the client what it changed', async () => {
    await hook(() => ({ success: { b: 'set' } }));
    const created = await parse.client('POST', `/classes/${className}`, { body: { a: 1, b: 'sent' } });
    expect(created.body).toEqual({ objectId: expect.any(String), createdAt: expect.any(String), b: 'set' });
    const updated = await put(created.body.objectId as string, { b: 'again' });
    expect(updated.body).toEqual({ updatedAt: expect.any(String), b: 'set' });
  });

  it('that echoes the object keeps the client operations and a concurrent change of another field', async () => {
    const id = await create({ n: 1, tags: ['a'], other: 'old', gone: 'x', nested: { a: 1 } });
    await hook(async ({ body }) => {
      if (body.object.other === 'old') {
        // Somebody else changes another field meanwhile, past the hooks.
        await parse.removeHook({ className, triggerName: 'beforeSave' });
        await parse.master('PUT', `/classes/${className}/${id}`, {
          body: {
            other: 'concurrent',
            n: { __op: 'Increment', amount: 100 },
            tags: { __op: 'Add', objects: ['c'] },
          },
        });
      }
      return { success: body.object };
    });
    const updated = await put(id, {
      n: { __op: 'Increment', amount: 5 },
      tags: { __op: 'AddUnique', objects: ['b'] },
      gone: { __op: 'Delete' },
    });
    expect(updated.status).toBe(200);
    expect(await stored(id)).toMatchObject({ n: 106, other: 'concurrent', nested: { a: 1 } });
    expect((await stored(id)).tags).toEqual(expect.arrayContaining(['a', 'b', 'c']));
    expect(await stored(id)).not.toHaveProperty('gone');
  });

  it('deletes a key with a Delete op, on an update and on a create', async () => {
    const id = await create({ a: 1, b: 2 });
    await hook(() => ({ success: { b: { __op: 'Delete' } } }));
    await put(id, { a: 5 });
    expect(await stored(id)).toMatchObject({ a: 5 });
    expect(await stored(id)).not.toHaveProperty('b');
    const other = await create({ a: 1, b: 2 });
    expect(await stored(other)).not.toHaveProperty('b');
  });

  it('takes an operation on a key', async () => {
    const id = await create({ n: 10, tags: ['a'] });
    await hook(() => ({
      success: { n: { __op: 'Increment', amount: 2 }, tags: { __op: 'Add', objects: ['z'] } },
    }));
    await put(id, { x: 1 });
    expect(await stored(id)).toMatchObject({ n: 12, tags: ['a', 'z'], x: 1 });
  });

  it.each([true, false, null, {}, 5, 'text', []])('changes nothing with success %j', async success => {
    await hook(() => ({ success }));
    const id = await create({ a: 1, n: { __op: 'Increment', amount: 2 } });
    expect(await stored(id)).toMatchObject({ a: 1, n: 2 });
  });

  it('may add columns of every type', async () => {
    const values = {
      text: 'x',
      number: 1.5,
      yes: true,
      list: [1, 'a', { b: null }],
      map: { a: { b: 1 } },
      when: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
      who: { __type: 'Pointer', className: '_User', objectId: userId },
      where: { __type: 'GeoPoint', latitude: 1, longitude: 2 },
      file: { __type: 'File', name: 'a.png', url: 'http://127.0.0.1/a.png' },
    };
    await hook(() => ({ success: values }));
    const id = await create({ a: 1 });
    expect(await stored(id)).toMatchObject({ ...values, file: { __type: 'File', name: 'a.png' } });
  });

  it('cannot write another type into a column', async () => {
    await create({ n: 1 });
    await hook(() => ({ success: { n: 'text' } }));
    const answer = await parse.client('POST', `/classes/${className}`, { body: { n: 2 } });
    expect(answer).toMatchObject({ status: 400, body: { code: 111 } });
  });

  it('is honoured for ACL', async () => {
    await hook(({ body }) => ({ success: { ...body.object, ACL: { [userId]: { read: true } } } }));
    const id = await create({ a: 1 });
    expect((await stored(id)).ACL).toEqual({ [userId]: { read: true } });
    expect((await parse.client('GET', `/classes/${className}/${id}`)).status).toBe(404);
  });

  it('cannot set objectId, className or dates, on a create or an update', async () => {
    await hook(() => ({
      success: {
        objectId: 'forged',
        className: '_User',
        __type: 'Object',
        createdAt: '2000-01-01T00:00:00.000Z',
        updatedAt: { __type: 'Date', iso: '2000-01-01T00:00:00.000Z' },
        b: 1,
      },
    }));
    const id = await create({ objectId: 'chosen-by-client', a: 1 });
    expect(id).toBe('chosen-by-client');
    expect(await stored(id)).toMatchObject({ objectId: id, a: 1, b: 1 });
    expect((await stored(id)).createdAt).not.toMatch(/^2000/);
    expect((await put(id, { a: 2 })).status).toBe(200);
    expect(await stored(id)).toMatchObject({ objectId: id, a: 2 });
    expect((await stored(id)).updatedAt).not.toMatch(/^2000/);
    expect((await parse.master('GET', `/classes/${className}`)).body.results).toHaveLength(1);
  });

  it.each([
    ['_rperm', { _rperm: ['*'] }],
    ['_hashed_password', { _hashed_password: 'x' }],
    ['constructor', { constructor: 1 }],
    ['a space', { 'a b': 1 }],
    ['a dollar', { $set: { a: 1 } }],
    ['length', { length: 5 }],
    ['an unknown op', { a: { __op: 'Explode' } }],
  ])('fails by a key that no object can have: %s', async (_what, success) => {
    await hook(() => ({ success }));
    const answer = await parse.client('POST', `/classes/${className}`, { body: { a: 1 } });
    expect(answer).toMatchObject({
      status: 400,
      body: { code: 141, error: `webhook beforeSave ${className} failed: answer cannot be used` },
    });
  });

  it.each<object>([
    { a: { __op: 'Increment', amount: 'x' } },
    { a: { __op: 'Add', objects: 'x' } },
    { a: { __op: 'AddRelation', objects: [5] } },
    { a: { __op: 'Batch', ops: null } },
    { a: { __type: 'Date', iso: 'never' } },
    { a: { __type: 'Date' } },
    { a: { __type: 'GeoPoint', latitude: 'x', longitude: 900 } },
    { a: { __type: 'Pointer' } },
    { a: { __type: 'Pointer', className: 'X' } },
    { a: { __type: 'Object', className: 'X' } },
    { a: { __type: 'File' } },
    { a: { __type: 'Bytes', base64: 5 } },
    { a: { __type: 'Polygon', coordinates: [1] } },
    { a: { __type: 'Relation' } },
    { a: { __type: 'Nonsense' } },
    { ACL: 5 },
    { ACL: { '*': 'x' } },
    { 'a.b': 1 },
    { a: { constructor: 1, toJSON: 2 } },
  ])('never takes the server down, whatever the value: %j', async success => {
    await hook(() => ({ success }));
    const { status } = await parse.client('POST', `/classes/${className}`, { body: { b: 1 } });
    expect([201, 400]).toContain(status);
    expect((await parse.client('GET', '/classes/Untouched')).status).toBe(200);
  });

  it('sets a dotted key inside the object, and leaves what else is in it', async () => {
    const id = await create({ nested: { a: 1, b: 2 }, other: 1 });
    await hook(() => ({ success: { 'nested.a': 9 } }));
    expect((await put(id, { other: 2 })).status).toBe(200);
    expect(await stored(id)).toMatchObject({ nested: { a: 9, b: 2 }, other: 2 });
  });

  it('goes together with a dotted key of the client', async () => {
    const id = await create({ nested: { a: 1, b: 2 } });
    await hook(({ body }) => ({ success: { ...body.object, seen: true } }));
    expect((await put(id, { 'nested.b': 5 })).status).toBe(200);
    expect(await stored(id)).toMatchObject({ nested: { a: 1, b: 5 }, seen: true });
  });

  it('leaves relation operations alone', async () => {
    const member = { __type: 'Pointer', className: '_User', objectId: userId };
    await hook(({ body }) => ({ success: { ...body.object, seen: (Number(body.object.seen) || 0) + 1 } }));
    const id = await create({ members: { __op: 'AddRelation', objects: [member] } });
    const where = JSON.stringify({
      $relatedTo: { object: { __type: 'Pointer', className, objectId: id }, key: 'members' },
    });
    const members = async (): Promise<number> =>
      (await parse.master('GET', `/users?where=${encodeURIComponent(where)}`)).body.results.length as number;
    expect(await members()).toBe(1);
    expect((await put(id, { a: 1 })).status).toBe(200);
    expect(await members()).toBe(1);
    expect((await put(id, { members: { __op: 'RemoveRelation', objects: [member] } })).status).toBe(200);
    expect(await members()).toBe(0);
    expect(await stored(id)).toMatchObject({ seen: 3 });
  });

  it('that echoes an included-looking pointer stores a pointer', async () => {
    await hook(() => ({
      success: { who: { __type: 'Object', className: '_User', objectId: userId, username: 'x' } },
    }));
    const id = await create({ a: 1 });
    expect((await stored(id)).who).toEqual({ __type: 'Pointer', className: '_User', objectId: userId });
  });

  it('with responseMode replace is the whole change, as in the built-in', async () => {
    const first = await create({ a: 1, b: 'old' });
    await hook(() => ({ success: { b: 'only' } }), { responseMode: 'replace' });
    await put(first, { a: 2, c: 2 });
    expect(await stored(first)).toMatchObject({ a: 1, b: 'only' });
    expect(await stored(first)).not.toHaveProperty('c');
    const second = await create({ a: 1 });
    expect(await stored(second)).toMatchObject({ b: 'only' });
    expect(await stored(second)).not.toHaveProperty('a');
  });

  it('sees the defaults that Parse Server would set as absent, and sets them', async () => {
    await parse.master('POST', `/schemas/${className}`, {
      body: {
        className,
        fields: { level: { type: 'Number', defaultValue: 1 }, name: { type: 'String', required: true } },
      },
    });
    await hook(({ body }) => ({ success: { ...body.object, name: 'given' } }));
    const id = await create({ a: 1 });
    expect(receiver.calls[0]?.body.object).toEqual({ className, a: 1 });
    expect(await stored(id)).toMatchObject({ level: 1, name: 'given' });
  });
});
