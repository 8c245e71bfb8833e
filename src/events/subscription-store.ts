// The port to where subscriptions are kept: one row each, with its fields as text and its health beside them.
// Times are whole milliseconds since 1970 unless said otherwise.

/** Health of a subscription as it is stored: what all nodes have counted together. */
export interface StoredHealth {
  /** 0 after a success. */
  readonly consecutiveFailures: number;
  /** Of the first failure since the last success. */
  readonly failingSince: number | undefined;
  readonly lastSuccessAt: number | undefined;
  readonly lastFailureAt: number | undefined;
  /** An error kind, such as `timeout` or `status`. */
  readonly lastError: string | undefined;
  readonly pausedAt: number | undefined;
  readonly pauseReason: string | undefined;
  /** When the last pause ended: what was written before goes out at a bounded rate, on every node. */
  readonly resumedAt: number | undefined;
}

export const newHealth: StoredHealth = {
  consecutiveFailures: 0,
  failingSince: undefined,
  lastSuccessAt: undefined,
  lastFailureAt: undefined,
  lastError: undefined,
  pausedAt: undefined,
  pauseReason: undefined,
  resumedAt: undefined,
};

/** A row as it is, which may be half-written or garbage: then its texts are empty. */
export interface SubscriptionRow {
  readonly objectId: string;
  readonly name: string;
  /** The JSON text that the registry wrote. */
  readonly settings: string;
  readonly health: StoredHealth;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** What one node saw of a subscription's attempts since it last wrote. */
export interface HealthChange {
  /** When an attempt succeeded last: what failed before it is forgotten. */
  readonly successAt: number | undefined;
  /** What failed since that success, or since the last write. */
  readonly failures:
    | { readonly count: number; readonly firstAt: number; readonly lastAt: number; readonly error: string }
    | undefined;
}

export interface SubscriptionStore {
  /** Creates the class where it is missing. Safe on many nodes at once. */
  prepare(): Promise<void>;
  /** All rows, in one query. */
  readAll(): Promise<readonly SubscriptionRow[]>;
  read(objectId: string): Promise<SubscriptionRow | undefined>;
  /** False, and nothing is changed, when there is a row of this id. */
  insert(row: Pick<SubscriptionRow, 'objectId' | 'name' | 'settings'>): Promise<boolean>;
  /** False when there is no such row. */
  writeSettings(objectId: string, settings: string): Promise<boolean>;
  /** False when there is no such row. */
  remove(objectId: string): Promise<boolean>;
  /**
   * Adds to the health what a node saw, also while other nodes do: failures are counted by increments. Answers the health
   * of all nodes afterwards, undefined when there is no such row.
   */
  recordHealth(objectId: string, change: HealthChange): Promise<StoredHealth | undefined>;
  /** True for one caller in each spell of failures, however many ask. */
  claimWarning(objectId: string): Promise<boolean>;
  /** False when there is no such row. */
  pause(objectId: string, pause: { readonly at: number; readonly reason: string }): Promise<boolean>;
  /**
   * Ends a pause at `at` and makes the health that of a new subscription, but for the times of the last attempts. False
   * when there is no such row.
   */
  resume(objectId: string, at: number): Promise<boolean>;
}
