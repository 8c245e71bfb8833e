// Composes the two ends of the queue on Redis or Valkey: BullMQ over connections of its own.
import type { DeliveryQueueConsumer, DeliveryQueueProducer } from '../events/delivery-queue';
import type { Dispatcher } from '../events/dispatching';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import { queueName } from './delivery-job';
import { loadQueuePackages } from './queue-packages';
import { parseRedisAddress } from './redis-address';
import { RedisLink } from './redis-link';
import { RedisQueueConsumer } from './redis-queue-consumer';
import { RedisQueueProducer } from './redis-queue-producer';

export interface RedisQueueOptions {
  /** `redis://user:password@host:6379/0`, or `rediss://` for TLS. Never logged. */
  readonly redis: string;
  /** In front of all keys; applications that share a Redis need one each. */
  readonly prefix: string;
  /** Ids that may wait in Redis, about 750 bytes each. Default 100000. */
  readonly maxWaiting?: number;
  /** After one to two times so long without an answer a connection is made anew, in milliseconds. Default 5000. */
  readonly heartbeatMs?: number;
}

export interface RedisQueueParts {
  readonly options: RedisQueueOptions;
  readonly clock: Clock;
  readonly logger: Logger;
}

const defaultHeartbeatMs = 5000;
const defaultMaxWaiting = 100_000;
/** Ids handed over at once; the same number of jobs is under way in BullMQ. */
const concurrency = 500;
/** Events that BullMQ keeps for listeners, of whom there are none. */
const keptEvents = 100;
/** After it a job whose worker is gone is cleared away, in milliseconds. */
const stalledMs = 30_000;

/** The end in processes that save. Throws INVALID_OPTION, or BROKEN_INSTALL when a package is missing; connects later. */
export function createRedisProducer({ options, clock, logger }: RedisQueueParts): DeliveryQueueProducer {
  const address = parseRedisAddress(options.redis);
  const packages = loadQueuePackages();
  const link = new RedisLink({
    packages,
    address,
    clock,
    logger,
    heartbeatMs: options.heartbeatMs ?? defaultHeartbeatMs,
    whileAway: 'fail',
    meanwhile: 'workers find deliveries by polling',
  });
  const queue = new packages.Queue(queueName, {
    connection: link.client,
    prefix: options.prefix,
    streams: { events: { maxLen: keptEvents } },
    // Neither asks Redis anything: BullMQ keeps a first failure for ever.
    skipWaitingForReady: true,
    skipVersionCheck: true,
  });
  queue.on('error', () => undefined);
  return new RedisQueueProducer({
    queue,
    link,
    clock,
    logger,
    maxWaiting: options.maxWaiting ?? defaultMaxWaiting,
  });
}

/** The end in processes that deliver. Throws as createRedisProducer does; connects at once, takes from start() on. */
export function createRedisConsumer({
  options,
  clock,
  logger,
  dispatcher,
}: RedisQueueParts & { readonly dispatcher: Pick<Dispatcher, 'acceptIds'> }): DeliveryQueueConsumer {
  const address = parseRedisAddress(options.redis);
  const packages = loadQueuePackages();
  const link = new RedisLink({
    packages,
    address,
    clock,
    logger,
    heartbeatMs: options.heartbeatMs ?? defaultHeartbeatMs,
    whileAway: 'wait',
    meanwhile: 'deliveries are found by polling',
  });
  return new RedisQueueConsumer({
    dispatcher,
    link,
    clock,
    logger,
    createWorker: process =>
      new packages.Worker(queueName, process, {
        connection: link.client,
        prefix: options.prefix,
        autorun: false,
        concurrency,
        skipVersionCheck: true,
        lockDuration: stalledMs,
        stalledInterval: stalledMs,
        // A job that stalled has been handed over or is still due in the store: it need not come again.
        maxStalledCount: 0,
        removeOnComplete: { count: 0 },
        removeOnFail: { count: 0 },
        runRetryDelay: 1000,
      }),
  });
}
