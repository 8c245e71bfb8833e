// How the fields and secrets of a subscription are written into its row: JSON text, every secret sealed for its place.
import { createHash } from 'node:crypto';
import { WebhookError } from '../errors';
import type { SecretBox, SecretOpener } from '../hooks/secret-box';
import { parseSecretSet, type SecretSet } from '../hooks/secret-rotation';
import { mapSecrets, tryParseJson } from '../hooks/stored-settings';
import type { EndpointKey } from './delivery';
import { invalidSubscription, parseSubscription, type SubscriptionSettings } from './subscription-settings';

export interface SubscriptionRecord {
  readonly settings: SubscriptionSettings;
  readonly secrets: SecretSet;
}

/** 24 hexadecimal digits, the same on every node: two that create one name make one row. */
export function subscriptionObjectId(name: string): string {
  return createHash('sha256').update(`subscription/${name}`).digest('hex').slice(0, 24);
}

export function subscriptionKey(objectId: string): EndpointKey {
  return `subscription/${objectId}`;
}

export function sealSubscription(objectId: string, record: SubscriptionRecord, box: SecretBox): string {
  const key = subscriptionKey(objectId);
  const settings = mapSecrets(record.settings, (value, place) => box.seal(String(value), `${key} ${place}`));
  return JSON.stringify({ ...settings, secrets: box.seal(JSON.stringify(record.secrets), `${key} secrets`) });
}

/** Throws BROKEN_SECRET, INVALID_SUBSCRIPTION or REFUSED_CLASS: what cannot be read is never taken for defaults. */
export function openSubscription(objectId: string, stored: string, box: SecretOpener): SubscriptionRecord {
  const key = subscriptionKey(objectId);
  const open = (value: unknown, place: string): string => {
    if (typeof value === 'string') return box.open(value, `${key} ${place}`);
    throw invalidSubscription(`the stored record has no ${place}`);
  };
  const fields = tryParseJson(stored);
  if (!fields) throw invalidSubscription('the stored record is not JSON');
  const { secrets, ...sealed } = fields;
  const set = tryParseJson(open(secrets, 'secrets'));
  if (!set) throw new WebhookError('BROKEN_SECRET', `the secrets of ${key} are unreadable`);
  return { settings: parseSubscription(mapSecrets(sealed, open)), secrets: parseSecretSet(set) };
}
