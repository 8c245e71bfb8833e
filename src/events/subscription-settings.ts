// The fields of a subscription: their shapes, ranges and defaults, and how a change is merged into them. What a request
// has in common with those of hooks (headers, credentials, filters, addresses) is checked by the rules of hooks.
import { z } from 'zod';
import { WebhookError } from '../errors';
import {
  assertRequestSettings,
  describe,
  describeIssue,
  mergeSetting,
  settingShapes,
  withLowerCaseNames,
} from '../hooks/hook-settings';
import { isHookableClassName, hookableSystemClasses, ownClasses } from '../hooks/trigger-rules';
import { parseUrl } from '../hooks/validate-hook';
import { isEventSelector } from './event-types';
import { retryShape } from './retry-policy';

const unique = (entries: readonly string[]): boolean => new Set(entries).size === entries.length;
const once = 'must name each once';

/** The shapes of all fields that can be changed; `name` and `secret` are given apart. */
export const subscriptionShapes = {
  /** Where events go: http or https, at most 2048 characters, without credentials. Required. */
  url: z.string(),
  /** Which events: 1..100 names or groups. Required. */
  events: z
    .array(z.string().refine(isEventSelector, 'must be the name of an event or of a group of events'))
    .min(1)
    .max(100)
    .refine(unique, once),
  /** Classes of object events, or `*` for all but system classes. 1..500 names, default `["*"]`. */
  classes: z.array(z.string()).min(1).max(500).refine(unique, once),
  /** false: paused by an operator; deliveries are kept. Default true. */
  active: z.boolean(),
  /** A Parse query on the object; `original.<key>` reaches the object as it was before. Default none. */
  where: settingShapes.where,
  /** Of updates, only those that changed one of these keys. Default none. */
  changed: settingShapes.changed,
  /** Only these keys of an object are sent, beside objectId, className, createdAt and updatedAt. Default all. */
  keys: settingShapes.keys,
  /** These keys of an object are not sent. Default none. */
  excludeKeys: settingShapes.excludeKeys,
  /** Extra request headers. Values are encrypted at rest and never shown. Default none. */
  headers: settingShapes.headers,
  /** How requests are signed: `v1` with the subscription's secret, `v1a` with the server's ed25519 key. Default `["v1"]`. */
  signatures: settingShapes.signatures,
  bearer: settingShapes.bearer,
  basicAuth: settingShapes.basicAuth,
  tls: settingShapes.tls,
  network: settingShapes.network,
  /** Sends Parse Server's `webhookKey`, which all receivers of hooks share, as X-Parse-Webhook-Key. Default false. */
  sendWebhookKey: z.boolean(),
  /** Bound on one attempt, in milliseconds. 1..60000, default 15000. */
  timeoutMs: z.int().min(1).max(60_000),
  /** Bound on the time from the request to the reply's headers, in milliseconds. 1..60000, default timeoutMs. */
  firstByteTimeoutMs: z.int().min(1).max(60_000),
  /** When failed attempts are repeated. Default the schedule of Standard Webhooks, about 75 h. */
  retry: retryShape,
  /** Attempts under way at once on one node. 1..1000, default 16. */
  concurrency: z.int().min(1).max(1000),
  /** Bound on the body of an event, in bytes; above it a thin one is sent. 1024..10485760, default 1048576. */
  maxBodyBytes: z.int().min(1024).max(10_485_760),
  /** For people. At most 1000 characters. Default none. */
  description: z.string().max(1000),
  /** For programs: at most 50 texts of at most 500 characters under names of at most 40. Default `{}`. */
  metadata: z
    .record(
      z.string().regex(/^[A-Za-z0-9_.-]{1,40}$/, 'must be a name of 1..40 characters'),
      z.string().max(500),
    )
    .refine(entries => Object.keys(entries).length <= 50, 'must have at most 50 entries'),
};

const fullShape = z.strictObject(subscriptionShapes);
const storedShape = fullShape.partial().required({ url: true, events: true });

type Fields = { readonly [K in keyof z.infer<typeof fullShape>]: z.infer<typeof fullShape>[K] };

/** What somebody gave; what is absent has its default. */
export type SubscriptionSettings = Partial<Fields> & Pick<Fields, 'url' | 'events'>;

