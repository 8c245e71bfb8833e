// From an event to the deliveries it becomes. On the hot path of every save: what can be known per class is worked out
// when subscriptions change, and a body is built once for all that want the same keys.
import { WebhookError } from '../errors';
import { changedMatches } from '../hooks/changed-filter';
import { ownClasses } from '../hooks/trigger-rules';
import type { Clock } from '../shared/clock';
import { createDeliveryId, createMessageId } from '../shared/ids';
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';
import type { Logger } from '../shared/logger';
import { isRestEqual } from '../shared/rest-equality';
import type { EndpointKey, NewDelivery } from './delivery';
import { encodeEvent, objectEventData, thinEventData } from './event-body';
import { selectsEvent, type OperationalEventType } from './event-types';
import type { InstalledSubscription } from './installed-subscription';
import type { ChangeKind, CustomEvent, ObjectChange } from './object-change';
import { subscriptionKey } from './subscription-record';
import type { SubscriptionMatcher } from './subscriptions';

/** An event about the deliveries of an endpoint. */
export interface OperationalEvent {
  readonly type: OperationalEventType;
  /** The endpoint that it is about: it gets no such event of itself. */
  readonly about: EndpointKey;
  readonly data: JsonObject;
  /** Milliseconds since 1970. */
  readonly at: number;
}

export interface CompiledMatcherParts {
  readonly registry: {
    installed(): readonly InstalledSubscription[];
    findInstalled(key: EndpointKey): InstalledSubscription | undefined;
    onChange(listener: () => void): void;
  };
  readonly clock: Clock;
  readonly logger: Logger;
}

type Listeners = Readonly<Record<ChangeKind, readonly InstalledSubscription[]>>;

const kinds: readonly ChangeKind[] = ['create', 'update', 'delete'];
const nobody: Listeners = { create: [], update: [], delete: [] };

export class CompiledMatcher implements SubscriptionMatcher {
  readonly #parts: CompiledMatcherParts;
  /** Of classes that are named by a subscription, and of our own, which nobody may hear of. */
  #byClass: ReadonlyMap<string, Listeners> = new Map();
  /** Of all other classes but system classes. */
  #ofAnyClass: Listeners = nobody;
  #others: readonly InstalledSubscription[] = [];
  #isStale = true;

  constructor(parts: CompiledMatcherParts) {
    this.#parts = parts;
    // When it is asked for: of 10,000 changes in a row only those that a save comes between are worked out.
    parts.registry.onChange(() => (this.#isStale = true));
  }

  listensTo(className: string, kind: ChangeKind): boolean {
    return this.#listeners(className)[kind].length > 0;
  }

  ofChange(change: ObjectChange): readonly NewDelivery[] {
    const deliveries: NewDelivery[] = [];
    const bodies = new Map<string, Body>();
    for (const subscription of this.#listeners(change.className)[change.kind]) {
      this.#guarded(subscription, () => {
        if (!wants(subscription, change)) return;
        const type = `object.${change.kind}`;
        const body = bodyFor(subscription, change, bodies);
        deliveries.push(this.#delivery(subscription.key, { ...change, type, body }));
      });
    }
    return deliveries;
  }

  ofCustom({ type, data, at, traceparent, depth = 1 }: CustomEvent): readonly NewDelivery[] {
    return this.#ofOther(type, () => encodeEvent(type, at, data), { at, traceparent, depth });
  }

  ofOperational({ type, about, data, at }: OperationalEvent): readonly NewDelivery[] {
    return this.#ofOther(type, () => encodeEvent(type, at, data), { at, except: about, depth: 1 });
  }

  ofTest(objectId: string, at: number): NewDelivery | undefined {
    const subscription = this.#parts.registry.findInstalled(subscriptionKey(objectId));
    if (!subscription) return undefined;
    if (subscription.broken) {
      throw new WebhookError(
        'INVALID_SUBSCRIPTION',
        `${subscription.label} is broken and would not send it: ${subscription.broken.reason}`,
      );
    }
    const type = sampleType(subscription.settings.events);
    const data = { ...(type.startsWith('object.') && sampleData(subscription, at)), test: true };
    const body = encodeEvent(type, at, data);
    return { ...this.#delivery(subscription.key, { type, body, at, depth: 1 }), isTest: true };
  }

  #listeners(className: string): Listeners {
    if (this.#isStale) this.#compile();
    return this.#byClass.get(className) ?? (className.startsWith('_') ? nobody : this.#ofAnyClass);
  }

  #ofOther(
    type: string,
    encode: () => string,
    event: {
      readonly at: number;
      readonly depth: number;
      readonly traceparent?: string | undefined;
      readonly except?: EndpointKey;
    },
  ): readonly NewDelivery[] {
    if (this.#isStale) this.#compile();
    const wanting = this.#others.filter(
      ({ key, settings }) => key !== event.except && selectsEvent(settings.events, type),
    );
    const [first] = wanting;
    if (!first) return [];
    const deliveries: NewDelivery[] = [];
    this.#guarded(first, () => {
      const body = encode();
      for (const { key } of wanting) deliveries.push(this.#delivery(key, { ...event, type, body }));
    });
    return deliveries;
  }

