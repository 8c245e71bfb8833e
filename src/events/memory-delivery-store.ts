// Deliveries in this process's memory: for tests and for those who ask for it. A restart loses them.
import {
  type Attempt,
  type Delivery,
  type DeliveryState,
  type DeliverySummary,
  type NewDelivery,
} from './delivery';
import { chooseForClaim, ClaimTally, type ClaimCandidate } from './claim-choice';
import { cutPage, parseCursor } from './delivery-cursor';
import type {
  ClaimRequest,
  DeliveryFilter,
  DeliveryPage,
  DeliveryStore,
  FinishedAttempt,
  FinishedPlace,
  Lease,
  NamedClaim,
  Page,
  ReplaySchedule,
  StatsBucket,
  StatsRequest,
  StopListening,
} from './delivery-store';
import { assertDistinctIds, DeliveryStoreError } from './delivery-store-error';
import { sumStatsBuckets } from './stats-buckets';

export interface MemoryDeliveryStoreOptions {
  /** Deliveries kept at once; beyond it the finished ones that were written first go, and then inserts fail as `full`. Default 100000. */
  readonly maxRows?: number;
}

interface Row {
  delivery: Delivery;
  lease: Lease | undefined;
  isExpunged: boolean;
  attempts: Attempt[];
}

export class MemoryDeliveryStore implements DeliveryStore {
  readonly #maxRows: number;
  readonly #rows = new Map<string, Row>();
  /** Those of #rows that are pending, so that a claim does not walk over what is done. */
  readonly #pending = new Set<Row>();
  readonly #listeners = new Set<() => void>();

  constructor({ maxRows = 100_000 }: MemoryDeliveryStoreOptions = {}) {
    this.#maxRows = maxRows;
  }

  async migrate(): Promise<void> {
    return undefined;
  }

