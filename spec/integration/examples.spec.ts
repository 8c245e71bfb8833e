// The examples of docs/ and the server of docker/, each run as its user would: a real process, in a project whose
// node_modules holds the built package, on a real database, answering a save through a webhook.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import packageJson from '../../package.json';
import { createSampleReceiver } from '../../src/dev/sample-receiver';
import {
  findFreePort,
  startChildProgram,
  type ChildProgram,
  type ProgramExit,
} from '../support/child-program';
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:http';

const projectDirectory = join(__dirname, '../..');
const installed = join(projectDirectory, 'node_modules');
const keys = { appId: 'examples', masterKey: 'examples-master-key', webhookKey: 'examples-webhook-key' };
const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

const examples = [
  { name: 'express-app.js', args: ['express-app.js'], ready: /^ready on/ },
  { name: 'start-app.js', args: ['start-app.js'], ready: /^ready on/ },
  {
    name: 'parse-server.config.js',
    args: ['node_modules/parse-server/bin/parse-server', './parse-server.config.js'],
    ready: /parse-server running on/,
  },
];

let directory: string;
let receiver: Server;
let receiverUrl: string;
let program: ChildProgram | undefined;

/** A project beside this one, with the package as npm would install it and all else that is installed here. */
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'examples-'));
  const modules = join(directory, 'node_modules');
  const own = join(modules, 'parse-server-webhooks');
  await mkdir(own, { recursive: true });
  // Without one, Node takes the next in a folder above for this project's.
  await writeFile(join(directory, 'package.json'), '{ "name": "an-app", "private": true }\n');
  for (const entry of await readdir(installed)) await symlink(join(installed, entry), join(modules, entry));
  await cp(join(projectDirectory, 'package.json'), join(own, 'package.json'));
  await promisify(execFile)(process.execPath, [
    join(installed, 'typescript/bin/tsc'),
    '-p',
    join(projectDirectory, 'src'),
    '--outDir',
    join(own, 'dist'),
  ]);
  await cp(join(projectDirectory, 'docs/examples'), directory, { recursive: true });
  await cp(join(projectDirectory, 'docker'), join(directory, 'docker'), { recursive: true });
}, 120_000);

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

beforeEach(async () => {
  receiver = createSampleReceiver(secret, () => undefined).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  receiverUrl = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
});

afterEach(async () => {
  await program?.dispose();
  program = undefined;
  receiver.closeAllConnections();
  receiver.close();
  await once(receiver, 'close');
});

function start(args: readonly string[], environment: Record<string, string>): ChildProgram {
  program = startChildProgram({
    command: process.execPath,
    args,
    cwd: directory,
    environment: { PARSE_SERVER_LOGS_FOLDER: 'null', ...environment },
  });
  return program;
}

async function post(url: string, body: object, headers: Record<string, string> = {}): Promise<unknown> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'X-Parse-Application-Id': keys.appId, 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  return response.json();
}

async function expectSaveThroughHook(serverUrl: string): Promise<void> {
  const hook = { className: 'Puppy', triggerName: 'beforeSave', url: `${receiverUrl}/puppy`, secret };
  expect(
    await post(`${serverUrl}/hooks/triggers`, hook, { 'X-Parse-Master-Key': keys.masterKey }),
  ).toMatchObject(hook);
  const saved = await post(`${serverUrl}/classes/Puppy`, { name: 'rex', age: 2 });
  expect(saved).toMatchObject({ name: 'REX', objectId: expect.any(String) });
  const stored = await fetch(`${serverUrl}/classes/Puppy`, {
    headers: { 'X-Parse-Application-Id': keys.appId },
  });
  expect(await stored.json()).toMatchObject({ results: [{ name: 'REX', age: 2 }] });
  // The public router stands beside Parse and asks for no key.
  expect(await (await fetch(new URL('/webhooks/jwks.json', serverUrl))).json()).toEqual({ keys: [] });
}

describeOnDatabase('postgres', 'an example of the documentation', database => {
  let fresh: FreshDatabase;

  beforeEach(async () => {
    fresh = await database.create();
  });

  afterEach(async () => {
    await program?.dispose();
    await fresh.drop();
  });

  it.each(examples)('$name saves through a webhook and ends on SIGTERM', async ({ args, ready }) => {
    const port = await findFreePort();
    const example = start(args, {
      PORT: String(port),
      DATABASE_URI: fresh.databaseURI,
      APP_ID: keys.appId,
      MASTER_KEY: keys.masterKey,
      WEBHOOK_KEY: keys.webhookKey,
    });
    await example.waitForLine(ready);
    await expectSaveThroughHook(`http://127.0.0.1:${port}/parse`);
    example.kill('SIGTERM');
    expect(await example.exited).toEqual({ code: 0, signal: null });
    expect(example.stderr).toEqual([]);
  });

  it('docker/server.js saves through a webhook, runs the sample cloud code and ends on SIGTERM', async () => {
    const port = await findFreePort();
    const server = start(['docker/server.js'], {
      PORT: String(port),
      PARSE_SERVER_DATABASE_URI: fresh.databaseURI,
      PARSE_SERVER_APPLICATION_ID: keys.appId,
      PARSE_SERVER_MASTER_KEY: keys.masterKey,
      PARSE_SERVER_WEBHOOK_KEY: keys.webhookKey,
      PARSE_SERVER_ALLOW_CLIENT_CLASS_CREATION: 'true',
      PARSE_SERVER_CLOUD: './node_modules/parse-server-webhooks/dist/cloud/main.js',
    });
    await server.waitForLine(/^ready on/);
    const serverUrl = `http://127.0.0.1:${port}/parse`;
    await expectSaveThroughHook(serverUrl);
    expect(await post(`${serverUrl}/functions/puppyNames`, {})).toEqual({ result: ['REX'] });
    server.kill('SIGTERM');
    expect(await server.exited).toEqual({ code: 0, signal: null });
    expect(server.stderr).toEqual([]);
  });
});

