// What tests of dispatching share: endpoints that a test changes, deliveries, a ledger of what receivers got.
import type { AttemptEnded, AttemptObserver } from '../../src/events/dispatching';
import type { EndpointKey, NewDelivery } from '../../src/events/delivery';
import type { Endpoint, Endpoints } from '../../src/events/endpoint';
import { createSigner, parseSecret } from '../../src/http/webhook-signature';
import { createMessageId } from '../../src/shared/ids';
import { systemClock, type Clock } from '../../src/shared/clock';
import type { Logger } from '../../src/shared/logger';
import { Webhook } from 'standardwebhooks';
import { requestHeaders } from '../../src/wire/request-headers';
import type { ReceivedCall } from './webhook-receiver';

export const testSecret = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;

export interface EndpointFields extends Partial<Omit<Endpoint, 'sender'>> {
  /** Signs with it; `broken`: cannot sign. */
  readonly secret?: string;
}

/** Endpoints in the memory of a test. */
export class TestEndpoints implements Endpoints {
  readonly #endpoints = new Map<EndpointKey, Endpoint>();
  readonly #listeners = new Set<() => void>();
  /** What `refresh` brings, as another node would have written it. */
  readonly unseen = new Map<EndpointKey, EndpointFields>();
  refreshes = 0;

  find(key: EndpointKey): Endpoint | undefined {
    return this.#endpoints.get(key);
  }

  paused(): readonly EndpointKey[] {
    return [...this.#endpoints.values()].filter(({ isPaused }) => isPaused).map(({ key }) => key);
  }

  async refresh(): Promise<void> {
    this.refreshes += 1;
    for (const [key, fields] of this.unseen) this.set(key, fields);
    this.unseen.clear();
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Makes an endpoint, or changes the named fields of one. */
  set(key: EndpointKey, fields: EndpointFields): void {
    const { secret, ...rest } = fields;
    const known = this.#endpoints.get(key);
    const sender = secret === undefined && known ? () => known.sender() : createSender(secret ?? testSecret);
    this.#endpoints.set(key, {
      key,
      label: key,
      url: 'http://127.0.0.1:9/',
      isPaused: false,
      resumedAt: undefined,
      timeoutMs: 5000,
      concurrency: 16,
      retry: { scheduleMs: [20, 20, 20], jitter: 0 },
      ...known,
      ...rest,
      sender,
    });
    this.#tell();
  }

  remove(key: EndpointKey): void {
    this.#endpoints.delete(key);
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

function createSender(secret: string): Endpoint['sender'] {
  return () => {
    if (secret === 'broken') throw new Error('there is no key to sign with');
    const signer = createSigner({ secrets: [parseSecret(secret)], ed25519: [] });
    return {
      route: { key: 'plain' },
      headers: ({ webhookId, depth, body }) => {
        const timestamp = Math.floor(Date.now() / 1000);
        return {
          ...requestHeaders({ webhookId, depth, webhookKey: undefined, extra: {} }),
          'webhook-timestamp': String(timestamp),
          'webhook-signature': signer.sign(webhookId, timestamp, body),
        };
      },
    };
  };
}

/** Judged by the reference implementation of Standard Webhooks. */
export function isSignedWith(
  secret: string,
  { raw, headers }: Pick<ReceivedCall, 'raw' | 'headers'>,
): boolean {
  const textOf = (name: string): string => String(headers[name]);
  try {
    new Webhook(secret).verify(raw.toString(), {
      'webhook-id': textOf('webhook-id'),
      'webhook-timestamp': textOf('webhook-timestamp'),
      'webhook-signature': textOf('webhook-signature'),
    });
    return true;
  } catch {
    return false;
  }
}

let created = 0;

/** A delivery that is due; its id and webhookId are its own. */
export function newDelivery(endpoint: EndpointKey, fields: Partial<NewDelivery> = {}): NewDelivery {
  const now = Date.now();
  const id = `dlv_${createMessageId(systemClock).slice(4)}${++created}`;
  return {
    id,
    webhookId: `msg_${id}`,
    endpoint,
    type: 'object.create',
    className: 'Puppy',
    objectId: 'abc',
    body: `{"id":"${id}"}`,
    createdAt: now,
    nextAttemptAt: now,
    isTest: false,
    depth: 1,
    traceparent: undefined,
    ...fields,
  };
}

export function newDeliveries(
  count: number,
  endpoint: EndpointKey,
  fields: Partial<NewDelivery> = {},
): NewDelivery[] {
  return Array.from({ length: count }, () => newDelivery(endpoint, fields));
}

/** Hears of attempts, and lets a test wait for them. */
export class AttemptLedger implements AttemptObserver {
  readonly ended: AttemptEnded[] = [];
  readonly #waiting = new Set<() => void>();

  attemptEnded(ended: AttemptEnded): void {
    this.ended.push(ended);
    for (const wake of [...this.#waiting]) wake();
  }

  /** How often each delivery was attempted. */
  countById(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { delivery } of this.ended) counts.set(delivery.id, (counts.get(delivery.id) ?? 0) + 1);
    return counts;
  }

  of(endpoint: EndpointKey): readonly AttemptEnded[] {
    return this.ended.filter(({ delivery }) => delivery.endpoint === endpoint);
  }

  /** Resolves once `isTrue` is. */
  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) {
      await new Promise<void>(resolve => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }
}

/** Keeps what was logged. */
export class RecordingLogger implements Logger {
  readonly lines: string[] = [];

  info(message: string): void {
    this.lines.push(`info ${message}`);
  }

  warn(message: string): void {
    this.lines.push(`warn ${message}`);
  }

  error(message: string): void {
    this.lines.push(`error ${message}`);
  }

  matching(pattern: RegExp): readonly string[] {
    return this.lines.filter(line => pattern.test(line));
  }
}

/** The system's clock, whose wall clock a test may set. */
export class SteppableClock implements Clock {
  offsetMs = 0;

  now(): number {
    return systemClock.now() + this.offsetMs;
  }

  monotonicMs(): number {
    return systemClock.monotonicMs();
  }

  schedule(delayMs: number, task: () => void): () => void {
    return systemClock.schedule(delayMs, task);
  }

  randomBytes(size: number): Buffer {
    return systemClock.randomBytes(size);
  }
}
