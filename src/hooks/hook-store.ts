// The port to where hooks are kept: `_Hooks` with the built-in's four columns, settings beside it, one version for all.
import type { Hook, HookTarget, RowName } from './hook';

/** A stored settings row. `settings` is the JSON text that the registry wrote. */
export interface SettingRow {
  readonly key: string;
  readonly settings: string;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly updatedAt: string;
}

/**
 * Differs after every change of any node; compare for equality only. Undefined while a change is under way: what is
 * read meanwhile may be half of it.
 */
export type StoreVersion = string | undefined;

export interface StoredState {
  readonly version: StoreVersion;
  /** Rows of `_Hooks` as they are: they may hold anything and, on PostgreSQL, repeat a target. */
  readonly hooks: readonly unknown[];
  readonly settings: readonly SettingRow[];
  /** The plugin's own signing keys, as the registry sealed them; undefined until there are any. */
  readonly keys: string | undefined;
  /** What tells which encryption key all of this is under, as key-check.ts wrote it; undefined until anything is sealed. */
  readonly keyCheck: string | undefined;
}

/** What may be written while the registration lock is held. */
export interface HookWriter {
  /** Everything at once; nobody changes it meanwhile. */
  readAll(): Promise<Omit<StoredState, 'version'>>;
  readHooks(): Promise<readonly unknown[]>;
  readSetting(target: HookTarget): Promise<SettingRow | undefined>;
  /** Leaves exactly one row for the target. */
  writeHook(hook: Hook): Promise<void>;
  removeHook(target: RowName): Promise<void>;
  writeSetting(target: RowName, settings: string): Promise<SettingRow>;
  removeSetting(target: RowName): Promise<void>;
  readKeys(): Promise<string | undefined>;
  writeKeys(keys: string): Promise<void>;
  removeKeys(): Promise<void>;
  readKeyCheck(): Promise<string | undefined>;
  writeKeyCheck(keyCheck: string): Promise<void>;
}

/** A server process that uses this database. */
export interface SeenNode {
  /** Host, process and a random part: a restarted process is another node. */
  readonly node: string;
  /** Milliseconds since 1970, by that node's clock. */
  readonly seenAt: number;
}

export interface HookStore {
  /** Creates our own classes where they are missing and removes settings without a hook. Safe on many nodes at once. */
  prepare(): Promise<void>;
  /** One read by primary key: cheap enough to poll. */
  readVersion(): Promise<StoreVersion>;
  readHooks(): Promise<readonly unknown[]>;
  /** Waits a little for a change under way to end, and then takes what is there. */
  readAll(): Promise<StoredState>;
  /** Leaves word that this node lives, and forgets nodes that have been silent for an hour. */
  announce(node: SeenNode): Promise<void>;
  /** The nodes that left word since then; milliseconds since 1970. */
  readNodes(since: number): Promise<readonly SeenNode[]>;
  /**
   * Runs `work` while no other node or call changes hooks, then changes the version. Throws STORE_BUSY when the lock
   * cannot be had in time, or was lost before the last write. When `work` throws, the version changes all the same:
   * some of it may have been written.
   */
  exclusively<T>(work: (writer: HookWriter) => Promise<T>): Promise<T>;
}