describe('docker/server.js', () => {
  it.each([
    'PARSE_SERVER_DATABASE_URI',
    'PARSE_SERVER_APPLICATION_ID',
    'PARSE_SERVER_MASTER_KEY',
    'PARSE_SERVER_WEBHOOK_KEY',
  ])('does not start without %s', async missing => {
    const environment: Record<string, string> = {
      PARSE_SERVER_DATABASE_URI: 'postgres://127.0.0.1:1/x',
      PARSE_SERVER_APPLICATION_ID: 'a',
      PARSE_SERVER_MASTER_KEY: 'm',
      PARSE_SERVER_WEBHOOK_KEY: 'w',
      [missing]: '',
    };
    const server = start(['docker/server.js'], environment);
    expect(await server.exited).toEqual({ code: 1, signal: null });
    expect(server.stderr).toEqual([`${missing} is not set`]);
  });
});

describe('the package, packed and installed by npm', () => {
  let temporary: string;
  let tarball: string;
  let registry: Server;

  beforeAll(async () => {
    temporary = await mkdtemp(join(tmpdir(), 'package-'));
    // One that has Parse Server 9, as npm looks for a version that would do before it refuses another.
    const version = packageJson.devDependencies['parse-server'];
    registry = createServer((request, response) => {
      const dist = { tarball: `http://${request.headers.host ?? ''}/none.tgz` };
      response.statusCode = request.url === '/parse-server' ? 200 : 404;
      response.end(
        JSON.stringify({
          name: 'parse-server',
          'dist-tags': { latest: version },
          versions: { [version]: { name: 'parse-server', version, dist } },
        }),
      );
    }).listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const folder = join(temporary, 'package');
    await cp(join(directory, 'node_modules/parse-server-webhooks'), folder, { recursive: true });
    // Its dependencies stay out: the kit must not miss them, and no real registry is asked. The peers are judged.
    const manifest = { ...packageJson, dependencies: {}, devDependencies: {}, scripts: {} };
    await writeFile(join(folder, 'package.json'), JSON.stringify(manifest));
    const packed = await npm(folder, ['pack', '--pack-destination', temporary]);
    expect(packed.exit).toEqual({ code: 0, signal: null });
    tarball = join(temporary, `${packageJson.name}-${packageJson.version}.tgz`);
  });

  afterAll(async () => {
    registry.closeAllConnections();
    registry.close();
    await once(registry, 'close');
    await rm(temporary, { recursive: true, force: true });
  });

  async function npm(
    cwd: string,
    args: readonly string[],
  ): Promise<{ readonly exit: ProgramExit; readonly output: string }> {
    const run = startChildProgram({
      command: 'npm',
      args: [...args, '--no-audit', '--no-fund', '--no-update-notifier'],
      cwd,
      environment: {
        npm_config_cache: join(temporary, 'cache'),
        npm_config_registry: `http://127.0.0.1:${(registry.address() as AddressInfo).port}/`,
      },
    });
    const exit = await run.exited;
    return { exit, output: [...run.stdout, ...run.stderr].join('\n') };
  }

  /** A project of its own, with a Parse Server of some version or none. */
  async function createProject(name: string, serverVersion?: string): Promise<string> {
    const folder = join(temporary, name);
    const server = join(temporary, `parse-server-${serverVersion ?? ''}`);
    await mkdir(folder);
    if (serverVersion !== undefined) {
      await mkdir(server);
      const manifest = { name: 'parse-server', version: serverVersion };
      await writeFile(join(server, 'package.json'), JSON.stringify(manifest));
    }
    const dependencies = serverVersion === undefined ? {} : { 'parse-server': `file:${server}` };
    await writeFile(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies }));
    return folder;
  }

  it('brings no Parse Server along, and its receiver kit works without', async () => {
    const folder = await createProject('receiver');
    expect(await npm(folder, ['install', tarball])).toMatchObject({ exit: { code: 0, signal: null } });
    expect(await readdir(join(folder, 'node_modules'))).toEqual([
      '.bin',
      '.package-lock.json',
      'parse-server-webhooks',
    ]);
    expect(existsSync(join(folder, 'node_modules/parse-server-webhooks/dist/src/dev'))).toBe(false);
    await writeFile(
      join(folder, 'receiver.js'),
      "const { createReceiver } = require('parse-server-webhooks/receiver');\n" +
        `const receiver = createReceiver({ secret: '${secret}' }).define('hello', () => 'Hello!');\n` +
        "receiver.handle('{}', {}).then(({ status, body }) => console.log(status, body));\n",
    );
    const { stdout } = await promisify(execFile)(process.execPath, ['receiver.js'], { cwd: folder });
    expect(stdout).toMatch(/^401 \{"failure":\{"code":"missing-header",/);
  });

  it('is installed beside Parse Server 9, and refused by npm beside another', async () => {
    const fitting = await createProject('fitting', packageJson.devDependencies['parse-server']);
    expect(await npm(fitting, ['install', tarball])).toMatchObject({ exit: { code: 0, signal: null } });
    const former = await createProject('former', '8.6.0');
    const refused = await npm(former, ['install', tarball]);
    expect(refused.exit.code).toBe(1);
    expect(refused.output).toContain('ERESOLVE');
    expect(refused.output).toContain('parse-server@">=9.0.0 <10"');
    expect(await npm(former, ['install', '--legacy-peer-deps', tarball])).toMatchObject({
      exit: { code: 0, signal: null },
    });
  });
});
