// The port to where deliveries are kept. The row is the truth: a queue, a timer or a notification only says when.
// All times are whole milliseconds since 1970 and come from the caller, who owns the clock.
import type {
  Attempt,
  Delivery,
  DeliveryProgress,
  DeliveryState,
  DeliverySummary,
  EndpointKey,
  NewDelivery,
} from './delivery';

/**
 * A right to attempt a delivery. From `expiresAt` on anybody may take it over; until somebody does, its owner still
 * holds it: what the owner finishes late is recorded and not attempted again.
 */
export interface Lease {
  /** Unique per claim or per node's life, not per node: a restarted node must not own what it held before. */
  readonly owner: string;
  readonly expiresAt: number;
}

export interface ClaimRequest {
  readonly lease: Lease;
  /** What is due and whose lease has expired is judged by it. */
  readonly now: number;
  /** At most this many in all; 1..1000. */
  readonly limit: number;
  /** At most this many of one endpoint, so that a backlog of one does not fill the answer. */
  readonly limitPerEndpoint: number;
  /**
   * Length of bodies: the body that reaches it is the last. More than 0; in bytes or UTF-16 units, as the store counts.
   * Default: no bound.
   */
  readonly maxBodyLength?: number;
  /** The same of one endpoint. */
  readonly maxBodyLengthPerEndpoint?: number;
  /** Endpoints that are paused, or whose lanes are full. */
  readonly except: readonly EndpointKey[];
}

/** What may be claimed of named deliveries. */
export interface NamedClaim {
  /** What is due and whose lease has expired is judged by it. */
  readonly now: number;
  /** Length of bodies: the body that reaches it is the last, in the order of the ids. Default: no bound. */
  readonly maxBodyLength?: number;
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
  /** One of these; an empty list matches nothing. */
  readonly states?: readonly DeliveryState[];
  /** createdAt >= since, < until. */
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
  /** Newest first: by createdAt, then id, both descending. What is written meanwhile neither repeats nor hides a row. */
  readonly deliveries: readonly DeliverySummary[];
  /** Undefined on the last page. */
  readonly next: string | undefined;
}

export interface StatsRequest {
  readonly since: number;
  readonly until: number;
  /** Width of a bucket: a minute, an hour or a day in milliseconds; buckets start at multiples of it (UTC). */
  readonly bucketMs: number;
  readonly endpoint?: EndpointKey;
}

/** How long attempts took, in milliseconds. */
export interface DurationSum {
  readonly totalMs: number;
  readonly maxMs: number;
}

/** Counts of attempts that started in a bucket. Network failures are in `failed` and have no status class. */
export interface StatsBucket {
  readonly start: number;
  readonly attempts: number;
  readonly succeeded: number;
  readonly failed: number;
  /** By first digit of the status: `1xx` … `5xx`, and `none` for attempts without a reply. Only classes that occur. */
  readonly byStatusClass: Readonly<Record<string, number>>;
  /** Under the same names. */
  readonly durations: Readonly<Record<string, DurationSum>>;
  readonly totalDurationMs: number;
  readonly maxDurationMs: number;
}

/** A place among finished deliveries, by finishedAt, then id; an empty id is before all others of that time. */
export interface FinishedPlace {
  readonly finishedAt: number;
  readonly id: string;
}

export interface ReplaySchedule {
  readonly dueAt: number;
  /** 1..1000; spread evenly over each second. */
  readonly perSecond: number;
}

/** Ends what `listen` began. */
export type StopListening = () => Promise<void>;

