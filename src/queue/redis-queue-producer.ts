// Puts the ids of new deliveries into BullMQ's queue, in bulks. What Redis does not take at once is dropped: nobody waits
// for it, and nothing of it is kept.
import type { Queue } from 'bullmq';
import type { DeliveryQueueProducer, QueueConnection } from '../events/delivery-queue';
import type { DeliveryRef } from '../events/dispatching';
import { jobName } from './delivery-job';
import { messageOf, type RedisLink } from './redis-link';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';

export interface RedisQueueProducerParts {
  readonly queue: Pick<Queue, 'addBulk' | 'getWaitingCount' | 'close'>;
  readonly link: RedisLink;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ids that wait in Redis; while there are more, for want of workers, none are added. About 750 bytes each. */
  readonly maxWaiting: number;
}

/** How long ids are gathered, in milliseconds, and how many. */
const gatherMs = 2;
const bulkSize = 500;
const bulksAtOnce = 4;
/** Ids in this process that wait for Redis. */
const maxGathered = 10_000;
/** How often the queue's length is asked for, in milliseconds. */
const measureMs = 1000;
/** What close() waits for bulks under way, in milliseconds. */
const closeMs = 1000;
/** With the job's fate its row in Redis goes: nothing is left there but what waits. */
const jobOptions = { removeOnComplete: true, removeOnFail: true, attempts: 1 };

export class RedisQueueProducer implements DeliveryQueueProducer {
  readonly #parts: RedisQueueProducerParts;
  #gathered: DeliveryRef[] = [];
  #bulks = new Set<Promise<void>>();
  #cancelTimer: (() => void) | undefined;
  #isClosed = false;
  /** Redis answers, but takes no jobs: out of memory, or a replica. */
  #isRefused = false;
  #isFull = false;
  #measuredAt = -Infinity;
  #measuring: Promise<void> = Promise.resolve();

  constructor(parts: RedisQueueProducerParts) {
    this.#parts = parts;
  }

  get connection(): QueueConnection {
    return this.#parts.link.isReady && !this.#isRefused ? 'connected' : 'disconnected';
  }

  offer(refs: readonly DeliveryRef[]): void {
    if (this.#isClosed || !this.#parts.link.isReady) return;
    const room = maxGathered - this.#gathered.length;
    for (const ref of refs.length > room ? refs.slice(0, room) : refs) this.#gathered.push(ref);
    if (this.#gathered.length >= bulkSize) this.#flush();
    else this.#cancelTimer ??= this.#parts.clock.schedule(gatherMs, () => this.#flush());
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { link, queue, clock } = this.#parts;
    this.#flush();
    let cancel = (): void => undefined;
    const timeout = new Promise<void>(resolve => {
      cancel = clock.schedule(closeMs, resolve);
    });
    await Promise.race([this.#drained(), timeout]);
    cancel();
    link.close();
    await queue.close().catch(() => undefined);
  }

  #flush(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    while (this.#gathered.length > 0 && this.#bulks.size < bulksAtOnce) {
      const refs = this.#gathered.splice(0, bulkSize);
      const adding = this.#add(refs).finally(() => {
        this.#bulks.delete(adding);
        if (this.#gathered.length > 0) this.#flush();
      });
      this.#bulks.add(adding);
    }
  }

  async #drained(): Promise<void> {
    while (this.#bulks.size > 0) await Promise.all(this.#bulks);
  }

  /** Never fails. */
  async #add(refs: readonly DeliveryRef[]): Promise<void> {
    const { queue, logger, link } = this.#parts;
    try {
      await this.#measure();
      if (this.#isFull) return;
      await queue.addBulk(
        refs.map(({ id, endpoint }) => ({ name: jobName, data: { id, endpoint }, opts: jobOptions })),
      );
      if (this.#isRefused) logger.info('webhooks queue: redis takes ids again');
      this.#isRefused = false;
    } catch (error) {
      // Of a connection that broke its own log tells.
      if (!link.isReady || this.#isClosed) return;
      if (!this.#isRefused) {
        logger.warn(
          `webhooks queue: redis takes no ids, workers find deliveries by polling: ${messageOf(error)}`,
        );
      }
      this.#isRefused = true;
    }
  }

  /** Looks at the queue's length now and then; bulks that begin meanwhile wait for it. */
  #measure(): Promise<void> {
    const now = this.#parts.clock.monotonicMs();
    if (now - this.#measuredAt >= measureMs) {
      this.#measuredAt = now;
      this.#measuring = this.#readLength();
    }
    return this.#measuring;
  }

  async #readLength(): Promise<void> {
    const { queue, logger, maxWaiting } = this.#parts;
    const isFull = (await queue.getWaitingCount()) >= maxWaiting;
    if (isFull && !this.#isFull) {
      logger.warn(
        `webhooks queue: ${maxWaiting} ids wait in redis, no more are added until workers take them`,
      );
    }
    if (!isFull && this.#isFull) logger.info('webhooks queue: workers take ids again');
    this.#isFull = isFull;
  }
}
