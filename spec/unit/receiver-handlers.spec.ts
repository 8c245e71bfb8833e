import { createSigner, parseSecret } from '../../src/http/webhook-signature';
import { createReceiver, RejectError, type ReceiveOptions, type Refusal } from '../../src/receiver';
import { systemClock } from '../../src/shared/clock';
import { generateSecret } from '../../src/shared/secret-format';
import { decodeReply } from '../../src/wire/decode-reply';

const secret = generateSecret(systemClock);
const signer = createSigner({ secrets: [parseSecret(secret)] });
const seconds = 1_700_000_000;

interface Classes {
  Puppy: { name?: string; age?: number; born?: unknown };
}

function receiver(options: Partial<ReceiveOptions> = {}) {
  return createReceiver<Classes>({ secret, now: () => seconds * 1000, ...options });
}

function signedHeaders(raw: string, more: Record<string, string> = {}): Record<string, string> {
  return {
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(seconds),
    'webhook-signature': signer.sign('msg_1', seconds, Buffer.from(raw)),
    ...more,
  };
}

async function call(
  target: { handle: ReturnType<typeof receiver>['handle'] },
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: unknown }> {
  const raw = typeof body === 'string' ? body : JSON.stringify(body);
  const reply = await target.handle(raw, signedHeaders(raw, headers));
  return { status: reply.status, body: reply.body === '' ? undefined : JSON.parse(reply.body) };
}

const save = {
  triggerName: 'beforeSave',
  object: { className: 'Puppy', name: 'rex' },
  master: false,
};

describe('a beforeSave handler', () => {
  it('gets the fields of the call, typed by class', async () => {
    const calls: unknown[] = [];
    const puppies = receiver().beforeSave(
      'Puppy',
      ({ object, original, user, master, update, context, ...rest }) => {
        const name: string | undefined = object.name;
        const { id, timestamp, depth, installationId, headers } = rest;
        calls.push({
          name,
          original,
          user,
          master,
          update,
          context,
          id,
          timestamp,
          depth,
          installationId,
          headers,
        });
      },
    );
    const body = {
      ...save,
      original: { className: 'Puppy', objectId: 'p1', name: 'ben' },
      update: { name: 'rex', age: { __op: 'Increment', amount: 1 } },
      user: { className: '_User', objectId: 'u1' },
      installationId: 'i1',
      context: { why: 'test' },
      headers: { 'accept-language': 'de' },
    };
    expect(await call(puppies, body, { 'X-Parse-Webhook-Depth': '3' })).toEqual({
      status: 204,
      body: undefined,
    });
    expect(calls).toEqual([
      {
        name: 'rex',
        original: body.original,
        user: body.user,
        master: false,
        update: body.update,
        context: body.context,
        id: 'msg_1',
        timestamp: seconds,
        depth: 3,
        installationId: 'i1',
        headers: body.headers,
      },
    ]);
  });

  it('has empty objects for what a call has not, and depth 0 for what is no depth', async () => {
    const calls: unknown[] = [];
    const puppies = receiver().beforeSave('Puppy', ({ update, context, headers, original, user, depth }) => {
      calls.push({ update, context, headers, original, user, depth });
    });
    await call(puppies, save, { 'x-parse-webhook-depth': '-1' });
    expect(calls).toEqual([
      { update: {}, context: {}, headers: {}, original: undefined, user: undefined, depth: 0 },
    ]);
  });

  it('changes the save by what it returns', async () => {
    const puppies = receiver().beforeSave('Puppy', async ({ object }) => ({
      name: object.name?.toUpperCase() ?? '',
    }));
    expect(await call(puppies, save)).toEqual({ status: 200, body: { success: { name: 'REX' } } });
  });

  it('may return the object it got, an operation, and a Date, which becomes Parse’s', async () => {
    const born = new Date('2026-01-02T03:04:05.678Z');
    const puppies = receiver().beforeSave('Puppy', ({ object }) => ({
      ...object,
      age: { __op: 'Delete' },
      born,
    }));
    expect((await call(puppies, save)).body).toEqual({
      success: {
        className: 'Puppy',
        name: 'rex',
        age: { __op: 'Delete' },
        born: { __type: 'Date', iso: '2026-01-02T03:04:05.678Z' },
      },
    });
  });

  test.each([
    ['a message', new RejectError('too small'), { error: 'too small' }, { code: 141, message: 'too small' }],
    [
      'code and message',
      new RejectError('no', 101),
      { error: { code: 101, message: 'no' } },
      { code: 101, message: 'no' },
    ],
  ])('rejects with %s, as the sender understands it', async (_, error, body, rejection) => {
    const puppies = receiver().beforeSave('Puppy', async () => {
      throw error;
    });
    const reply = await call(puppies, save);
    expect(reply).toEqual({ status: 200, body });
    expect(decodeReply(reply.status, Buffer.from(JSON.stringify(reply.body)))).toEqual({
      kind: 'rejected',
      ...rejection,
    });
  });

  test.each([
    [
      'an exception',
      () => {
        throw new Error('canary: password');
      },
    ],
    ['a promise that fails with no Error', () => Promise.reject('canary')], // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
    [
      'a value that is no JSON',
      () => {
        const loop: Record<string, unknown> = {};
        loop.self = loop;
        return loop;
      },
    ],
    ['a BigInt', () => ({ age: 1n })],
  ])('fails with 500 for %s, tells the operator and not the sender', async (_, handler) => {
    const errors: Error[] = [];
    const puppies = receiver({ onError: error => errors.push(error) }).trigger(
      'beforeSave',
      'Puppy',
      handler,
    );
    const reply = await call(puppies, save);
    expect(reply).toEqual({
      status: 500,
      body: { failure: { code: 'handler-failed', message: 'the handler failed' } },
    });
    expect(errors).toHaveLength(1);
    // No `error` in it: the hook's failure policy decides, and not the receiver's bug.
    expect(decodeReply(reply.status, Buffer.from(JSON.stringify(reply.body))).kind).toBe('failure');
  });

  it('writes exceptions to stderr when nobody listens', async () => {
    const write = jest.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      await call(
        receiver().beforeSave('Puppy', () => {
          throw new Error('oops');
        }),
        save,
      );
      expect(String(write.mock.calls[0]?.[0])).toMatch(/^Error: oops\n {4}at /);
    } finally {
      write.mockRestore();
    }
  });
});

