// A delivery as a document of MongoDB: one document holds all that one moment must agree on, so that no write needs a
// transaction.
import { isJsonObject, type JsonObject } from '../shared/json';
import type {
  Attempt,
  Delivery,
  DeliveryProgress,
  DeliveryState,
  DeliverySummary,
  NewDelivery,
} from './delivery';
import type { DeliveryFilter, Lease } from './delivery-store';

/** `0` for fresh deliveries, `1` for retries and replays, then the endpoint: what is claimed in one order. */
export type LaneKey = string;

/** There while a delivery is pending, and only then: so the index by it holds nothing that is done. */
export interface QueueEntry {
  readonly lane: LaneKey;
  /** nextAttemptAt. */
  readonly at: number;
  /** End of the lease; 0 while it is free. */
  readonly until: number;
  readonly owner?: string;
  /** Of the claim that took it: one owner may claim twice at once, and each call must know its own. */
  readonly claim?: string;
}

export interface AttemptEntry {
  readonly number: number;
  readonly startedAt: number;
  readonly durationMs: number;
  readonly status?: number;
  readonly error?: string;
  readonly phase?: string;
  /** JSON text: keys may hold anything. */
  readonly reply?: string;
  readonly node: string;
  /** Of the call that recorded it. */
  readonly call: string;
}

export interface DeliveryDocument {
  readonly _id: string;
  readonly webhookId: string;
  readonly endpoint: string;
  readonly type: string;
  readonly className?: string;
  readonly objectId?: string;
  readonly body: string;
  /** In UTF-16 units, of the body that was inserted: a claim adds them up before it reads any body. */
  readonly bodyLength: number;
  readonly createdAt: number;
  readonly isTest: boolean;
  readonly depth: number;
  readonly traceparent?: string;
  readonly state: DeliveryState;
  readonly attemptCount: number;
  readonly attemptsBeforeReplay: number;
  readonly lastStatus?: number;
  readonly lastError?: string;
  readonly finishedAt?: number;
  readonly queue?: QueueEntry;
  readonly attempts: readonly AttemptEntry[];
  /** Of the call that wrote it, to know its own by. */
  readonly insert: string;
  readonly isExpunged?: true;
}

export function laneOf(endpoint: string, attemptCount: number): LaneKey {
  return `${attemptCount > 0 ? '1' : '0'}${endpoint}`;
}

export function endpointOf(lane: LaneKey): string {
  return lane.slice(1);
}

export function toDocument(delivery: NewDelivery, lease: Lease | undefined, call: string): DeliveryDocument {
  const { id, nextAttemptAt, className, objectId, traceparent, ...rest } = delivery;
  return {
    _id: id,
    ...rest,
    bodyLength: delivery.body.length,
    ...(className !== undefined && { className }),
    ...(objectId !== undefined && { objectId }),
    ...(traceparent !== undefined && { traceparent }),
    state: 'pending',
    attemptCount: 0,
    attemptsBeforeReplay: 0,
    queue: {
      lane: laneOf(delivery.endpoint, 0),
      at: nextAttemptAt,
      until: lease?.expiresAt ?? 0,
      ...(lease && { owner: lease.owner }),
    },
    attempts: [],
    insert: call,
  };
}

export function toSummary(document: Omit<DeliveryDocument, 'body' | 'attempts'>): DeliverySummary {
  return {
    id: document._id,
    webhookId: document.webhookId,
    endpoint: document.endpoint,
    type: document.type,
    className: document.className,
    objectId: document.objectId,
    createdAt: document.createdAt,
    isTest: document.isTest,
    depth: document.depth,
    traceparent: document.traceparent,
    state: document.state,
    attemptCount: document.attemptCount,
    attemptsBeforeReplay: document.attemptsBeforeReplay,
    nextAttemptAt: document.queue?.at,
    lastStatus: document.lastStatus,
    lastError: document.lastError,
    finishedAt: document.finishedAt,
  };
}

export function toDelivery(document: Omit<DeliveryDocument, 'attempts'>): Delivery {
  return { ...toSummary(document), body: document.body };
}

export function toAttempt(deliveryId: string, entry: AttemptEntry): Attempt {
  return {
    deliveryId,
    number: entry.number,
    startedAt: entry.startedAt,
    durationMs: entry.durationMs,
    status: entry.status,
    error: entry.error,
    phase: entry.phase,
    reply: entry.reply === undefined ? undefined : parseReply(entry.reply),
    node: entry.node,
  };
}

/** Undefined fields are left out: the collection is opened with `ignoreUndefined`. */
export function toAttemptEntry(attempt: Attempt, call: string): object {
  const { deliveryId: _deliveryId, reply, ...rest } = attempt;
  return { ...rest, reply: reply === undefined ? undefined : JSON.stringify(reply), call };
}

/** What a finished attempt changes, as an update: fields that are undefined go. */
export function toProgressUpdate(
  endpoint: string,
  progress: DeliveryProgress,
): { readonly $set: Record<string, unknown>; readonly $unset: Record<string, ''> } {
  const { nextAttemptAt, ...fields } = progress;
  const entries = Object.entries(fields);
  const isPending = progress.state === 'pending';
  return {
    $set: {
      ...Object.fromEntries(entries.filter(([, value]) => value !== undefined)),
      ...(isPending && {
        queue: { lane: laneOf(endpoint, progress.attemptCount), at: nextAttemptAt ?? 0, until: 0 },
      }),
    },
    $unset: {
      ...Object.fromEntries(entries.filter(([, value]) => value === undefined).map(([key]) => [key, ''])),
      ...(!isPending && { queue: '' }),
    },
  };
}

export function toQuery(filter: DeliveryFilter & { readonly id?: string }): Record<string, unknown> {
  const { id, endpoint, className, objectId, type, states, since, until } = filter;
  return {
    ...(id !== undefined && { _id: id }),
    ...(endpoint !== undefined && { endpoint }),
    ...(className !== undefined && { className }),
    ...(objectId !== undefined && { objectId }),
    ...(type !== undefined && { type }),
    ...(states !== undefined && { state: { $in: states } }),
    ...((since !== undefined || until !== undefined) && {
      createdAt: {
        ...(since !== undefined && { $gte: since }),
        ...(until !== undefined && { $lt: until }),
      },
    }),
  };
}

function parseReply(text: string): JsonObject {
  const reply: unknown = JSON.parse(text);
  if (!isJsonObject(reply)) throw new Error('an attempt has a reply that is not a JSON object');
  return reply;
}
