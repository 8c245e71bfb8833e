// How settings are written into their row: JSON text, header values sealed one by one.
import type { SecretBox } from './secret-box';
import { hiddenValue, parseSettings, type HookSettings } from './hook-settings';
import { hookKey, type HookTarget } from './hook';
import { isJsonObject } from '../shared/json';
import { WebhookError } from '../errors';

export function sealSettings(target: HookTarget, settings: HookSettings, box: SecretBox): string {
  if (!settings.headers) return JSON.stringify(settings);
  const key = hookKey(target);
  const sealed = mapValues(settings.headers, (value, name) => box.seal(value, `${key} header ${name}`));
  return JSON.stringify({ ...settings, headers: sealed });
}

/** Throws BROKEN_SECRET or INVALID_HOOK: a row that cannot be read is never taken for defaults. */
export function openSettings(target: HookTarget, stored: string, box: SecretBox): HookSettings {
  const parsed = parseJson(stored, target);
  const { headers, ...rest } = parsed;
  if (headers === undefined) return parseSettings(target, rest);
  if (!isJsonObject(headers)) throw unreadable(target);
  const key = hookKey(target);
  const open = mapValues(headers, (value, name) => {
    if (typeof value !== 'string') throw unreadable(target);
    return box.open(value, `${key} header ${name}`);
  });
  return parseSettings(target, { ...rest, headers: open });
}

/** Settings as the API shows them: header values hidden. */
export function showSettings<T extends HookSettings>(settings: T): T {
  return settings.headers
    ? { ...settings, headers: mapValues(settings.headers, () => hiddenValue) }
    : settings;
}

function parseJson(stored: string, target: HookTarget): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(stored);
    if (isJsonObject(value)) return value;
  } catch {
    // Not JSON: told below, with the hook's name.
  }
  throw unreadable(target);
}

function unreadable(target: HookTarget): WebhookError {
  return new WebhookError('INVALID_HOOK', `the stored settings of ${hookKey(target)} are unreadable`);
}

function mapValues<V, R>(
  record: Readonly<Record<string, V>>,
  map: (value: V, name: string) => R,
): Record<string, R> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value, name)]));
}
