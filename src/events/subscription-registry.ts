// The subscriptions in force on this node, and every way to change them. Storage is written first, memory after.
import type { StoreVersion } from '../hooks/hook-store';
import { dropExpired } from '../hooks/secret-rotation';
import { hasUnusedTls } from '../hooks/validate-hook';
import type { JsonObject } from '../shared/json';
import type { Logger } from '../shared/logger';
import type { EndpointKey } from './delivery';
import type { Endpoint, Endpoints, EndpointSender } from './endpoint';
import { installSubscription, showFields, type InstalledSubscription } from './installed-subscription';
import {
  SubscriptionChanges,
  subscriptionNotFound,
  type SubscriptionChangesParts,
} from './subscription-changes';
import { pauseReasonOf, showHealth } from './subscription-health';
import { subscriptionKey } from './subscription-record';
import type { StoredHealth, SubscriptionRow } from './subscription-store';
import type { CreatedSubscription, PauseReason, Subscriptions, SubscriptionView } from './subscriptions';

export interface SubscriptionRegistryParts extends SubscriptionChangesParts {
  readonly senderOf: (subscription: InstalledSubscription) => EndpointSender;
  /** Cancels the pending deliveries of an endpoint that is gone, as far as they were created at `removedAt` or before. */
  readonly cancelDeliveries: (endpoint: EndpointKey, removedAt: number) => Promise<unknown>;
  readonly logger: Logger;
}

/** Health as old as this is shown without another look, in milliseconds. */
const healthReadMs = 1000;

interface InForce {
  readonly row: SubscriptionRow;
  readonly subscription: InstalledSubscription;
  readonly health: StoredHealth;
  readonly endpoint: Endpoint;
}

/** A pause that began by a change on this node. */
export interface Paused {
  readonly view: SubscriptionView;
  readonly reason: PauseReason;
}

export class SubscriptionRegistry implements Subscriptions {
  /** What dispatching sees of the subscriptions. */
  readonly endpoints: Endpoints = {
    find: key => this.#inForce.get(key)?.endpoint,
    paused: () => this.#pausedKeys,
    refresh: () => this.refresh(),
    onChange: listener => this.onChange(listener),
  };
  readonly #parts: SubscriptionRegistryParts;
  readonly #changes: SubscriptionChanges;
  readonly #listeners = new Set<() => void>();
  readonly #pauseListeners = new Set<(paused: Paused) => void>();
  readonly #reported = new Set<string>();
  readonly #shownFields = new WeakMap<InstalledSubscription, JsonObject>();
  #inForce = new Map<EndpointKey, InForce>();
  #pausedKeys: readonly EndpointKey[] = [];
  #version: StoreVersion;
  #lastLoad: Promise<void> = Promise.resolve();
  /** Monotonic: when the health of all was read last. */
  #healthReadAt = -Infinity;
  #nextLoad: Promise<void> | undefined;

  constructor(parts: SubscriptionRegistryParts) {
    this.#parts = parts;
    this.#changes = new SubscriptionChanges(parts);
  }

  /** Runs after every change of what is in force on this node. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Runs when a change on this node has paused a subscription. */
  onPaused(listener: (paused: Paused) => void): void {
    this.#pauseListeners.add(listener);
  }

