// What becomes of a written object: deliveries for the `after*` hook of its class and for subscriptions, durable before the
// client is answered. Errors of encoding cost their own delivery only; those of the store are the intake's to judge.
import { readTraceparent } from '../blocking/delivery-tracing';
import { WebhookError } from '../errors';
import type { NewDelivery } from '../events/delivery';
import type { DeliveryIntake } from '../events/dispatching';
import {
  hookDelivery,
  type HookNotice,
  type NoticeFailure,
  type ToldNotice,
} from '../events/hook-deliveries';
import type { ChangeKind, ObjectChange } from '../events/object-change';
import type { SubscriptionMatcher } from '../events/subscriptions';
import type { InstalledHook } from '../hooks/installed-hook';
import type { Clock } from '../shared/clock';
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';
import type { Logger } from '../shared/logger';
import { maxDepth } from '../wire/request-headers';
import type { CallDepth } from './call-depth';
import type { RestEncoder } from './encode-value';
import { giveFileUrls } from './guard-object';
import type { ParseObject, ParseSdk } from './internals';
import { changes, type TriggerFields } from './trigger-fields';
import type { ObjectWrite, WriteListener } from './write-interceptor';

export interface ChangeCaptureParts {
  readonly sdk: ParseSdk;
  readonly encoder: RestEncoder;
  readonly fields: TriggerFields;
  readonly depth: CallDepth;
  readonly matcher: Pick<SubscriptionMatcher, 'listensTo' | 'ofChange'>;
  readonly intake: DeliveryIntake;
  /** Hears of what an `after*` hook should have been told and is not. Must not throw. */
  readonly onUntold: (hook: InstalledHook, failure: UntoldFailure) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** `request`: it cannot be encoded. */
export type UntoldFailure = NoticeFailure | 'request';

type Told =
  ToldNotice | { readonly kind: 'failed'; readonly failure: UntoldFailure; readonly detail: string };

/** The `after*` hooks of a class. */
interface ClassHooks {
  afterSave?: InstalledHook;
  afterDelete?: InstalledHook;
}

/** Objects as REST, encoded once for all that want them. */
interface Encoded {
  readonly object: JsonObject;
  readonly original: JsonObject | undefined;
  readonly update: JsonObject | undefined;
}

export class ChangeCapture implements WriteListener {
  readonly #parts: ChangeCaptureParts;
  #hooks: ReadonlyMap<string, ClassHooks> = new Map();

  constructor(parts: ChangeCaptureParts) {
    this.#parts = parts;
  }

  /** Takes the hooks that are in force; those of other triggers are left out. */
  useHooks(hooks: readonly InstalledHook[]): void {
    const byClass = new Map<string, ClassHooks>();
    for (const hook of hooks) {
      const { target } = hook.hook;
      if (!isCaptured(hook) || target.kind === 'function') continue;
      const ofClass = byClass.get(target.className) ?? {};
      if (target.triggerName === 'afterSave') ofClass.afterSave = hook;
      if (target.triggerName === 'afterDelete') ofClass.afterDelete = hook;
      byClass.set(target.className, ofClass);
    }
    this.#hooks = byClass;
  }

  concerns(className: string, kind: ChangeKind): boolean {
    return this.#hookOf(className, kind) !== undefined || this.#parts.matcher.listensTo(className, kind);
  }

  async written(write: ObjectWrite): Promise<void> {
    const deliveries = this.#deliveriesOf(write);
    if (deliveries.length > 0) await this.#add(deliveries);
  }

  /** Of a hook on something else than an object: files, Config, log-outs, LiveQuery. `prepare` runs now. */
  async notify(hook: InstalledHook, prepare: () => HookNotice): Promise<void> {
    const delivery = this.#deliveryOf(hook, this.#tell(hook, prepare));
    if (delivery) await this.#add([delivery]);
  }