  async insert(deliveries: readonly NewDelivery[], lease: Lease | undefined): Promise<void> {
    assertDistinctIds(deliveries.map(({ id }) => id));
    const repeated = deliveries.find(({ id }) => this.#rows.has(id));
    if (repeated) throw new DeliveryStoreError('repeated-id', `delivery ${repeated.id} is there already`);
    this.#makeRoom(deliveries.length);
    for (const delivery of deliveries) {
      const row: Row = {
        delivery: {
          ...delivery,
          state: 'pending',
          attemptCount: 0,
          attemptsBeforeReplay: 0,
          lastStatus: undefined,
          lastError: undefined,
          finishedAt: undefined,
        },
        lease,
        isExpunged: false,
        attempts: [],
      };
      this.#rows.set(delivery.id, row);
      this.#pending.add(row);
    }
    if (lease === undefined && deliveries.length > 0) this.#wake();
  }

  async claim(request: ClaimRequest): Promise<readonly Delivery[]> {
    const except = new Set(request.except);
    const due = [...this.#pending]
      .filter(row => isClaimable(row, request.now) && !except.has(row.delivery.endpoint))
      .map(toCandidate);
    return chooseForClaim(due, new ClaimTally(request)).chosen.map(({ row }) => {
      row.lease = request.lease;
      return row.delivery;
    });
  }

  async claimByIds(
    ids: readonly string[],
    lease: Lease,
    { now, maxBodyLength = Infinity }: NamedClaim,
  ): Promise<readonly Delivery[]> {
    const claimed: Delivery[] = [];
    let bodyLength = 0;
    for (const row of this.#find(ids)) {
      if (bodyLength >= maxBodyLength) break;
      if (!isClaimable(row, now)) continue;
      row.lease = lease;
      bodyLength += row.delivery.body.length;
      claimed.push(row.delivery);
    }
    return claimed;
  }

  async renew(owner: string, ids: readonly string[], expiresAt: number): Promise<readonly string[]> {
    const held = this.#find(ids).filter(row => row.lease?.owner === owner);
    for (const row of held) row.lease = { owner, expiresAt };
    return held.map(row => row.delivery.id);
  }

  async release(owner: string, ids: readonly string[], nextAttemptAt: number): Promise<void> {
    for (const row of this.#find(ids)) {
      if (row.lease?.owner === owner) this.#move(row, { ...row.delivery, nextAttemptAt });
    }
  }

  async finish(finished: readonly FinishedAttempt[]): Promise<readonly string[]> {
    const held: string[] = [];
    for (const { attempt, owner, progress } of finished) {
      const row = this.#rows.get(attempt.deliveryId);
      if (row?.lease?.owner !== owner) continue;
      row.attempts.push(attempt);
      this.#move(row, { ...row.delivery, ...progress });
      held.push(attempt.deliveryId);
    }
    return held;
  }

  async nextDueAt(except: readonly string[]): Promise<number | undefined> {
    let next: number | undefined;
    for (const { delivery, lease } of this.#pending) {
      if (except.includes(delivery.endpoint)) continue;
      const dueAt = Math.max(delivery.nextAttemptAt ?? 0, lease?.expiresAt ?? 0);
      if (next === undefined || dueAt < next) next = dueAt;
    }
    return next;
  }

  async countByState(filter: DeliveryFilter): Promise<Readonly<Record<DeliveryState, number>>> {
    const counts = { pending: 0, succeeded: 0, exhausted: 0, cancelled: 0 };
    for (const row of this.#select(filter)) counts[row.delivery.state]++;
    return counts;
  }

  async list(filter: DeliveryFilter, page: Page): Promise<DeliveryPage> {
    const end = page.cursor === undefined ? undefined : parseCursor(page.cursor);
    const deliveries = this.#select(filter)
      .map(({ delivery }) => delivery)
      .filter(delivery => end === undefined || compareAge(delivery, end) < 0)
      .sort((a, b) => compareAge(b, a))
      .slice(0, page.limit + 1);
    return cutPage(deliveries.map(summarize), page.limit);
  }

  async get(id: string): ReturnType<DeliveryStore['get']> {
    const row = this.#rows.get(id);
    return row && { delivery: row.delivery, attempts: [...row.attempts] };
  }

  async stats(request: StatsRequest): Promise<readonly StatsBucket[]> {
    const rows = this.#select(request.endpoint === undefined ? {} : { endpoint: request.endpoint });
    const attempts = rows.flatMap(row => row.attempts);
    return sumStatsBuckets(
      attempts
        .filter(({ startedAt }) => startedAt >= request.since && startedAt < request.until)
        .map(({ startedAt, status, error, durationMs }) => ({
          start: startedAt - (startedAt % request.bucketMs),
          statusDigit: status === undefined ? undefined : Math.floor(status / 100),
          succeeded: error === undefined,
          attempts: 1,
          totalDurationMs: durationMs,
          maxDurationMs: durationMs,
        })),
    );
  }

  async replay(
    filter: DeliveryFilter & { readonly id?: string },
    { dueAt, perSecond }: ReplaySchedule,
  ): Promise<number> {
    const rows = this.#select(filter)
      .filter(isReplayable)
      .sort((a, b) => compareAge(a.delivery, b.delivery));
    for (const [index, row] of rows.entries()) {
      this.#move(row, {
        ...row.delivery,
        state: 'pending',
        nextAttemptAt: dueAt + Math.floor((index * 1000) / perSecond),
        finishedAt: undefined,
        attemptsBeforeReplay: row.delivery.attemptCount,
      });
    }
    if (rows.length > 0) this.#wake();
    return rows.length;
  }

  async countReplayable(filter: DeliveryFilter): Promise<number> {
    return this.#select(filter).filter(isReplayable).length;
  }

  async cancel(endpoint: string, now: number, createdUntil = Infinity): Promise<number> {
    const pending = this.#select({ endpoint, states: ['pending'] });
    return this.#cancel(
      pending.filter(({ delivery }) => delivery.createdAt <= createdUntil),
      now,
    );
  }

  async findLastKept(keep: number): Promise<FinishedPlace | undefined> {
    return this.#finished().at(-keep);
  }

  async purge(before: FinishedPlace, signal?: AbortSignal): Promise<number> {
    if (signal?.aborted === true) return 0;
    const doomed = this.#finished().filter(place => comparePlaces(place, before) < 0);
    for (const { id } of doomed) this.#rows.delete(id);
    return doomed.length;
  }

