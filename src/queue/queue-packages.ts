// The optional packages of the queue, loaded when a queue is made: who uses none need not install them.
import { createRequire } from 'node:module';
import type * as bullmqPackage from 'bullmq';
import type * as ioredisPackage from 'ioredis';
import { WebhookError } from '../errors';

export interface QueuePackages {
  readonly Queue: typeof bullmqPackage.Queue;
  readonly Worker: typeof bullmqPackage.Worker;
  readonly Redis: typeof ioredisPackage.Redis;
}

/**
 * `load` finds a package by its name; by default as any import of this file would. Throws BROKEN_INSTALL that says what
 * to install.
 */
export function loadQueuePackages(
  load: (name: string) => unknown = createRequire(__filename),
): QueuePackages {
  const bullmq = attempt(load, 'bullmq');
  const { Redis } = attempt(load, 'ioredis') as Partial<QueuePackages>;
  const { Queue, Worker } = bullmq as Partial<QueuePackages>;
  if (typeof Queue !== 'function' || typeof Worker !== 'function') throw unusable('bullmq');
  if (typeof Redis !== 'function') throw unusable('ioredis');
  return { Queue, Worker, Redis };
}

function attempt(load: (name: string) => unknown, name: string): object {
  let loaded: unknown;
  try {
    loaded = load(name);
  } catch (cause) {
    throw unusable(name, cause);
  }
  // ioredis exports a class that has all its exports as properties.
  if ((typeof loaded !== 'object' && typeof loaded !== 'function') || loaded === null) throw unusable(name);
  return loaded;
}

function unusable(name: string, cause?: unknown): WebhookError {
  return new WebhookError(
    'BROKEN_INSTALL',
    `the option queue needs ${name}, which cannot be loaded: npm install bullmq@6 ioredis@5`,
    cause === undefined ? undefined : { cause },
  );
}