  #delivery(
    endpoint: EndpointKey,
    event: Pick<NewDelivery, 'type' | 'body' | 'depth'> & {
      readonly at: number;
      readonly className?: string;
      readonly objectId?: string;
      readonly traceparent?: string | undefined;
    },
  ): NewDelivery {
    const { clock } = this.#parts;
    const { type, body, depth, className, objectId, at, traceparent } = event;
    return {
      id: createDeliveryId(clock),
      webhookId: createMessageId(clock),
      endpoint,
      type,
      className,
      objectId,
      body,
      createdAt: at,
      nextAttemptAt: at,
      isTest: false,
      depth,
      traceparent,
    };
  }

  /** What fails here must cost neither the save nor other subscriptions. */
  #guarded({ label }: InstalledSubscription, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#parts.logger.error(`webhooks: ${label} misses an event: ${String(error)}`);
    }
  }

  #compile(): void {
    this.#isStale = false;
    const usable = this.#parts.registry.installed().filter(({ broken }) => broken === undefined);
    const named = new Map<string, InstalledSubscription[]>();
    const anyClass: InstalledSubscription[] = [];
    for (const subscription of usable) {
      const { classes, events } = subscription.settings;
      if (!kinds.some(kind => selectsEvent(events, `object.${kind}`))) continue;
      if (classes.includes('*')) anyClass.push(subscription);
      for (const className of classes) {
        if (className === '*') continue;
        const ofClass = named.get(className);
        if (ofClass) ofClass.push(subscription);
        else named.set(className, [subscription]);
      }
    }
    const byClass = new Map(ownClasses.map(className => [className, nobody]));
    for (const [className, subscriptions] of named) {
      const all = className.startsWith('_') ? subscriptions : [...new Set([...subscriptions, ...anyClass])];
      byClass.set(className, listenersOf(all));
    }
    this.#byClass = byClass;
    this.#ofAnyClass = listenersOf(anyClass);
    this.#others = usable.filter(({ settings }) => settings.events.some(isOtherSelector));
  }
}

function listenersOf(subscriptions: readonly InstalledSubscription[]): Listeners {
  const of = (kind: ChangeKind): readonly InstalledSubscription[] =>
    subscriptions.filter(({ settings }) => selectsEvent(settings.events, `object.${kind}`));
  return { create: of('create'), update: of('update'), delete: of('delete') };
}

function isOtherSelector(selector: string): boolean {
  return !selector.startsWith('object.');
}

function wants({ settings, matches, readsOriginal }: InstalledSubscription, change: ObjectChange): boolean {
  if (settings.changed && change.kind === 'update' && !isChanged(settings.changed, change)) return false;
  if (!matches) return true;
  // Only where it is asked for: a copy of the object costs as much as the filter.
  return matches(readsOriginal ? { ...change.object, original: change.original } : change.object);
}

/** A save names a key and may leave its value as it was: that is no change. */
function isChanged(changed: readonly string[], { update = {}, original, object }: ObjectChange): boolean {
  return changed.some(wanted =>
    Object.keys(update).some(key => {
      if (!changedMatches([wanted], [key])) return false;
      if (!original || isRelationOp(update[key])) return true;
      return !isRestEqual(valueAt(original, wanted), valueAt(object, wanted));
    }),
  );
}

/** A relation is the same value whatever is in it. */
function isRelationOp(value: JsonValue | undefined): boolean {
  return (
    isJsonObject(value) &&
    (value.__op === 'AddRelation' || value.__op === 'RemoveRelation' || value.__op === 'Batch')
  );
}

function valueAt(object: JsonObject, path: string): JsonValue | undefined {
  let value: JsonValue | undefined = object;
  for (const key of path.split('.'))
    value = isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}

interface Body {
  readonly text: string;
  readonly bytes: number;
}

function bodyFor(
  { settings, selection }: InstalledSubscription,
  change: ObjectChange,
  bodies: Map<string, Body>,
): string {
  const type = `object.${change.kind}`;
  let body = bodies.get(selection);
  if (!body) {
    const text = encodeEvent(type, change.at, objectEventData(change, settings));
    body = { text, bytes: Buffer.byteLength(text) };
    bodies.set(selection, body);
  }
  if (body.bytes <= settings.maxBodyBytes) return body.text;
  return encodeEvent(type, change.at, thinEventData(change, body.bytes));
}

function sampleType(events: readonly string[]): string {
  const [first = '*'] = events;
  if (first === '*' || first === 'object.*') return 'object.create';
  if (first === 'subscription.*') return 'subscription.failing';
  if (first === 'delivery.*') return 'delivery.exhausted';
  return first === 'custom.*' ? 'custom.test' : first;
}

function sampleData({ settings }: InstalledSubscription, at: number): JsonObject {
  const className = settings.classes.find(name => name !== '*') ?? 'Sample';
  const createdAt = new Date(at).toISOString();
  const objectId = 'sample0000';
  const object = { className, objectId, createdAt, updatedAt: createdAt };
  return { object, className, objectId, master: true };
}
