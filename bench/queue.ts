// No-op jobs on BullMQ: added in bulks of a hundred and worked off in the same process. What is used of BullMQ is written
// down here: its PostgreSQL backend comes without types.
import { createRequire } from 'node:module';
import { z } from 'zod';
import { readSettings, serve } from './processes';
import { queueProtocol, queueSettingsShape } from './queue-protocol';

interface Queue {
  waitUntilReady(): Promise<unknown>;
  addBulk(
    jobs: readonly { readonly name: string; readonly data: object; readonly opts: object }[],
  ): Promise<unknown>;
  close(): Promise<void>;
}
interface Worker {
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
}
interface Bullmq {
  readonly Queue: new (name: string, options: object) => Queue;
  readonly Worker: new (name: string, work: () => Promise<void>, options: object) => Worker;
  setDefaultBackendFactory(factory: unknown): void;
  readonly createPostgresBackend: unknown;
  runMigrations(pool: unknown): Promise<unknown>;
}

const callable = z.custom<never>(value => typeof value === 'function');
const bullmqShape = z.object({
  Queue: callable,
  Worker: callable,
  setDefaultBackendFactory: callable,
  createPostgresBackend: callable,
  runMigrations: callable,
});

const bulk = 100;
const name = 'bench';

function loadBullmq(): Bullmq | undefined {
  try {
    return bullmqShape.parse(createRequire(__filename)('bullmq'));
  } catch {
    return undefined;
  }
}

async function main(): Promise<void> {
  const settings = readSettings(queueSettingsShape);
  const bullmq = loadBullmq();
  if (bullmq === undefined) {
    serve(queueProtocol, { missing: 'bullmq is not installed' }, { answer: fail, stop: () => undefined });
    return;
  }
  const connection =
    settings.kind === 'redis' ? { url: settings.url } : { connectionString: settings.uri, migrate: true };
  if (settings.kind === 'postgres') bullmq.setDefaultBackendFactory(bullmq.createPostgresBackend);
  let processed = 0;
  let onProcessed = (): void => undefined;
  const queue = new bullmq.Queue(name, { connection });
  await queue.waitUntilReady();
  const worker = new bullmq.Worker(
    name,
    async () => {
      processed += 1;
      onProcessed();
    },
    { connection, concurrency: 64 },
  );
  await worker.waitUntilReady();
  serve(
    queueProtocol,
    {},
    {
      answer: async ({ jobs }) => {
        processed = 0;
        const done = new Promise<void>(resolve => {
          onProcessed = () => {
            if (processed === jobs) resolve();
          };
        });
        const cpuBefore = process.cpuUsage();
        const startedAt = performance.now();
        for (let added = 0; added < jobs; added += bulk) {
          const size = Math.min(bulk, jobs - added);
          const job = { name, data: { id: 'dlv_01' }, opts: { removeOnComplete: true } };
          await queue.addBulk(Array.from({ length: size }, () => job));
        }
        await done;
        const { user, system } = process.cpuUsage(cpuBefore);
        return { elapsedMs: performance.now() - startedAt, cpuUs: user + system, processed };
      },
      stop: async () => {
        await worker.close();
        await queue.close();
      },
    },
  );
}

function fail(): never {
  throw new Error('bullmq is not installed');
}

void main();
