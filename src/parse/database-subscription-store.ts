// Subscriptions in the database Parse Server uses, through its own DatabaseController: PostgreSQL and MongoDB alike.
// What has no value is 0 or an empty text there: null means different things to the queries of the two databases.
import { parseCodes } from '../errors';
import {
  newHealth,
  type HealthChange,
  type StoredHealth,
  type SubscriptionRow,
  type SubscriptionStore,
} from '../events/subscription-store';
import type { Clock } from '../shared/clock';
import {
  ensureClass,
  fromPrimary,
  ignoreParseError,
  isoOf,
  isParseError,
  numberOf,
  onlyRow,
  textOf,
} from './database-rows';
import type { DatabaseController } from './internals';

const className = 'WebhookSubscription';

const fields = {
  name: { type: 'String' },
  settings: { type: 'String' },
  consecutiveFailures: { type: 'Number' },
  failingSince: { type: 'Number' },
  warned: { type: 'Number' },
  lastSuccessAt: { type: 'Number' },
  lastFailureAt: { type: 'Number' },
  lastError: { type: 'String' },
  pausedAt: { type: 'Number' },
  pauseReason: { type: 'String' },
  resumedAt: { type: 'Number' },
};

const notFailing = { consecutiveFailures: 0, failingSince: 0, warned: 0 };
const notPaused = { pausedAt: 0, pauseReason: '' };
const noAttempts = { lastSuccessAt: 0, lastFailureAt: 0, lastError: '' };

export interface DatabaseSubscriptionStoreParts {
  readonly database: DatabaseController;
  readonly clock: Clock;
}

export class DatabaseSubscriptionStore implements SubscriptionStore {
  readonly #database: DatabaseController;
  readonly #clock: Clock;

  constructor({ database, clock }: DatabaseSubscriptionStoreParts) {
    this.#database = database;
    this.#clock = clock;
  }

  async prepare(): Promise<void> {
    await ensureClass(this.#database, className, fields);
  }

  async readAll(): Promise<readonly SubscriptionRow[]> {
    return (await this.#database.find(className, {}, fromPrimary)).map(parseRow);
  }

  async read(objectId: string): Promise<SubscriptionRow | undefined> {
    const [row] = await this.#database.find(className, { objectId }, onlyRow);
    return row && parseRow(row);
  }

  async insert(row: Pick<SubscriptionRow, 'objectId' | 'name' | 'settings'>): Promise<boolean> {
    const { objectId, name, settings } = row;
    const createdAt = this.#isoNow();
    const health = { ...notFailing, ...notPaused, ...noAttempts };
    return this.#database
      .create(className, { objectId, name, settings, ...health, createdAt, updatedAt: createdAt })
      .then(() => true)
      .catch(ignoreParseError(parseCodes.duplicateValue, false));
  }

  async writeSettings(objectId: string, settings: string): Promise<boolean> {
    return this.#matched({ objectId }, { settings, updatedAt: this.#isoNow() });
  }

  async remove(objectId: string): Promise<boolean> {
    return this.#database
      .destroy(className, { objectId })
      .then(() => true)
      .catch(ignoreParseError(parseCodes.objectNotFound, false));
  }

  async recordHealth(objectId: string, change: HealthChange): Promise<StoredHealth | undefined> {
    const { successAt, failures } = change;
    const failed = failures && { lastFailureAt: failures.lastAt, lastError: failures.error };
    const update =
      successAt === undefined
        ? { consecutiveFailures: { __op: 'Increment', amount: failures?.count ?? 0 } }
        : {
            ...notFailing,
            lastSuccessAt: successAt,
            ...(failures && { consecutiveFailures: failures.count, failingSince: failures.firstAt }),
          };
    if (!(await this.#matched({ objectId }, { ...update, ...failed }))) return undefined;
    const health = (await this.read(objectId))?.health;
    if (!failures || !health || health.consecutiveFailures === 0 || health.failingSince !== undefined)
      return health;
    // The first failure of a spell. Another node may have had a success meanwhile: then there is no spell.
    const failing = { objectId, consecutiveFailures: { $gt: 0 } };
    const isSet = await this.#matched(failing, { failingSince: failures.firstAt });
    return isSet ? { ...health, failingSince: failures.firstAt } : health;
  }

  async claimWarning(objectId: string): Promise<boolean> {
    // Rows of before a column existed have none: not 1 rather than 0.
    return this.#matched({ objectId, warned: { $ne: 1 } }, { warned: 1 });
  }

  async pause(objectId: string, { at, reason }: { at: number; reason: string }): Promise<boolean> {
    return this.#matched({ objectId }, { pausedAt: at, pauseReason: reason });
  }

  async resume(objectId: string, at: number): Promise<boolean> {
    return this.#matched({ objectId }, { ...notFailing, ...notPaused, lastError: '', resumedAt: at });
  }

  async #matched(query: object, update: object): Promise<boolean> {
    try {
      await this.#database.update(className, query, update);
      return true;
    } catch (error) {
      if (isParseError(error, parseCodes.objectNotFound)) return false;
      throw error;
    }
  }

  #isoNow(): string {
    return new Date(this.#clock.now()).toISOString();
  }
}

function parseRow(row: Readonly<Record<string, unknown>>): SubscriptionRow {
  return {
    objectId: textOf(row.objectId),
    name: textOf(row.name),
    settings: textOf(row.settings),
    health: parseHealth(row),
    createdAt: isoOf(row.createdAt),
    updatedAt: isoOf(row.updatedAt),
  };
}

function parseHealth(row: Readonly<Record<string, unknown>>): StoredHealth {
  return {
    ...newHealth,
    consecutiveFailures: Math.max(0, numberOf(row.consecutiveFailures)),
    failingSince: numberOf(row.failingSince) || undefined,
    lastSuccessAt: numberOf(row.lastSuccessAt) || undefined,
    lastFailureAt: numberOf(row.lastFailureAt) || undefined,
    lastError: textOf(row.lastError) || undefined,
    pausedAt: numberOf(row.pausedAt) || undefined,
    pauseReason: textOf(row.pauseReason) || undefined,
    // Rows of before the column existed have none.
    resumedAt: numberOf(row.resumedAt) || undefined,
  };
}
