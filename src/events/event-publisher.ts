// Custom events: checked, turned into deliveries, and published once per idempotency key.
import { createHash } from 'node:crypto';
import { WebhookError } from '../errors';
import { describe } from '../hooks/hook-settings';
import type { Clock } from '../shared/clock';
import { formatId } from '../shared/ids';
import { isJsonObject, type JsonObject } from '../shared/json';
import { findJsonHazard } from '../shared/json-safety';
import { maxDepth } from '../wire/request-headers';
import type { NewDelivery } from './delivery';
import { DeliveryStoreError } from './delivery-store-error';
import type { DeliveryIntake } from './dispatching';
import type { EventKeyStore } from './event-key-store';
import { isCustomEventType } from './event-types';
import type { CustomEvent } from './object-change';

/** Bytes of `data` as JSON. */
export const maxEventBytes = 256 * 1024;
/** Containers inside one another in `data`. */
const maxEventDepth = 100;
/** How long a key is remembered, in milliseconds. */
export const eventKeyLifeMs = 24 * 3_600_000;
const purgeEveryMs = 3_600_000;

export interface EventPublisherParts {
  readonly matcher: { ofCustom(event: CustomEvent): readonly NewDelivery[] };
  readonly intake: DeliveryIntake;
  readonly keys: EventKeyStore;
  readonly clock: Clock;
  /** The trace in which the caller is, as W3C Trace Context writes it. */
  readonly currentTraceparent?: () => string | undefined;
  /** How many webhooks lead to what is published now: 1, the default, for a client's own. */
  readonly currentDepth?: () => number;
}

export interface PublishOptions {
  /** 1..255 printable US-ASCII characters, remembered for 24 h. */
  readonly idempotencyKey?: string;
}

export interface PublishedEvent {
  readonly eventId: string;
  /** How many subscriptions it goes to. */
  readonly deliveries: number;
  /** Another call has published it under the same key, or had begun to. */
  readonly repeated: boolean;
}

export class EventPublisher {
  readonly #parts: EventPublisherParts;
  #purgeAt = 0;

  constructor(parts: EventPublisherParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when the deliveries are durable. `type`: `custom.` and a dotted name, at most 128 characters; `data`: a JSON
   * object of at most 256 KiB. With a key that was used in the last 24 h nothing is published again. Throws INVALID_EVENT,
   * which names the field, also for a key that was used for another event, and for more than 5 webhooks in a row; and what the intake throws.
   */
  async publish(type: string, data: unknown, options: PublishOptions = {}): Promise<PublishedEvent> {
    const { clock, matcher, currentTraceparent, currentDepth } = this.#parts;
    if (typeof type !== 'string' || !isCustomEventType(type)) {
      throw invalid(
        `type must be custom. and a dotted name of letters, digits, _ and -, at most 128 characters, got ${describe(type)}`,
      );
    }
    const depth = currentDepth?.() ?? 1;
    if (depth > maxDepth)
      throw invalid(
        `a webhook led to this event, and others to that: ${depth} deep, ${maxDepth} is the most`,
      );
    const at = clock.now();
    const event = { type, data: parseData(data), at, depth, traceparent: currentTraceparent?.() };
    const eventId = formatId('evt_', at, clock.randomBytes(16));
    const { idempotencyKey } = options;
    if (idempotencyKey !== undefined) return this.#publishOnce(event, eventId, idempotencyKey);
    const deliveries = matcher.ofCustom(event);
    if (deliveries.length > 0) await this.#record(deliveries);
    return { eventId, deliveries: deliveries.length, repeated: false };
  }

  async #publishOnce(event: CustomEvent, eventId: string, key: string): Promise<PublishedEvent> {
    const { keys } = this.#parts;
    if (typeof key !== 'string' || !/^[\x20-\x7e]{1,255}$/.test(key))
      throw invalid(`Idempotency-Key must be 1..255 printable US-ASCII characters, got ${describe(key)}`);
    await this.#purge(event.at);
    const claimed = {
      id: sha256(key).toString('hex').slice(0, 40),
      eventId,
      digest: digestOf(event),
      at: event.at,
    };
    let stored = await keys.claim(claimed);
    if (stored && stored.at < event.at - eventKeyLifeMs) {
      await keys.remove(stored.id, stored.at);
      stored = await keys.claim(claimed);
    }
    if (stored && stored.digest !== claimed.digest)
      throw invalid('Idempotency-Key was used for another event in the last 24 h');
    if (stored?.deliveries !== undefined)
      return { eventId: stored.eventId, deliveries: stored.deliveries, repeated: true };
    // Under way elsewhere, or a crash came between: the same ids again, so nothing goes out twice.
    const first = stored ?? claimed;
    const deliveries = this.#pinned({ ...event, at: first.at }, first.eventId);
    await this.#add(deliveries);
    await keys.finish(claimed.id, deliveries.length);
    return { eventId: first.eventId, deliveries: deliveries.length, repeated: stored !== undefined };
  }

