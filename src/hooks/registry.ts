// The hooks in force on this node, and every way to change them. Storage is written first, memory after.
// Knows no Parse: who installs triggers listens to `onChange`.
import { WebhookError } from '../errors';
import type { Logger } from '../shared/logger';
import { changeSettings, describe, settingNames, type HookSettings } from './hook-settings';
import { hookKey, hookLabel, isRowOf, parseRowName, type Hook, type HookTarget, type RowName } from './hook';
import type { HookStore, HookWriter, SettingRow, StoreVersion } from './hook-store';
import { installHook, type BrokenSettings, type HookHealth, type InstalledHook } from './installed-hook';
import type { SecretBox } from './secret-box';
import { openSettings, sealSettings } from './stored-settings';
import { parseHookRow, parseTarget, parseUrl } from './validate-hook';

export interface RegistryParts {
  readonly store: HookStore;
  readonly box: SecretBox;
  readonly logger: Logger;
  /** Plugin-wide defaults of hook settings. */
  readonly defaults: HookSettings;
}

/** A row of `_Hooks` that is left where it is and not installed. */
export interface UnusableRow {
  readonly row: unknown;
  readonly reason: string;
}

type Declaration = Readonly<Record<string, unknown>>;

export class HookRegistry {
  readonly #parts: RegistryParts;
  readonly #listeners = new Set<() => void>();
  readonly #reported = new Set<string>();
  #installed: ReadonlyMap<string, InstalledHook> = new Map();
  #unusable: readonly UnusableRow[] = [];
  #version: StoreVersion;
  #lastLoad: Promise<void> = Promise.resolve();
  #nextLoad: Promise<void> | undefined;

  constructor(parts: RegistryParts) {
    this.#parts = parts;
  }

  /** Runs after every change of what is in force on this node. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  find(key: string): InstalledHook | undefined {
    return this.#installed.get(key);
  }

  list(): readonly InstalledHook[] {
    return [...this.#installed.values()];
  }

  unusableRows(): readonly UnusableRow[] {
    return this.#unusable;
  }

  /** Reads everything and puts it in force. Calls that overlap share one read that begins after the last of them. */
  reload(): Promise<void> {
    if (this.#nextLoad) return this.#nextLoad;
    const load = this.#lastLoad
      .catch(() => undefined)
      .then(() => {
        this.#nextLoad = undefined;
        return this.#load();
      });
    this.#lastLoad = this.#nextLoad = load;
    return load;
  }

  /** Reloads if another node changed something. One read by primary key when nothing did. */
  async refresh(): Promise<void> {
    const version = await this.#parts.store.readVersion();
    if (version === undefined || version !== this.#version) await this.reload();
  }

  /** Registers a hook from a REST body: target, `url` and any settings. Throws DUPLICATE_HOOK, INVALID_HOOK, REFUSED_CLASS. */
  async create(declaration: Declaration, extras: 'refuse-unknown' | 'drop-unknown'): Promise<InstalledHook> {
    const hook = parseHook(declaration);
    const given = settingsOf(declaration, extras);
    const settings = changeSettings(hook.target, {}, given);
    await this.#parts.store.exclusively(async writer => {
      if (await hasUsableRow(writer, hook.target)) throw duplicate(hook.target);
      await this.#writeNew(writer, hook, settings);
    });
    return this.#reloaded(hook.target);
  }