describe('handlers of other targets', () => {
  const log: string[] = [];
  const all = receiver()
    .beforeSave('Puppy', () => true)
    .beforeSave('Cat', ({ object }) => {
      log.push(typeof object.color === 'string' ? object.color : '');
    })
    .afterSave('Puppy', ({ object, original }) =>
      log.push(`saved ${object.name ?? ''} was ${original?.name ?? ''}`),
    )
    .beforeDelete('Puppy', ({ master }) => {
      if (!master) throw new RejectError('only the master key may');
    })
    .afterDelete('Puppy', async ({ object }) => log.push(`deleted ${object.objectId ?? ''}`))
    .beforeFind('Puppy', ({ query, isGet, count }) => ({
      where: { query: query.where ?? null, isGet, count },
    }))
    .afterFind('Puppy', ({ objects }) => objects.map(puppy => ({ ...puppy, name: 'hidden' })))
    .trigger('beforeLogin', '_User', ({ body }) => log.push(JSON.stringify(body.object)))
    .trigger('beforeSave', '@File', ({ body }) => ({ tags: { size: body.fileSize } }))
    .define(
      'hello',
      ({ params, user }) =>
        `Hello, ${typeof params.name === 'string' ? params.name : 'you'} and ${user?.objectId ?? 'nobody'}!`,
    )
    .define('nothing', () => undefined)
    .define('constructor', () => 'mine')
    .on('object.create', ({ type, data, occurredAt }) => log.push(JSON.stringify({ type, data, occurredAt })))
    .on('object.refuse', () => {
      throw new RejectError('not now');
    });

  beforeEach(() => (log.length = 0));

  test.each<[string, unknown, number, unknown, ...string[]]>([
    ['true', save, 200, { success: true }],
    ['another class', { ...save, object: { className: 'Cat', color: 'red' } }, 204, undefined, 'red'],
    [
      'afterSave',
      { triggerName: 'afterSave', object: { className: 'Puppy', name: 'a' }, original: { name: 'b' } },
      200,
      { success: 1 },
      'saved a was b',
    ],
    [
      'beforeDelete that rejects',
      { triggerName: 'beforeDelete', object: { className: 'Puppy' } },
      200,
      { error: 'only the master key may' },
    ],
    [
      'beforeDelete that allows',
      { triggerName: 'beforeDelete', object: { className: 'Puppy' }, master: true },
      204,
      undefined,
    ],
    [
      'afterDelete',
      { triggerName: 'afterDelete', object: { className: 'Puppy', objectId: 'p' } },
      200,
      { success: 1 },
      'deleted p',
    ],
    [
      'beforeFind, which names its class beside the query',
      { triggerName: 'beforeFind', className: 'Puppy', query: { where: { a: 1 } }, isGet: true },
      200,
      { success: { where: { query: { a: 1 }, isGet: true, count: false } } },
    ],
    [
      'afterFind, by the class of its objects',
      { triggerName: 'afterFind', objects: [{ className: 'Puppy', objectId: 'p' }] },
      200,
      { success: [{ className: 'Puppy', objectId: 'p', name: 'hidden' }] },
    ],
    [
      'afterFind without results',
      { triggerName: 'afterFind', className: 'Puppy', objects: [] },
      200,
      { success: [] },
    ],
    [
      'any other trigger',
      { triggerName: 'beforeLogin', object: { className: '_User' } },
      200,
      { success: 1 },
      '{"className":"_User"}',
    ],
    [
      'a file',
      { triggerName: 'beforeSave', className: '@File', file: {}, fileSize: 7 },
      200,
      { success: { tags: { size: 7 } } },
    ],
    [
      'a function',
      { functionName: 'hello', params: { name: 'Ann' }, user: { objectId: 'u' } },
      200,
      { success: 'Hello, Ann and u!' },
    ],
    ['a function without a result', { functionName: 'nothing' }, 204, undefined],
    [
      'a function named like a property of objects',
      { functionName: 'constructor' },
      200,
      { success: 'mine' },
    ],
    [
      'an event',
      { type: 'object.create', timestamp: '2026-01-01T00:00:00Z', data: { a: 1 } },
      204,
      undefined,
      '{"type":"object.create","data":{"a":1},"occurredAt":"2026-01-01T00:00:00Z"}',
    ],
    [
      'an event that is rejected, which its status says',
      { type: 'object.refuse' },
      422,
      { error: 'not now' },
    ],
  ])('answer %s', async (_, body, status, reply, ...lines) => {
    expect(await call(all, body)).toEqual({ status, body: reply });
    expect(log).toEqual(lines);
  });

  test.each<[string, unknown, string]>([
    ['another trigger', { ...save, triggerName: 'afterEvent' }, 'no handler for afterEvent of Puppy'],
    ['another class', { ...save, object: { className: 'Dog' } }, 'no handler for beforeSave of Dog'],
    [
      'a find without a class',
      { triggerName: 'beforeFind', query: {} },
      'no handler for beforeFind of an unnamed class',
    ],
    ['another function', { functionName: 'toString' }, 'no handler for the function toString'],
    ['another event', { type: 'object.other' }, 'no handler for the event object.other'],
    ['nothing', {}, 'no handler for a body without functionName, triggerName and type'],
  ])('answer 404 to %s', async (_, body, message) => {
    expect(await call(all, body)).toEqual({
      status: 404,
      body: { failure: { code: 'unknown-target', message } },
    });
  });

  test.each(['[]', '"x"', 'null', '7', ''])('answer 400 to the body %j', async body => {
    expect((await call(all, body)).status).toBe(400);
  });

  it('take events without a handler of their own with *', async () => {
    const types: string[] = [];
    const events = receiver()
      .on('object.create', () => types.push('own'))
      .on('*', ({ type }) => types.push(type));
    await call(events, { type: 'object.create' });
    await call(events, { type: 'file.delete' });
    expect(types).toEqual(['own', 'file.delete']);
  });

  it('are one per target', () => {
    const twice = () =>
      receiver()
        .define('hello', () => 1)
        .define('hello', () => 2);
    expect(twice).toThrow('there is a handler for hello already');
    expect(() =>
      receiver()
        .beforeSave('A', () => true)
        .afterSave('A', () => true)
        .beforeSave('A', () => true),
    ).toThrow('there is a handler for beforeSave of A already');
  });
});

