// Credentials belong to the origin they were given for: a hook that is sent to another one does not take them along.
import { WebhookError } from '../errors';
import { isJsonObject } from '../shared/json';
import type { Declaration } from './declaration';
import { hiddenValue } from './hook-settings';
import { credentialNames } from './stored-settings';

export interface Move {
  /** The url that the row has; anything, or nothing. */
  readonly from: unknown;
  readonly to: string;
  /** Stored settings, sealed. */
  readonly stored: string | undefined;
  readonly settings: Declaration;
}

/**
 * Throws INVALID_HOOK, naming them, when credentials that are stored would be sent to another origin. They are refused and
 * not dropped: a Dashboard that edits a URL shows none of them, and what is dropped cannot be had back.
 */
export function assertCredentialsStay(move: Move): void {
  const kept = keptCredentials(move);
  if (kept.length === 0) return;
  throw new WebhookError(
    'INVALID_HOOK',
    `url leads to another origin, and ${kept.join(', ')} ${kept.length === 1 ? 'was' : 'were'} given for the one before: ` +
      'give anew what goes along, and null for what does not, with PATCH on /webhooks/hooks/...',
  );
}

/** Names of stored credentials that a change would send to another origin. */
export function keptCredentials({ from, to, stored, settings }: Move): readonly string[] {
  if (stored === undefined || originOf(from) === originOf(to)) return [];
  return credentialNames(stored).filter(name => !isReplaced(name, settings));
}

/** True when the change says what becomes of it; `********` does not: it keeps the old value. */
function isReplaced(name: string, settings: Declaration): boolean {
  const [setting = '', ...rest] = name.split('.');
  const given = settings[setting];
  if (given === null) return true;
  if (!isJsonObject(given)) return false;
  switch (setting) {
    case 'headers':
      return Object.entries(given).some(
        ([header, value]) => header.toLowerCase() === rest.join('.') && value !== hiddenValue,
      );
    case 'basicAuth':
      return given.password !== hiddenValue;
    default:
      return given.key !== hiddenValue;
  }
}

/** Undefined for what is no URL: it is nobody's origin. */
function originOf(url: unknown): string | undefined {
  try {
    return new URL(String(url)).origin;
  } catch {
    return undefined;
  }
}
