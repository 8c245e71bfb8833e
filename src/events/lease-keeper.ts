// Prolongs the leases of what a dispatcher holds in memory, and says which ones others have taken.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { DeliveryStore } from './delivery-store';
import { groupByOwner, type HeldDelivery } from './held-delivery';
import { StoreRetries, within } from './store-retries';

export interface LeaseKeeperParts {
  readonly store: Pick<DeliveryStore, 'renew'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** All that is held now. */
  readonly held: () => Iterable<HeldDelivery>;
  /** Length of leases, in milliseconds: may change. */
  readonly leaseMs: () => number;
  /** Somebody else has it, or it has been cancelled. */
  readonly onLost: (held: HeldDelivery) => void;
  /** After every renewal that the store answered. */
  readonly onRenewed: () => void;
}

/** Leases are renewed when a third of them has passed: two tries may fail before anybody can take over. */
const renewAfter = 1 / 3;
/** A renewal that takes longer counts as failed, in milliseconds. */
const renewTimeoutMs = 10_000;

export class LeaseKeeper {
  readonly #parts: LeaseKeeperParts;
  readonly #retries: StoreRetries;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #nextIsAll = false;
  #cancel: (() => void) | undefined;
  #stopped = false;

  constructor(parts: LeaseKeeperParts) {
    this.#parts = parts;
    this.#retries = new StoreRetries({
      logger: parts.logger,
      trouble: 'leases of deliveries cannot be renewed',
      firstDelayMs: 500,
    });
  }

  start(): void {
    this.#plan((this.#parts.leaseMs() * renewAfter) / 2);
  }

  /** Renews now what is old enough to be; with `all`, whatever is held. Never fails. */
  async renew(all: boolean): Promise<void> {
    this.#nextIsAll ||= all;
    if (this.#running === undefined) return this.#begin();
    // What the one under way did not see goes with the next, all that ask meanwhile together.
    this.#next ??= this.#running.then(() => this.#begin());
    return this.#next;
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  #begin(): Promise<void> {
    const all = this.#nextIsAll;
    this.#nextIsAll = false;
    this.#next = undefined;
    this.#running = this.#renew(all).finally(() => (this.#running = undefined));
    return this.#running;
  }

  #plan(delayMs: number): void {
    this.#cancel?.();
    if (this.#stopped) return;
    this.#cancel = this.#parts.clock.schedule(delayMs, () => void this.renew(false));
  }

  async #renew(all: boolean): Promise<void> {
    const { held, leaseMs, clock } = this.#parts;
    const lengthMs = leaseMs();
    const freshUntil = clock.monotonicMs() + lengthMs * (1 - renewAfter);
    const old = [...held()].filter(({ leaseEndsAt }) => all || leaseEndsAt <= freshUntil);
    // Twice as often as leases need it: one that was young at the last look is not much too old at the next.
    let delayMs = (lengthMs * renewAfter) / 2;
    try {
      for (const { owner, members } of groupByOwner(old)) await this.#renewSome(owner, members, lengthMs);
      if (old.length > 0) this.#retries.succeeded();
    } catch (error) {
      delayMs = this.#retries.failed(error);
    }
    this.#plan(delayMs);
    this.#parts.onRenewed();
  }

  async #renewSome(owner: string, members: readonly HeldDelivery[], lengthMs: number): Promise<void> {
    const { store, clock, onLost } = this.#parts;
    const endsAt = clock.monotonicMs() + lengthMs;
    const ids = members.filter(({ stage }) => stage !== 'gone').map(({ id }) => id);
    if (ids.length === 0) return;
    const renewing = store.renew(owner, ids, clock.now() + lengthMs);
    const kept = new Set(await within(clock, renewTimeoutMs, renewing));
    for (const one of members) {
      // What was claimed anew meanwhile has a lease of its own.
      if (one.owner !== owner || one.stage === 'gone') continue;
      if (kept.has(one.id)) one.leaseEndsAt = endsAt;
      else onLost(one);
    }
  }
}
