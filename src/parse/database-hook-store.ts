// Hooks in the database Parse Server uses, through its own DatabaseController: PostgreSQL and MongoDB alike.
// `_Hooks` has no key on PostgreSQL and no extra columns, so uniqueness, settings and the version are kept beside it.
import { randomUUID } from 'node:crypto';
import { WebhookError, parseCodes } from '../errors';
import { hookKey, hookObjectId, isRowOf, type Hook, type HookTarget, type RowName } from '../hooks/hook';
import type { HookStore, HookWriter, SettingRow, StoredState } from '../hooks/hook-store';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { DatabaseController } from './internals';

const hooksClass = '_Hooks';
const settingClass = 'WebhookSetting';
const stateClass = 'WebhookState';
const stateId = 'registry';

/** How long a registration may hold the lock before another node takes it over. Registrations take milliseconds. */
const lockLeaseMs = 10_000;
/** How long a registration waits for the lock: longer than a dead node can hold it. */
const lockWaitMs = 15_000;

/** Master key only. */
const masterOnly = { find: {}, get: {}, count: {}, create: {}, update: {}, delete: {}, addField: {} };

export interface DatabaseHookStoreParts {
  readonly database: DatabaseController;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class DatabaseHookStore implements HookStore {
  readonly #database: DatabaseController;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Changes of this process run one after the other: only one of them contends for the database's lock. */
  #lastInProcess: Promise<unknown> = Promise.resolve();

  constructor(parts: DatabaseHookStoreParts) {
    this.#database = parts.database;
    this.#clock = parts.clock;
    this.#logger = parts.logger;
  }

  async prepare(): Promise<void> {
    await this.#ensureClass(settingClass, { hook: { type: 'String' }, settings: { type: 'String' } });
    await this.#ensureClass(stateClass, {
      version: { type: 'Number' },
      lockOwner: { type: 'String' },
      lockExpiresAt: { type: 'Number' },
    });
    const state = { objectId: stateId, version: 0, lockOwner: 'none', lockExpiresAt: 0, ...this.#stamps() };
    // On PostgreSQL the class's table may appear a moment after its schema when another node creates it.
    await this.#database.create(stateClass, state).catch(ignore(parseCodes.duplicateValue));
  }

  async readVersion(): Promise<number> {
    const [state] = await this.#database.find(stateClass, { objectId: stateId }, { limit: 1 });
    return typeof state?.version === 'number' ? state.version : 0;
  }

  async readHooks(): Promise<readonly unknown[]> {
    return this.#database.find(hooksClass, {});
  }

  async readAll(): Promise<StoredState> {
    // The version first: a change between the reads is then seen as a change again, never missed.
    const version = await this.readVersion();
    const [hooks, settings] = await Promise.all([this.readHooks(), this.#database.find(settingClass, {})]);
    return { version, hooks, settings: settings.map(parseSettingRow) };
  }

  async exclusively<T>(work: (writer: HookWriter) => Promise<T>): Promise<T> {
    const previous = this.#lastInProcess;
    const run = previous.then(
      () => this.#locked(work),
      () => this.#locked(work),
    );
    this.#lastInProcess = run;
    return run;
  }

  async #locked<T>(work: (writer: HookWriter) => Promise<T>): Promise<T> {
    const owner = randomUUID();
    await this.#lock(owner);
    try {
      return await work(this.#writer());
    } finally {
      await this.#unlock(owner);
    }
  }

  /** Compare-and-set on one row: of all that try, the database lets one match `lockExpiresAt < now`. */
  async #lock(owner: string): Promise<void> {
    const giveUpAt = this.#clock.monotonicMs() + lockWaitMs;
    for (;;) {
      const now = this.#clock.now();
      const free = { objectId: stateId, lockExpiresAt: { $lt: now } };
      const won = await this.#matched(free, { lockOwner: owner, lockExpiresAt: now + lockLeaseMs });
      if (won) return;
      if (this.#clock.monotonicMs() > giveUpAt) {
        throw new WebhookError('STORE_BUSY', 'hooks are being changed elsewhere; try again');
      }
      await this.#pause(5 + (this.#clock.randomBytes(1)[0] ?? 0) / 10);
    }
  }

  async #unlock(owner: string): Promise<void> {
    const mine = { objectId: stateId, lockOwner: owner };
    const released = { lockOwner: 'none', lockExpiresAt: 0, version: { __op: 'Increment', amount: 1 } };
    if (await this.#matched(mine, released)) return;
    // Held for longer than the lease: another change may have run beside this one. All nodes must read again.
    this.#logger.warn(`a change of hooks took longer than ${lockLeaseMs} ms; hooks are read again`);
    await this.#matched({ objectId: stateId }, { version: { __op: 'Increment', amount: 1 } });
  }

  async #matched(query: object, update: object): Promise<boolean> {
    try {
      await this.#database.update(stateClass, query, update);
      return true;
    } catch (error) {
      if (isParseError(error, parseCodes.objectNotFound)) return false;
      throw error;
    }
  }

