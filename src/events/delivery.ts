// What a delivery is: one event on its way to one endpoint, and the attempts that were made for it.
// All times are whole milliseconds since 1970.
import type { JsonObject } from '../shared/json';

/**
 * Where deliveries go: `subscription/<objectId>`, or `hook/<hook key>` for an `after*` hook of `_Hooks`. Deliveries of
 * one endpoint share a lane, a breaker and a pause.
 */
export type EndpointKey = string;

export type DeliveryState =
  | 'pending' // waits for its next attempt, or is being attempted
  | 'succeeded' // a receiver took it
  | 'exhausted' // all attempts failed
  | 'cancelled'; // its endpoint is gone, a receiver said abort-message, or an operator cancelled it

export const deliveryStates: readonly DeliveryState[] = ['pending', 'succeeded', 'exhausted', 'cancelled'];

/** A delivery as it is first written. Immutable afterwards. */
export interface NewDelivery {
  /** Primary key: `dlv_` and a ULID, so that keys sort by creation. */
  readonly id: string;
  /** The `webhook-id` header: the same over all attempts and replays of this delivery. */
  readonly webhookId: string;
  readonly endpoint: EndpointKey;
  /** Event type (`object.create`, `custom.order.paid`) or trigger name (`afterSave`). */
  readonly type: string;
  /** Of the object that the event is about, if it is about one. */
  readonly className: string | undefined;
  readonly objectId: string | undefined;
  /** The request body as UTF-8 JSON text, exactly as it will be signed and sent. */
  readonly body: string;
  readonly createdAt: number;
  /** When the first attempt is due; usually createdAt. */
  readonly nextAttemptAt: number;
  /** A sample event that an operator sent. */
  readonly isTest: boolean;
  /** How many webhooks led to it: 1 for a change by a client. Sent in the depth header. */
  readonly depth: number;
  /** The trace of the operation that it tells of, as W3C Trace Context writes it; every attempt belongs to that trace. */
  readonly traceparent: string | undefined;
}

/** The part of a delivery that changes with every attempt. */
export interface DeliveryProgress {
  readonly state: DeliveryState;
  readonly attemptCount: number;
  /** Undefined once the state is final. */
  readonly nextAttemptAt: number | undefined;
  readonly lastStatus: number | undefined;
  /** An error kind, such as `timeout` or `status`. */
  readonly lastError: string | undefined;
  /** Set once the state is final, and only then: retention goes by it. */
  readonly finishedAt: number | undefined;
}

export interface Delivery extends Omit<NewDelivery, 'nextAttemptAt'>, DeliveryProgress {
  /** attemptCount when it was last replayed, else 0: a retry schedule counts from there, so a replay has all its retries. */
  readonly attemptsBeforeReplay: number;
}

/** A delivery in a list: everything but the body. */
export type DeliverySummary = Omit<Delivery, 'body'>;

/** One HTTP exchange of a delivery. */
export interface Attempt {
  readonly deliveryId: string;
  /** 1, 2, …; replays count on. */
  readonly number: number;
  readonly startedAt: number;
  /** May have a fraction. */
  readonly durationMs: number;
  /** HTTP status, if a reply came. */
  readonly status: number | undefined;
  /** Why it failed; undefined when it succeeded. */
  readonly error: string | undefined;
  /** Where in its life the exchange ended: `connect`, `first-byte`, `body`, `done`. */
  readonly phase: string | undefined;
  /**
   * Reply headers with secrets redacted, and the first bytes of the reply body as text, both capped; and under `times`
   * how long each part of the exchange took, in milliseconds.
   */
  readonly reply: JsonObject | undefined;
  /** Which node made it. */
  readonly node: string;
}