describe('a receiver', () => {
  it('answers 401 to what is not authentic, calls no handler and tells who listens', async () => {
    const refusals: Refusal[] = [];
    let calls = 0;
    const puppies = receiver({ onRefused: refusal => refusals.push(refusal) }).beforeSave('Puppy', () => {
      calls++;
    });
    const raw = JSON.stringify(save);
    const reply = await puppies.handle(`${raw} `, signedHeaders(raw));
    expect(reply.status).toBe(401);
    expect(JSON.parse(reply.body).failure.code).toBe('no-signature-matched');
    expect(decodeReply(reply.status, Buffer.from(reply.body)).kind).toBe('failure');
    expect(refusals).toEqual([{ status: 401, code: 'no-signature-matched', message: expect.any(String) }]);
    expect(calls).toBe(0);
  });

  it('wants the webhook key beside the signature when it has one', async () => {
    const puppies = receiver({ webhookKey: 'key' }).beforeSave('Puppy', () => true);
    expect(await call(puppies, save, { 'X-Parse-Webhook-Key': 'key' })).toMatchObject({ status: 200 });
    for (const headers of [
      {},
      { 'x-parse-webhook-key': '' },
      { 'x-parse-webhook-key': 'kez' },
      { 'x-parse-webhook-key': 'key ' },
    ]) {
      const reply = await call(puppies, save, headers);
      expect(reply).toMatchObject({ status: 401, body: { failure: { code: 'wrong-webhook-key' } } });
    }
  });

  it('does not start with a secret that is none, or a bound that is none', () => {
    expect(() => createReceiver({ secret: 'secret' })).toThrow('secret must be whsec_');
    expect(() => receiver({ maxBodyBytes: NaN })).toThrow('maxBodyBytes must be');
    expect(() => receiver({ toleranceSeconds: NaN })).toThrow('toleranceSeconds must be');
  });
});
