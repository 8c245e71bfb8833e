// The settings of hooks: given at registration, read and changed below /webhooks/hooks, kept over edits and restarts.
import { WebhookError } from '../../src/index';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { insertHookRows, readRawRows } from '../support/hook-rows';
import {
  readOnlyMasterKey,
  startParseApplication,
  type ParseApplication,
} from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const url = 'https://example.com/hook';
const newUrl = 'https://example.com/other';
const hidden = '********';
const defaults = {
  timeoutMs: 5000,
  failurePolicy: 'reject',
  responseMode: 'merge',
  mode: 'enforce',
  maxRequestBytes: 10_485_760,
  maxInFlight: 64,
  signatures: ['v1'],
  headers: {},
  forwardHeaders: [],
  includeSessionToken: false,
  maxReplyBytes: 1_048_576,
  active: true,
};
const isoDate = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

describeOnEachDatabase('the settings of a hook', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  afterEach(async () => {
    receiver.forget();
    for (const { functionName, className, triggerName } of (await parse.master('GET', '/webhooks/hooks')).body
      .results) {
      await parse.removeHook(functionName ? { functionName } : { className, triggerName });
    }
  });

  const path = '/webhooks/hooks/triggers/Puppy/beforeSave';
  const trigger = { className: 'Puppy', triggerName: 'beforeSave', url };
  const get = async (): Promise<Record<string, unknown>> => (await parse.master('GET', path)).body;
  const patch = (body: unknown) => parse.master('PATCH', path, { body });

  it('are defaults for a hook that was registered without any', async () => {
    await parse.registerHook(trigger);
    const answer = await parse.master('GET', path);
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      objectId: expect.stringMatching(/^[0-9a-f]{24}$/),
      createdAt: isoDate,
      updatedAt: isoDate,
      ...trigger,
      ...defaults,
      oldSecretsExpireAt: [],
      health: {
        state: 'installed',
        breaker: 'closed',
        inFlight: 0,
        calls: 0,
        rejections: 0,
        failures: 0,
        failedOpen: 0,
      },
    });
    await parse.registerHook({ functionName: 'f', url });
    expect((await parse.master('GET', '/webhooks/hooks/functions/f')).body).toMatchObject({
      functionName: 'f',
      url,
      ...defaults,
    });
  });

  it('are taken as extra fields of a registration', async () => {
    const settings = {
      timeoutMs: 1234,
      failurePolicy: 'allow',
      mode: 'shadow',
      where: { age: { $gt: 3 } },
      changed: ['age', 'owner.name'],
      excludeKeys: ['secret'],
      forwardHeaders: ['User-Agent'],
      includeSessionToken: true,
      maxReplyBytes: 1000,
      active: false,
    };
    const created = await parse.registerHook({ ...trigger, ...settings, headers: { 'X-Key': 'a-secret' } });
    expect(created.body).toEqual({ ...trigger, secret: expect.stringMatching(/^whsec_/) });
    expect(await get()).toMatchObject({
      ...settings,
      forwardHeaders: ['user-agent'],
      headers: { 'x-key': hidden },
      responseMode: 'merge',
    });
  });

  it('are in force at once', async () => {
    const answering = receiver.on('/hook', () => ({ success: { name: 'Rover' } }));
    await parse.registerHook({ ...trigger, url: answering, active: false, headers: { 'X-Key': 'a-secret' } });
    await parse.client('POST', '/classes/Puppy', { body: { name: 'Spot' } });
    expect(receiver.calls).toEqual([]);
    expect(await patch({ active: true, where: { name: 'Spot' } })).toMatchObject({
      status: 200,
      body: { active: true },
    });
    expect((await parse.client('POST', '/classes/Puppy', { body: { name: 'Spot' } })).body.name).toBe(
      'Rover',
    );
    expect((await parse.client('POST', '/classes/Puppy', { body: { name: 'Rex' } })).body).not.toHaveProperty(
      'name',
    );
    expect(receiver.calls).toHaveLength(1);
    expect(receiver.calls[0]?.headers['x-key']).toBe('a-secret');
  });

  it('survive an edit of the url, as the Dashboard does it', async () => {
    await parse.registerHook({ ...trigger, timeoutMs: 1234, headers: { 'X-Key': 'a-secret' } });
    const before = await get();
    const edited = await parse.master('PUT', '/hooks/triggers/Puppy/beforeSave', { body: { url: newUrl } });
    expect(edited.body).toEqual({ ...trigger, url: newUrl });
    const after = await get();
    expect(after).toEqual({ ...before, url: newUrl, updatedAt: isoDate });
    expect(Date.parse(String(after['updatedAt']))).toBeGreaterThan(Date.parse(String(before['updatedAt'])));
  });

  it('are merged by PATCH: what is not named stays, null takes a field back to its default', async () => {
    await parse.registerHook({ ...trigger, timeoutMs: 1234, maxReplyBytes: 99, where: { a: 1 } });
    const before = await get();
    const changed = await patch({ timeoutMs: null, where: null, mode: 'shadow' });
    expect(changed.status).toBe(200);
    expect(changed.body).toMatchObject({
      ...defaults,
      mode: 'shadow',
      maxReplyBytes: 99,
      createdAt: before['createdAt'],
    });
    expect(changed.body).not.toHaveProperty('where');
    expect(await get()).toEqual(changed.body);
    expect(await patch({ url: newUrl, mode: null })).toMatchObject({
      body: { url: newUrl, mode: 'enforce', maxReplyBytes: 99 },
    });
    expect((await parse.master('GET', '/hooks/triggers')).body).toEqual([{ ...trigger, url: newUrl }]);
  });

  it('merge headers by name, whatever their case', async () => {
    const answering = receiver.on('/headers', () => ({ success: true }));
    await parse.registerHook({
      ...trigger,
      url: answering,
      headers: { 'X-One': '1', 'X-Two': '2', 'X-Three': '3' },
    });
    const changed = await patch({
      headers: { 'x-ONE': 'one', 'X-TWO': null, 'x-three': hidden, 'x-four': '4' },
    });
    expect(changed.body.headers).toEqual({ 'x-one': hidden, 'x-three': hidden, 'x-four': hidden });
    await parse.client('POST', '/classes/Puppy', { body: {} });
    const [call] = receiver.calls;
    expect(call?.headers).toMatchObject({ 'x-one': 'one', 'x-three': '3', 'x-four': '4' });
    expect(call?.headers).not.toHaveProperty('x-two');
    expect((await patch({ headers: null })).body.headers).toEqual({});
  });

  it.each([
    [{ colour: 'red' }, 'colour'],
    [{ functionName: 'f' }, 'functionName'],
    [{ objectId: 'x' }, 'objectId'],
    [{ health: {} }, 'health'],
    [{ timeoutMs: '5s' }, 'timeoutMs'],
    [{ url: 'ftp://example.com' }, 'url'],
    [{ url: 5 }, 'url'],
    [{ where: { a: { $where: '1' } } }, 'where'],
    [{ timeoutMs: 1, headers: { Host: 'a' } }, 'headers.host'],
  ])('refuse the change %j by name and keep all as it was', async (body, named) => {
    await parse.registerHook({ ...trigger, timeoutMs: 1234 });
    const before = await get();
    expect(await patch(body)).toMatchObject({
      status: 400,
      body: { code: 143, error: expect.stringContaining(named) },
    });
    expect(await get()).toEqual(before);
  });

  it.each(['[]', '"text"', '5', '{', '{"__proto__":{"active":false}}'])('refuse the body %s', async body => {
    await parse.registerHook(trigger);
    expect((await parse.master('PATCH', path, { body })).status).toBe(400);
    expect(await get()).toMatchObject({ active: true });
  });

  it('go with the hook: one of the same name starts anew', async () => {
    await parse.registerHook({ ...trigger, timeoutMs: 1234, headers: { 'X-Key': 'a-secret' } });
    const before = await get();
    expect(await parse.master('DELETE', path)).toMatchObject({ status: 200, body: {} });
    expect(await parse.master('GET', path)).toMatchObject({
      status: 404,
      body: { code: 143, error: 'class Puppy does not exist' },
    });
    expect((await parse.master('GET', '/hooks/triggers')).body).toEqual([]);
    expect(await readRawRows(database.kind, fresh, 'WebhookSetting')).toEqual([]);
    await parse.registerHook(trigger);
    expect(await get()).toMatchObject({ ...defaults, objectId: before['objectId'] });
  });

  it('answer 404 for a hook that does not exist', async () => {
    for (const unknown of ['/webhooks/hooks/functions/nope', '/webhooks/hooks/triggers/Nope/beforeSave']) {
      expect(await parse.master('GET', unknown)).toMatchObject({ status: 404, body: { code: 143 } });
      expect(await parse.master('PATCH', unknown, { body: {} })).toMatchObject({
        status: 404,
        body: { code: 143 },
      });
      expect(await parse.master('DELETE', unknown)).toMatchObject({ status: 404, body: { code: 101 } });
    }
    for (const unknown of ['/webhooks/nope', '/webhooks/hooks/triggers/Puppy', '/webhooks']) {
      expect(await parse.master('GET', unknown)).toMatchObject({ status: 404, body: { code: 101 } });
    }
  });

  it('show no header value in any answer, row or log line', async () => {
    const secret = 'top-secret-value';
    const created = await parse.registerHook({ ...trigger, headers: { Authorization: `Bearer ${secret}` } });
    const answers = [
      created,
      await patch({ headers: { 'X-Key': secret } }),
      await parse.master('GET', path),
      await parse.master('GET', '/webhooks/hooks'),
      await parse.master('GET', '/hooks/triggers'),
      await parse.master('GET', '/classes/WebhookSetting'),
      await parse.master('GET', '/classes/WebhookState'),
    ];
    const rows = await readRawRows(database.kind, fresh, 'WebhookSetting');
    expect(rows).toHaveLength(1);
    expect(answers[2]?.body.headers).toEqual({ authorization: hidden, 'x-key': hidden });
    expect(JSON.stringify(answers[5]?.body)).toContain('authorization');
    const shown = JSON.stringify([answers.map(({ body }) => body as unknown), rows, parse.logs]);
    expect(shown).not.toContain(secret);
    expect(shown).not.toContain(Buffer.from(secret).toString('base64url'));
  });

  it('are in a class that only the master key reaches', async () => {
    await parse.registerHook(trigger);
    const { sessionToken } = await parse.signUp();
    for (const className of ['WebhookSetting', 'WebhookState']) {
      for (const [method, body] of [
        ['GET', undefined],
        ['POST', { hook: 'function/x', settings: '{}' }],
      ] as const) {
        const answer = await parse.client(method, `/classes/${className}`, {
          sessionToken,
          ...(body && { body }),
        });
        expect(answer).toMatchObject({ status: 400, body: { code: 119 } });
      }
    }
  });

  it('may be read, but not changed, with the read-only master key', async () => {
    await parse.registerHook(trigger);
    const headers = { 'X-Parse-Master-Key': readOnlyMasterKey };
    expect((await parse.client('GET', path, { headers })).status).toBe(200);
    expect((await parse.client('GET', '/webhooks/hooks', { headers })).status).toBe(200);
    for (const method of ['PATCH', 'DELETE']) {
      const answer = await parse.client(method, path, { headers, body: { active: false } });
      expect(answer).toMatchObject({ status: 403, body: { code: 119 } });
    }
    expect(await get()).toMatchObject({ active: true });
  });

  it('are out of reach without the master key', async () => {
    await parse.registerHook(trigger);
    const { sessionToken } = await parse.signUp();
    for (const options of [
      {},
      { sessionToken },
      { headers: { 'X-Parse-Maintenance-Key': 'test-maintenance-key' } },
    ]) {
      for (const [method, target] of [
        ['GET', path],
        ['GET', '/webhooks/hooks'],
        ['GET', '/webhooks/nope'],
        ['PATCH', path],
        ['DELETE', path],
      ] as const) {
        const answer = await parse.client(method, target, {
          ...options,
          ...(method !== 'GET' && { body: {} }),
        });
        expect(answer).toMatchObject({ status: 403, body: { code: 119 } });
      }
    }
    expect((await parse.client('GET', path, { headers: { 'X-Parse-Master-Key': 'wrong' } })).status).toBe(
      403,
    );
    expect(await get()).toMatchObject({ url });
  });

  describe('in the list', () => {
    const names = ['a', 'b', 'c', 'd', 'e'];

    it('come in pages of a stable order, next absent on the last', async () => {
      for (const functionName of [...names].reverse()) await parse.registerHook({ functionName, url });
      await parse.registerHook(trigger);
      const seen: unknown[] = [];
      let cursor: string | undefined;
      do {
        const query: string = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`;
        const { status, body } = await parse.master('GET', `/webhooks/hooks?limit=2${query}`);
        expect(status).toBe(200);
        expect(body.results.length).toBeLessThanOrEqual(2);
        for (const { functionName, className } of body.results) seen.push(functionName ?? className);
        cursor = body.next;
        // An edit moves a row to the end of a table on PostgreSQL.
        await parse.master('PUT', '/hooks/functions/a', { body: { url: newUrl } });
      } while (cursor !== undefined);
      expect(seen).toEqual([...names, 'Puppy']);
      const all = await parse.master('GET', '/webhooks/hooks');
      expect(all.body).toEqual({ results: expect.any(Array) });
      expect(all.body.results).toHaveLength(6);
    });

    it('come for an SDK too, which sends a GET as POST with its parameters in the body', async () => {
      for (const functionName of names) await parse.registerHook({ functionName, url });
      const answer = await parse.master('POST', '/webhooks/hooks', { body: { _method: 'GET', limit: 3 } });
      expect(answer).toMatchObject({
        status: 200,
        body: { results: { length: 3 }, next: expect.any(String) },
      });
    });

    it.each([
      'limit=0',
      'limit=1001',
      'limit=x',
      'limit=-1',
      'limit=1&limit=2',
      'cursor=%20',
      'cursor=',
      'skip=1',
    ])('refuse ?%s by name', async query => {
      const answer = await parse.master('GET', `/webhooks/hooks?${query}`);
      const [named = ''] = query.split('=');
      expect(answer).toMatchObject({
        status: 400,
        body: { code: 143, error: expect.stringContaining(named) },
      });
    });
  });
});

describeOnEachDatabase('secrets of hooks and the key they are kept with', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  const encryptionKey = 'the key that secrets are kept with';

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    const parse = await startParseApplication({ database: fresh, webhooks: { encryptionKey } });
    const hookUrl = receiver.on('/f', () => ({ success: 1 }));
    await parse.registerHook({ functionName: 'sealed', url: hookUrl, headers: { 'X-Key': 'a-secret' } });
    await parse.registerHook({ functionName: 'plain', url: hookUrl });
    await parse.stop();
  });

  afterAll(async () => {
    await receiver.close();
    await fresh.drop();
  });

  it('make a start with another key fail, with an error that names the hooks', async () => {
    // Parse Server prints what makes its start fail.
    const printed = jest.spyOn(console, 'error').mockImplementation();
    for (const webhooks of [{ encryptionKey: 'some other key of 16 or more' }, {}]) {
      const start = startParseApplication({ database: fresh, webhooks });
      await expect(start).rejects.toThrow(WebhookError);
      await expect(start).rejects.toMatchObject({
        code: 'BROKEN_SECRET',
        message: expect.stringMatching(/function sealed, function plain.*encryptionKey/),
      });
    }
    printed.mockRestore();
  });

  it('are readable again with the right one', async () => {
    const parse = await startParseApplication({ database: fresh, webhooks: { encryptionKey } });
    try {
      expect((await parse.client('POST', '/functions/sealed', { body: {} })).body).toEqual({ result: 1 });
      expect(receiver.calls.at(-1)?.headers['x-key']).toBe('a-secret');
    } finally {
      await parse.stop();
    }
  });

  it('may be replaced by a declaration that gives them anew', async () => {
    const webhooks = {
      encryptionKey: 'a new key of 16 characters or more',
      encryptionKeyLost: true,
      hooks: [
        {
          functionName: 'sealed',
          url: receiver.on('/f', () => ({ success: 2 })),
          headers: { 'X-Key': 'new-secret' },
          secret: `whsec_${Buffer.alloc(32, 1).toString('base64')}`,
        },
        {
          functionName: 'plain',
          url: receiver.on('/f', () => ({ success: 2 })),
          secret: `whsec_${Buffer.alloc(32, 2).toString('base64')}`,
        },
      ],
    };
    const parse = await startParseApplication({ database: fresh, webhooks });
    try {
      expect((await parse.client('POST', '/functions/sealed', { body: {} })).body).toEqual({ result: 2 });
      expect(receiver.calls.at(-1)?.headers['x-key']).toBe('new-secret');
    } finally {
      await parse.stop();
    }
  });
});

describeOnEachDatabase('rows of _Hooks that cannot be used', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;

  const refused = [
    { className: '_User', triggerName: 'beforeSave', url },
    { className: 'Garbage', triggerName: 'beforeSave', url: 'garbage' },
    { className: 'Puppy', triggerName: 'beforeLogin', url },
    { functionName: 'dotted.name', url },
    { functionName: 'oldUrl', url: 'ftp://example.com' },
  ];

  beforeAll(async () => {
    fresh = await database.create();
    await (await startParseApplication({ database: fresh })).stop();
    await insertHookRows(database.kind, fresh, refused);
    parse = await startParseApplication({ database: fresh });
  });

  afterAll(async () => {
    await parse.stop();
    await fresh.drop();
  });

  it('let the server start, and are not called', async () => {
    expect((await parse.client('POST', '/users', { body: { username: 'u', password: 'p' } })).status).toBe(
      201,
    );
    expect((await parse.client('POST', '/classes/Garbage', { body: { a: 1 } })).status).toBe(201);
    expect(await parse.client('POST', '/functions/oldUrl', { body: {} })).toMatchObject({
      status: 400,
      body: { code: 141, error: 'Invalid function: "oldUrl"' },
    });
  });

  it('are logged, each once, over many reads', async () => {
    await parse.registerHook({ functionName: 'fine', url });
    await parse.removeHook({ functionName: 'fine' });
    const lines = parse.logs.filter(line => line.includes('not installed'));
    for (const row of refused) {
      const label =
        row.functionName === undefined
          ? `${row.triggerName} ${row.className}`
          : `function ${row.functionName}`;
      expect(lines.filter(line => line.includes(`"${label}"`))).toHaveLength(1);
    }
    expect(new Set(lines).size).toBe(lines.length);
  });

  it('are listed where the Dashboard looks, and with the reason below /webhooks', async () => {
    const functions = (await parse.master('GET', '/hooks/functions')).body;
    const triggers = (await parse.master('GET', '/hooks/triggers')).body;
    expect([...triggers, ...functions]).toEqual(expect.arrayContaining(refused));
    expect([...triggers, ...functions]).toHaveLength(refused.length);
    const { results } = (await parse.master('GET', '/webhooks/hooks')).body;
    expect(results).toHaveLength(refused.length);
    for (const row of refused) {
      const health = { state: 'refused', reason: expect.any(String) };
      expect(results).toContainEqual(expect.objectContaining({ ...row, health }));
    }
    expect(await parse.master('GET', '/webhooks/hooks/triggers/_User/beforeSave')).toMatchObject({
      status: 200,
      body: {
        className: '_User',
        url,
        health: { state: 'refused', reason: expect.stringContaining('_User') },
      },
    });
  });

  it('can be given a usable url, but no settings before', async () => {
    const path = '/webhooks/hooks/triggers/Garbage/beforeSave';
    expect(await parse.master('PATCH', path, { body: { timeoutMs: 1 } })).toMatchObject({
      status: 400,
      body: { code: 143, error: expect.stringContaining('url') },
    });
    const edited = await parse.master('PUT', '/hooks/triggers/Garbage/beforeSave', { body: { url } });
    expect(edited).toMatchObject({ status: 200, body: { className: 'Garbage', url } });
    expect(await parse.master('GET', path)).toMatchObject({ body: { url, health: { state: 'installed' } } });
    expect(
      (await parse.master('PUT', '/hooks/triggers/_User/beforeSave', { body: { url } })).body,
    ).toMatchObject({
      code: 143,
      error: expect.stringContaining('_User'),
    });
  });

  it('can be deleted by name on either route', async () => {
    for (const row of refused) {
      const path =
        row.functionName === undefined
          ? `triggers/${row.className}/${row.triggerName}`
          : `functions/${row.functionName}`;
      const deleted = await (row === refused[0]
        ? parse.master('PUT', `/hooks/${path}`, { body: { __op: 'Delete' } })
        : parse.master('DELETE', `/webhooks/hooks/${path}`));
      expect(deleted).toMatchObject({ status: 200, body: {} });
    }
    expect((await parse.master('GET', '/hooks/functions')).body).toEqual([]);
    expect((await parse.master('GET', '/hooks/triggers')).body).toEqual([]);
  });
});

describeOnEachDatabase('rows of _Hooks with nulls in them', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication | undefined;

  beforeAll(async () => {
    fresh = await database.create();
    await (await startParseApplication({ database: fresh })).stop();
    await insertHookRows(database.kind, fresh, [
      { url },
      { className: 'OnlyClass', url },
      { functionName: null, className: null, triggerName: null, url: null },
      { className: 'NoUrl', triggerName: 'beforeSave', url: null },
      { functionName: 'noUrl', url: null },
    ]);
  });

  afterAll(async () => {
    await parse?.stop();
    await fresh.drop();
  });

  it('let the server start, are listed, not called, and can be deleted if they have a name', async () => {
    parse = await startParseApplication({ database: fresh });
    expect((await parse.client('POST', '/classes/NoUrl', { body: { a: 1 } })).status).toBe(201);
    expect((await parse.client('POST', '/functions/noUrl', { body: {} })).body).toEqual({
      code: 141,
      error: 'Invalid function: "noUrl"',
    });
    expect((await parse.master('GET', '/hooks/functions')).body).toMatchObject([{ functionName: 'noUrl' }]);
    expect((await parse.master('GET', '/webhooks/hooks')).body.results).toHaveLength(5);
    expect((await parse.removeHook({ functionName: 'noUrl' })).body).toEqual({});
    expect((await parse.removeHook({ className: 'NoUrl', triggerName: 'beforeSave' })).body).toEqual({});
    expect((await parse.master('GET', '/webhooks/hooks')).body.results).toHaveLength(3);
  });
});
