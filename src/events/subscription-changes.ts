// Changes of subscriptions: checked against what is stored, and written under the lock that all registrations share.
import { WebhookError } from '../errors';
import { keptCredentials } from '../hooks/credentials-of-origin';
import { assertSecretFits, checkedSecret } from '../hooks/declaration';
import { describe, type HookSettings } from '../hooks/hook-settings';
import { findSealingBox, type KeyCheckWriter } from '../hooks/key-check';
import type { StoreVersion } from '../hooks/hook-store';
import type { SecretBoxes } from '../hooks/secret-box';
import { dropExpired, rotate, type SecretSet } from '../hooks/secret-rotation';
import { resealRecord, tryParseJson } from '../hooks/stored-settings';
import { assertTlsFits } from '../hooks/validate-hook';
import type { Clock } from '../shared/clock';
import { generateSecret } from '../shared/secret-format';
import {
  openSubscription,
  sealSubscription,
  subscriptionKey,
  subscriptionObjectId,
  type SubscriptionRecord,
} from './subscription-record';
import {
  asInvalidSubscription,
  changeSubscription,
  invalidSubscription,
  parseSubscriptionName,
  type SubscriptionSettings,
} from './subscription-settings';
import type { SubscriptionRow, SubscriptionStore } from './subscription-store';
import type { PauseReason } from './subscriptions';

/** The lock and version of all registrations: HookStore has them. */
export interface RegistrationLock {
  readVersion(): Promise<StoreVersion>;
  /** Runs `work` while nothing else changes registrations, then changes the version. Throws STORE_BUSY. */
  exclusively<T>(work: (writer: KeyCheckWriter) => Promise<T>): Promise<T>;
}

type Fields = Readonly<Record<string, unknown>>;

export interface SubscriptionChangesParts {
  readonly store: SubscriptionStore;
  readonly lock: RegistrationLock;
  readonly boxes: SecretBoxes;
  readonly clock: Clock;
  /** Why a URL may not be called, or undefined: the network policy's word on literal addresses. */
  readonly whyUnreachable: (url: string, network: SubscriptionSettings['network']) => string | undefined;
  /** Makes the server keys that these settings sign with, where they are missing. */
  readonly completeKeys: (settings: Pick<HookSettings, 'signatures' | 'bearer'>) => Promise<void>;
}

/** Subscriptions sealed anew under one lock, which is held for 10 s at most. */
const resealBatch = 100;

export class SubscriptionChanges {
  readonly #parts: SubscriptionChangesParts;

  constructor(parts: SubscriptionChangesParts) {
    this.#parts = parts;
  }

