// Redis for tests: the program that a run uses, and servers of a test's own that it kills, stops and starts again.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { findFreePort } from './child-program';
import { findProgram } from './find-program';
import type { StartedService } from './start-services';

const run = promisify(execFile);

/** Starts nothing but checks that it runs. Throws if there is none. */
export async function findRedisServer(): Promise<StartedService> {
  const given = process.env['REDIS_SERVER_PATH'];
  const isGiven = given !== undefined && given !== '';
  const path = findProgram(isGiven ? [given] : ['redis-server', 'valkey-server']);
  if (path === undefined) {
    throw new Error(
      isGiven
        ? `REDIS_SERVER_PATH is not a program: ${given}`
        : 'REDIS_SERVER_PATH is not set and neither redis-server nor valkey-server is on the PATH',
    );
  }
  const { stdout } = await run(path, ['--version'], { timeout: 30_000 });
  const version = /v=([\d.]+)/.exec(stdout)?.[1] ?? 'of unknown version';
  return { address: path, label: version, stop: async () => undefined };
}

export interface RedisServer {
  readonly port: number;
  /** Without credentials. */
  readonly url: string;
  /** Starts it, empty, on the same port as ever. */
  start(): Promise<void>;
  /** Ends it as a crash would. */
  kill(): Promise<void>;
  /** From now on it takes connections and answers nothing. */
  pause(): void;
  resume(): void;
  flushAll(): Promise<void>;
  /** All keys that it holds. */
  keys(): Promise<readonly string[]>;
  /** Ends it and removes its folder. */
  dispose(): Promise<void>;
}

/** Makes a server on a free port, without persistence; `start` runs it. `settings` are more of its arguments. */
export async function createRedisServer(
  program: string,
  settings: readonly string[] = [],
): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'parse-server-webhooks-redis-'));
  const port = await findFreePort();
  let child: ChildProcess | undefined;
  let ended: Promise<unknown> = Promise.resolve();
  const end = async (): Promise<void> => {
    child?.kill('SIGKILL');
    await ended;
    child = undefined;
  };
  const ask = async <T>(question: (client: Redis) => Promise<T>): Promise<T> => {
    const client = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: 3 });
    try {
      return await question(client);
    } finally {
      client.disconnect();
    }
  };
  return {
    port,
    url: `redis://127.0.0.1:${port}/0`,
    start: async () => {
      const started = spawn(
        program,
        [
          '--port',
          String(port),
          '--bind',
          '127.0.0.1',
          '--save',
          '',
          '--appendonly',
          'no',
          '--dir',
          folder,
          ...settings,
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      child = started;
      ended = once(started, 'exit');
      const lines = createInterface({ input: started.stdout });
      const printed: string[] = [];
      await new Promise<void>((resolve, reject) => {
        lines.on('line', line => {
          printed.push(line);
          if (/ready to accept connections/i.test(line)) resolve();
        });
        ended.then(() => reject(new Error(`redis does not start:\n${printed.join('\n')}`)), reject);
      });
    },
    kill: end,
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    flushAll: () =>
      ask(async client => {
        await client.flushall();
      }),
    keys: () => ask(client => client.keys('*')),
    dispose: async () => {
      await end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