  #writer(): HookWriter {
    const database = this.#database;
    return {
      readHooks: () => this.readHooks(),
      readSetting: async target => {
        const [row] = await database.find(settingClass, { objectId: hookObjectId(target) }, { limit: 1 });
        return row && parseSettingRow(row);
      },
      writeHook: hook => this.#writeHook(hook),
      removeHook: target => this.#removeRows(target),
      writeSetting: (target, settings) => this.#writeSetting(target, settings),
      removeSetting: async target => {
        await database
          .destroy(settingClass, { objectId: hookObjectId(target) })
          .catch(ignore(parseCodes.objectNotFound));
      },
    };
  }

  async #writeHook({ target, url }: Hook): Promise<void> {
    const rows = (await this.readHooks()).filter(row => isRowOf(target, row));
    if (rows.length === 1) {
      await this.#database.update(hooksClass, rowQuery(target), { url });
      return;
    }
    // None, or the several that the built-in leaves on PostgreSQL, where its upsert is a plain INSERT.
    if (rows.length > 1) await this.#removeRows(target);
    const row =
      target.kind === 'function'
        ? { functionName: target.functionName, url }
        : { className: target.className, triggerName: target.triggerName, url };
    await this.#database.update(hooksClass, rowQuery(target), row, { upsert: true });
  }

  async #removeRows(target: RowName): Promise<void> {
    await this.#database.destroy(hooksClass, rowQuery(target)).catch(ignore(parseCodes.objectNotFound));
  }

  async #writeSetting(target: HookTarget, settings: string): Promise<SettingRow> {
    const objectId = hookObjectId(target);
    const stamps = this.#stamps();
    const [old] = await this.#database.find(settingClass, { objectId }, { limit: 1 });
    if (old) {
      const updatedAt = { __type: 'Date', iso: stamps.updatedAt };
      await this.#database.update(settingClass, { objectId }, { settings, updatedAt });
    } else {
      await this.#database.create(settingClass, { objectId, hook: hookKey(target), settings, ...stamps });
    }
    return {
      key: hookKey(target),
      settings,
      createdAt: old ? parseSettingRow(old).createdAt : stamps.createdAt,
      updatedAt: stamps.updatedAt,
    };
  }

  async #ensureClass(className: string, fields: object): Promise<void> {
    const schema = await this.#database.loadSchema({ clearCache: true });
    if (await schema.hasClass(className)) return;
    try {
      await schema.addClassIfNotExists(className, fields, masterOnly);
    } catch (error) {
      // Another node was faster: the class is there, which is all that is wanted.
      const now = await this.#database.loadSchema({ clearCache: true });
      if (!(await now.hasClass(className))) throw error;
    }
  }

  #stamps(): { createdAt: string; updatedAt: string } {
    const iso = new Date(this.#clock.now()).toISOString();
    return { createdAt: iso, updatedAt: iso };
  }

  async #pause(delayMs: number): Promise<void> {
    await new Promise<void>(resolve => this.#clock.schedule(delayMs, resolve));
  }
}

function rowQuery(target: RowName): object {
  return target.kind === 'function'
    ? { functionName: target.functionName }
    : { className: target.className, triggerName: target.triggerName };
}

function parseSettingRow(row: Readonly<Record<string, unknown>>): SettingRow {
  return {
    key: textOf(row.hook),
    settings: textOf(row.settings),
    createdAt: isoOf(row.createdAt),
    updatedAt: isoOf(row.updatedAt),
  };
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** The adapters give createdAt and updatedAt as ISO strings; a Date or REST date is taken too. */
function isoOf(value: unknown): string {
  if (value instanceof Date) return value.toISOString();
  if (typeof value === 'object' && value !== null) return textOf((value as { iso?: unknown }).iso);
  return textOf(value);
}

function isParseError(error: unknown, code: number): boolean {
  return typeof error === 'object' && error !== null && (error as { code?: unknown }).code === code;
}

function ignore(code: number): (error: unknown) => void {
  return error => {
    if (!isParseError(error, code)) throw error;
  };
}
