// The port to where deliveries are kept. The row is the truth: a queue, a timer or a notification only says when.
import type {
  Attempt,
  Delivery,
  DeliveryProgress,
  DeliveryState,
  DeliverySummary,
  EndpointKey,
  NewDelivery,
} from './delivery';

/** A right to attempt a delivery until it expires. Taken over by others afterwards. */
export interface Lease {
  /** Unique per claim or per node's life, not per node: a restarted node must not own what it held before. */
  readonly owner: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

export interface ClaimRequest {
  readonly lease: Lease;
  /** Now, in milliseconds since 1970: what is due and whose lease has expired is judged by it. */
  readonly now: number;
  /** At most this many in all. */
  readonly limit: number;
  /** At most this many of one endpoint, so that a backlog of one does not fill the answer. */
  readonly limitPerEndpoint: number;
  /** Endpoints that are paused, or whose lanes are full. */
  readonly except: readonly EndpointKey[];
}

/** The end of one attempt: written in one statement for many deliveries, only where the lease is still held. */
export interface FinishedAttempt {
  readonly attempt: Attempt;
  readonly owner: string;
  readonly progress: DeliveryProgress;
}

export interface DeliveryFilter {
  readonly endpoint?: EndpointKey;
  readonly className?: string;
  readonly objectId?: string;
  readonly type?: string;
  readonly states?: readonly DeliveryState[];
  /** createdAt >= since, < until; milliseconds since 1970. */
  readonly since?: number;
  readonly until?: number;
}

export interface Page {
  /** 1..1000. */
  readonly limit: number;
  /** The `next` of the page before. */
  readonly cursor?: string;
}

export interface DeliveryPage {
  /** Newest first. */
  readonly deliveries: readonly DeliverySummary[];
  readonly next: string | undefined;
}

export interface StatsRequest {
  readonly since: number;
  readonly until: number;
  /** Width of a bucket: a minute, an hour or a day in milliseconds; buckets start at multiples of it (UTC). */
  readonly bucketMs: number;
  readonly endpoint?: EndpointKey;
}

/** Counts of attempts that started in a bucket. Network failures are in `failed` and have no status class. */
export interface StatsBucket {
  readonly start: number;
  readonly attempts: number;
  readonly succeeded: number;
  readonly failed: number;
  /** By first digit of the status: `1xx` … `5xx`, and `none` for attempts without a reply. */
  readonly byStatusClass: Readonly<Record<string, number>>;
  readonly totalDurationMs: number;
  readonly maxDurationMs: number;
}

export interface DeliveryStore {
  /** Creates or updates tables and indexes. Safe to run on many nodes at once. */
  migrate(): Promise<void>;
  /**
   * Writes all or none, in one statement; durable when it resolves. With a lease the caller attempts them itself,
   * straight from memory; without, whoever claims first. A repeated id is an error.
   */
  insert(deliveries: readonly NewDelivery[], lease: Lease | undefined): Promise<void>;
  /**
   * Takes due deliveries whose lease is free or expired: fresh ones (attemptCount 0) before retries, then by
   * nextAttemptAt. No delivery is given to two callers while its lease holds.
   */
  claim(request: ClaimRequest): Promise<readonly Delivery[]>;
  /** Claims these ids, as far as they are due and free: for a queue that carries ids. */
  claimByIds(ids: readonly string[], lease: Lease, now: number): Promise<readonly Delivery[]>;
  /** Prolongs leases; answers the ids that the owner still holds. */
  renew(owner: string, ids: readonly string[], expiresAt: number): Promise<readonly string[]>;
  /** Gives leases back without an attempt; the deliveries are due at `nextAttemptAt`. */
  release(owner: string, ids: readonly string[], nextAttemptAt: number): Promise<void>;
  /** Records attempts and moves their deliveries on; leases end. Answers the ids whose lease was still held. */
  finish(finished: readonly FinishedAttempt[]): Promise<readonly string[]>;

  /** When the next pending delivery is due whose lease is free or will have expired; undefined when none is pending. */
  nextDueAt(except: readonly EndpointKey[]): Promise<number | undefined>;
  /** Ids of pending deliveries that were due before `now` and are not leased, oldest first: to heal a queue that lost them. */
  listDueIds(now: number, limit: number): Promise<readonly string[]>;
  countByState(filter: DeliveryFilter): Promise<Readonly<Record<DeliveryState, number>>>;
  list(filter: DeliveryFilter, page: Page): Promise<DeliveryPage>;
  /** With all attempts, oldest first. */
  get(
    id: string,
  ): Promise<{ readonly delivery: Delivery; readonly attempts: readonly Attempt[] } | undefined>;
  stats(request: StatsRequest): Promise<readonly StatsBucket[]>;

  /** Makes finished deliveries pending again, due from `dueAt` on, `perSecond` each second. Answers how many. */
  replay(filter: DeliveryFilter & { readonly id?: string }, schedule: ReplaySchedule): Promise<number>;
  /** Cancels what is pending of an endpoint that is gone. Answers how many. */
  cancel(endpoint: EndpointKey, now: number): Promise<number>;
  /** Deletes finished deliveries and their attempts: those that ended before `finishedBefore`, then the oldest beyond `keep`. At most `limit` a call; answers how many. */
  purge(request: {
    readonly finishedBefore: number;
    readonly keep: number;
    readonly limit: number;
  }): Promise<number>;
  /** Removes what bodies and replies say of one object (`{}` and undefined), in all states; pending ones are cancelled. */
  expunge(className: string, objectId: string, now: number): Promise<number>;
  close(): Promise<void>;
}

export interface ReplaySchedule {
  readonly dueAt: number;
  /** 1..1000. */
  readonly perSecond: number;
}
