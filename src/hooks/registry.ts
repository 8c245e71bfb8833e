// The hooks in force on this node, and every way to change them. Storage is written first, memory after.
// Knows no Parse: who installs triggers listens to `onChange`.
import { WebhookError } from '../errors';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import { generateSecret } from '../shared/secret-format';
import {
  assertSecretFits,
  checkedSecret,
  parseDeclared,
  parseHook,
  secretOf,
  settingsOf,
  type Declaration,
  type Declared,
} from './declaration';
import { hookKey, hookLabel, isRowOf, type Hook, type HookTarget, type RowName } from './hook';
import { changeSettings, resolveSettings, type HookSettings } from './hook-settings';
import type { HookStore, HookWriter, SettingRow, StoreVersion } from './hook-store';
import type { InstalledHook } from './installed-hook';
import type { SecretBox } from './secret-box';
import { dropExpired, rotate, type SecretSet } from './secret-rotation';
import {
  fitsKey,
  isUndecryptable,
  keysPlace,
  openStored,
  readStoredHooks,
  type StoredHooks,
  type UnusableRow,
} from './stored-hooks';
import { sealRecord, type HookRecord } from './stored-settings';
import { parseHookRow, parseUrl } from './validate-hook';

/** The plugin's own signing keys, as one text. What is in it is the signer's business. */
export interface SigningKeys {
  /** The text with every key that these hooks need; undefined when `text` has them all. */
  complete(text: string | undefined, hooks: readonly HookSettings[]): Promise<string | undefined>;
  /** Takes a text into use. Throws BROKEN_SECRET when it is unreadable. */
  use(text: string | undefined): void;
  /** True when a hook with these settings signs with one of them. */
  isNeededBy(settings: HookSettings): boolean;
}

export interface RegistryParts {
  readonly store: HookStore;
  readonly box: SecretBox;
  readonly clock: Clock;
  readonly keys: SigningKeys;
  /** Why a URL may not be called under these settings, or undefined: the network policy's word on literal addresses. */
  readonly whyUnreachable: (url: string, settings: HookSettings) => string | undefined;
  readonly logger: Logger;
  /** Plugin-wide defaults of hook settings. */
  readonly defaults: HookSettings;
}

export class HookRegistry {
  readonly #parts: RegistryParts;
  readonly #listeners = new Set<() => void>();
  readonly #reported = new Set<string>();
  #installed: ReadonlyMap<string, InstalledHook> = new Map();
  #unusable: readonly UnusableRow[] = [];
  #version: StoreVersion;
  #keysUnreadable = false;
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

