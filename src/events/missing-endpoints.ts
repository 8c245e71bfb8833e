// What becomes of deliveries whose endpoint this node does not know: it is new on another node, or gone for good.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { EndpointKey } from './delivery';
import type { DeliveryStore } from './delivery-store';
import type { Endpoints } from './endpoint';
import type { EndpointLane } from './endpoint-lane';
import type { HeldDelivery } from './held-delivery';
import { messageOf } from './store-retries';

export interface MissingEndpointsParts {
  readonly store: Pick<DeliveryStore, 'cancel'>;
  readonly endpoints: Pick<Endpoints, 'find' | 'refresh'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** It is no longer this node's. */
  readonly forget: (held: HeldDelivery) => void;
}

export class MissingEndpoints {
  readonly #parts: MissingEndpointsParts;
  /** Answers when it began, in milliseconds since 1970. */
  #refreshing: Promise<number> | undefined;

  constructor(parts: MissingEndpointsParts) {
    this.#parts = parts;
  }

  /**
   * Looks for the endpoint of a lane, and cancels its deliveries when it is gone. Answers whether to look again after a
   * rest: some are left, or the look has failed. Never fails.
   */
  async resolve(lane: EndpointLane): Promise<boolean> {
    try {
      const cancelledUntil = await this.#cancelIfGone(lane.key);
      if (cancelledUntil === undefined) return false;
      for (const held of lane.takeWaiting(0)) {
        if (held.delivery.createdAt <= cancelledUntil) this.#parts.forget(held);
        else lane.push(held);
      }
      // Of a successor that is not known here yet, or of a node that did not know of the end.
      return lane.waiting > 0;
    } catch (error) {
      const { logger } = this.#parts;
      logger.warn(`webhooks: deliveries to ${lane.key}, which is not known, wait: ${messageOf(error)}`);
      return true;
    }
  }

  /**
   * Answers the time up to which those created are cancelled, in milliseconds since 1970; undefined when it is there. What
   * was created later may belong to its successor: the key of an endpoint follows from its name.
   */
  async #cancelIfGone(key: EndpointKey): Promise<number | undefined> {
    const { store, endpoints, clock, logger } = this.#parts;
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined));
    const goneAt = await this.#refreshing;
    if (endpoints.find(key) !== undefined) return undefined;
    const count = await store.cancel(key, clock.now(), goneAt);
    logger.info(`webhooks: ${key} is gone, ${count} deliveries to it are cancelled`);
    return goneAt;
  }

  async #refresh(): Promise<number> {
    const beganAt = this.#parts.clock.now();
    await this.#parts.endpoints.refresh();
    return beganAt;
  }
}
