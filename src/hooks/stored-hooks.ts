// From what is stored to what is in force: every row read on its own, so that a broken one affects no other.
import { WebhookError } from '../errors';
import { hookKey, hookLabel, parseRowName, type HookTarget } from './hook';
import { describe, type HookSettings } from './hook-settings';
import type { SettingRow, StoredState } from './hook-store';
import { installHook, type BrokenSettings, type HookHealth, type InstalledHook } from './installed-hook';
import { keyStateOf, otherKeyMessage, type KeyState } from './key-check';
import type { SecretBoxes, SecretOpener } from './secret-box';
import { openRecord, type HookRecord } from './stored-settings';
import { hasUnusedTls, parseHookRow } from './validate-hook';

/** A row of `_Hooks` that is left where it is and not installed. */
export interface UnusableRow {
  readonly row: unknown;
  readonly reason: string;
}

export interface StoredHooks {
  readonly installed: ReadonlyMap<string, InstalledHook>;
  readonly unusable: readonly UnusableRow[];
  readonly keys: string | undefined;
  /** Why the stored keys cannot be opened. */
  readonly keysError?: WebhookError;
  /** Which key of this server all of it is under. */
  readonly keyState: KeyState;
  /** What an operator should know, a line each. */
  readonly problems: readonly string[];
}

export interface ReadParts {
  readonly boxes: SecretBoxes;
  /** Plugin-wide defaults of hook settings. */
  readonly defaults: HookSettings;
  /** What was in force before: counts go on. */
  readonly previous: ReadonlyMap<string, InstalledHook>;
}

/** What the server's keys are sealed for. */
export const keysPlace = 'signing keys';

export function readStoredHooks(
  state: Omit<StoredState, 'version'>,
  { boxes, defaults, previous }: ReadParts,
): StoredHooks {
  const problems: string[] = [];
  const settingRows = new Map(state.settings.map(row => [row.key, row]));
  const installed = new Map<string, InstalledHook>();
  const unusable: UnusableRow[] = [];
  for (const row of state.hooks) {
    const parsed = parseHookRow(row);
    if (parsed.kind === 'unusable') {
      unusable.push({ row, reason: parsed.reason });
      const name = parseRowName(row);
      const label = name ? describe(hookLabel(name)) : 'without a name';
      problems.push(`the row ${label} of _Hooks is not installed: ${parsed.reason}`);
      continue;
    }
    const { hook } = parsed;
    const key = hookKey(hook.target);
    const stored = settingRows.get(key);
    const record = readRecord(hook.target, stored, boxes);
    if (record.broken)
      problems.push(`webhook ${hookLabel(hook.target)} rejects every call: ${record.broken.reason}`);
    if (hasUnusedTls(hook.url, record.settings))
      problems.push(`webhook ${hookLabel(hook.target)} is called without TLS: it has tls, and an http url`);
    // The last row wins where the built-in left several: it is the one the built-in would have called.
    installed.set(
      key,
      installHook({
        hook,
        defaults,
        ...record,
        ...(stored && { createdAt: stored.createdAt, updatedAt: stored.updatedAt }),
        ...healthOf(previous.get(key)),
      }),
    );
  }
  const keys = openKeys(state.keys, boxes);
  if (keys.keysError) problems.push(keys.keysError.message);
  const keyState = keyStateOf(state.keyCheck, boxes);
  if (keyState === 'foreign') problems.push(otherKeyMessage);
  return { installed, unusable, keyState, problems, ...keys };
}

/** True when a secret of this hook, or of its settings, does not open with the key at hand. */
export function isUndecryptable({ broken }: InstalledHook): boolean {
  return broken?.code === 'BROKEN_SECRET';
}

/**
 * True unless what is sealed was sealed with another key: what is written then could not be read by the other nodes.
 * Databases of before the key check tell by what is in them. Server keys that alone do not open are no such sign beside a secret that does: they were lost earlier, with their key.
 */
export function fitsKey({ installed, keysError, keyState }: StoredHooks): boolean {
  if (keyState !== 'unset') return keyState !== 'foreign';
  const hooks = [...installed.values()];
  if (hooks.some(isUndecryptable)) return false;
  return keysError === undefined || hooks.some(({ secrets }) => secrets !== undefined);
}

/** Settings and secrets of a hook; without a row, the built-in's hooks have none. Throws as openRecord does. */
export function openStored(target: HookTarget, row: SettingRow | undefined, box: SecretOpener): HookRecord {
  return row ? openRecord(target, row.settings, box) : { settings: {}, secrets: undefined };
}

function readRecord(
  target: HookTarget,
  row: SettingRow | undefined,
  box: SecretOpener,
): HookRecord & { readonly broken?: BrokenSettings } {
  try {
    return openStored(target, row, box);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const code = error instanceof WebhookError ? error.code : undefined;
    return { settings: {}, secrets: undefined, broken: { reason, code } };
  }
}

function openKeys(sealed: string | undefined, box: SecretOpener): Pick<StoredHooks, 'keys' | 'keysError'> {
  try {
    return { keys: sealed === undefined ? undefined : box.open(sealed, keysPlace) };
  } catch (error) {
    if (error instanceof WebhookError) return { keys: undefined, keysError: error };
    throw error;
  }
}

function healthOf(previous: InstalledHook | undefined): { health?: HookHealth } {
  return previous ? { health: previous.health } : {};
}
