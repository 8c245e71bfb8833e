// A Redis without persistence, for the Redis dispatcher and for the floor of its queue.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface RedisServer {
  /** Over TCP. */
  readonly url: string;
  stop(): Promise<void>;
}

/** Throws when there is no redis-server on the PATH. */
export async function startRedis(): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), 'webhooks-bench-redis-'));
  const port = await findFreePort();
  const child = spawn(
    'redis-server',
    [
      ...['--port', String(port), '--bind', '127.0.0.1'],
      ...['--save', '', '--appendonly', 'no', '--dir', folder],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const clean = (): void => rmSync(folder, { recursive: true, force: true });
  const ready = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', code => reject(new Error(`redis-server ended with ${String(code)}`)));
    createInterface({ input: child.stdout }).on('line', line => {
      if (/ready to accept connections/i.test(line)) resolve();
    });
  });
  try {
    await ready;
  } catch (error) {
    clean();
    throw error;
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, 'exit');
        child.kill('SIGTERM');
        await ended;
      }
      clean();
    },
  };
}

/** Redis cannot choose one itself. */
async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