export interface DeliveryStore {
  /** Creates or updates tables and indexes. Safe to run on many nodes at once, and again. */
  migrate(): Promise<void>;
  /**
   * Writes all or none; durable when it resolves. With a lease the caller attempts them itself, straight from memory;
   * without, whoever claims first. Throws a DeliveryStoreError when the deliveries themselves cannot be stored (a
   * repeated id, a text that the database refuses, no room); any other error may pass, and may have come after the
   * write took effect: then a second try meets `repeated-id`.
   */
  insert(deliveries: readonly NewDelivery[], lease: Lease | undefined): Promise<void>;
  /**
   * Takes due deliveries whose lease is free or expired: of each endpoint fresh ones (attemptCount 0) before retries and
   * replays, but where there are both an eighth of its places, at least one of two or more, is for the latter; then by
   * nextAttemptAt, then by id. Answers the fresh ones first. No delivery is given to two callers while its lease holds.
   * May answer fewer than there are while others claim at the same time.
   */
  claim(request: ClaimRequest): Promise<readonly Delivery[]>;
  /** Claims these ids, as far as they are due and free: for a queue that carries ids. In no order. */
  claimByIds(ids: readonly string[], lease: Lease, claim: NamedClaim): Promise<readonly Delivery[]>;
  /** Prolongs leases; answers the ids that the owner still holds. */
  renew(owner: string, ids: readonly string[], expiresAt: number): Promise<readonly string[]>;
  /** Gives leases back without an attempt; the deliveries are due at `nextAttemptAt`. */
  release(owner: string, ids: readonly string[], nextAttemptAt: number): Promise<void>;
  /**
   * Records attempts and moves their deliveries on; leases end. Answers the ids whose lease was still held; of others
   * nothing is recorded. A delivery comes at most once in a call.
   */
  finish(finished: readonly FinishedAttempt[]): Promise<readonly string[]>;

  /** When the next pending delivery is due whose lease is free or will have expired; undefined when none is pending. */
  nextDueAt(except: readonly EndpointKey[]): Promise<number | undefined>;
  /** Has a count for every state. */
  countByState(filter: DeliveryFilter): Promise<Readonly<Record<DeliveryState, number>>>;
  /** Throws a DeliveryStoreError `invalid-cursor` for a cursor that no page gave. */
  list(filter: DeliveryFilter, page: Page): Promise<DeliveryPage>;
  /** With all attempts, oldest first. */
  get(
    id: string,
  ): Promise<{ readonly delivery: Delivery; readonly attempts: readonly Attempt[] } | undefined>;
  /** Buckets that have attempts, oldest first; attempts with since <= startedAt < until. */
  stats(request: StatsRequest): Promise<readonly StatsBucket[]>;

  /**
   * Makes finished deliveries pending again, oldest first, due from `dueAt` on, `perSecond` each second. webhookId
   * stays and attempts count on. Expunged deliveries stay as they are: there is nothing left to send. Answers how many.
   */
  replay(filter: DeliveryFilter & { readonly id?: string }, schedule: ReplaySchedule): Promise<number>;
  /** How many `replay` would make pending again. */
  countReplayable(filter: DeliveryFilter): Promise<number>;
  /**
   * Cancels what is pending of an endpoint that is gone, leased or not, and was created at `createdUntil` or before
   * (default: whenever): what is younger may be for another endpoint of that name. In steps that hold up nobody; when it
   * fails, what was cancelled by then stays cancelled. Answers how many.
   */
  cancel(endpoint: EndpointKey, now: number, createdUntil?: number): Promise<number>;
  /**
   * The place of the one that ended first among the `keep` (at least 1) that ended last; undefined when there are fewer,
   * and perhaps when there are just as many. Takes as long as it takes to count `keep` index entries, unless there are
   * clearly fewer.
   */
  findLastKept(keep: number): Promise<FinishedPlace | undefined>;
  /**
   * Deletes finished deliveries that ended before that place, with their attempts, those that ended first first. In steps
   * that hold up nobody; many nodes may do it at once. `signal` ends it before the next step: what is deleted by then stays
   * deleted. Answers how many.
   */
  purge(before: FinishedPlace, signal?: AbortSignal): Promise<number>;
  /**
   * Removes what bodies and replies say of one object (`{}` and undefined), in all states; pending ones are cancelled.
   * Answers how many deliveries were about it.
   */
  expunge(className: string, objectId: string, now: number): Promise<number>;
  /**
   * Calls `onWake` soon after anybody inserted without a lease, and on PostgreSQL and in memory after a replay, too. A
   * hint: it may come too often, and not at all while a connection is down, so poll as well. Undefined where the server
   * cannot tell.
   */
  listen?(onWake: () => void): Promise<StopListening | undefined>;
  /** Ends connections that the store opened; those it was given stay open. May be repeated. */
  close(): Promise<void>;
}
