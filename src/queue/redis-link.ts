// One connection to Redis that comes back by itself, whatever became of the other end, and logs when it goes and comes.
import type { Redis, RedisOptions } from 'ioredis';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { QueuePackages } from './queue-packages';
import type { RedisAddress } from './redis-address';

export interface RedisLinkParts {
  readonly packages: Pick<QueuePackages, 'Redis'>;
  readonly address: RedisAddress;
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * `fail`: commands fail at once while Redis is away, and those under way when it goes; `wait`: they are sent again,
   * as BullMQ's worker needs it.
   */
  readonly whileAway: 'fail' | 'wait';
  /** What goes on without Redis, for the log. */
  readonly meanwhile: string;
  /** A server that answers nothing for so long, stopped or behind a dead network, counts as gone; in milliseconds. */
  readonly heartbeatMs: number;
}

/** Longest wait before it connects again, in milliseconds. */
const longestRetryMs = 2000;
/** What a closing socket may take before it is destroyed: a stopped server never answers its end. Milliseconds. */
const disconnectMs = 500;

export class RedisLink {
  readonly client: Redis;
  readonly #parts: RedisLinkParts;
  /** Undefined until the first connection or failure. */
  #isUp: boolean | undefined;
  #lastError = 'no answer';
  #isClosed = false;
  #isAnswered = true;
  #cancelHeartbeat: () => void = () => undefined;

  constructor(parts: RedisLinkParts) {
    this.#parts = parts;
    this.client = new parts.packages.Redis(optionsOf(parts));
    this.client.on('ready', () => this.#up());
    this.client.on('close', () => this.#down());
    // The reason of the `close` that follows, or of a failure to log in, after which the server is of no use either.
    this.client.on('error', (error: unknown) => {
      this.#lastError = messageOf(error);
    });
    this.#planHeartbeat();
  }

  get isReady(): boolean {
    return this.client.status === 'ready';
  }

  /** Does not wait for the server. */
  close(): void {
    this.#isClosed = true;
    this.#cancelHeartbeat();
    this.client.disconnect();
  }

  #up(): void {
    if (this.#isUp !== true) this.#parts.logger.info(`webhooks queue: connected to ${this.#name}`);
    this.#isUp = true;
    this.#isAnswered = true;
  }

  #down(): void {
    if (this.#isClosed) return;
    if (this.#isUp !== false) {
      const { logger, meanwhile } = this.#parts;
      logger.warn(`webhooks queue: ${this.#name} is away (${this.#lastError}); ${meanwhile}`);
    }
    this.#isUp = false;
    this.#isAnswered = true;
  }

  #planHeartbeat(): void {
    this.#cancelHeartbeat = this.#parts.clock.schedule(this.#parts.heartbeatMs, () => {
      this.#beat();
      this.#planHeartbeat();
    });
  }

  #beat(): void {
    const { status } = this.client;
    if (status !== 'ready' && status !== 'connect') return;
    if (!this.#isAnswered) {
      this.#lastError = `no answer within ${this.#parts.heartbeatMs} ms`;
      this.client.disconnect(true);
      return;
    }
    this.#isAnswered = false;
    // Connected and not ready: what is asked before that has no answer yet.
    if (status === 'connect') return;
    const answered = (): void => {
      this.#isAnswered = true;
    };
    this.client.ping().then(answered, answered);
  }

  get #name(): string {
    return `redis ${this.#parts.address.label}`;
  }
}

function optionsOf({ address, whileAway }: RedisLinkParts): RedisOptions {
  const { host, port, db, username, password, isTls } = address;
  return {
    host,
    port,
    db,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(isTls && { tls: {} }),
    connectTimeout: 5000,
    disconnectTimeout: disconnectMs,
    keepAlive: 10_000,
    retryStrategy: times => Math.min(longestRetryMs, 50 * times),
    ...(whileAway === 'fail'
      ? { enableOfflineQueue: false, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 }
      : { maxRetriesPerRequest: null }),
  };
}

/** Without what ioredis puts beside the message: the command, and with it perhaps a password. */
export function messageOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return 'unknown error';
  // A refused connection to each address of a name.
  if ('errors' in error && Array.isArray(error.errors)) return error.errors.map(messageOf).join(', ');
  return 'message' in error ? String(error.message) : 'unknown error';
}
