// The deliveries of `after*` hooks: what a hook is to be told becomes one, with the classic body of `_Hooks`.
import { changedMatches } from '../hooks/changed-filter';
import type { InstalledHook } from '../hooks/installed-hook';
import type { Clock } from '../shared/clock';
import { createDeliveryId, createMessageId } from '../shared/ids';
import { encodeBodyText, selectKeys, type CallFields } from '../wire/call-fields';
import { maxDepth } from '../wire/request-headers';
import { hookEndpointKey } from './hook-endpoints';
import type { NewDelivery } from './delivery';

export interface HookNotice {
  readonly fields: CallFields;
  /** Names of the keys that changed; undefined when the object is new and all of them did. */
  readonly changedKeys?: readonly string[] | undefined;
  /** 1 for a change by a client. */
  readonly depth: number;
  /** The trace of the client's operation, as W3C Trace Context writes it. */
  readonly traceparent?: string | undefined;
}

/** Why a notice became no delivery: too many webhooks deep, or above `maxRequestBytes`. */
export type NoticeFailure = 'loop' | 'request-too-large';

/** `none`: it is none of the hook's business. */
export type ToldNotice =
  | { readonly kind: 'delivery'; readonly delivery: NewDelivery }
  | { readonly kind: 'none' }
  | { readonly kind: 'failed'; readonly failure: NoticeFailure; readonly detail: string };

/**
 * The delivery of a notice; `none` when the hook's `active`, `where` or `changed` says so, and for a hook whose settings
 * cannot be read: what it must not send is not known either. Throws when the fields cannot be written as JSON.
 */
export function hookDelivery(
  hook: InstalledHook,
  { fields, changedKeys, depth, traceparent }: HookNotice,
  clock: Clock,
): ToldNotice {
  const { settings, broken } = hook;
  if (broken !== undefined || !settings.active) return { kind: 'none' };
  if (settings.changed && changedKeys && !changedMatches(settings.changed, changedKeys))
    return { kind: 'none' };
  if (hook.matches && fields.object && !hook.matches(fields.object)) return { kind: 'none' };
  if (depth > maxDepth)
    return { kind: 'failed', failure: 'loop', detail: `depth ${depth} is above ${maxDepth}` };
  const body = encodeBodyText(selectKeys(fields, settings));
  const { maxRequestBytes } = settings;
  // A character takes three bytes at most.
  if (body.length * 3 > maxRequestBytes && Buffer.byteLength(body) > maxRequestBytes) {
    const detail = `${Buffer.byteLength(body)} bytes, maxRequestBytes is ${maxRequestBytes}`;
    return { kind: 'failed', failure: 'request-too-large', detail };
  }
  const now = clock.now();
  const { target } = hook.hook;
  const delivery: NewDelivery = {
    id: createDeliveryId(clock),
    webhookId: createMessageId(clock),
    endpoint: hookEndpointKey(hook.key),
    type: target.kind === 'trigger' ? target.triggerName : target.functionName,
    className: target.kind === 'trigger' ? target.className : undefined,
    objectId: typeof fields.object?.objectId === 'string' ? fields.object.objectId : undefined,
    body,
    createdAt: now,
    nextAttemptAt: now,
    isTest: false,
    depth,
    traceparent,
  };
  return { kind: 'delivery', delivery };
}
