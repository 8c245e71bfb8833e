// The floors of a queue: no-op jobs of BullMQ on Redis and PostgreSQL, where they can be had.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { assertClosed } from './ledger';
import { queueProtocol } from './queue-protocol';
import type { Scene } from './scene';

export interface QueueSample {
  readonly jobsPerSecond: number;
  readonly cpuPerJobUs: number;
}

export interface QueueFloor {
  readonly name: string;
  measure(jobs: number): Promise<QueueSample>;
  stop(): Promise<void>;
}

/** Those that can run here; the others are skipped visibly. */
export async function queueFloors(scene: Scene): Promise<readonly QueueFloor[]> {
  const floors: QueueFloor[] = [];
  const onPostgres = await openFloor(scene, 'no-op jobs of BullMQ on PostgreSQL', async () => ({
    settings: { kind: 'postgres', uri: await scene.databases.create('postgres') },
    stop: async () => undefined,
  }));
  if (onPostgres) floors.push(onPostgres);
  const onRedis = await openFloor(scene, 'no-op jobs of BullMQ on Redis', async () => {
    const redis = await startRedis();
    return { settings: { kind: 'redis', socketPath: redis.socketPath }, stop: () => redis.stop() };
  });
  if (onRedis) floors.push(onRedis);
  return floors;
}

interface Service {
  readonly settings: object;
  stop(): Promise<void>;
}

async function openFloor(
  scene: Scene,
  name: string,
  open: () => Promise<Service>,
): Promise<QueueFloor | undefined> {
  let service: Service | undefined;
  try {
    service = await open();
    const child = await scene.startProcess('queue', queueProtocol, service.settings);
    const stopAll = async (): Promise<void> => {
      await child.stop();
      await service?.stop();
    };
    if (child.ready.missing !== undefined) {
      scene.skip(`floor: ${name}`, child.ready.missing);
      await stopAll();
      return undefined;
    }
    return {
      name,
      measure: async jobs => {
        const { elapsedMs, cpuUs, processed } = await child.ask({ jobs });
        assertClosed(name, [{ what: 'jobs were done', expected: jobs, found: processed }]);
        return { jobsPerSecond: (jobs / elapsedMs) * 1000, cpuPerJobUs: cpuUs / jobs };
      },
      stop: stopAll,
    };
  } catch (error) {
    await service?.stop();
    scene.skip(`floor: ${name}`, error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** Without persistence, on a socket of its own. Throws when there is no redis-server on the PATH. */
async function startRedis(): Promise<{ readonly socketPath: string; stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'webhooks-bench-redis-'));
  const socketPath = join(folder, 'redis.sock');
  const child = spawn(
    'redis-server',
    ['--port', '0', '--unixsocket', socketPath, '--save', '', '--appendonly', 'no', '--dir', folder],
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
    socketPath,
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