  #deliveriesOf({ kind, className, request, data }: ObjectWrite): readonly NewDelivery[] {
    const { sdk, encoder, matcher, fields, depth: callDepth, clock } = this.#parts;
    const { object, original } = request;
    if (!encoder.isObject(object)) return [];
    const hook = this.#hookOf(className, kind);
    let encoded: Encoded;
    try {
      giveFileUrls(object, request.config, sdk);
      encoded = this.#encode(kind, object, { original, data });
    } catch (error) {
      this.#warnOf(`${kind} of ${className}`, reasonOf(error));
      if (hook) this.#parts.onUntold(hook, 'request');
      return [];
    }
    const depth = callDepth.next({
      headers: request.headers,
      isMaster: request.master === true,
      isBlocking: false,
    });
    const traceparent = readTraceparent(request.headers);
    const told: Told = hook
      ? this.#tell(hook, () => ({
          fields: fields.ofWritten(hook, request, encoded),
          changedKeys: encoded.update && Object.keys(encoded.update),
          depth,
          traceparent,
        }))
      : { kind: 'none' };
    if (depth > maxDepth) {
      this.#parts.logger.warn(
        `webhooks are not told of a change of ${className}: depth ${depth} is above ${maxDepth}`,
      );
      if (hook && told.kind === 'failed') this.#parts.onUntold(hook, told.failure);
      return [];
    }
    const deliveries: NewDelivery[] = [];
    const delivery = hook && this.#deliveryOf(hook, told);
    if (delivery) deliveries.push(delivery);
    if (matcher.listensTo(className, kind)) {
      const { user, installationId, master } = fields.actor(request);
      const objectId = object.id ?? '';
      const change: ObjectChange = {
        kind,
        className,
        objectId,
        object: encoded.object,
        ...(encoded.original && { original: encoded.original }),
        ...(encoded.update && { update: { ...encoded.update, ...relationOps(data) } }),
        ...(user && { user }),
        ...(installationId !== undefined && { installationId }),
        master,
        at: clock.now(),
        depth,
        traceparent,
      };
      deliveries.push(...matcher.ofChange(change));
    }
    return deliveries;
  }

  #encode(
    kind: ChangeKind,
    object: ParseObject,
    before: { readonly original: unknown; readonly data: Readonly<Record<string, unknown>> },
  ): Encoded {
    const { encoder } = this.#parts;
    const now = encoder.object(object);
    const original =
      kind === 'update' && encoder.isObject(before.original) ? encoder.object(before.original) : undefined;
    return { object: now, original, update: original && changes(original, now) };
  }

  #hookOf(className: string, kind: ChangeKind): InstalledHook | undefined {
    const hooks = this.#hooks.get(className);
    return kind === 'delete' ? hooks?.afterDelete : hooks?.afterSave;
  }

  #tell(hook: InstalledHook, prepare: () => HookNotice): Told {
    try {
      return hookDelivery(hook, prepare(), this.#parts.clock);
    } catch (error) {
      return { kind: 'failed', failure: 'request', detail: reasonOf(error) };
    }
  }

  /** What cannot be made is told to the log, and counts as a failed call; what it tells of has happened. */
  #deliveryOf(hook: InstalledHook, told: Told): NewDelivery | undefined {
    switch (told.kind) {
      case 'delivery':
        return told.delivery;
      case 'none':
        return undefined;
      case 'failed':
        this.#warnOf(hook.label, told.detail);
        this.#parts.onUntold(hook, told.failure);
        return undefined;
      default:
        return told satisfies never;
    }
  }

  #warnOf(label: string, reason: string): void {
    this.#parts.logger.warn(`webhook ${label} failed: the request cannot be made (${reason})`);
  }

  async #add(deliveries: readonly NewDelivery[]): Promise<void> {
    try {
      await this.#parts.intake.add(deliveries);
    } catch (error) {
      if (!(error instanceof WebhookError)) throw error;
      throw new this.#parts.sdk.Error(error.parseCode, error.message);
    }
  }
}

/** True for the hooks that are told of writes here, and not by a trigger of Parse Server's. */
export function isCaptured({ hook: { target }, settings, broken }: InstalledHook): boolean {
  if (target.kind === 'function' || target.className.startsWith('@')) return false;
  const isAfterWrite = target.triggerName === 'afterSave' || target.triggerName === 'afterDelete';
  return isAfterWrite && settings.active && broken === undefined;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unreadable';
}

/** A relation is the same value whatever is in it: what changed is in the operation only. */
function relationOps(data: Readonly<Record<string, unknown>>): JsonObject {
  const found: Record<string, JsonValue> = {};
  for (const [key, op] of Object.entries(data)) {
    if (!isJsonObject(op)) continue;
    if (op.__op === 'AddRelation' || op.__op === 'RemoveRelation' || op.__op === 'Batch') found[key] = op;
  }
  return found;
}
