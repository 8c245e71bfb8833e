// The settings of a hook in effect, on the real server.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import {
  masterKey,
  startParseApplication,
  type Answer,
  type ParseApplication,
} from '../support/parse-application';
import {
  Reply,
  startWebhookReceiver,
  type Answerer,
  type WebhookReceiver,
} from '../support/webhook-receiver';

describeOnEachDatabase('a setting of a hook', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let className = '';
  let count = 0;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh, webhooks: { defaults: { timeoutMs: 1234 } } });
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => {
    className = `Set${++count}`;
    receiver.forget();
  });

  async function hook(answer: Answerer, settings: object, triggerName = 'beforeSave'): Promise<void> {
    const url = receiver.on(`/${className}/${triggerName}`, answer);
    await parse.registerHook({ className, triggerName, url, ...settings });
  }

  const save = (body: object, options: object = {}): Promise<Answer> =>
    parse.client('POST', `/classes/${className}`, { body, ...options });
  const put = (id: unknown, body: object): Promise<Answer> =>
    parse.client('PUT', `/classes/${className}/${String(id)}`, { body });
  const stored = async (id: unknown) =>
    (await parse.master('GET', `/classes/${className}/${String(id)}`)).body as Record<string, unknown>;
  const never = (): Promise<never> => new Promise(() => undefined);
  const logged = (text: string): string[] =>
    parse.logs.filter(line => line.includes(className) && line.includes(text));

  describe('timeoutMs', () => {
    it('bounds the call; the client gets 124 and how long it was', async () => {
      await hook(never, { timeoutMs: 60 });
      expect(await save({ a: 1 })).toMatchObject({
        status: 400,
        body: { code: 124, error: `webhook beforeSave ${className} failed: timed out after 60 ms` },
      });
      expect((await parse.master('GET', `/classes/${className}`)).body.results).toEqual([]);
    });

    it('comes from the defaults of the plugin where the hook has none', async () => {
      await hook(never, {});
      const answer = await save({ a: 1 });
      expect(answer.body.error).toBe(`webhook beforeSave ${className} failed: timed out after 1234 ms`);
    });
  });

  describe('failurePolicy allow', () => {
    it.each([
      ['a timeout', never],
      ['an error status', () => new Reply(500, 'down')],
      ['an answer that cannot be used', () => ({ success: { 'a b': 1 } })],
    ])('goes on after %s, and logs it', async (_what, answer) => {
      await hook(answer, { failurePolicy: 'allow', timeoutMs: 60 });
      const { status, body } = await save({ a: 1 });
      expect(status).toBe(201);
      expect(await stored(body.objectId)).toMatchObject({ a: 1 });
      expect(logged('allowed by its failurePolicy')).toHaveLength(1);
    });

    it('still rejects what the receiver rejects', async () => {
      await hook(() => ({ error: 'no' }), { failurePolicy: 'allow' });
      expect(await save({ a: 1 })).toMatchObject({ status: 400, body: { code: 141, error: 'no' } });
    });
  });

  describe('mode shadow', () => {
    it.each([
      ['a change', () => ({ success: { a: 'changed' } }), 'would have changed the outcome'],
      [
        'an error',
        () => ({ error: { code: 4711, message: 'a secret' } }),
        'would have rejected with code 4711',
      ],
      ['a failure', () => new Reply(500, 'down'), 'would have failed: status'],
    ])('enforces not %s, and logs it', async (_what, answer, line) => {
      await hook(answer, { mode: 'shadow' });
      const { status, body } = await save({ a: 'sent' });
      expect(status).toBe(201);
      expect(await stored(body.objectId)).toMatchObject({ a: 'sent' });
      expect(receiver.calls).toHaveLength(1);
      expect(logged('in shadow mode')).toEqual([expect.stringContaining(line)]);
      expect(logged('a secret')).toEqual([]);
    });

    it('enforces no veto of a delete or a find, and no changed results', async () => {
      const { body } = await save({ a: 1 });
      for (const trigger of ['beforeFind', 'beforeDelete'])
        await hook(() => ({ error: 'no' }), { mode: 'shadow' }, trigger);
      await hook(() => ({ success: [] }), { mode: 'shadow' }, 'afterFind');
      expect((await parse.client('GET', `/classes/${className}`)).body.results).toHaveLength(1);
      expect((await parse.client('DELETE', `/classes/${className}/${body.objectId}`)).status).toBe(200);
      expect(logged('in shadow mode')).toHaveLength(5);
    });
  });

  describe('where', () => {
    const pointer = { __type: 'Pointer', className: 'Owner', objectId: 'abcdefghij' };
    it.each<[string, object, object, object]>([
      ['a value', { kind: 'dog' }, { kind: 'dog' }, { kind: 'cat' }],
      ['a comparison', { n: { $gt: 5 } }, { n: 6 }, { n: 5 }],
      [
        'a date',
        { when: { $gte: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' } } },
        { when: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' } },
        { when: { __type: 'Date', iso: '2019-12-31T23:59:59.999Z' } },
      ],
      ['a pointer', { owner: pointer }, { owner: pointer }, { owner: { ...pointer, objectId: 'other' } }],
      ['an alternative', { $or: [{ a: 1 }, { b: 1 }] }, { b: 1 }, { b: 2 }],
      ['absence', { a: { $exists: false } }, { b: 1 }, { a: 1 }],
      [
        'a result of an operation',
        { n: 2 },
        { n: { __op: 'Increment', amount: 2 } },
        { n: { __op: 'Increment', amount: 1 } },
      ],
    ])('calls only for objects that match %s', async (_what, where, matching, other) => {
      await hook(() => ({ error: 'called' }), { where });
      expect((await save(other)).status).toBe(201);
      expect(receiver.calls).toEqual([]);
      expect(await save(matching)).toMatchObject({ status: 400, body: { error: 'called' } });
    });

    it('looks at the object as it will be, after an update', async () => {
      const { body } = await save({ n: 1, kind: 'dog' });
      await hook(() => ({ success: true }), { where: { n: 3, kind: 'dog' } });
      await put(body.objectId, { n: { __op: 'Increment', amount: 1 } });
      expect(receiver.calls).toHaveLength(0);
      await put(body.objectId, { n: { __op: 'Increment', amount: 1 } });
      expect(receiver.calls).toHaveLength(1);
    });

    it('looks at the object that is deleted', async () => {
      const first = await save({ n: 1 });
      const second = await save({ n: 2 });
      await hook(() => ({ error: 'kept' }), { where: { n: 2 } }, 'beforeDelete');
      expect((await parse.client('DELETE', `/classes/${className}/${first.body.objectId}`)).status).toBe(200);
      expect((await parse.client('DELETE', `/classes/${className}/${second.body.objectId}`)).status).toBe(
        400,
      );
    });
  });

  describe('changed', () => {
    it('calls for a new object, and for an update only when a named key is in it', async () => {
      await hook(() => ({ success: true }), { changed: ['name', 'address.city'] });
      const { body } = await save({ other: 1, address: { city: 'Bonn', zip: 1 } });
      expect(receiver.calls).toHaveLength(1);
      await put(body.objectId, { other: 2 });
      expect(receiver.calls).toHaveLength(1);
      await put(body.objectId, { name: 'x' });
      expect(receiver.calls).toHaveLength(2);
      await put(body.objectId, { name: { __op: 'Delete' } });
      expect(receiver.calls).toHaveLength(3);
      await put(body.objectId, { address: { city: 'Köln' } });
      expect(receiver.calls).toHaveLength(4);
    });

    it('notices a key that cloud code changed', async () => {
      await hook(() => ({ success: true }), { changed: ['name'] }, 'afterSave');
      const { body } = await save({ other: 1 });
      await receiver.received(`/${className}/afterSave`, 1);
      await put(body.objectId, { other: 2 });
      await put(body.objectId, { name: 'x', other: 3 });
      const calls = await receiver.received(`/${className}/afterSave`, 2);
      expect(calls[1]?.body.update).toEqual({ name: 'x', other: 3 });
    });
  });

  describe('keys and excludeKeys', () => {
    it('send only what was asked for, and leave the rest to the client', async () => {
      await hook(({ body }) => ({ success: { ...body.object, name: 'set' } }), { keys: ['name'] });
      const { body } = await save({ name: 'x', hidden: 'y' });
      expect(receiver.calls[0]?.body.object).toEqual({ className, name: 'x' });
      expect(await stored(body.objectId)).toMatchObject({ name: 'set', hidden: 'y' });
      await put(body.objectId, { hidden: 'z' });
      const { object, original, update } = receiver.calls[1]?.body as Record<string, Record<string, unknown>>;
      for (const part of [object, original, update]) expect(part).not.toHaveProperty('hidden');
      expect(object).toMatchObject({ objectId: body.objectId, name: 'set', createdAt: expect.any(String) });
      expect(await stored(body.objectId)).toMatchObject({ name: 'set', hidden: 'z' });
    });

    it('keep a key from the receiver', async () => {
      await hook(() => ({ success: true }), { excludeKeys: ['hidden'] });
      await save({ name: 'x', hidden: 'y', more: 1 });
      expect(receiver.calls[0]?.body.object).toEqual({ className, name: 'x', more: 1 });
    });
  });

  describe('headers', () => {
    it('headers are sent with every call, and never shown', async () => {
      await hook(() => ({ success: true }), {
        headers: { 'X-Tenant': 'acme', Authorization: 'Bearer t0ps3cret' },
      });
      await save({ a: 1 });
      expect(receiver.calls[0]?.headers).toMatchObject({
        'x-tenant': 'acme',
        authorization: 'Bearer t0ps3cret',
      });
      const shown = await parse.master('GET', `/webhooks/hooks/triggers/${className}/beforeSave`);
      expect(shown.status).toBe(200);
      expect(JSON.stringify(shown.body)).not.toMatch(/t0ps3cret|acme/);
    });

    it('forwardHeaders puts named headers of the client into the body, and no others', async () => {
      await hook(() => ({ success: true }), {
        forwardHeaders: ['X-App-Version', 'Accept-Language', 'X-Missing'],
      });
      await save(
        { a: 1 },
        {
          headers: {
            'x-app-version': '4.2',
            'Accept-Language': 'de',
            'X-Other': 'not-this',
            'X-Parse-Master-Key': masterKey,
          },
        },
      );
      expect(receiver.calls[0]?.body.headers).toEqual({ 'x-app-version': '4.2', 'accept-language': 'de' });
      expect(receiver.calls[0]?.headers).not.toHaveProperty('x-app-version');
    });
  });

  describe('includeSessionToken', () => {
    it('sends the session token of the user when it is on, and only then', async () => {
      const { sessionToken, objectId } = await parse.signUp();
      await hook(() => ({ success: true }), { includeSessionToken: true });
      await save({ a: 1 }, { sessionToken });
      expect(receiver.calls[0]?.body.user).toMatchObject({ objectId, sessionToken });
      await save({ a: 1 });
      expect(receiver.calls[1]?.body).not.toHaveProperty('user');
      await parse.master('PATCH', `/webhooks/hooks/triggers/${className}/beforeSave`, {
        body: { includeSessionToken: false },
      });
      await save({ a: 1 }, { sessionToken });
      expect(receiver.calls[2]?.raw.toString()).not.toContain(sessionToken);
    });
  });

  describe('maxReplyBytes', () => {
    it('fails a longer answer', async () => {
      await hook(({ body }) => ({ success: body.object }), { maxReplyBytes: 200 });
      expect((await save({ a: 'x' })).status).toBe(201);
      expect(await save({ a: 'x'.repeat(300) })).toMatchObject({
        status: 400,
        body: { code: 141, error: `webhook beforeSave ${className} failed: answer is too large` },
      });
    });
  });

  describe('active', () => {
    it('false keeps the hook and calls nobody', async () => {
      await hook(() => ({ error: 'called' }), { active: false });
      expect((await save({ a: 1 })).status).toBe(201);
      await parse.master('PATCH', `/webhooks/hooks/triggers/${className}/beforeSave`, {
        body: { active: true },
      });
      expect((await save({ a: 1 })).status).toBe(400);
      expect(receiver.calls).toHaveLength(1);
    });
  });

  it('is in force for functions too', async () => {
    const url = receiver.on('/settings-function', never);
    await parse.registerHook({
      functionName: className,
      url,
      timeoutMs: 60,
      headers: { 'x-a': 'b' },
      forwardHeaders: ['x-c'],
    });
    const answer = await parse.client('POST', `/functions/${className}`, { headers: { 'x-c': 'd' } });
    expect(answer.body).toEqual({
      code: 124,
      error: `webhook function ${className} failed: timed out after 60 ms`,
    });
    expect(receiver.calls[0]).toMatchObject({ headers: { 'x-a': 'b' }, body: { headers: { 'x-c': 'd' } } });
  });
});
