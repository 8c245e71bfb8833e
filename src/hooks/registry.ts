// The hooks in force on this node, and every way to change them. Storage is written first, memory after.
// Knows no Parse: who installs triggers listens to `onChange`.
import { WebhookError } from '../errors';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import { generateSecret } from '../shared/secret-format';
import { changeHook, unknownHook } from './change-hook';
import { completeSecrets } from './complete-secrets';
import {
  assertSecretFits,
  checkedSecret,
  parseHook,
  secretOf,
  settingsOf,
  type Declaration,
} from './declaration';
import { establishKey, labelsOf, undecryptable, type KeyRequest } from './establish-key';
import { hookKey, isRowOf, type HookTarget, type RowName } from './hook';
import { HookRecords } from './hook-records';
import { changeSettings, resolveSettings, type HookSettings } from './hook-settings';
import type { HookStore, HookWriter, StoreVersion } from './hook-store';
import type { InstalledHook } from './installed-hook';
import { reconcile, type Reconciliation } from './reconcile';
import type { SecretBoxes } from './secret-box';
import { dropExpired, rotate } from './secret-rotation';
import type { SigningKeys } from './signing-keys';
import {
  isUndecryptable,
  keysPlace,
  readStoredHooks,
  type StoredHooks,
  type UnusableRow,
} from './stored-hooks';
import { assertTlsFits, parseHookRow, parseUrl } from './validate-hook';

export interface RegistryParts {
  readonly store: HookStore;
  readonly boxes: SecretBoxes;
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
  readonly #records: HookRecords;
  readonly #listeners = new Set<() => void>();
  readonly #removalListeners = new Set<(key: string, removedAt: number) => Promise<void>>();
  readonly #reported = new Set<string>();
  #installed: ReadonlyMap<string, InstalledHook> = new Map();
  #unusable: readonly UnusableRow[] = [];
  #version: StoreVersion;
  #keysUnreadable = false;
  #lastLoad: Promise<void> = Promise.resolve();
  #nextLoad: Promise<void> | undefined;

  constructor(parts: RegistryParts) {
    this.#parts = parts;
    this.#records = new HookRecords(parts);
  }