  /** Throws INVALID_SUBSCRIPTION, DUPLICATE_SUBSCRIPTION, REFUSED_CLASS. */
  async create({ name: givenName, secret: givenSecret, ...fields }: Fields): Promise<Secret> {
    const { store, lock, clock } = this.#parts;
    const name = parseSubscriptionName(givenName);
    const settings = changeSubscription({}, fields);
    const secret = isGiven(givenSecret) ? parseSecret(givenSecret) : generateSecret(clock);
    asInvalidSubscription(() => assertTlsFits(settings.url, settings));
    this.#assertUsable(settings, secret);
    await this.#parts.completeKeys(settings);
    const objectId = subscriptionObjectId(name);
    await lock.exclusively(async writer => {
      const record = { settings, secrets: { current: secret, old: [] } };
      const row = { objectId, name, settings: await this.#seal(writer, objectId, record) };
      if (await store.insert(row)) {
        if (settings.active === false) await store.pause(objectId, { at: clock.now(), reason: 'operator' });
        return;
      }
      throw new WebhookError(
        'DUPLICATE_SUBSCRIPTION',
        `name ${describe(name)} is taken by another subscription`,
      );
    });
    return { objectId, secret };
  }

  /** Answers whether it is paused by this. Throws SUBSCRIPTION_NOT_FOUND, INVALID_SUBSCRIPTION, REFUSED_CLASS. */
  async update(objectId: string, fields: Fields): Promise<boolean> {
    const { store, lock, completeKeys } = this.#parts;
    // Before the lock, which completing the keys takes itself; judged again under it.
    await completeKeys(this.#changed(await this.#find(objectId), fields).settings);
    return lock.exclusively(async writer => {
      const row = await this.#find(objectId);
      const record = this.#changed(row, fields);
      // Not of other changes: a row that has both already must stay changeable.
      if (isGiven(fields.url) || isGiven(fields.tls))
        asInvalidSubscription(() => assertTlsFits(record.settings.url, record.settings));
      this.#assertUsable(record.settings, record.secrets.current);
      await store.writeSettings(objectId, await this.#seal(writer, objectId, record));
      return this.#followActive(row, record.settings.active ?? true);
    });
  }

  /**
   * Answers when it was removed, in milliseconds since 1970: one of the same name, which has the same objectId, is made
   * later. Throws SUBSCRIPTION_NOT_FOUND.
   */
  async remove(objectId: string): Promise<number> {
    const { store, lock, clock } = this.#parts;
    return lock.exclusively(async () => {
      if (!(await store.remove(objectId))) throw subscriptionNotFound(objectId);
      // Under the lock: nobody has made another one yet.
      return clock.now();
    });
  }

  /** False when it was paused before, or when it has another URL than the one given. */
  async pause(objectId: string, reason: PauseReason, url?: string): Promise<boolean> {
    const { store, lock, clock } = this.#parts;
    return lock.exclusively(async () => {
      const row = await this.#find(objectId);
      if (url !== undefined && tryParseJson(row.settings)?.url !== url) return false;
      if (reason === 'operator') await this.#writeActive(row, false);
      if (row.health.pauseReason !== undefined) return false;
      return store.pause(objectId, { at: clock.now(), reason });
    });
  }

  async resume(objectId: string): Promise<void> {
    const { store, lock, clock } = this.#parts;
    await lock.exclusively(async () => {
      await this.#writeActive(await this.#find(objectId), true);
      await store.resume(objectId, clock.now());
    });
  }

  /** Throws SUBSCRIPTION_NOT_FOUND, INVALID_SUBSCRIPTION. */
  async rotateSecret(
    objectId: string,
    change: { readonly secret?: string; readonly graceMs?: number },
  ): Promise<Secret> {
    const { store, lock, clock } = this.#parts;
    const secret = change.secret === undefined ? generateSecret(clock) : parseSecret(change.secret);
    await lock.exclusively(async writer => {
      const record = this.#open(await this.#find(objectId));
      const graceMs = change.graceMs === undefined ? {} : { graceMs: change.graceMs };
      const secrets = asInvalidSubscription(() => {
        assertSecretFits(secretNeeds(record.settings), secret);
        return rotate(record.secrets, { newSecret: secret, nowMs: clock.now(), ...graceMs });
      });
      await store.writeSettings(objectId, await this.#seal(writer, objectId, { ...record, secrets }));
    });
    return { objectId, secret };
  }

  /**
   * Seals anew what a former key opens, for the start, unless the database stays under that: this server then lags behind.
   * Answers how many subscriptions that were.
   */
  async reseal(): Promise<number> {
    const { store, lock, boxes } = this.#parts;
    const resealed = (row: SubscriptionRow): string | undefined =>
      resealRecord(subscriptionKey(row.objectId), row.settings, boxes);
    const ids = (await store.readAll())
      .filter(row => resealed(row) !== undefined)
      .map(({ objectId }) => objectId);
    let resealedCount = 0;
    for (let at = 0; at < ids.length; at += resealBatch) {
      await lock.exclusively(async writer => {
        if ((await findSealingBox(writer, boxes)) !== boxes.current) return;
        for (const objectId of ids.slice(at, at + resealBatch)) {
          const row = await store.read(objectId);
          const settings = row && resealed(row);
          if (settings === undefined) continue;
          await store.writeSettings(objectId, settings);
          resealedCount++;
        }
      });
    }
    return resealedCount;
  }

  #changed(row: SubscriptionRow, { name, secret, ...fields }: Fields): SubscriptionRecord {
    if (isGiven(name) && name !== row.name)
      throw invalidSubscription(`name cannot be changed: it is ${describe(row.name)}, got ${describe(name)}`);
    const record = this.#tryOpen(row);
    if (!record) return writtenAnew(row, fields, secret);
    if (isGiven(secret))
      throw invalidSubscription('secret is changed by secret/rotate and not with other fields');
    const settings = changeSubscription(record.settings, fields);
    const move = { from: record.settings.url, to: settings.url, stored: row.settings, settings: fields };
    const kept = keptCredentials(move);
    if (kept.length === 0) return { ...record, settings };
    throw invalidSubscription(
      `url leads to another origin, and ${kept.join(', ')} ${kept.length === 1 ? 'was' : 'were'} given for the one before: ` +
        'give anew what goes along, and null for what does not',
    );
  }

  /** `row` is as it was before. True when it is paused by this. */
  async #followActive(row: SubscriptionRow, active: boolean): Promise<boolean> {
    const { store, clock } = this.#parts;
    const { objectId, health } = row;
    const waited = health.pauseReason === 'operator' || (!health.pauseReason && !this.#wasActive(row));
    if (active && waited) await store.resume(objectId, clock.now());
    if (active || health.pauseReason !== undefined) return false;
    return store.pause(objectId, { at: clock.now(), reason: 'operator' });
  }

  /** What cannot be read got nothing either, and its deliveries have waited. */
  #wasActive(row: SubscriptionRow): boolean {
    const record = this.#tryOpen(row);
    return record !== undefined && (record.settings.active ?? true);
  }

  /** Opens no secret: what cannot be decrypted can be paused and resumed, too. */
  async #writeActive({ objectId, settings }: SubscriptionRow, active: boolean): Promise<void> {
    const fields = tryParseJson(settings);
    if (!fields || (fields.active ?? true) === active) return;
    await this.#parts.store.writeSettings(objectId, JSON.stringify({ ...fields, active }));
  }

  async #find(objectId: string): Promise<SubscriptionRow> {
    const row = await this.#parts.store.read(objectId);
    if (!row) throw subscriptionNotFound(objectId);
    return row;
  }

