// A hook in force: everything that can be worked out once per registration instead of once per call.
import { compileWhere } from './object-filter';
import { hookKey, hookLabel, isBlocking, type Hook } from './hook';
import { resolveSettings, type HookSettings, type ResolvedSettings } from './hook-settings';
import type { SecretSet } from './secret-rotation';
import type { ErrorCode } from '../errors';
import type { JsonObject } from '../shared/json';

/** Counts of one hook on this node since it was installed. */
export interface HookHealth {
  calls: number;
  rejections: number;
  failures: number;
  /** Failures that failurePolicy `allow` let pass. */
  failedOpen: number;
  lastSuccessAt?: number;
  lastFailureAt?: number;
  lastFailure?: string;
}

export interface BrokenSettings {
  readonly code: ErrorCode | undefined;
  readonly reason: string;
}

export interface InstalledHook {
  readonly key: string;
  readonly label: string;
  readonly hook: Hook;
  readonly blocking: boolean;
  /** Scheme, host and port of the URL. */
  readonly origin: string;
  /** What signs requests. Undefined only when the hook is broken. */
  readonly secrets: SecretSet | undefined;
  readonly settings: ResolvedSettings;
  /** What somebody set, without the defaults. */
  readonly ownSettings: HookSettings;
  readonly createdAt?: string;
  readonly updatedAt?: string;
  /** The compiled `where`; undefined matches everything. */
  readonly matches?: (object: JsonObject) => boolean;
  /** Set when the settings could not be read: every call is then rejected, whatever the plugin's defaults say. */
  readonly broken?: BrokenSettings;
  readonly health: HookHealth;
}

export interface InstallInput {
  readonly hook: Hook;
  readonly settings: HookSettings;
  readonly secrets: SecretSet | undefined;
  readonly defaults: HookSettings;
  readonly createdAt?: string;
  readonly updatedAt?: string;
  readonly broken?: BrokenSettings;
  readonly health?: HookHealth;
}

/** Settings that cannot be read might have said so: the plugin's defaults must not make it less. */
const brokenSettings = { mode: 'enforce', failurePolicy: 'reject', active: true } as const;

export function installHook(input: InstallInput): InstalledHook {
  const { hook, settings, secrets, defaults, createdAt, updatedAt, broken, health } = input;
  const filter = settings.where && compileWhere(settings.where);
  return {
    key: hookKey(hook.target),
    label: hookLabel(hook.target),
    hook,
    blocking: isBlocking(hook.target),
    origin: new URL(hook.url).origin,
    secrets,
    settings: { ...resolveSettings(settings, defaults), ...(broken && brokenSettings) },
    ownSettings: settings,
    ...(createdAt !== undefined && { createdAt }),
    ...(updatedAt !== undefined && { updatedAt }),
    ...(filter?.kind === 'filter' && { matches: (object: JsonObject) => filter.matches(object) }),
    ...(broken !== undefined && { broken }),
    health: health ?? { calls: 0, rejections: 0, failures: 0, failedOpen: 0 },
  };
}