  /** What of the store is in force here; differs after every change. */
  get version(): StoreVersion {
    return this.#version;
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

  /**
   * Registers a hook from a REST body: target, `url`, any settings, and `secret` (made here when absent). The answer is
   * the only time that the secret is shown. Throws DUPLICATE_HOOK, INVALID_HOOK, REFUSED_CLASS.
   */
  async create(
    declaration: Declaration,
    extras: 'refuse-unknown' | 'drop-unknown',
  ): Promise<{ readonly hook: InstalledHook; readonly secret: string }> {
    const hook = parseHook(declaration);
    const settings = changeSettings(hook.target, {}, settingsOf(declaration, extras));
    const secret = secretOf(declaration) ?? generateSecret(this.#parts.clock);
    assertSecretFits(settings, secret);
    this.#assertReachable(hook.url, settings);
    await this.#parts.store.exclusively(async writer => {
      if (await hasUsableRow(writer, hook.target)) throw duplicate(hook.target);
      await this.#writeNew(writer, hook, { settings, secrets: { current: secret, old: [] } });
    });
    return { hook: await this.#reloaded(hook.target), secret };
  }

  /**
   * Makes `secret` (or a new one) the one that signs; the former signs along for `graceMs` (default 24 h). The answer
   * is the only time that it is shown. Throws UNKNOWN_HOOK, INVALID_HOOK.
   */
  async rotateSecret(
    target: HookTarget,
    change: { readonly secret?: string; readonly graceMs?: number },
  ): Promise<{ readonly hook: InstalledHook; readonly secret: string }> {
    const { clock } = this.#parts;
    const secret = change.secret ?? generateSecret(clock);
    await this.#parts.store.exclusively(async writer => {
      if (!(await hasUsableRow(writer, target))) throw unknownHook(target);
      const record = this.#openRow(target, await writer.readSetting(target));
      checkedSecret(secret);
      assertSecretFits(record.settings, secret);
      const graceMs = change.graceMs === undefined ? {} : { graceMs: change.graceMs };
      const secrets = record.secrets
        ? rotate(record.secrets, { newSecret: secret, nowMs: clock.now(), ...graceMs })
        : { current: secret, old: [] };
      await writer.writeSetting(target, this.#seal(target, { ...record, secrets }));
    });
    return { hook: await this.#reloaded(target), secret };
  }

  /**
   * Replaces the plugin's signing keys by what `change` makes of them, on all nodes. Throws BROKEN_SECRET when the stored
   * ones cannot be decrypted: receivers trust them.
   */
  async changeKeys(change: (text: string | undefined) => Promise<string>): Promise<void> {
    const { store, box } = this.#parts;
    await store.exclusively(async writer => {
      const sealed = await writer.readKeys();
      const text = sealed === undefined ? undefined : box.open(sealed, keysPlace);
      await writer.writeKeys(box.seal(await change(text), keysPlace));
    });
    await this.reload();
  }

  /**
   * Reads everything and throws BROKEN_SECRET when it was sealed with another key; writes nothing. `declared` is what is
   * to be reconciled next: what does not open may be replaced, if every such hook is declared with its secret.
   */
  async verifyKey(declared: readonly Declaration[]): Promise<void> {
    const wanted = new Map(declared.map(parseDeclared).map(each => [hookKey(each.hook.target), each]));
    const stored = await this.#read();
    const shut = [...stored.installed.values()].filter(isUndecryptable);
    if (shut.some(({ key }) => wanted.get(key)?.secret === undefined)) throw undecryptable(labelsOf(shut));
    if (!stored.keysError) return;
    const keyless = this.#needingKeys(stored, wanted);
    if (keyless.length > 0) throw undecryptable(keyless);
    // Without a secret that opens, nothing says that the server's keys were lost earlier and this key is the right one.
    if (shut.length === 0 && !fitsKey(stored)) throw undecryptable(['the server itself']);
  }

  /** The labels of all hooks that will sign with the server's keys once what is wanted is in force. */
  #needingKeys({ installed }: StoredHooks, wanted: ReadonlyMap<string, Declared>): readonly string[] {
    const { keys, defaults } = this.#parts;
    const kept = [...installed.values()].filter(
      ({ key, settings }) => !wanted.has(key) && keys.isNeededBy(settings),
    );
    const declared = [...wanted.values()].filter(({ settings }) =>
      keys.isNeededBy(resolveSettings(settings, defaults)),
    );
    return [...labelsOf(kept), ...declared.map(({ hook }) => hookLabel(hook.target))];
  }

