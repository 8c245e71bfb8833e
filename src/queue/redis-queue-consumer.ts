// Takes ids from BullMQ's queue and hands them to the dispatcher in batches. A job is done once it was handed over: what
// the dispatcher has no room for stays due in the store.
import type { Worker } from 'bullmq';
import type { DeliveryQueueConsumer, QueueConnection } from '../events/delivery-queue';
import type { DeliveryRef, Dispatcher } from '../events/dispatching';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import { parseDeliveryJob } from './delivery-job';
import { messageOf, type RedisLink } from './redis-link';

export type JobProcessor = (job: { readonly data: unknown }) => Promise<void>;

export interface RedisQueueConsumerParts {
  readonly dispatcher: Pick<Dispatcher, 'acceptIds'>;
  readonly link: RedisLink;
  /** A worker of BullMQ over that link, not yet running. */
  readonly createWorker: (process: JobProcessor) => Worker;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Batch {
  readonly refs: DeliveryRef[];
  readonly ended: Promise<void>;
  readonly end: () => void;
}

/** How long ids are gathered, in milliseconds, and how many. */
const gatherMs = 2;
const batchSize = 200;
/** Longer a store that hangs does not keep jobs: they are done, and the rows still due. Milliseconds. */
const handOverMs = 10_000;
/** What close() waits for ids that were taken, in milliseconds. */
const closeMs = 1000;
/** Before a worker that ended by itself is replaced, in milliseconds. */
const againMs = 1000;

export class RedisQueueConsumer implements DeliveryQueueConsumer {
  readonly #parts: RedisQueueConsumerParts;
  readonly #handingOver = new Set<Promise<void>>();
  #worker: Worker | undefined;
  #gathering: Batch | undefined;
  #cancelTimer: (() => void) | undefined;
  #cancelRestart: (() => void) | undefined;
  #isClosed = false;

  constructor(parts: RedisQueueConsumerParts) {
    this.#parts = parts;
  }

  get connection(): QueueConnection {
    return this.#parts.link.isReady && this.#worker?.isRunning() === true ? 'connected' : 'disconnected';
  }

  start(): void {
    if (this.#isClosed || this.#worker !== undefined) return;
    const worker = this.#parts.createWorker(job => this.#process(job.data));
    this.#worker = worker;
    let lastError: unknown;
    // Jobs that are lost or stalled are no harm, and of the connection its own log tells.
    worker.on('error', error => (lastError = error));
    const ended = (): void => {
      if (this.#isClosed || this.#worker !== worker) return;
      const reason = messageOf(lastError);
      this.#parts.logger.warn(`webhooks queue: the worker ended by itself (${reason}) and is replaced`);
      this.#worker = undefined;
      worker.close(true).catch(() => undefined);
      this.#cancelRestart = this.#parts.clock.schedule(againMs, () => this.start());
    };
    worker.run().then(ended, ended);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelRestart?.();
    // Without waiting for Redis: a job that is taken and not completed is cleared away as stalled.
    await this.#worker?.pause(true).catch(() => undefined);
    this.#flush();
    await this.#within(closeMs, Promise.all(this.#handingOver));
    await this.#within(closeMs, this.#worker?.close(true).catch(() => undefined) ?? Promise.resolve());
    this.#parts.link.close();
  }

  #process(data: unknown): Promise<void> {
    const ref = parseDeliveryJob(data);
    if (ref === undefined || this.#isClosed) return Promise.resolve();
    this.#gathering ??= createBatch();
    const batch = this.#gathering;
    batch.refs.push(ref);
    if (batch.refs.length >= batchSize) this.#flush();
    else this.#cancelTimer ??= this.#parts.clock.schedule(gatherMs, () => this.#flush());
    return batch.ended;
  }

  #flush(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const batch = this.#gathering;
    this.#gathering = undefined;
    if (batch === undefined) return;
    const handing = this.#within(handOverMs, this.#parts.dispatcher.acceptIds(batch.refs)).then(() => {
      this.#handingOver.delete(handing);
      batch.end();
    });
    this.#handingOver.add(handing);
  }

  /** Waits no longer, and never fails: of a store that does, the dispatcher's claims tell. */
  async #within(limitMs: number, work: Promise<unknown>): Promise<void> {
    let cancel = (): void => undefined;
    const timeout = new Promise<void>(resolve => {
      cancel = this.#parts.clock.schedule(limitMs, resolve);
    });
    await Promise.race([work, timeout]).catch(() => undefined);
    cancel();
  }
}

function createBatch(): Batch {
  let end = (): void => undefined;
  const ended = new Promise<void>(resolve => {
    end = resolve;
  });
  return { refs: [], ended, end };
}
