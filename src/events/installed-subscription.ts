// A subscription in force: everything that can be worked out once per change of it instead of once per event.
import { WebhookError, type ErrorCode } from '../errors';
import { compileWhere } from '../hooks/object-filter';
import type { SecretOpener } from '../hooks/secret-box';
import type { SecretSet } from '../hooks/secret-rotation';
import { showSettings } from '../hooks/stored-settings';
import { isJsonObject, type JsonObject } from '../shared/json';
import { tryUrl } from '../shared/try-url';
import type { EndpointKey } from './delivery';
import { compileRetryPolicy, standardRetryPolicy, type RetryPolicy } from './retry-policy';
import { openSubscription, subscriptionKey, type SubscriptionRecord } from './subscription-record';
import {
  resolveSubscription,
  subscriptionDefaults,
  type ResolvedSubscription,
  type SubscriptionSettings,
} from './subscription-settings';
import type { SubscriptionRow } from './subscription-store';

export interface InstalledSubscription {
  readonly objectId: string;
  readonly name: string;
  readonly key: EndpointKey;
  /** `subscription orders`. */
  readonly label: string;
  /** Scheme, host and port of the URL. */
  readonly origin: string;
  readonly settings: ResolvedSubscription;
  /** What somebody gave, without the defaults; undefined when the stored record cannot be read. */
  readonly ownSettings: SubscriptionSettings | undefined;
  /** What signs requests. Undefined only when it is broken. */
  readonly secrets: SecretSet | undefined;
  readonly sendsWebhookKey: boolean;
  readonly retry: RetryPolicy;
  /** The compiled `where`; undefined matches everything. Never throws. */
  readonly matches: ((object: JsonObject) => boolean) | undefined;
  /** `where` names keys of the object as it was before. */
  readonly readsOriginal: boolean;
  /** The same for subscriptions that want the same keys: their bodies are the same text. */
  readonly selection: string;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly broken: { readonly code: ErrorCode | undefined; readonly reason: string } | undefined;
}

/** Reads a row, which may hold anything. Never throws: what cannot be read is installed as broken. */
export function installSubscription(row: SubscriptionRow, box: SecretOpener): InstalledSubscription {
  const { objectId, createdAt, updatedAt } = row;
  const record = readRecord(row, box);
  const settings = record.settings
    ? resolveSubscription(record.settings)
    : { ...subscriptionDefaults, url: '', events: [] };
  const { where, keys, excludeKeys, retry } = settings;
  const filter = where && compileWhere(where);
  const name = row.name === '' ? objectId : row.name;
  return {
    objectId,
    name,
    key: subscriptionKey(objectId),
    label: `subscription ${name}`,
    origin: tryUrl(settings.url)?.origin ?? '',
    settings,
    ownSettings: record.settings,
    secrets: record.secrets,
    sendsWebhookKey: settings.sendWebhookKey,
    retry: retry ? compileRetryPolicy(retry) : standardRetryPolicy,
    matches: filter?.kind === 'filter' ? object => filter.matches(object) : undefined,
    readsOriginal: where !== undefined && JSON.stringify(where).includes('"original.'),
    selection: JSON.stringify([keys, excludeKeys]),
    createdAt,
    updatedAt,
    broken: record.broken,
  };
}

function readRecord(
  { objectId, settings, name }: SubscriptionRow,
  box: SecretOpener,
): Partial<SubscriptionRecord> & Pick<InstalledSubscription, 'broken'> {
  try {
    if (name === '') throw new WebhookError('INVALID_SUBSCRIPTION', 'the stored record has no name');
    return { ...openSubscription(objectId, settings, box), broken: undefined };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { broken: { code: error instanceof WebhookError ? error.code : undefined, reason } };
  }
}

/** All fields with their defaults as the API shows them: secrets hidden. A broken one shows none. */
export function showFields({ settings, broken }: InstalledSubscription): JsonObject {
  if (broken) return {};
  const shown: unknown = JSON.parse(JSON.stringify(showSettings(settings)));
  return isJsonObject(shown) ? shown : {};
}
