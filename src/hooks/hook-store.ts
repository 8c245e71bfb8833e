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

export interface StoredState {
  /** Grows with every change of any node; compare for inequality only. */
  readonly version: number;
  /** Rows of `_Hooks` as they are: they may hold anything and, on PostgreSQL, repeat a target. */
  readonly hooks: readonly unknown[];
  readonly settings: readonly SettingRow[];
}

/** What may be written while the registration lock is held. */
export interface HookWriter {
  readHooks(): Promise<readonly unknown[]>;
  readSetting(target: HookTarget): Promise<SettingRow | undefined>;
  /** Leaves exactly one row for the target. */
  writeHook(hook: Hook): Promise<void>;
  removeHook(target: RowName): Promise<void>;
  writeSetting(target: HookTarget, settings: string): Promise<SettingRow>;
  removeSetting(target: RowName): Promise<void>;
}

export interface HookStore {
  /** Creates our own classes where they are missing. Safe to run on many nodes at once. */
  prepare(): Promise<void>;
  /** One read by primary key: cheap enough to poll. */
  readVersion(): Promise<number>;
  readHooks(): Promise<readonly unknown[]>;
  readAll(): Promise<StoredState>;
  /**
   * Runs `work` while no other node or call changes hooks, then raises the version. Throws STORE_BUSY when the lock
   * cannot be had in time. When `work` throws, the version is raised all the same: some of it may have been written.
   */
  exclusively<T>(work: (writer: HookWriter) => Promise<T>): Promise<T>;
}