  #open({ objectId, settings }: SubscriptionRow): SubscriptionRecord {
    return openSubscription(objectId, settings, this.#parts.boxes);
  }

  #tryOpen(row: SubscriptionRow): SubscriptionRecord | undefined {
    try {
      return this.#open(row);
    } catch (error) {
      if (error instanceof WebhookError) return undefined;
      throw error;
    }
  }

  async #seal(writer: KeyCheckWriter, objectId: string, record: SubscriptionRecord): Promise<string> {
    const { boxes, clock } = this.#parts;
    const secrets = dropExpired(record.secrets, clock.now());
    return sealSubscription(objectId, { ...record, secrets }, await findSealingBox(writer, boxes));
  }

  #assertUsable(settings: SubscriptionSettings, secret: string): void {
    asInvalidSubscription(() => assertSecretFits(secretNeeds(settings), secret));
    const why = this.#parts.whyUnreachable(settings.url, settings.network);
    if (why !== undefined) throw invalidSubscription(`url is refused: ${why}`);
  }
}

/** What signs, for the only time that it is shown. */
export interface Secret {
  readonly objectId: string;
  readonly secret: string;
}

/** Nothing of a record that cannot be read is kept, so everything has to be given. */
function writtenAnew(row: SubscriptionRow, fields: Fields, secret: unknown): SubscriptionRecord {
  if (!isGiven(secret)) {
    throw invalidSubscription(
      'secret must be given, and all other fields that are not to have their defaults: the stored record cannot be read',
    );
  }
  if (row.name === '' || subscriptionObjectId(row.name) !== row.objectId)
    throw invalidSubscription('the stored record has lost its name: delete it');
  const secrets: SecretSet = { current: parseSecret(secret), old: [] };
  return { settings: changeSubscription({}, fields), secrets };
}

function secretNeeds({ bearer }: SubscriptionSettings): Pick<HookSettings, 'bearer'> {
  return bearer ? { bearer } : {};
}

function parseSecret(secret: unknown): string {
  return asInvalidSubscription(() => checkedSecret(secret));
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

export function subscriptionNotFound(objectId: string): WebhookError {
  return new WebhookError('SUBSCRIPTION_NOT_FOUND', `no subscription with objectId ${describe(objectId)}`);
}
