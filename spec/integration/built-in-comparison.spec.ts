// What Parse Server's own webhooks do and what this plugin does, side by side: two real servers in processes of their
// own, the same clients, the same receiver.
import { join, resolve } from 'node:path';
import { startChildProgram, type ChildProgram } from '../support/child-program';
import { comparisonApp, type ComparisonServerOptions } from '../support/comparison-server';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startMisbehavingReceiver, type MisbehavingReceiver } from '../support/misbehaving-receiver';
import {
  Reply,
  startWebhookReceiver,
  type Answerer,
  type WebhookReceiver,
} from '../support/webhook-receiver';

type Kind = ComparisonServerOptions['webhooks'];

interface ClientAnswer {
  readonly status: number;
  // Tests look into answers as they please.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly body: any;
}

/** One server, and what its clients do. */
interface Server {
  readonly kind: Kind;
  readonly program: ChildProgram;
  readonly url: string;
  client(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<ClientAnswer>;
  master(method: string, path: string, body?: unknown): Promise<ClientAnswer>;
  register(hook: Readonly<Record<string, unknown>>): Promise<void>;
}

async function startServer(kind: Kind, { databaseURI, databaseOptions }: FreshDatabase): Promise<Server> {
  const options: ComparisonServerOptions = { webhooks: kind, databaseURI, databaseOptions };
  const program = startChildProgram({
    command: process.execPath,
    args: ['--import', 'tsx', join(__dirname, '../support/comparison-server.ts')],
    cwd: resolve(__dirname, '../..'),
    environment: { COMPARISON_SERVER: JSON.stringify(options), PARSE_SERVER_LOGS_FOLDER: 'null' },
  });
  const [, url = ''] = await program.waitForLine(/^ready (.*)$/);
  const client: Server['client'] = async (method, path, body, headers) => {
    const response = await fetch(url + path, {
      method,
      headers: {
        'X-Parse-Application-Id': comparisonApp.appId,
        'Content-Type': 'application/json',
        Connection: 'close',
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: await response.json() };
  };
  const master: Server['master'] = (method, path, body) =>
    client(method, path, body, { 'X-Parse-Master-Key': comparisonApp.masterKey });
  return {
    kind,
    program,
    url,
    client,
    master,
    register: async hook => {
      const path = 'functionName' in hook ? '/hooks/functions' : '/hooks/triggers';
      const { status, body } = await master('POST', path, hook);
      if (status !== 200) throw new Error(`${kind} refused the hook: ${JSON.stringify(body)}`);
    },
  };
}

describeOnEachDatabase('the built-in webhooks and this plugin', database => {
  let receiver: WebhookReceiver;
  let misbehaving: MisbehavingReceiver;
  const fresh: FreshDatabase[] = [];
  let builtIn: Server;
  let plugin: Server;

  beforeAll(async () => {
    receiver = await startWebhookReceiver();
    misbehaving = await startMisbehavingReceiver();
    const both = [await database.create(), await database.create()] as const;
    fresh.push(...both);
    [builtIn, plugin] = await Promise.all([startServer('built-in', both[0]), startServer('plugin', both[1])]);
  });
  afterAll(async () => {
    await Promise.all([builtIn, plugin].map(server => server.program.dispose()));
    await misbehaving.close();
    await receiver.close();
    await Promise.all(fresh.map(each => each.drop()));
  });
  beforeEach(() => receiver.forget());

  /** Registers the hook on both servers; each gets a path of its own. */
  async function registerOnBoth(hook: Readonly<Record<string, unknown>>, answer: Answerer): Promise<void> {
    for (const server of [builtIn, plugin]) {
      const name = Object.values(hook).join('-');
      await server.register({ ...hook, url: receiver.on(`/${server.kind}/${name}`, answer) });
    }
  }
  const callsOf = (server: Server) => receiver.calls.filter(call => call.path.startsWith(`/${server.kind}/`));

  it('differ in what of the caller they tell the receiver: master key, session token, cookie and address, or none', async () => {
    await registerOnBoth({ className: 'Secrets', triggerName: 'beforeSave' }, () => ({}));
    await registerOnBoth({ functionName: 'secrets' }, () => ({ success: 1 }));
    for (const server of [builtIn, plugin]) {
      const { body: user } = await server.client('POST', '/users', {
        username: 'u',
        password: 'plain-password',
      });
      const token = user.sessionToken as string;
      receiver.forget();
      await server.master('POST', '/classes/Secrets', { a: 1 });
      await server.client(
        'POST',
        '/functions/secrets',
        {},
        { 'X-Parse-Session-Token': token, Cookie: 'a=secret-cookie' },
      );
      expect(callsOf(server)).toHaveLength(2);
      const [first, second] = callsOf(server);
      const told = [
        first?.raw.includes(comparisonApp.masterKey),
        second?.raw.includes(token),
        second?.raw.includes('secret-cookie'),
        second?.raw.includes('"ip"'),
      ];
      expect(told).toEqual(told.map(() => server === builtIn));
    }
  });

  it('differ when _User is hooked: the built-in sends the password in clear, the plugin refuses the hook', async () => {
    const hook = {
      className: '_User',
      triggerName: 'beforeSave',
      url: receiver.on('/built-in/user', () => ({})),
    };
    await builtIn.register(hook);
    await builtIn.client('POST', '/users', { username: 'v', password: 'plain-password' });
    expect(callsOf(builtIn)[0]?.body.object).toMatchObject({ password: 'plain-password' });
    await builtIn.master('PUT', '/hooks/triggers/_User/beforeSave', { __op: 'Delete' });
    expect(await plugin.master('POST', '/hooks/triggers', hook)).toMatchObject({
      status: 400,
      body: { code: 143 },
    });
  });

  it.each([
    ['HTML with status 200', new Reply(200, '<h1>Welcome</h1>', { 'content-type': 'text/html' })],
    ['a redirect', new Reply(302, '', { location: 'http://127.0.0.1:1/login' })],
    ['half a JSON text', new Reply(200, '{"success":{"a"')],
    ['an empty object', new Reply(200, '{}')],
  ])('differ when the answer is %s: approval, or a failure', async (name, reply) => {
    const className = `Open${name.replace(/\W/g, '')}`;
    await registerOnBoth({ className, triggerName: 'beforeDelete' }, () => reply);
    for (const server of [builtIn, plugin]) {
      const { body } = await server.master('POST', `/classes/${className}`, { a: 1 });
      const { status } = await server.client('DELETE', `/classes/${className}/${String(body.objectId)}`);
      expect(status).toBe(server === builtIn ? 200 : 400);
    }
  });

  it('differ when the receiver hangs: the built-in waits with it, the plugin answers 124', async () => {
    let release = (): void => undefined;
    const held = new Promise<void>(resolve => (release = resolve));
    await registerOnBoth({ functionName: 'hang' }, async () => {
      await held;
      return { success: 'late' };
    });
    expect((await plugin.master('PATCH', '/webhooks/hooks/functions/hang', { timeoutMs: 300 })).status).toBe(
      200,
    );
    let answered = false;
    const slow = builtIn.client('POST', '/functions/hang', {}).finally(() => (answered = true));
    await receiver.received('/built-in/hang', 1);
    const quick = await plugin.client('POST', '/functions/hang', {});
    expect(quick).toEqual({
      status: 400,
      body: { code: 124, error: 'webhook function hang failed: timed out after 300 ms' },
    });
    expect(answered).toBe(false);
    release();
    expect(await slow).toEqual({ status: 200, body: { result: 'late' } });
  });

  it('differ in whether the client waits for an afterSave hook', async () => {
    let release = (): void => undefined;
    const held = new Promise<void>(resolve => (release = resolve));
    await registerOnBoth({ className: 'After', triggerName: 'afterSave' }, async () => {
      await held;
      return {};
    });
    let answered = false;
    const slow = builtIn.client('POST', '/classes/After', { a: 1 }).finally(() => (answered = true));
    await receiver.received('/built-in/After-afterSave', 1);
    const quick = await plugin.client('POST', '/classes/After', { a: 1 });
    await receiver.received('/plugin/After-afterSave', 1);
    expect({ status: quick.status, answered }).toEqual({ status: 201, answered: false });
    release();
    expect((await slow).status).toBe(201);
  });

  it('differ when afterFind answers {"success":true}: the process of the built-in ends', async () => {
    const extra = await database.create();
    fresh.push(extra);
    const mortal = await startServer('built-in', extra);
    try {
      for (const server of [mortal, plugin]) {
        const url = receiver.on(`/${server.kind}/true`, () => ({ success: true }));
        await server.register({ className: 'Found', triggerName: 'afterFind', url });
        await server.master('POST', '/classes/Found', { a: 1 });
      }
      await expect(mortal.client('GET', '/classes/Found')).rejects.toThrow();
      expect((await mortal.program.exited).code).not.toBe(0);
      const { status, body } = await plugin.client('GET', '/classes/Found');
      expect({ status, count: body.results.length }).toEqual({ status: 200, count: 1 });
    } finally {
      await mortal.program.dispose();
    }
  });

  it('differ when afterSave answers an object: the client of the built-in loses the objectId', async () => {
    await registerOnBoth({ className: 'Replaced', triggerName: 'afterSave' }, () => ({ success: {} }));
    expect((await builtIn.client('POST', '/classes/Replaced', { a: 1 })).body).toEqual({});
    expect((await plugin.client('POST', '/classes/Replaced', { a: 1 })).body).toMatchObject({
      objectId: expect.any(String),
    });
  });

  it.each([
    ['true', true, 105],
    ['null', null, 141],
  ])(
    'differ when beforeSave answers {"success":%s}: an error, or the save as it was sent',
    async (name, value, code) => {
      const className = `Yes${name}`;
      await registerOnBoth({ className, triggerName: 'beforeSave' }, () => ({ success: value }));
      expect(await builtIn.client('POST', `/classes/${className}`, { a: 1 })).toMatchObject({
        status: 400,
        body: { code },
      });
      expect((await plugin.client('POST', `/classes/${className}`, { a: 1 })).status).toBe(201);
    },
  );

  it('differ when beforeSave answers one key: the others are lost, or kept, or lost with responseMode replace', async () => {
    await registerOnBoth({ className: 'Partial', triggerName: 'beforeSave' }, () => ({ success: { b: 2 } }));
    const store = async (server: Server) => {
      const { body } = await server.client('POST', '/classes/Partial', { a: 1 });
      const stored = await server.master('GET', `/classes/Partial/${String(body.objectId)}`);
      return { a: stored.body.a as unknown, b: stored.body.b as unknown };
    };
    expect(await store(builtIn)).toEqual({ a: undefined, b: 2 });
    expect(await store(plugin)).toEqual({ a: 1, b: 2 });
    const settings = '/webhooks/hooks/triggers/Partial/beforeSave';
    expect((await plugin.master('PATCH', settings, { responseMode: 'replace' })).status).toBe(200);
    expect(await store(plugin)).toEqual({ a: undefined, b: 2 });
  });

  it('differ in what clients learn of a receiver that refuses: its address, or only that it failed', async () => {
    for (const server of [builtIn, plugin]) {
      await server.register({ functionName: 'refuses', url: misbehaving.url('refuses') });
      const { status, body } = await server.client('POST', '/functions/refuses', {});
      expect({ status, code: body.code, tells: /127\.0\.0\.1/.test(body.error as string) }).toEqual({
        status: 400,
        code: 141,
        tells: server === builtIn,
      });
    }
  });

  it('differ in what clients learn of an error page: all of it with its cookies, or only that it came', async () => {
    for (const server of [builtIn, plugin]) {
      await server.register({ functionName: 'page', url: misbehaving.url('error-500-html') });
      const { body } = await server.client('POST', '/functions/page', {});
      const text = JSON.stringify(body);
      expect([text.includes('set-cookie'), text.includes('<html>')]).toEqual(
        server === builtIn ? [true, true] : [false, false],
      );
    }
  });

  it('differ when the receiver answers {"error":{"code","message"}}: the code is lost, or told', async () => {
    await registerOnBoth({ functionName: 'coded' }, () => ({ error: { code: 1337, message: 'no' } }));
    expect((await builtIn.client('POST', '/functions/coded', {})).body).toEqual({ code: 141, error: 'no' });
    expect((await plugin.client('POST', '/functions/coded', {})).body).toEqual({ code: 1337, error: 'no' });
  });

  it('differ when the reply is greater than 1 MiB: all of it is taken, or none', async () => {
    await registerOnBoth({ functionName: 'great' }, () => ({ success: 'x'.repeat(2 * 1024 * 1024) }));
    expect((await builtIn.client('POST', '/functions/great', {})).status).toBe(200);
    expect((await plugin.client('POST', '/functions/great', {})).body).toEqual({
      code: 141,
      error: 'webhook function great failed: answer is too large',
    });
  });

  it('differ after the URL of a hook was changed: the built-in on PostgreSQL lists it twice and shows the old URL', async () => {
    for (const server of [builtIn, plugin]) {
      await server.register({ functionName: 'moved', url: 'http://127.0.0.1:1/old' });
      await server.master('PUT', '/hooks/functions/moved', { url: 'http://127.0.0.1:1/new' });
      const { body: list } = await server.master('GET', '/hooks/functions');
      const urls = (list as { functionName: string; url: string }[])
        .filter(hook => hook.functionName === 'moved')
        .map(hook => hook.url);
      const { body: hook } = await server.master('GET', '/hooks/functions/moved');
      const broken = server === builtIn && database.kind === 'postgres';
      expect(urls).toHaveLength(broken ? 2 : 1);
      expect(hook.url).toBe(broken ? 'http://127.0.0.1:1/old' : 'http://127.0.0.1:1/new');
    }
  });

  it('differ when twenty clients register one hook at once: several are told that they made it, or one', async () => {
    const registerAtOnce = async (server: Server, functionName: string): Promise<number> => {
      const hook = { functionName, url: 'http://127.0.0.1:1/' };
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => server.master('POST', '/hooks/functions', hook)),
      );
      return answers.filter(({ status }) => status === 200).length;
    };
    // It looks first and writes then: most rounds find more than one client in between, not each.
    let told = 0;
    for (let round = 0; told < 2 && round < 50; round++) {
      told = await registerAtOnce(builtIn, `contested${round}`);
    }
    expect(told).toBeGreaterThan(1);
    for (let round = 0; round < 3; round++) {
      const name = `contested${round}`;
      expect(await registerAtOnce(plugin, name)).toBe(1);
      const { body } = await plugin.master('GET', '/hooks/functions');
      expect((body as { functionName: string }[]).filter(hook => hook.functionName === name)).toHaveLength(1);
    }
  });

  if (database.kind === 'postgres') {
    it('differ when the database refuses a hook: it is in force all the same, or not at all', async () => {
      const hook = { functionName: 'phantom', url: 'http://127.0.0.1:1/\0' };
      for (const server of [builtIn, plugin]) {
        expect((await server.master('POST', '/hooks/functions', hook)).status).toBe(
          server === builtIn ? 500 : 400,
        );
        expect((await server.master('GET', '/hooks/functions/phantom')).status).toBe(400);
        const { body } = await server.client('POST', '/functions/phantom', {});
        expect(body.error === 'Invalid function: "phantom"').toBe(server === plugin);
      }
    });
  }

  it('differ on other nodes: a hook made on one is never called from the other, or soon', async () => {
    for (const server of [builtIn, plugin]) {
      const other = await startServer(server.kind, fresh[server === builtIn ? 0 : 1] as FreshDatabase);
      try {
        const path = `/${server.kind}/node`;
        await server.register({
          className: 'Node',
          triggerName: 'beforeSave',
          url: receiver.on(path, () => new Reply(204, '')),
        });
        expect((await server.client('POST', '/classes/Node', { a: 1 })).status).toBe(201);
        expect(callsOf(server)).toHaveLength(1);
        if (server === builtIn) {
          for (let n = 0; n < 3; n++) await other.client('POST', '/classes/Node', { a: 1 });
          expect(callsOf(server)).toHaveLength(1);
        } else {
          // Each save is a look: the other node reads the version row on its own, within half a second.
          while (callsOf(server).length < 2) await other.client('POST', '/classes/Node', { a: 1 });
        }
      } finally {
        await other.program.dispose();
      }
    }
  });

  it('differ after a restart when cloud code has a function of the same name: it takes over, or the hook stays', async () => {
    for (const [at, kind] of (['built-in', 'plugin'] as const).entries()) {
      const own = await database.create();
      fresh.push(own);
      const results: unknown[] = [];
      for (const isFirst of [true, false]) {
        const server = await startServer(kind, own);
        try {
          if (isFirst) {
            const url = receiver.on(`/${kind}/own`, () => ({ success: 'hook' }));
            await server.register({ functionName: 'own', url });
          }
          results.push((await server.client('POST', '/functions/own', {})).body.result);
        } finally {
          await server.program.dispose();
        }
      }
      expect(results).toEqual(at === 0 ? ['hook', 'cloud'] : ['hook', 'hook']);
    }
  });

  it('differ when a hook takes the place of a guarded cloud function: its validator is gone, or stays', async () => {
    for (const server of [builtIn, plugin]) {
      expect((await server.client('POST', '/functions/guarded', {})).status).toBe(400);
    }
    await registerOnBoth({ functionName: 'guarded' }, () => ({ success: 'hook' }));
    expect((await builtIn.client('POST', '/functions/guarded', {})).body).toEqual({ result: 'hook' });
    expect(await plugin.client('POST', '/functions/guarded', {})).toMatchObject({
      status: 400,
      body: { code: 142 },
    });
  });

  it('differ when a hook is deleted that does not exist: the cloud function of that name is gone, or stays', async () => {
    for (const server of [builtIn, plugin]) {
      const deleted = await server.master('PUT', '/hooks/functions/spared', { __op: 'Delete' });
      expect(deleted).toMatchObject({ status: 404, body: { code: 101 } });
      const { body } = await server.client('POST', '/functions/spared', {});
      expect(body).toEqual(
        server === builtIn ? { code: 141, error: 'Invalid function: "spared"' } : { result: 'cloud' },
      );
    }
  });

  it('differ when cloud code has a beforeSave of the class: only the hook runs, or both', async () => {
    await registerOnBoth({ className: 'WithCode', triggerName: 'beforeSave' }, ({ body }) => ({
      success: body.object,
    }));
    for (const server of [builtIn, plugin]) {
      const { body } = await server.client('POST', '/classes/WithCode', { a: 1 });
      const stored = await server.master('GET', `/classes/WithCode/${String(body.objectId)}`);
      expect(stored.body.byCode).toBe(server === builtIn ? undefined : true);
    }
  });

  it.each([
    ['a URL that is not http', { functionName: 'ftp', url: 'ftp://127.0.0.1/x' }],
    ['a URL that is none', { functionName: 'nonsense', url: 'not a url' }],
    ['a name with a dot, which cannot be called', { functionName: 'a.b', url: 'http://127.0.0.1:1/' }],
    [
      'a class that cannot be',
      { className: 'no class!', triggerName: 'beforeSave', url: 'http://127.0.0.1:1/' },
    ],
    [
      'a trigger called constructor',
      { className: 'A', triggerName: 'constructor', url: 'http://127.0.0.1:1/' },
    ],
  ])('differ when a hook is registered with %s: taken, or refused with 143', async (_name, hook) => {
    const path = 'functionName' in hook ? '/hooks/functions' : '/hooks/triggers';
    expect((await builtIn.master('POST', path, hook)).status).toBe(200);
    expect(await plugin.master('POST', path, hook)).toMatchObject({ status: 400, body: { code: 143 } });
  });

  it('differ in the types of params: a pointer without its class and type, or as the client sent it', async () => {
    await registerOnBoth({ functionName: 'typed' }, () => ({ success: true }));
    const params = {
      pointer: { __type: 'Pointer', className: 'A', objectId: 'x' },
      date: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
    };
    for (const server of [builtIn, plugin]) {
      await server.client('POST', '/functions/typed', params);
      expect(callsOf(server)[0]?.body.params).toEqual(
        server === builtIn ? { pointer: { objectId: 'x' }, date: '2020-01-01T00:00:00.000Z' } : params,
      );
    }
  });

  it('differ in the object of an update: raw operations, or values and the list of what changes', async () => {
    const op = { __op: 'Increment', amount: 2 };
    for (const server of [builtIn, plugin]) {
      const { body } = await server.master('POST', '/classes/Ops', { n: 1 });
      await server.register({
        className: 'Ops',
        triggerName: 'beforeSave',
        url: receiver.on(`/${server.kind}/ops`, () => new Reply(204, '')),
      });
      receiver.forget();
      await server.client('PUT', `/classes/Ops/${String(body.objectId)}`, { n: op });
      const told = callsOf(server)[0]?.body;
      expect({ n: told.object.n, update: told.update }).toEqual(
        server === builtIn ? { n: op, update: undefined } : { n: 3, update: { n: op } },
      );
    }
  });

  it('differ when a receiver echoes an object that changes meanwhile: the change is lost, or kept', async () => {
    for (const server of [builtIn, plugin]) {
      const { body } = await server.master('POST', '/classes/Echo', { a: 1, b: 1 });
      const path = `/classes/Echo/${String(body.objectId)}`;
      const url = receiver.on(`/${server.kind}/echo`, async call => {
        if (call.body.object.b !== 1) return new Reply(204, '');
        // The save of `a` is under way: meanwhile somebody saves `b`.
        await server.client('PUT', path, { b: 5 });
        return { success: call.body.object };
      });
      await server.register({ className: 'Echo', triggerName: 'beforeSave', url });
      expect((await server.client('PUT', path, { a: 2 })).status).toBe(200);
      expect((await server.master('GET', path)).body).toMatchObject({ a: 2, b: server === builtIn ? 1 : 5 });
    }
  });

  it('differ when a receiver saves what it is called for: without end, or 5 webhooks deep', async () => {
    const enough = 8;
    for (const server of [builtIn, plugin]) {
      const url = receiver.on(`/${server.kind}/loop`, async ({ headers }) => {
        const depth = headers['x-parse-webhook-depth'];
        if (callsOf(server).length >= enough) return { success: {} };
        await server.client(
          'POST',
          '/classes/Loop',
          { a: 1 },
          typeof depth === 'string' ? { 'X-Parse-Webhook-Depth': depth } : {},
        );
        return { success: {} };
      });
      await server.register({ className: 'Loop', triggerName: 'beforeSave', url });
      await server.client('POST', '/classes/Loop', { a: 1 });
      expect(callsOf(server)).toHaveLength(server === builtIn ? enough : 5);
    }
  });
});