type OptionalField =
  | 'firstByteTimeoutMs'
  | 'where'
  | 'changed'
  | 'keys'
  | 'excludeKeys'
  | 'bearer'
  | 'basicAuth'
  | 'tls'
  | 'network'
  | 'retry'
  | 'description';

/** All fields with a value; optional are only those whose default is "none", and `retry`. */
export type ResolvedSubscription = Omit<Fields, OptionalField> & Partial<Pick<Fields, OptionalField>>;

export const subscriptionDefaults: Omit<ResolvedSubscription, 'url' | 'events' | OptionalField> = {
  classes: ['*'],
  active: true,
  headers: {},
  signatures: ['v1'],
  sendWebhookKey: false,
  timeoutMs: 15_000,
  concurrency: 16,
  maxBodyBytes: 1_048_576,
  metadata: {},
};

export const subscriptionFieldNames: readonly string[] = Object.keys(subscriptionShapes);

export function resolveSubscription(settings: SubscriptionSettings): ResolvedSubscription {
  return { ...subscriptionDefaults, ...settings };
}

/** 1..128 letters, digits, `.`, `_` and `-`, a letter or digit first. Throws INVALID_SUBSCRIPTION. */
export function parseSubscriptionName(name: unknown): string {
  if (typeof name === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(name)) return name;
  throw invalidSubscription(
    `name must be 1..128 letters, digits, dots, underscores and hyphens, a letter or digit first, got ${describe(name)}`,
  );
}

/**
 * Merges `change` into `current`: a named field is set, `null` takes it back to its default, `headers` are merged by
 * name. Throws INVALID_SUBSCRIPTION that names field and value, and REFUSED_CLASS.
 */
export function changeSubscription(
  current: Partial<SubscriptionSettings>,
  change: Readonly<Record<string, unknown>>,
): SubscriptionSettings {
  const next = new Map<string, unknown>(Object.entries(current));
  for (const [name, value] of Object.entries(change)) {
    if (!subscriptionFieldNames.includes(name)) throw invalidSubscription(`unknown field ${describe(name)}`);
    if (value === null || value === undefined) next.delete(name);
    else
      next.set(
        name,
        asInvalidSubscription(() => mergeSetting(name, current, value)),
      );
  }
  return parseSubscription(Object.fromEntries(next));
}

/** Checks all fields together. Throws INVALID_SUBSCRIPTION that names field and value, and REFUSED_CLASS. */
export function parseSubscription(input: Readonly<Record<string, unknown>>): SubscriptionSettings {
  for (const required of ['url', 'events']) {
    if (input[required] === undefined) throw invalidSubscription(`${required} must be given`);
  }
  const parsed = storedShape.safeParse(input);
  if (!parsed.success) throw invalidSubscription(describeIssue(parsed.error, input));
  // What zod infers of optional fields allows undefined; none is there, as undefined is deleted above.
  const settings = withLowerCaseNames(parsed.data as SubscriptionSettings);
  return asInvalidSubscription(() => {
    parseUrl(settings.url);
    assertRequestSettings(settings);
    for (const className of settings.classes ?? []) assertClass(className);
    return settings;
  });
}

const refusedClasses: readonly string[] = ['_User', '_Installation', '_Session'];

function assertClass(className: string): void {
  if (className === '*') return;
  if (refusedClasses.includes(className)) {
    throw new WebhookError(
      'REFUSED_CLASS',
      `classes names ${className}: events of ${refusedClasses.join(', ')} are not sent`,
    );
  }
  if (ownClasses.includes(className))
    throw new WebhookError('REFUSED_CLASS', `classes names ${className}: it holds the webhooks themselves`);
  if (hookableSystemClasses.includes(className)) return;
  if (!isHookableClassName(className) || className.startsWith('@'))
    throw invalidSubscription(`classes must be names of classes or "*", got ${describe(className)}`);
}

/** The rules of hooks speak of hooks: what they refuse of a subscription has another code. */
export function asInvalidSubscription<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof WebhookError) || cause.code !== 'INVALID_HOOK') throw cause;
    throw invalidSubscription(cause.message, cause);
  }
}

export function invalidSubscription(message: string, cause?: unknown): WebhookError {
  return new WebhookError('INVALID_SUBSCRIPTION', message, cause === undefined ? undefined : { cause });
}