  /** Reads all and puts it in force. Calls that overlap share one read that begins after the last of them. */
  reload(): Promise<void> {
    this.#nextLoad ??= this.#afterLoads(() => {
      this.#nextLoad = undefined;
      return this.#load();
    });
    return this.#nextLoad;
  }

  async refresh(): Promise<void> {
    const version = await this.#parts.lock.readVersion();
    if (version === undefined || version !== this.#version) await this.reload();
  }

  /**
   * Reads the health that all nodes have counted: it changes without a change of the version, and a process that does not
   * deliver counts none itself. Of all subscriptions, in one query and at most once a second; or of one, every time.
   */
  async refreshHealth(objectId?: string): Promise<void> {
    if (objectId === undefined && this.#parts.clock.monotonicMs() - this.#healthReadAt < healthReadMs) return;
    await this.#afterLoads(() => this.#readHealth(objectId));
  }

  /** All in force, broken ones too, oldest first. */
  installed(): readonly InstalledSubscription[] {
    return [...this.#inForce.values()].map(({ subscription }) => subscription);
  }

  findInstalled(key: EndpointKey): InstalledSubscription | undefined {
    return this.#inForce.get(key)?.subscription;
  }

  list(): readonly SubscriptionView[] {
    return [...this.#inForce.values()].map(inForce => this.#view(inForce));
  }

  find(objectId: string): SubscriptionView | undefined {
    const inForce = this.#inForce.get(subscriptionKey(objectId));
    return inForce && this.#view(inForce);
  }

  /**
   * Labels of those whose secrets were sealed with a key that is not at hand, for the error of a start: 20 of them, and how
   * many more there are.
   */
  undecryptable(): readonly string[] {
    return namesOf(this.installed().filter(({ broken }) => broken?.code === 'BROKEN_SECRET'));
  }

  /** Puts all secrets under the current encryption key, for the start. Answers how many subscriptions had a former one. */
  async reseal(): Promise<number> {
    const resealed = await this.#changes.reseal();
    if (resealed > 0) await this.reload();
    return resealed;
  }

  async create(fields: Readonly<Record<string, unknown>>): Promise<CreatedSubscription> {
    const { objectId, secret } = await this.#changes.create(fields);
    return { view: await this.#reloaded(objectId), secret };
  }

  async update(objectId: string, fields: Readonly<Record<string, unknown>>): Promise<SubscriptionView> {
    const isNew = await this.#changes.update(objectId, fields);
    return this.#tellPaused(isNew, await this.#reloaded(objectId), 'operator');
  }

  /** Resolves when its pending deliveries are cancelled. Throws SUBSCRIPTION_NOT_FOUND. */
  async remove(objectId: string): Promise<void> {
    const removedAt = await this.#changes.remove(objectId);
    await this.#afterLoads(() => this.#loadOne(objectId));
    // After the lock is given back: a large backlog takes longer than that may be held, and nobody shall wait for it.
    await this.#parts.cancelDeliveries(subscriptionKey(objectId), removedAt).catch((error: unknown) => {
      // It is gone all the same: who meets such a delivery later cancels it, too.
      this.#parts.logger.warn(
        `webhooks: deliveries of a removed subscription are cancelled later: ${String(error)}`,
      );
    });
  }

  /** With `url` only while that is its address: what asked for the pause. */
  async pause(objectId: string, reason: PauseReason, url?: string): Promise<SubscriptionView> {
    const isNew = await this.#changes.pause(objectId, reason, url);
    return this.#tellPaused(isNew, await this.#reloaded(objectId), reason);
  }

  async resume(objectId: string): Promise<SubscriptionView> {
    await this.#changes.resume(objectId);
    return this.#reloaded(objectId);
  }

  async rotateSecret(
    objectId: string,
    change: { readonly secret?: string; readonly graceMs?: number },
  ): Promise<CreatedSubscription> {
    const { secret } = await this.#changes.rotateSecret(objectId, change);
    return { view: await this.#reloaded(objectId), secret };
  }

  /** Takes the health that all nodes have counted together, as the store answered it. Changes no pause: that comes by reload. */
  useHealth(objectId: string, { pausedAt: _at, pauseReason: _reason, ...counts }: StoredHealth): void {
    const key = subscriptionKey(objectId);
    const inForce = this.#inForce.get(key);
    if (!inForce) return;
    this.#inForce.set(key, { ...inForce, health: { ...inForce.health, ...counts } });
  }

  #tellPaused(isNew: boolean, view: SubscriptionView, reason: PauseReason): SubscriptionView {
    if (isNew) for (const listener of this.#pauseListeners) listener({ view, reason });
    return view;
  }

  async #readHealth(objectId: string | undefined): Promise<void> {
    const { store, clock } = this.#parts;
    const readAt = clock.monotonicMs();
    // Calls that came together share one read.
    if (objectId === undefined && readAt - this.#healthReadAt < healthReadMs) return;
    const rows = objectId === undefined ? await store.readAll() : [await store.read(objectId)];
    for (const row of rows) if (row) this.useHealth(row.objectId, row.health);
    if (objectId === undefined) this.#healthReadAt = readAt;
  }

  /**
   * After a change on this node: one row is read. To read all after each would make 10,000 creations cost 50 million rows.
   * The version stays as it was, so the next poll reads all the same, once for all changes since the last.
   */
  async #reloaded(objectId: string): Promise<SubscriptionView> {
    await this.#afterLoads(() => this.#loadOne(objectId));
    const view = this.find(objectId);
    // Another node may have removed it between our write and our read.
    if (!view) throw subscriptionNotFound(objectId);
    return view;
  }

  /** One at a time: a read of all that began earlier must not undo a later read of one. */
  #afterLoads(load: () => Promise<void>): Promise<void> {
    this.#lastLoad = this.#lastLoad.catch(() => undefined).then(load);
    return this.#lastLoad;
  }

  async #loadOne(objectId: string): Promise<void> {
    const row = await this.#parts.store.read(objectId);
    const inForce = new Map(this.#inForce);
    if (row) {
      const next = this.#install(row);
      inForce.set(next.subscription.key, next);
    } else {
      inForce.delete(subscriptionKey(objectId));
    }
    this.#putInForce(inForce);
  }

  async #load(): Promise<void> {
    const { store, lock, clock } = this.#parts;
    const readAt = clock.monotonicMs();
    // The version first: a change during the read is then seen as a change again, never missed.
    const version = await lock.readVersion();
    const rows = await store.readAll();
    const inForce = new Map<EndpointKey, InForce>();
    for (const row of sortByAge(rows)) {
      const next = this.#install(row);
      inForce.set(next.subscription.key, next);
    }
    this.#version = version;
    this.#healthReadAt = readAt;
    this.#putInForce(inForce);
  }

  #putInForce(inForce: Map<EndpointKey, InForce>): void {
    this.#inForce = inForce;
    this.#pausedKeys = [...inForce.values()]
      .filter(({ endpoint }) => endpoint.isPaused)
      .map(({ endpoint }) => endpoint.key);
    for (const listener of this.#listeners) listener();
  }

  /** What has not changed is not worked out again: a change of one of 10,000 costs every node a read and a comparison. */
  #install(row: SubscriptionRow): InForce {
    const before = this.#inForce.get(subscriptionKey(row.objectId));
    const isSame =
      before?.row.settings === row.settings &&
      before.row.name === row.name &&
      before.row.updatedAt === row.updatedAt &&
      before.subscription.broken === undefined;
    const subscription = isSame ? before.subscription : installSubscription(row, this.#parts.boxes);
    if (subscription.broken)
      this.#reportOnce(`${subscription.label} gets nothing: ${subscription.broken.reason}`);
    else if (hasUnusedTls(subscription.settings.url, subscription.settings))
      this.#reportOnce(`${subscription.label} is called without TLS: it has tls, and an http url`);
    const isPaused =
      subscription.broken !== undefined || pauseReasonOf(subscription, row.health) !== undefined;
    const { resumedAt } = row.health;
    const endpoint =
      isSame && before.endpoint.isPaused === isPaused && before.endpoint.resumedAt === resumedAt
        ? before.endpoint
        : this.#endpoint(subscription, { isPaused, resumedAt });
    return { row, subscription, health: row.health, endpoint };
  }

  #endpoint(subscription: InstalledSubscription, pause: Pick<Endpoint, 'isPaused' | 'resumedAt'>): Endpoint {
    const { key, label, settings, retry } = subscription;
    const { url, timeoutMs, firstByteTimeoutMs, concurrency } = settings;
    const sender = (): EndpointSender => this.#parts.senderOf(subscription);
    return { key, label, url, ...pause, timeoutMs, firstByteTimeoutMs, concurrency, retry, sender };
  }

  #view({ subscription, health }: InForce): SubscriptionView {
    const { objectId, name, createdAt, updatedAt, broken, secrets } = subscription;
    const fields = this.#shownFields.get(subscription) ?? showFields(subscription);
    this.#shownFields.set(subscription, fields);
    const old = secrets ? dropExpired(secrets, this.#parts.clock.now()).old : [];
    return {
      objectId,
      name,
      fields,
      health: showHealth(subscription, health),
      createdAt,
      updatedAt,
      broken: broken?.reason,
      oldSecretsExpireAt: old.map(({ expiresAt }) => expiresAt),
    };
  }

  #reportOnce(message: string): void {
    if (this.#reported.has(message)) return;
    this.#reported.add(message);
    this.#parts.logger.error(message);
  }
}

function sortByAge(rows: readonly SubscriptionRow[]): readonly SubscriptionRow[] {
  return rows
    .map(row => ({ row, age: `${row.createdAt}/${row.objectId}` }))
    .sort((a, b) => (a.age < b.age ? -1 : Number(a.age > b.age)))
    .map(({ row }) => row);
}

const shownNames = 20;

/** At most 20 of them: an error message of 10,000 names is none. */
function namesOf(subscriptions: readonly InstalledSubscription[]): readonly string[] {
  const labels = subscriptions.slice(0, shownNames).map(({ label }) => label);
  const more = subscriptions.length - labels.length;
  return more > 0 ? [...labels, `${more} more subscriptions`] : labels;
}
