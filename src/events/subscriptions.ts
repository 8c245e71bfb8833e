// The contract of subscriptions towards the API and the capture of events. Implemented by SubscriptionRegistry.
import type { JsonObject } from '../shared/json';
import type { NewDelivery } from './delivery';
import type { ChangeKind, CustomEvent, ObjectChange } from './object-change';

/** Why an endpoint gets no attempts. */
export type PauseReason =
  | 'operator' // POST .../pause, or active: false
  | 'gone' // it answered 410
  | 'disabled' // it answered `webhook-delivery: disable`
  | 'failing'; // it failed for too long, or too often in a row

export interface SubscriptionHealth {
  readonly state: 'healthy' | 'failing' | 'paused';
  readonly consecutiveFailures: number;
  /** Milliseconds since 1970. */
  readonly lastSuccessAt: number | undefined;
  readonly lastFailureAt: number | undefined;
  readonly lastError: string | undefined;
  /** Of the first failure since the last success. */
  readonly failingSince: number | undefined;
  readonly pausedAt: number | undefined;
  readonly pauseReason: PauseReason | undefined;
}

/** A subscription as it is shown: the fields of the API, no secret, hidden header values. */
export interface SubscriptionView {
  readonly objectId: string;
  readonly name: string;
  /** All fields with their defaults, as JSON; secrets hidden. */
  readonly fields: JsonObject;
  readonly health: SubscriptionHealth;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly updatedAt: string;
  /** Set when the stored record cannot be read: it gets nothing until it is written anew. */
  readonly broken: string | undefined;
  /** When each former secret stops signing, milliseconds since 1970. */
  readonly oldSecretsExpireAt: readonly number[];
}

export interface CreatedSubscription {
  readonly view: SubscriptionView;
  /** The only time that it is shown. */
  readonly secret: string;
}

/** Every way to see and change subscriptions. Changes are stored first and in force on all nodes soon after. */
export interface Subscriptions {
  /** Reads what other nodes changed; one read by primary key when nothing did. */
  refresh(): Promise<void>;
  /** Reads the health that all nodes have counted: of one, or of all, which is as old as a second. */
  refreshHealth(objectId?: string): Promise<void>;
  list(): readonly SubscriptionView[];
  find(objectId: string): SubscriptionView | undefined;
  /** `fields` is a REST body, untrusted. Throws INVALID_SUBSCRIPTION (names the field), DUPLICATE_SUBSCRIPTION, REFUSED_CLASS. */
  create(fields: Readonly<Record<string, unknown>>): Promise<CreatedSubscription>;
  /** Merges named fields; `null` takes one back to its default. Throws SUBSCRIPTION_NOT_FOUND too. */
  update(objectId: string, fields: Readonly<Record<string, unknown>>): Promise<SubscriptionView>;
  /** Its pending deliveries are cancelled. */
  remove(objectId: string): Promise<void>;
  pause(objectId: string, reason: PauseReason): Promise<SubscriptionView>;
  /** Deliveries kept meanwhile go out, at a bounded rate. Clears the health. */
  resume(objectId: string): Promise<SubscriptionView>;
  rotateSecret(
    objectId: string,
    change: { readonly secret?: string; readonly graceMs?: number },
  ): Promise<CreatedSubscription>;
}

/** Turns what happened into deliveries. On the hot path of every save: a class nobody listens to costs one map look-up. */
export interface SubscriptionMatcher {
  /** Whether anybody may want to hear of it; decides whether a change is encoded at all. */
  listensTo(className: string, kind: ChangeKind): boolean;
  /** One delivery for every subscription whose filters match, bodies built. Never throws: a filter or a body that fails is logged and costs only its own subscription. */
  ofChange(change: ObjectChange): readonly NewDelivery[];
  ofCustom(event: CustomEvent): readonly NewDelivery[];
  /** A sample event for one subscription, whatever its filters; marked as a test. Undefined when there is no such subscription; throws INVALID_SUBSCRIPTION when it is broken. */
  ofTest(objectId: string, at: number): NewDelivery | undefined;
}
