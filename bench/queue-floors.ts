// The floors of a queue: no-op jobs of BullMQ on Redis and PostgreSQL, where they can be had.
import { assertClosed } from './ledger';
import { queueProtocol } from './queue-protocol';
import type { RedisServer } from './redis';
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
export async function queueFloors(
  scene: Scene,
  redis: RedisServer | undefined,
): Promise<readonly QueueFloor[]> {
  const floors: QueueFloor[] = [];
  const onPostgres = await openFloor(scene, 'no-op jobs of BullMQ on PostgreSQL', async () => ({
    settings: { kind: 'postgres', uri: await scene.databases.create('postgres') },
    stop: async () => undefined,
  }));
  if (onPostgres) floors.push(onPostgres);
  // The dispatcher's own Redis, as it is reached by the dispatcher.
  if (redis) {
    const onRedis = await openFloor(scene, 'no-op jobs of BullMQ on Redis', async () => ({
      settings: { kind: 'redis', url: redis.url },
      stop: async () => undefined,
    }));
    if (onRedis) floors.push(onRedis);
  }
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
