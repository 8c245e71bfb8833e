// Hooks in the database Parse Server uses, through its own DatabaseController: PostgreSQL and MongoDB alike.
// `_Hooks` has no key on PostgreSQL and no extra columns, so uniqueness, settings and the version are kept beside it.
import { randomUUID } from 'node:crypto';
import { WebhookError, parseCodes } from '../errors';
import {
  hookFields,
  hookKey,
  hookObjectId,
  isRowOf,
  parseRowName,
  type Hook,
  type RowName,
} from '../hooks/hook';
import type {
  HookStore,
  HookWriter,
  SeenNode,
  SettingRow,
  StoredState,
  StoreVersion,
} from '../hooks/hook-store';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import { fromPrimary, onlyRow } from './database-rows';
import type { DatabaseController } from './internals';

const hooksClass = '_Hooks';
const settingClass = 'WebhookSetting';
const stateClass = 'WebhookState';
const stateId = 'registry';
/** A row of its own in the state class, which says in `keys` what the encryption key is. */
const keyCheckId = 'encryption-key';

/** How long a registration may hold the lock before another node takes it over. Registrations take milliseconds. */
export const lockLeaseMs = 10_000;
/** How long a registration waits for the lock: longer than a dead node can hold it. */
export const lockWaitMs = 15_000;

/** How often a read of everything is repeated because a change was under way. */
const maxReads = 5;

/** A node that has been silent for so long is gone for good. */
const silentMs = 3_600_000;