  /** Throws BROKEN_SECRET for hooks in force that could not sign: their own secret or a server key that they need is shut. */
  assertReadable(): void {
    const { keys } = this.#parts;
    const shut = this.list().filter(
      hook => isUndecryptable(hook) || (this.#keysUnreadable && keys.isNeededBy(hook.settings)),
    );
    if (shut.length > 0) throw undecryptable(labelsOf(shut));
  }

  /** When each former secret of a hook that still signs stops doing so; milliseconds since 1970, newest secret first. */
  oldSecretEnds({ secrets }: InstalledHook): readonly number[] {
    return secrets ? dropExpired(secrets, this.#parts.clock.now()).old.map(({ expiresAt }) => expiresAt) : [];
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
      const settings =
        change.settings || url !== undefined
          ? this.#changedRecord(target, stored, {
              url: url ?? String((row as { url?: unknown }).url),
              ...change,
            })
          : (stored?.settings ?? '{}');
      // Written for a new URL too: the row's updatedAt is the hook's.
      await writer.writeSetting(target, settings);
      if (url !== undefined) await writer.writeHook({ target, url });
    });
    return this.#reloaded(target);
  }

  #changedRecord(
    target: HookTarget,
    stored: SettingRow | undefined,
    change: { readonly url: unknown; readonly settings?: Declaration },
  ): string {
    // A hook whose settings cannot be read can still be sent elsewhere: they stay as they are.
    const record = change.settings ? this.#openRow(target, stored) : this.#tryOpenRow(target, stored);
    if (!record) {
      if (typeof change.url === 'string') this.#assertReachable(change.url, {});
      return stored?.settings ?? '{}';
    }
    const settings = change.settings
      ? changeSettings(target, record.settings, change.settings)
      : record.settings;
    if (change.settings && record.secrets) assertSecretFits(settings, record.secrets.current);
    if (typeof change.url === 'string') this.#assertReachable(change.url, settings);
    return change.settings ? this.#seal(target, { ...record, settings }) : (stored?.settings ?? '{}');
  }

  #tryOpenRow(target: HookTarget, stored: SettingRow | undefined): HookRecord | undefined {
    try {
      return this.#openRow(target, stored);
    } catch (error) {
      if (error instanceof WebhookError) return undefined;
      throw error;
    }
  }

  #assertReachable(url: string, settings: HookSettings): void {
    const why = this.#parts.whyUnreachable(url, settings);
    if (why !== undefined) throw new WebhookError('INVALID_HOOK', `url is refused: ${why}`);
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
    for (const [at, { hook, settings }] of wanted.entries()) {
      const why = this.#parts.whyUnreachable(hook.url, settings);
      if (why !== undefined)
        throw new WebhookError('INVALID_OPTION', `hooks.${at} is invalid: url is refused: ${why}`);
    }
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
      for (const declaredHook of wanted) {
        const { hook } = declaredHook;
        const row = rows.get(hookKey(hook.target));
        if (!row) {
          await this.#writeNew(writer, hook, this.#declaredRecord(declaredHook, undefined));
          result.created.push(hookLabel(hook.target));
          continue;
        }
        const stored = await writer.readSetting(hook.target);
        // What cannot be read is replaced by what is declared, if that includes the secret: the receiver has one, and a
        // new one would not be it.
        const current = this.#tryOpenRow(hook.target, stored);
        if (!current && declaredHook.secret === undefined) continue;
        const next = this.#declaredRecord(declaredHook, current);
        if (row.url === hook.url && current && canonical(current) === canonical(next)) continue;
        await this.#write(writer, hook, next);
        result.updated.push(hookLabel(hook.target));
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

  /** A declared secret takes the place of another with a grace period; without one, the hook keeps or gets its own. */
  #declaredRecord({ settings, secret }: Declared, current: HookRecord | undefined): HookRecord {
    const { clock } = this.#parts;
    const old = current?.secrets;
    if (old) assertSecretFits(settings, secret ?? old.current);
    if (!old) return { settings, secrets: { current: secret ?? generateSecret(clock), old: [] } };
    if (secret === undefined || secret === old.current) return { settings, secrets: old };
    return { settings, secrets: rotate(old, { newSecret: secret, nowMs: clock.now() }) };
  }

  async #writeNew(writer: HookWriter, hook: Hook, record: HookRecord): Promise<void> {
    // What a hook of this name left behind, its createdAt too, is not this hook's.
    if (await writer.readSetting(hook.target)) await writer.removeSetting(hook.target);
    await this.#write(writer, hook, record);
  }

  async #write(writer: HookWriter, hook: Hook, record: HookRecord): Promise<void> {
    // Settings first: a crash in between leaves settings without a hook, which the next registration or start removes,
    // and never a hook that runs without the settings it was given.
    await writer.writeSetting(hook.target, this.#seal(hook.target, record));
    await writer.writeHook(hook);
  }

  #seal(target: HookTarget, record: HookRecord): string {
    const { box, clock } = this.#parts;
    const secrets = record.secrets && dropExpired(record.secrets, clock.now());
    return sealRecord(target, { ...record, secrets }, box);
  }

  #openRow(target: HookTarget, row: SettingRow | undefined): HookRecord {
    return openStored(target, row, this.#parts.box);
  }

  async #reloaded(target: HookTarget): Promise<InstalledHook> {
    await this.reload();
    const installed = this.find(hookKey(target));
    // Another node may have removed it between our write and our read.
    if (!installed) throw unknownHook(target);
    return installed;
  }

  async #load(): Promise<void> {
    const { keys } = this.#parts;
    let read = await this.#read();
    if (await this.#completeSecrets(read)) read = await this.#read();
    for (const problem of read.problems) this.#reportOnce(problem);
    this.#keysUnreadable = read.keysError !== undefined;
    keys.use(read.keys);
    this.#installed = read.installed;
    this.#unusable = read.unusable;
    this.#version = read.version;
    for (const listener of this.#listeners) listener();
  }

  async #read(): Promise<StoredHooks> {
    const { store, box, defaults } = this.#parts;
    return readStoredHooks(await store.readAll(), { box, defaults, previous: this.#installed });
  }

  /** Gives every hook a secret and makes the keys that hooks need; rows of the built-in come without. */
  async #completeSecrets(stored: StoredHooks): Promise<boolean> {
    const { installed, keys, keysError } = stored;
    const { store, box, clock, keys: signingKeys } = this.#parts;
    const hooks = [...installed.values()];
    const bare = hooks.filter(({ broken, secrets }) => !broken && !secrets);
    // Sealed with a key that may be the wrong one, a new secret would be lost to the nodes that have the right one.
    if (!fitsKey(stored)) {
      if (bare.length > 0)
        this.#reportOnce(`no secret is made for ${labelsOf(bare).join(', ')}: others cannot be decrypted`);
      return false;
    }
    const needs = hooks.map(({ settings }) => settings);
    // Keys that cannot be opened are never replaced: receivers trust them.
    const lacksKeys = !keysError && (await signingKeys.complete(keys, needs)) !== undefined;
    if (bare.length === 0 && !lacksKeys) return false;
    await store.exclusively(async writer => {
      for (const { hook } of bare) {
        const record = this.#openRow(hook.target, await writer.readSetting(hook.target));
        if (record.secrets) continue;
        const secrets: SecretSet = { current: generateSecret(clock), old: [] };
        await writer.writeSetting(hook.target, this.#seal(hook.target, { ...record, secrets }));
      }
      if (!lacksKeys) return;
      const sealed = await writer.readKeys();
      const text = sealed === undefined ? undefined : box.open(sealed, keysPlace);
      const completed = await signingKeys.complete(text, needs);
      if (completed !== undefined) await writer.writeKeys(box.seal(completed, keysPlace));
    });
    return true;
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

async function hasUsableRow(writer: HookWriter, target: HookTarget): Promise<boolean> {
  return (await writer.readHooks()).some(row => isRowOf(target, row) && parseHookRow(row).kind === 'hook');
}

function labelsOf(hooks: readonly InstalledHook[]): readonly string[] {
  return hooks.map(({ label }) => label);
}

function undecryptable(labels: readonly string[]): WebhookError {
  return new WebhookError(
    'BROKEN_SECRET',
    `secrets of ${labels.join(', ')} cannot be decrypted: give the encryptionKey (or master key) they were stored with`,
  );
}

function assertUsable(row: unknown): void {
  const parsed = parseHookRow(row);
  if (parsed.kind === 'unusable')
    throw new WebhookError('INVALID_HOOK', `the hook has no usable url: ${parsed.reason}`);
}

function canonical(record: HookRecord): string {
  return JSON.stringify(record, (_key, value: unknown) =>
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