  /** Deliveries whose ids follow from the event and the endpoint alone. */
  #pinned(event: CustomEvent, eventId: string): readonly NewDelivery[] {
    return this.#parts.matcher.ofCustom(event).map(delivery => {
      const bytes = sha256(`${eventId}/${delivery.endpoint}`).subarray(0, 16);
      return {
        ...delivery,
        id: formatId('dlv_', event.at, bytes),
        webhookId: formatId('msg_', event.at, bytes),
      };
    });
  }

  async #add(deliveries: readonly NewDelivery[]): Promise<void> {
    if (deliveries.length === 0) return;
    try {
      await this.#record(deliveries);
    } catch (error) {
      if (!isRepeatedId(error)) throw error;
      // Another try of this event stored some of them: one that is there already has kept the others out.
      await Promise.all(deliveries.map(delivery => this.#addOne(delivery)));
    }
  }

  async #addOne(delivery: NewDelivery): Promise<void> {
    try {
      await this.#record([delivery]);
    } catch (error) {
      if (!isRepeatedId(error)) throw error;
    }
  }

  /** The intake speaks of objects that were saved. */
  async #record(deliveries: readonly NewDelivery[]): Promise<void> {
    try {
      await this.#parts.intake.add(deliveries);
    } catch (cause) {
      if (!(cause instanceof WebhookError) || cause.code !== 'STORE_FAILED') throw cause;
      throw new WebhookError('STORE_FAILED', 'the event could not be recorded', { cause });
    }
  }

  async #purge(now: number): Promise<void> {
    if (now < this.#purgeAt) return;
    this.#purgeAt = now + purgeEveryMs;
    await this.#parts.keys.purge(now - eventKeyLifeMs);
  }
}

function parseData(data: unknown): JsonObject {
  const text = textOf(data);
  // A copy: what a caller changes later is not what was published.
  const copy: unknown = text === undefined ? undefined : JSON.parse(text);
  if (text === undefined || !isJsonObject(copy))
    throw invalid(`data must be a JSON object, got ${describe(data)}`);
  const bytes = Buffer.byteLength(text);
  if (bytes > maxEventBytes)
    throw invalid(`data must be at most ${maxEventBytes} bytes of JSON, got ${bytes}`);
  const hazard = findJsonHazard(copy, maxEventDepth);
  if (hazard === 'too-deep') throw invalid(`data must be at most ${maxEventDepth} levels deep`);
  if (hazard !== undefined) throw invalid('data must have no key __proto__');
  return copy;
}

function textOf(data: unknown): string | undefined {
  try {
    return JSON.stringify(data);
  } catch (cause) {
    throw new WebhookError('INVALID_EVENT', 'data must be JSON: it cannot be written', { cause });
  }
}

/** Of type and data, whatever the order of keys. */
function digestOf({ type, data }: CustomEvent): string {
  const text = JSON.stringify([type, data], (_key, value: unknown) =>
    isJsonObject(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
  return sha256(text).toString('hex');
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function isRepeatedId(error: unknown): boolean {
  if (error instanceof DeliveryStoreError) return error.fault === 'repeated-id';
  return error instanceof Error && error.cause !== undefined && isRepeatedId(error.cause);
}

function invalid(message: string): WebhookError {
  return new WebhookError('INVALID_EVENT', message);
}
