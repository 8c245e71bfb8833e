// Both ways to bring deliveries out, composed for tests: all in one process, or servers that queue ids in Redis and
// workers that take them. Either way every node has an outbox; who delivers differs.
import type { DeliveryQueueConsumer, DeliveryQueueProducer } from '../../src/events/delivery-queue';
import type { DeliveryStore } from '../../src/events/delivery-store';
import type { AttemptObserver, DeliveryRef, Dispatcher } from '../../src/events/dispatching';
import { InProcessDispatcher } from '../../src/events/dispatcher';
import { Outbox } from '../../src/events/outbox';
import type { Endpoints } from '../../src/events/endpoint';
import { createExchangeClient } from '../../src/http/undici-client';
import {
  createRedisConsumer,
  createRedisProducer,
  type RedisQueueOptions,
} from '../../src/queue/redis-queue';
import { systemClock } from '../../src/shared/clock';
import type { Logger } from '../../src/shared/logger';

export interface FleetParts {
  readonly store: DeliveryStore;
  readonly endpoints: Endpoints;
  readonly observer: AttemptObserver;
  readonly logger: Logger;
  /** Longest time between looks into the store, in milliseconds. */
  readonly pollMs: number;
}

export interface Fleet {
  /** Of the process that saves. */
  readonly outbox: Outbox;
  /** Names deliveries to those who deliver, whoever wrote them. */
  readonly announce: (refs: readonly DeliveryRef[]) => Promise<void>;
  /** One more that delivers. */
  addDeliverer(): Promise<Deliverer>;
  stop(): Promise<void>;
}

export interface Deliverer {
  readonly dispatcher: InProcessDispatcher;
  readonly consumer: DeliveryQueueConsumer | undefined;
  /** Ids that a queue handed over. */
  readonly taken: ReadonlySet<string>;
  /** Attempts that take longer than `drainTimeoutMs`, by default 200, are cut off, and made again by others. */
  stop(drainTimeoutMs?: number): Promise<void>;
}

export interface RedisFleet extends Fleet {
  readonly producer: DeliveryQueueProducer;
}

let nodes = 0;

async function startDeliverer(
  { store, endpoints, observer, logger, pollMs }: FleetParts,
  createConsumer?: (dispatcher: Pick<Dispatcher, 'acceptIds'>) => DeliveryQueueConsumer,
): Promise<Deliverer> {
  const clock = systemClock;
  const client = createExchangeClient({ clock });
  const node = `node-${++nodes}`;
  const dispatcher = new InProcessDispatcher({
    ...{ store, endpoints, client, clock, logger, node, observer },
    options: { pollMs },
  });
  await dispatcher.start();
  const taken = new Set<string>();
  const consumer = createConsumer?.({
    acceptIds: refs => {
      for (const { id } of refs) taken.add(id);
      return dispatcher.acceptIds(refs);
    },
  });
  consumer?.start();
  let stopping: Promise<void> | undefined;
  const stop = async (drainTimeoutMs: number): Promise<void> => {
    await consumer?.close();
    await dispatcher.stop(drainTimeoutMs);
    await client.close();
  };
  return { dispatcher, consumer, taken, stop: (drainTimeoutMs = 200) => (stopping ??= stop(drainTimeoutMs)) };
}

/** Who saves delivers. */
export async function startInProcessFleet(parts: FleetParts): Promise<Fleet> {
  const deliverers = [await startDeliverer(parts)];
  const [first] = deliverers as [Deliverer];
  const { store, logger } = parts;
  const outbox = new Outbox({ store, clock: systemClock, logger, dispatcher: first.dispatcher });
  return {
    outbox,
    announce: refs => first.dispatcher.acceptIds(refs),
    addDeliverer: async () => {
      const added = await startDeliverer(parts);
      deliverers.push(added);
      return added;
    },
    stop: async () => {
      await outbox.stop(1000);
      await Promise.all(deliverers.map(each => each.stop()));
    },
  };
}

/** A process that saves and queues ids; deliverers are to be added. */
export function createRedisFleet(
  parts: FleetParts,
  queue: Partial<RedisQueueOptions> & Pick<RedisQueueOptions, 'redis'>,
): RedisFleet {
  const { store, logger } = parts;
  const clock = systemClock;
  const options = { prefix: 'test', ...queue };
  const producer = createRedisProducer({ options, clock, logger });
  const deliverers: Deliverer[] = [];
  const outbox = new Outbox({ store, clock, logger, onInserted: refs => producer.offer(refs) });
  return {
    outbox,
    producer,
    announce: async refs => producer.offer(refs),
    addDeliverer: async () => {
      const added = await startDeliverer(parts, dispatcher =>
        createRedisConsumer({ options, clock, logger, dispatcher }),
      );
      deliverers.push(added);
      return added;
    },
    stop: async () => {
      await outbox.stop(1000);
      await producer.close();
      await Promise.all(deliverers.map(each => each.stop()));
    },
  };
}