  /** Changes `url`, settings or both; what is not named stays. Throws UNKNOWN_HOOK, INVALID_HOOK. */
  async update(
    target: HookTarget,
    change: { readonly url?: unknown; readonly settings?: Declaration },
  ): Promise<InstalledHook> {
    const url = change.url === undefined ? undefined : parseUrl(change.url);
    await this.#parts.store.exclusively(async writer => {
      const row = (await writer.readHooks()).findLast(each => isRowOf(target, each));
      if (row === undefined) throw unknownHook(target);
      if (url === undefined) assertUsable(row);
      const stored = await writer.readSetting(target);
      const settings = change.settings
        ? this.#seal(target, changeSettings(target, this.#openRow(target, stored), change.settings))
        : (stored?.settings ?? '{}');
      // Written for a new URL too: the row's updatedAt is the hook's.
      await writer.writeSetting(target, settings);
      if (url !== undefined) await writer.writeHook({ target, url });
    });
    return this.#reloaded(target);
  }

  /** Removes a hook and its settings, unusable rows of that name too. Throws HOOK_NOT_FOUND and changes nothing when there is none. */
  async remove(target: RowName): Promise<void> {
    await this.#parts.store.exclusively(async writer => {
      const rows = await writer.readHooks();
      if (!rows.some(row => isRowOf(target, row)))
        throw new WebhookError('HOOK_NOT_FOUND', 'Object not found.');
      await writer.removeHook(target);
      await writer.removeSetting(target);
    });
    await this.reload();
  }

  /**
   * Brings declared hooks into force: missing ones are created, others updated to what is declared. Rows that are not
   * declared are told in the answer, and removed only if `removeOthers`.
   */
  async reconcile(declared: readonly Declaration[], removeOthers: boolean): Promise<Reconciliation> {
    const wanted = declared.map(parseDeclared);
    const keys = new Set(wanted.map(({ hook }) => hookKey(hook.target)));
    if (keys.size !== wanted.length)
      throw new WebhookError('INVALID_OPTION', 'hooks declares the same hook twice');
    const result: Reconciliation = { created: [], updated: [], undeclared: [], removed: [] };
    await this.#parts.store.exclusively(async writer => {
      const rows = new Map<string, Hook>();
      for (const row of await writer.readHooks()) {
        const parsed = parseHookRow(row);
        if (parsed.kind === 'hook') rows.set(hookKey(parsed.hook.target), parsed.hook);
      }
      for (const { hook, settings } of wanted) {
        const row = rows.get(hookKey(hook.target));
        if (!row) {
          await this.#writeNew(writer, hook, settings);
          result.created.push(hookLabel(hook.target));
        } else if (row.url !== hook.url || !(await this.#sameSettings(writer, hook.target, settings))) {
          await this.#write(writer, hook, settings);
          result.updated.push(hookLabel(hook.target));
        }
      }
      for (const [key, { target }] of rows) {
        if (keys.has(key)) continue;
        result.undeclared.push(hookLabel(target));
        if (!removeOthers) continue;
        await writer.removeHook(target);
        await writer.removeSetting(target);
        result.removed.push(hookLabel(target));
      }
    });
    await this.reload();
    return result;
  }

  async #sameSettings(writer: HookWriter, target: HookTarget, settings: HookSettings): Promise<boolean> {
    const row = await writer.readSetting(target);
    try {
      return canonical(this.#openRow(target, row)) === canonical(settings);
    } catch (error) {
      // What cannot be read is replaced by what is declared.
      if (error instanceof WebhookError) return false;
      throw error;
    }
  }

  async #writeNew(writer: HookWriter, hook: Hook, settings: HookSettings): Promise<void> {
    // What a hook of this name left behind, its createdAt too, is not this hook's.
    if (await writer.readSetting(hook.target)) await writer.removeSetting(hook.target);
    await this.#write(writer, hook, settings);
  }

  async #write(writer: HookWriter, hook: Hook, settings: HookSettings): Promise<void> {
    // Settings first: a crash in between leaves settings without a hook, which the next registration or start removes,
    // and never a hook that runs without the settings it was given.
    await writer.writeSetting(hook.target, this.#seal(hook.target, settings));
    await writer.writeHook(hook);
  }

  #seal(target: HookTarget, settings: HookSettings): string {
    return sealSettings(target, settings, this.#parts.box);
  }

  #openRow(target: HookTarget, row: SettingRow | undefined): HookSettings {
    return row ? openSettings(target, row.settings, this.#parts.box) : {};
  }

  async #reloaded(target: HookTarget): Promise<InstalledHook> {
    await this.reload();
    const installed = this.find(hookKey(target));
    // Another node may have removed it between our write and our read.
    if (!installed) throw unknownHook(target);
    return installed;
  }

  async #load(): Promise<void> {
    const { store, defaults } = this.#parts;
    const state = await store.readAll();
    const settingRows = new Map(state.settings.map(row => [row.key, row]));
    const installed = new Map<string, InstalledHook>();
    const unusable: UnusableRow[] = [];
    for (const row of state.hooks) {
      const parsed = parseHookRow(row);
      if (parsed.kind === 'unusable') {
        unusable.push({ row, reason: parsed.reason });
        const name = parseRowName(row);
        const label = name ? describe(hookLabel(name)) : 'without a name';
        this.#reportOnce(`the row ${label} of _Hooks is not installed: ${parsed.reason}`);
        continue;
      }
      const { hook } = parsed;
      const key = hookKey(hook.target);
      const stored = settingRows.get(key);
      // The last row wins where the built-in left several: it is the one the built-in would have called.
      installed.set(
        key,
        installHook({
          hook,
          defaults,
          ...this.#readSettings(hook.target, stored),
          ...(stored && { createdAt: stored.createdAt, updatedAt: stored.updatedAt }),
          ...healthOf(this.#installed.get(key)),
        }),
      );
    }
    this.#installed = installed;
    this.#unusable = unusable;
    this.#version = state.version;
    for (const listener of this.#listeners) listener();
  }

  #readSettings(
    target: HookTarget,
    row: SettingRow | undefined,
  ): { settings: HookSettings; broken?: BrokenSettings } {
    try {
      return { settings: this.#openRow(target, row) };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#reportOnce(`webhook ${hookLabel(target)} rejects every call: ${reason}`);
      return {
        settings: {},
        broken: { reason, code: error instanceof WebhookError ? error.code : undefined },
      };
    }
  }

  #reportOnce(message: string): void {
    if (this.#reported.has(message)) return;
    this.#reported.add(message);
    this.#parts.logger.error(message);
  }
}

