// How settings and signing secrets are written into their row: JSON text, every secret sealed for its own place.
import type { SecretBox } from './secret-box';
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
export function openRecord(target: HookTarget, stored: string, box: SecretBox): HookRecord {
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

/** Settings as the API shows them: secrets hidden. */
export function showSettings<T extends HookSettings>(settings: T): T {
  return mapSecrets(settings, () => hiddenValue);
}

function openSecrets(target: HookTarget, sealed: unknown, box: SecretBox): SecretSet {
  if (typeof sealed !== 'string') throw unreadable(target);
  return parseSecretSet(parseJson(box.open(sealed, `${hookKey(target)} secrets`), target));
}

/** Every secret of the settings mapped, everything else as it is. `place` names the secret within its hook. */
function mapSecrets<T extends object>(settings: T, map: (value: unknown, place: string) => string): T {
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
