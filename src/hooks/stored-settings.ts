// How settings and signing secrets are written into their row: JSON text, every secret sealed for its own place.
import type { SecretBox, SecretBoxes, SecretOpener } from './secret-box';
import { hiddenValue, parseSettings, type HookSettings } from './hook-settings';
import { hookKey, type HookTarget } from './hook';
import { parseSecretSet, type SecretSet } from './secret-rotation';
import { isJsonObject } from '../shared/json';
import { WebhookError } from '../errors';

/** What is kept of a hook beside its URL. */
export interface HookRecord {
  readonly settings: HookSettings;
  /** Undefined only for a hook that this package has not yet seen: the built-in's rows come without. */
  readonly secrets: SecretSet | undefined;
}

export function sealRecord(target: HookTarget, record: HookRecord, box: SecretBox): string {
  const key = hookKey(target);
  const settings = mapSecrets(record.settings, (value, place) => box.seal(String(value), `${key} ${place}`));
  const secrets = record.secrets && box.seal(JSON.stringify(record.secrets), `${key} secrets`);
  return JSON.stringify({ ...settings, ...(secrets !== undefined && { secrets }) });
}

/** Throws BROKEN_SECRET or INVALID_HOOK: a row that cannot be read is never taken for defaults. */
export function openRecord(target: HookTarget, stored: string, box: SecretOpener): HookRecord {
  const { secrets, ...sealed } = parseJson(stored, target);
  const key = hookKey(target);
  const settings = mapSecrets(sealed, (value, place) => {
    if (typeof value !== 'string') throw unreadable(target);
    return box.open(value, `${key} ${place}`);
  });
  return {
    settings: parseSettings(target, settings),
    secrets: secrets === undefined ? undefined : openSecrets(target, secrets, box),
  };
}

/**
 * The text with every secret that a former key opens under the current one; undefined when there is none. What no key
 * opens stays as it is. Judges nothing else: settings that this version would refuse keep their secrets too.
 */
export function resealRecord(key: string, stored: string, boxes: SecretBoxes): string | undefined {
  const record = tryParseJson(stored);
  if (!record) return undefined;
  const resealedPlaces: string[] = [];
  const reseal = (value: unknown, place: string): unknown => {
    const box = typeof value === 'string' ? boxes.find(value, `${key} ${place}`) : undefined;
    if (typeof value !== 'string' || !box || box === boxes.current) return value;
    resealedPlaces.push(place);
    return boxes.current.seal(box.open(value, `${key} ${place}`), `${key} ${place}`);
  };
  const { secrets, ...sealed } = record;
  const settings = mapSecrets(sealed, reseal);
  const resealed = { ...settings, ...(secrets !== undefined && { secrets: reseal(secrets, 'secrets') }) };
  return resealedPlaces.length > 0 ? JSON.stringify(resealed) : undefined;
}

/**
 * The names of the credentials in a stored text, without opening it: `headers.x-api-key`, `basicAuth`, `tls`. The signing
 * secret is not among them: it is never sent.
 */
export function credentialNames(stored: string): readonly string[] {
  const names: string[] = [];
  mapSecrets(tryParseJson(stored) ?? {}, (_value, place) =>
    names.push(place.replace(/^header /, 'headers.').replace(/ key$/, '')),
  );
  return names;
}

/** Settings as the API shows them: secrets hidden. */
export function showSettings<T extends HookSettings>(settings: T): T {
  return mapSecrets(settings, () => hiddenValue);
}

function openSecrets(target: HookTarget, sealed: unknown, box: SecretOpener): SecretSet {
  if (typeof sealed !== 'string') throw unreadable(target);
  return parseSecretSet(parseJson(box.open(sealed, `${hookKey(target)} secrets`), target));
}

/** Every secret of the settings mapped, everything else as it is. `place` names the secret within its hook. */
export function mapSecrets<T extends object>(
  settings: T,
  map: (value: unknown, place: string) => unknown,
): T {
  const { headers, basicAuth, tls } = settings as Record<string, unknown>;
  return {
    ...settings,
    ...(isJsonObject(headers) && {
      headers: Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [name, map(value, `header ${name}`)]),
      ),
    }),
    ...(isJsonObject(basicAuth) &&
      basicAuth.password !== undefined && {
        basicAuth: { ...basicAuth, password: map(basicAuth.password, 'basicAuth') },
      }),
    ...(isJsonObject(tls) && tls.key !== undefined && { tls: { ...tls, key: map(tls.key, 'tls key') } }),
  };
}

function parseJson(stored: string, target: HookTarget): Record<string, unknown> {
  const value = tryParseJson(stored);
  if (value) return value;
  throw unreadable(target);
}

export function tryParseJson(stored: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(stored);
    return isJsonObject(value) ? value : undefined;
  } catch {
    // Not JSON: callers tell it, with the hook's name.
    return undefined;
  }
}

function unreadable(target: HookTarget): WebhookError {
  return new WebhookError('INVALID_HOOK', `the stored settings of ${hookKey(target)} are unreadable`);
}