export interface Reconciliation {
  readonly created: string[];
  readonly updated: string[];
  /** In the database and not declared: drift. */
  readonly undeclared: string[];
  readonly removed: string[];
}

function parseHook(declaration: Declaration): Hook {
  return { target: parseTarget(declaration), url: parseUrl(declaration.url) };
}

const hookFieldNames = ['functionName', 'className', 'triggerName', 'url'];

/** What of a REST body is settings. The built-in drops unknown fields silently; our own routes refuse them. */
function settingsOf(declaration: Declaration, extras: 'refuse-unknown' | 'drop-unknown'): Declaration {
  const rest = Object.entries(declaration).filter(([name]) => !hookFieldNames.includes(name));
  if (extras === 'refuse-unknown') return Object.fromEntries(rest);
  return Object.fromEntries(rest.filter(([name]) => (settingNames as readonly string[]).includes(name)));
}

function parseDeclared(declaration: Declaration, at: number): { hook: Hook; settings: HookSettings } {
  try {
    const hook = parseHook(declaration);
    return { hook, settings: changeSettings(hook.target, {}, settingsOf(declaration, 'refuse-unknown')) };
  } catch (cause) {
    if (!(cause instanceof WebhookError)) throw cause;
    throw new WebhookError('INVALID_OPTION', `hooks.${at} is invalid: ${cause.message}`, { cause });
  }
}

async function hasUsableRow(writer: HookWriter, target: HookTarget): Promise<boolean> {
  return (await writer.readHooks()).some(row => isRowOf(target, row) && parseHookRow(row).kind === 'hook');
}

function assertUsable(row: unknown): void {
  const parsed = parseHookRow(row);
  if (parsed.kind === 'unusable')
    throw new WebhookError('INVALID_HOOK', `the hook has no usable url: ${parsed.reason}`);
}

function healthOf(previous: InstalledHook | undefined): { health?: HookHealth } {
  return previous ? { health: previous.health } : {};
}

function canonical(settings: HookSettings): string {
  return JSON.stringify(settings, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}

function duplicate(target: HookTarget): WebhookError {
  return new WebhookError(
    'DUPLICATE_HOOK',
    target.kind === 'function'
      ? `function name: ${target.functionName} already exists`
      : `class ${target.className} already has trigger ${target.triggerName}`,
  );
}

/** The built-in's words for a target without a hook. */
export function unknownHook(target: RowName): WebhookError {
  return new WebhookError(
    'UNKNOWN_HOOK',
    target.kind === 'function'
      ? `no function named: ${target.functionName} is defined`
      : `class ${target.className} does not exist`,
  );
}
