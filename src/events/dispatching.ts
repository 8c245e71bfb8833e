// The contracts between the parts that bring deliveries out: who takes them in, who attempts them, who hears of it.
import type { AttemptOutcome } from './attempt-outcome';
import type { Attempt, Delivery, DeliveryState, EndpointKey, NewDelivery } from './delivery';
import type { Lease } from './delivery-store';
import type { Endpoint } from './endpoint';

/** Takes deliveries on behalf of a client that waits for its answer. */
export interface DeliveryIntake {
  /**
   * Resolves when all are durable; with `onStoreFailure: 'spool'` also when they are kept in memory because the store
   * failed. Throws STORE_FAILED where the option is `fail`.
   */
  add(deliveries: readonly NewDelivery[]): Promise<void>;
}

/** A delivery named by a queue. */
export interface DeliveryRef {
  readonly id: string;
  readonly endpoint: EndpointKey;
}

/** Attempts deliveries: what it is handed, and what it claims from the store. */
export interface Dispatcher {
  /** Begins to claim what is due. */
  start(): Promise<void>;
  /** The right under which the next insert may be written; its owner is this dispatcher. */
  createLease(): Lease;
  /**
   * True when a new delivery of this endpoint can be attempted straight from memory: the endpoint is there and not
   * paused, its breaker is closed and its lane has room. Otherwise it is better inserted without a lease.
   */
  hasRoom(endpoint: EndpointKey): boolean;
  /** Takes what was just inserted under a lease of createLease(). */
  accept(deliveries: readonly NewDelivery[], lease: Lease): void;
  /**
   * Takes those of them that lie in the store under a lease of createLease(): their insert failed or had no answer, and
   * took effect all the same. Never fails; what cannot be had now is claimed when the lease has ended.
   */
  adopt(deliveries: readonly NewDelivery[]): Promise<void>;
  /** A queue says that these may be due. Those whose lane is full, and those that another node has, are left alone. */
  acceptIds(refs: readonly DeliveryRef[]): Promise<void>;
  /** What deliveries hold of this object was removed from the store: no attempt of those in memory begins from now on. */
  withdraw(className: string, objectId: string): void;
  /** Something may be due: look soon. */
  wake(): void;
  /** Takes no more, waits at most `drainTimeoutMs` for attempts under way, gives back the leases of the rest. */
  stop(drainTimeoutMs: number): Promise<void>;
}

/** The end of one attempt, after it was recorded in the store. */
export interface AttemptEnded {
  readonly endpoint: Endpoint;
  readonly delivery: Omit<Delivery, 'body'>;
  readonly attempt: Attempt;
  readonly outcome: AttemptOutcome;
  /** Of the delivery, now. */
  readonly state: DeliveryState;
}

/** Hears of every attempt on this node. Must not throw, and must be quick: it runs between attempts. */
export interface AttemptObserver {
  attemptEnded(ended: AttemptEnded): void;
}
