// Gives leases back that a dispatcher has no use for, so that others need not wait for their end.
import type { Logger } from '../shared/logger';
import type { DeliveryStore } from './delivery-store';
import { groupByOwner, type HeldDelivery } from './held-delivery';
import { messageOf } from './store-retries';

export interface LeaseReturnsParts {
  readonly store: Pick<DeliveryStore, 'release'>;
  readonly logger: Logger;
}

export class LeaseReturns {
  readonly #parts: LeaseReturnsParts;
  readonly #running = new Set<Promise<void>>();
  #isFailing = false;

  constructor(parts: LeaseReturnsParts) {
    this.#parts = parts;
  }

  /** The deliveries are due at `nextAttemptAt`. Not tried twice: a lease that stays ends by itself. */
  add(held: readonly HeldDelivery[], nextAttemptAt: number): void {
    for (const { owner, members } of groupByOwner(held)) {
      const ids = members.map(({ id }) => id);
      const running: Promise<void> = this.#release(owner, ids, nextAttemptAt).finally(() =>
        this.#running.delete(running),
      );
      this.#running.add(running);
    }
  }

  /** Resolves when none is under way. */
  async ended(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  /** Never fails. */
  async #release(owner: string, ids: readonly string[], nextAttemptAt: number): Promise<void> {
    try {
      await this.#parts.store.release(owner, ids, nextAttemptAt);
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) {
        this.#parts.logger.warn(
          `webhooks: deliveries could not be given back and wait for the end of their leases: ${messageOf(error)}`,
        );
      }
      this.#isFailing = true;
    }
  }
}