  /** Runs after every change of what is in force on this node. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /**
   * Runs after a hook was removed by this node, before its remover is answered. Must not fail. `removedAt`: milliseconds
   * since 1970, no later than the removal; another hook of that key may have been made since.
   */
  onRemoved(listener: (key: string, removedAt: number) => Promise<void>): void {
    this.#removalListeners.add(listener);
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

  /** False while the stored signing keys of the server cannot be opened: those read before stay in use. */
  get areKeysReadable(): boolean {
    return !this.#keysUnreadable;
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
    assertTlsFits(hook.url, settings);
    this.#assertReachable(hook.url, settings);
    await this.#parts.store.exclusively(async writer => {
      if (await hasUsableRow(writer, hook.target)) throw duplicate(hook.target);
      await this.#records.writeNew(writer, hook, { settings, secrets: { current: secret, old: [] } });
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
      const record = this.#records.open(target, await writer.readSetting(target));
      checkedSecret(secret);
      assertSecretFits(record.settings, secret);
      const graceMs = change.graceMs === undefined ? {} : { graceMs: change.graceMs };
      const secrets = record.secrets
        ? rotate(record.secrets, { newSecret: secret, nowMs: clock.now(), ...graceMs })
        : { current: secret, old: [] };
      await writer.writeSetting(target, await this.#records.seal(writer, target, { ...record, secrets }));
    });
    return { hook: await this.#reloaded(target), secret };
  }

  /**
   * Replaces the plugin's signing keys by what `change` makes of them, on all nodes. Throws BROKEN_SECRET when the stored
   * ones cannot be decrypted: receivers trust them.
   */
  async changeKeys(change: (text: string | undefined) => Promise<string>): Promise<void> {
    const { store, boxes } = this.#parts;
    await store.exclusively(async writer => {
      const sealed = await writer.readKeys();
      const text = sealed === undefined ? undefined : boxes.open(sealed, keysPlace);
      const changed = await change(text);
      await writer.writeKeys((await this.#records.sealingBox(writer)).seal(changed, keysPlace));
    });
    await this.reload();
  }

  /** Makes the plugin's signing keys that these settings need and that are missing. Throws BROKEN_SECRET. */
  async completeKeys(settings: HookSettings): Promise<void> {
    const { keys, store, boxes } = this.#parts;
    if (!keys.isNeededBy(resolveSettings(settings, {}))) return;
    const isChanged = await store.exclusively(async writer => {
      const sealed = await writer.readKeys();
      const text = sealed === undefined ? undefined : boxes.open(sealed, keysPlace);
      const completed = await keys.complete(text, [settings]);
      if (completed === undefined) return false;
      await writer.writeKeys((await this.#records.sealingBox(writer)).seal(completed, keysPlace));
      return true;
    });
    if (isChanged) await this.reload();
  }

  /** Finds a wrong encryption key before anything is written, as establishKey does. For the start. */
  async establishKey(request: KeyRequest): Promise<void> {
    await establishKey(this.#parts, request);
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

  /**
   * Changes `url`, settings or both; what is not named stays. Credentials do not follow a URL to another origin: they must
   * be given anew. Throws UNKNOWN_HOOK, INVALID_HOOK.
   */
  async update(
    target: HookTarget,
    change: { readonly url?: unknown; readonly settings?: Declaration },
  ): Promise<InstalledHook> {
    const url = change.url === undefined ? undefined : parseUrl(change.url);
    const parts = {
      records: this.#records,
      assertReachable: (to: string, settings: HookSettings) => this.#assertReachable(to, settings),
    };
    await this.#parts.store.exclusively(writer =>
      changeHook(parts, writer, { target, change: { url, settings: change.settings } }),
    );
    return this.#reloaded(target);
  }

  #assertReachable(url: string, settings: HookSettings): void {
    const why = this.#parts.whyUnreachable(url, settings);
    if (why !== undefined) throw new WebhookError('INVALID_HOOK', `url is refused: ${why}`);
  }

  /** Removes a hook and its settings, unusable rows of that name too. Throws HOOK_NOT_FOUND and changes nothing when there is none. */
  async remove(target: RowName): Promise<void> {
    const { store, clock } = this.#parts;
    const removedAt = await store.exclusively(async writer => {
      const rows = await writer.readHooks();
      if (!rows.some(row => isRowOf(target, row)))
        throw new WebhookError('HOOK_NOT_FOUND', 'Object not found.');
      await writer.removeHook(target);
      await writer.removeSetting(target);
      // Under the lock: nobody has made another one yet.
      return clock.now();
    });
    await this.reload();
    await this.#tellRemoved(hookKey(target), removedAt);
  }

  async #tellRemoved(key: string, removedAt: number): Promise<void> {
    for (const listener of this.#removalListeners) await listener(key, removedAt);
  }

  /** Brings declared hooks into force, as reconcile does. */
  async reconcile(declared: readonly Declaration[], removeOthers: boolean): Promise<Reconciliation> {
    const removedAt = this.#parts.clock.now();
    const result = await reconcile({ ...this.#parts, records: this.#records }, declared, removeOthers);
    await this.reload();
    for (const key of result.removedKeys) await this.#tellRemoved(key, removedAt);
    return result;
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
    // Gateways that ask meanwhile must not learn that there are no keys: they would refuse all tokens.
    if (!read.keysError) keys.use(read.keys);
    this.#installed = read.installed;
    this.#unusable = read.unusable;
    this.#version = read.version;
    for (const listener of this.#listeners) listener();
  }

  async #read(): Promise<StoredHooks & { readonly version: StoreVersion }> {
    const { store, boxes, defaults } = this.#parts;
    const state = await store.readAll();
    const stored = readStoredHooks(state, { boxes, defaults, previous: this.#installed });
    return { ...stored, version: state.version };
  }

  #completeSecrets(stored: StoredHooks): Promise<boolean> {
    const report = (message: string): void => this.#reportOnce(message);
    return completeSecrets({ ...this.#parts, records: this.#records, report }, stored);
  }

  #reportOnce(message: string): void {
    if (this.#reported.has(message)) return;
    this.#reported.add(message);
    this.#parts.logger.error(message);
  }
}

async function hasUsableRow(writer: HookWriter, target: HookTarget): Promise<boolean> {
  return (await writer.readHooks()).some(row => isRowOf(target, row) && parseHookRow(row).kind === 'hook');
}

function duplicate(target: HookTarget): WebhookError {
  return new WebhookError(
    'DUPLICATE_HOOK',
    target.kind === 'function'
      ? `function name: ${target.functionName} already exists`
      : `class ${target.className} already has trigger ${target.triggerName}`,
  );
}
