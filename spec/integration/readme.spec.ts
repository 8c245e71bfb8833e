// Runs the receivers of README.md as processes and has a real Parse Server call them.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { findProgram } from '../support/find-program';
import { startParseApplication, type ParseApplication } from '../support/parse-application';

const readme = readFileSync(resolve(__dirname, '../../README.md'), 'utf8');

/** The code block of a language that listens. */
function receiverIn(language: string): string {
  const blocks = [...readme.matchAll(/```(\w+)\n([\s\S]*?)```/g)];
  const block = blocks.find(([, name, code]) => name === language && /PORT/.test(code ?? ''));
  if (block?.[2] === undefined) throw new Error(`README has no receiver in ${language}`);
  return block[2];
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  server.close();
  await once(server, 'close');
  return address.port;
}

/** Resolves when something listens; throws when the process ends before. */
async function listening(port: number, child: ChildProcess): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the receiver ended with ${child.exitCode}`);
    const socket = connect(port, '127.0.0.1');
    const open = await new Promise<boolean>(done => {
      socket.once('connect', () => done(true)).once('error', () => done(false));
    });
    socket.destroy();
    if (open) return;
    await new Promise(done => setTimeout(done, 20));
  }
}

const languages = [
  { name: 'js', file: 'receiver.cjs', program: 'node', arguments: [] },
  { name: 'python', file: 'receiver.py', program: 'python3', arguments: [] },
  { name: 'go', file: 'receiver.go', program: 'go', arguments: ['run'] },
];

describeOnDatabase('postgres', 'the receiver of README.md', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'readme-'));
    fresh = await database.create();
    parse = await startParseApplication({ database: fresh });
  });

  afterAll(async () => {
    await parse.stop();
    await fresh.drop();
    rmSync(folder, { recursive: true });
  });

  for (const { name, file, program, arguments: args } of languages) {
    const available = findProgram([program]) !== undefined;
    (available ? it : it.skip)(`does in ${name} what it says`, async () => {
      const path = join(folder, file);
      writeFileSync(path, receiverIn(name));
      const port = await findFreePort();
      const child = spawn(program, [...args, path], {
        env: { ...process.env, PORT: String(port) },
        stdio: 'ignore',
        detached: true,
      });
      const ended = once(child, 'exit');
      try {
        await listening(port, child);
        const className = `Puppy_${name}`;
        await parse.registerHook({ className, triggerName: 'beforeSave', url: `http://127.0.0.1:${port}/` });
        const saved = await parse.client('POST', `/classes/${className}`, {
          body: { name: ' Spot ', colour: 'red' },
        });
        expect(saved).toMatchObject({ status: 201, body: { name: 'Spot' } });
        const stored = await parse.client('GET', `/classes/${className}/${saved.body.objectId}`);
        expect(stored.body).toMatchObject({ name: 'Spot', colour: 'red' });
        const nameless = await parse.client('POST', `/classes/${className}`, { body: { age: 1 } });
        expect(nameless).toMatchObject({ status: 201, body: { name: '' } });
        const refused = await parse.client('POST', `/classes/${className}`, {
          body: { name: 'Spot', age: -1 },
        });
        expect(refused).toMatchObject({ status: 400, body: { code: 141, error: 'a puppy has an age' } });
      } finally {
        // The group: `go run` starts the program it built.
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
        await ended;
      }
    });
  }
});