  async expunge(className: string, objectId: string, now: number): Promise<number> {
    const rows = this.#select({ className, objectId });
    this.#cancel(
      rows.filter(row => row.delivery.state === 'pending'),
      now,
    );
    for (const row of rows) {
      row.delivery = { ...row.delivery, body: '{}' };
      row.attempts = row.attempts.map(attempt => ({ ...attempt, reply: undefined }));
      row.isExpunged = true;
    }
    return rows.length;
  }

  async listen(onWake: () => void): Promise<StopListening> {
    // A wrapper, so that one function may listen twice and stop once.
    const listener = (): void => onWake();
    this.#listeners.add(listener);
    return async () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
  }

  #find(ids: readonly string[]): Row[] {
    return [...new Set(ids)].flatMap(id => this.#rows.get(id) ?? []);
  }

  #select(filter: DeliveryFilter & { readonly id?: string }): Row[] {
    return [...this.#rows.values()].filter(({ delivery }) => matches(delivery, filter));
  }

  /** Those that ended first first. */
  #finished(): FinishedPlace[] {
    return [...this.#rows.values()]
      .flatMap(({ delivery: { id, finishedAt } }) => (finishedAt === undefined ? [] : [{ finishedAt, id }]))
      .sort(comparePlaces);
  }

  /** Any move ends the lease. */
  #move(row: Row, delivery: Delivery): void {
    row.delivery = delivery;
    row.lease = undefined;
    if (delivery.state === 'pending') this.#pending.add(row);
    else this.#pending.delete(row);
  }

  #cancel(rows: readonly Row[], now: number): number {
    for (const row of rows) {
      this.#move(row, { ...row.delivery, state: 'cancelled', nextAttemptAt: undefined, finishedAt: now });
    }
    return rows.length;
  }

  #makeRoom(needed: number): void {
    if (this.#pending.size + needed > this.#maxRows) {
      throw new DeliveryStoreError(
        'full',
        `${this.#pending.size} deliveries are pending, maxRows is ${this.#maxRows}`,
      );
    }
    let excess = this.#rows.size + needed - this.#maxRows;
    if (excess <= 0) return;
    for (const [id, row] of this.#rows) {
      if (row.delivery.state === 'pending') continue;
      this.#rows.delete(id);
      if (--excess === 0) return;
    }
  }

  #wake(): void {
    for (const listener of this.#listeners) listener();
  }
}

function isClaimable({ delivery, lease }: Row, now: number): boolean {
  return (
    delivery.state === 'pending' &&
    (delivery.nextAttemptAt ?? 0) <= now &&
    (lease === undefined || lease.expiresAt <= now)
  );
}

function isReplayable({ delivery, isExpunged }: Row): boolean {
  return delivery.state !== 'pending' && !isExpunged;
}

function comparePlaces(a: FinishedPlace, b: FinishedPlace): number {
  return a.finishedAt - b.finishedAt || compareIds(a, b);
}

function toCandidate(row: Row): ClaimCandidate & { readonly row: Row } {
  const { id, endpoint, attemptCount, nextAttemptAt = 0, body } = row.delivery;
  return { id, endpoint, isRetry: attemptCount > 0, at: nextAttemptAt, bodyLength: body.length, row };
}

/** Negative when `a` is older. */
function compareAge(a: AgeKeys, b: AgeKeys): number {
  return a.createdAt - b.createdAt || compareIds(a, b);
}

type AgeKeys = Pick<Delivery, 'id' | 'createdAt'>;

/** By code units, as the C collation of PostgreSQL and MongoDB compare the ASCII that ids are made of. */
function compareIds(a: Pick<Delivery, 'id'>, b: Pick<Delivery, 'id'>): number {
  return a.id < b.id ? -1 : Number(a.id > b.id);
}

function matches(delivery: Delivery, filter: DeliveryFilter & { readonly id?: string }): boolean {
  return (
    (filter.id === undefined || delivery.id === filter.id) &&
    (filter.endpoint === undefined || delivery.endpoint === filter.endpoint) &&
    (filter.className === undefined || delivery.className === filter.className) &&
    (filter.objectId === undefined || delivery.objectId === filter.objectId) &&
    (filter.type === undefined || delivery.type === filter.type) &&
    (filter.states === undefined || filter.states.includes(delivery.state)) &&
    (filter.since === undefined || delivery.createdAt >= filter.since) &&
    (filter.until === undefined || delivery.createdAt < filter.until)
  );
}

function summarize({ body: _body, ...summary }: Delivery): DeliverySummary {
  return summary;
}
