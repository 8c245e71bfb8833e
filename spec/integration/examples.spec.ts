// The examples of docs/ and the server of docker/, each run as its user would: a real process, in a project whose
// node_modules holds the built package, on a real database, answering a save through a webhook.
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createSampleReceiver } from '../../src/dev/sample-receiver';
import { findFreePort, startChildProgram, type ChildProgram } from '../support/child-program';
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';

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