const oneMore = { __op: 'Increment', amount: 1 };
const released = { lockOwner: 'none', lockExpiresAt: 0, version: oneMore };

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
  /** The owner of a lock that could not be given back, or may have been had without our knowing. */
  #leftLock: string | undefined;

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
      keys: { type: 'String' },
      node: { type: 'String' },
      seenAt: { type: 'Number' },
    });
    const state = { objectId: stateId, version: 0, lockOwner: 'none', lockExpiresAt: 0, ...this.#stamps() };
    // On PostgreSQL the class's table may appear a moment after its schema when another node creates it.
    await this.#database.create(stateClass, state).catch(ignore(parseCodes.duplicateValue));
    await this.#removeStraySettings();
  }

  async readVersion(): Promise<StoreVersion> {
    await this.#releaseLeftLock();
    const [state] = await this.#database.find(stateClass, { objectId: stateId }, onlyRow);
    const version = String(numberOf(state?.version));
    if (state === undefined || state.lockOwner === 'none') return version;
    // A holder that died, or could not tell the database that it was done, has written all it will.
    const expired = numberOf(state.lockExpiresAt) < this.#clock.now();
    return expired ? `${version} left by ${textOf(state.lockOwner)}` : undefined;
  }

  async readHooks(): Promise<readonly unknown[]> {
    return this.#database.find(hooksClass, {}, fromPrimary);
  }

  async readAll(): Promise<StoredState> {
    for (let reads = 1; ; reads++) {
      // The version first: a change between the reads is then seen as a change again, never missed.
      const version = await this.readVersion();
      const content = await this.#readContent();
      const whole = version !== undefined && version === (await this.readVersion());
      if (whole || reads === maxReads) return { version, ...content };
      await this.#pause(5 * reads);
    }
  }

  async #readContent(): Promise<Omit<StoredState, 'version'>> {
    const [hooks, settings, keys, keyCheck] = await Promise.all([
      this.readHooks(),
      this.#database.find(settingClass, {}, fromPrimary),
      this.#readSealed(stateId),
      this.#readSealed(keyCheckId),
    ]);
    return { hooks, settings: settings.map(parseSettingRow), keys, keyCheck };
  }

  async #readSealed(objectId: string): Promise<string | undefined> {
    const [state] = await this.#database.find(stateClass, { objectId }, onlyRow);
    return typeof state?.keys === 'string' && state.keys !== '' ? state.keys : undefined;
  }

  async announce({ node, seenAt }: SeenNode): Promise<void> {
    const objectId = `node/${node}`;
    if (!(await this.#matched({ objectId }, { seenAt }))) {
      await this.#database
        .create(stateClass, { objectId, node, seenAt, ...this.#stamps() })
        .catch(ignore(parseCodes.duplicateValue));
    }
    await this.#destroy(stateClass, { seenAt: { $lt: seenAt - silentMs } });
  }

  async readNodes(since: number): Promise<readonly SeenNode[]> {
    const rows = await this.#database.find(stateClass, { seenAt: { $gte: since } }, fromPrimary);
    return rows.map(({ node, seenAt }) => ({ node: textOf(node), seenAt: numberOf(seenAt) }));
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
    await this.#releaseLeftLock();
    const owner = randomUUID();
    const heldSince = await this.#lock(owner).catch((error: unknown) => {
      // The answer of a database that goes away may be lost, and the lock ours all the same.
      this.#leftLock = owner;
      throw error;
    });
    try {
      return await work(this.#writer(heldSince + lockLeaseMs));
    } finally {
      // What was written stays written: this takes the answer from nobody.
      await this.#unlock(owner).catch((error: unknown) => {
        this.#leftLock = owner;
        this.#logger.warn(`webhooks: the lock on hooks is released later: ${String(error)}`);
      });
    }
  }

  /** Gives back what an earlier change could not; other nodes would wait for the end of its lease. */
  async #releaseLeftLock(): Promise<void> {
    const owner = this.#leftLock;
    if (owner === undefined) return;
    await this.#matched({ objectId: stateId, lockOwner: owner }, released);
    if (this.#leftLock === owner) this.#leftLock = undefined;
  }

  /**
   * Compare-and-set on one row: of all that try, the database lets one match `lockExpiresAt < now`. Needs the clocks
   * of all nodes to agree within the lease. Gives the monotonic instant from which the lease counts.
   */
  async #lock(owner: string): Promise<number> {
    const giveUpAt = this.#clock.monotonicMs() + lockWaitMs;
    for (;;) {
      const triedAt = this.#clock.monotonicMs();
      const now = this.#clock.now();
      const free = { objectId: stateId, lockExpiresAt: { $lt: now } };
      const won = await this.#matched(free, { lockOwner: owner, lockExpiresAt: now + lockLeaseMs });
      if (won) return triedAt;
      if (this.#clock.monotonicMs() > giveUpAt) {
        throw new WebhookError('STORE_BUSY', 'hooks are being changed elsewhere; try again');
      }
      await this.#pause(5 + (this.#clock.randomBytes(1)[0] ?? 0) / 10);
    }
  }

  async #unlock(owner: string): Promise<void> {
    const mine = { objectId: stateId, lockOwner: owner };
    if (await this.#matched(mine, released)) return;
    // Held for longer than the lease: another change may have run beside this one. All nodes must read again.
    this.#logger.warn(`a change of hooks took longer than ${lockLeaseMs} ms; hooks are read again`);
    await this.#matched({ objectId: stateId }, { version: oneMore });
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

  /** Writes nothing after `leaseEndsAt` (monotonic): another node may hold the lock by then. */
  #writer(leaseEndsAt: number): HookWriter {
    const held = <Parts extends unknown[], T>(write: (...parts: Parts) => Promise<T>) => {
      return async (...parts: Parts): Promise<T> => {
        if (this.#clock.monotonicMs() < leaseEndsAt) return write(...parts);
        throw new WebhookError(
          'STORE_BUSY',
          `a change of hooks took longer than ${lockLeaseMs} ms; try again`,
        );
      };
    };
    return {
      readAll: () => this.#readContent(),
      readHooks: () => this.readHooks(),
      readSetting: async target => {
        const [row] = await this.#database.find(settingClass, { objectId: hookObjectId(target) }, onlyRow);
        return row && parseSettingRow(row);
      },
      writeHook: held((hook: Hook) => this.#writeHook(hook)),
      removeHook: held((target: RowName) => this.#destroy(hooksClass, rowQuery(target))),
      writeSetting: held((target: RowName, settings: string) => this.#writeSetting(target, settings)),
      removeSetting: held((target: RowName) =>
        this.#destroy(settingClass, { objectId: hookObjectId(target) }),
      ),
      readKeys: () => this.#readSealed(stateId),
      writeKeys: held((keys: string) => this.#writeSealed(stateId, keys)),
      removeKeys: held(() => this.#writeSealed(stateId, '')),
      readKeyCheck: () => this.#readSealed(keyCheckId),
      writeKeyCheck: held((keyCheck: string) => this.#writeSealed(keyCheckId, keyCheck)),
    };
  }

  async #writeSealed(objectId: string, keys: string): Promise<void> {
    if (await this.#matched({ objectId }, { keys })) return;
    await this.#database.create(stateClass, { objectId, keys, ...this.#stamps() });
  }

  async #writeHook(hook: Hook): Promise<void> {
    const { target, url } = hook;
    const query = rowQuery(target);
    const rows = (await this.readHooks()).filter(row => isRowOf(target, row));
    if (rows.length === 1) {
      await this.#database.update(hooksClass, query, { url });
      return;
    }
    // None, or the several that the built-in leaves on PostgreSQL, where its upsert is a plain INSERT. The new row
    // comes before the old ones go: without any row a crash would leave the class without its hook.
    const alike = rows.filter(row => (row as { url?: unknown }).url === url);
    if (alike.length > 1) await this.#destroy(hooksClass, { ...query, url });
    if (alike.length !== 1) {
      await this.#database.update(hooksClass, hookFields(hook), hookFields(hook), { upsert: true });
    }
    if (rows.length > alike.length) await this.#destroy(hooksClass, { ...query, url: { $ne: url } });
  }

  async #destroy(className: string, query: object): Promise<void> {
    await this.#database.destroy(className, query).catch(ignore(parseCodes.objectNotFound));
  }

  /**
   * A crash between two writes, or the built-in at work meanwhile, leaves settings without a hook. They must not come
   * back, secrets included, with the next hook of that name.
   */
  async #removeStraySettings(): Promise<void> {
    if ((await this.#findStraySettings()).length === 0) return;
    await this.exclusively(async () => {
      for (const objectId of await this.#findStraySettings()) await this.#destroy(settingClass, { objectId });
    });
  }

  async #findStraySettings(): Promise<readonly string[]> {
    const settings = await this.#database.find(settingClass, {}, fromPrimary);
    if (settings.length === 0) return [];
    const names = (await this.readHooks()).map(parseRowName);
    const keys = new Set(names.map(name => name && hookKey(name)));
    return settings.filter(row => !keys.has(textOf(row.hook))).map(row => textOf(row.objectId));
  }

  async #writeSetting(target: RowName, settings: string): Promise<SettingRow> {
    const objectId = hookObjectId(target);
    const stamps = this.#stamps();
    const [old] = await this.#database.find(settingClass, { objectId }, onlyRow);
    if (old) {
      // A string, as RestWrite gives it: on PostgreSQL a REST date in this column is an invalid statement.
      await this.#database.update(settingClass, { objectId }, { settings, updatedAt: stamps.updatedAt });
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
    : {
        className: target.className,
        triggerName: target.triggerName,
        // A row that also names a function is that function's.
        $or: [{ functionName: null }, { functionName: '' }],
      };
}

function parseSettingRow(row: Readonly<Record<string, unknown>>): SettingRow {
  return {
    key: textOf(row.hook),
    settings: textOf(row.settings),
    createdAt: isoOf(row.createdAt),
    updatedAt: isoOf(row.updatedAt),
  };
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
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
