// A SubscriptionStore in memory: what unit tests run on, held to the same contract as the one in a database.
import {
  newHealth,
  type HealthChange,
  type StoredHealth,
  type SubscriptionRow,
  type SubscriptionStore,
} from '../../src/events/subscription-store';
import type { Clock } from '../../src/shared/clock';

export class MemorySubscriptionStore implements SubscriptionStore {
  readonly rows = new Map<string, SubscriptionRow>();
  readonly #clock: Clock;
  readonly #warned = new Set<string>();
  reads = 0;
  writes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async prepare(): Promise<void> {}

  async readAll(): Promise<readonly SubscriptionRow[]> {
    this.reads++;
    return [...this.rows.values()];
  }

  async read(objectId: string): Promise<SubscriptionRow | undefined> {
    return this.rows.get(objectId);
  }

  async insert(row: Pick<SubscriptionRow, 'objectId' | 'name' | 'settings'>): Promise<boolean> {
    if (this.rows.has(row.objectId)) return false;
    const createdAt = this.#isoNow();
    this.rows.set(row.objectId, { ...row, health: newHealth, createdAt, updatedAt: createdAt });
    return true;
  }

  async writeSettings(objectId: string, settings: string): Promise<boolean> {
    return this.#change(objectId, row => ({ ...row, settings, updatedAt: this.#isoNow() }));
  }

  async remove(objectId: string): Promise<boolean> {
    this.#warned.delete(objectId);
    return this.rows.delete(objectId);
  }

  async recordHealth(objectId: string, change: HealthChange): Promise<StoredHealth | undefined> {
    const { successAt, failures } = change;
    if (successAt !== undefined) this.#warned.delete(objectId);
    this.writes++;
    this.#change(objectId, row => {
      const before = successAt === undefined ? row.health : { ...row.health, consecutiveFailures: 0 };
      const failingSince = successAt === undefined ? row.health.failingSince : undefined;
      const health = {
        ...before,
        failingSince: failingSince ?? failures?.firstAt,
        ...(successAt !== undefined && { lastSuccessAt: successAt }),
        ...(failures && {
          consecutiveFailures: before.consecutiveFailures + failures.count,
          lastFailureAt: failures.lastAt,
          lastError: failures.error,
        }),
      };
      return { ...row, health };
    });
    return this.rows.get(objectId)?.health;
  }

  async claimWarning(objectId: string): Promise<boolean> {
    if (!this.rows.has(objectId) || this.#warned.has(objectId)) return false;
    this.#warned.add(objectId);
    return true;
  }

  async pause(objectId: string, { at, reason }: { at: number; reason: string }): Promise<boolean> {
    return this.#change(objectId, row => ({
      ...row,
      health: { ...row.health, pausedAt: at, pauseReason: reason },
    }));
  }

  async resume(objectId: string, at: number): Promise<boolean> {
    this.#warned.delete(objectId);
    return this.#change(objectId, row => {
      const { lastSuccessAt, lastFailureAt } = row.health;
      return { ...row, health: { ...newHealth, lastSuccessAt, lastFailureAt, resumedAt: at } };
    });
  }

  #change(objectId: string, change: (row: SubscriptionRow) => SubscriptionRow): boolean {
    const row = this.rows.get(objectId);
    if (row) this.rows.set(objectId, change(row));
    return row !== undefined;
  }

  #isoNow(): string {
    return new Date(this.#clock.now()).toISOString();
  }
}
