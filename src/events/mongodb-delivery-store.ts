// Deliveries in MongoDB, with single-document writes only: it needs no replica set and no transactions.
// Finding what is due and upkeep are in files beside it.
import {
  MongoClient,
  type AnyBulkWriteOperation,
  type Collection,
  type CollectionOptions,
  type Db,
  type MongoClientOptions,
} from 'mongodb';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { Delivery, DeliveryState, NewDelivery } from './delivery';
import { ClaimTally } from './claim-choice';
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
import {
  toAttempt,
  toAttemptEntry,
  toDelivery,
  toDocument,
  toProgressUpdate,
  toQuery,
  toSummary,
  type DeliveryDocument,
} from './mongodb-documents';
import { findCandidates, findNextDue, readLanes } from './mongodb-lanes';
import {
  cancelOnMongodb,
  countReplayableOnMongodb,
  expungeOnMongodb,
  findLastKeptOnMongodb,
  purgeOnMongodb,
  replayOnMongodb,
} from './mongodb-upkeep';
import { hasChangeStreams, watchInserts } from './mongodb-watcher';
import { sumStatsBuckets } from './stats-buckets';
import { closeInTime } from './store-retries';

export interface MongodbDeliveryStoreParts {
  /** An address with the name of the database, or a database of a client that the caller closes. */
  readonly connection: string | Db;
  /** For an address. */
  readonly options?: MongoClientOptions;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * No class can be called so: class names begin with a letter, those of Parse with `_` and a capital. Parse Server
 * empties or drops it in one case only, when a test deletes everything (deleteAllClasses in MongoStorageAdapter.js).
 */
const collectionName = '_webhook_delivery';

/** A document may have 16 MiB; beside the body it holds the attempts with the heads of their replies. */
const maxBodyBytes = 12 * 1024 * 1024;
const duplicateKey = 11_000;
/**
 * Longest that one operation takes, in milliseconds; the driver then ends its connection, which may be dead. Shorter than
 * the default lease. It holds for a database of the caller's client, too, which has no such limit of its own.
 */
const timeoutMS = 30_000;
/** A claim that lost candidates to others looks again, at most so often. */
const maxPasses = 5;

export class MongodbDeliveryStore implements DeliveryStore {
  readonly #parts: MongodbDeliveryStoreParts;
  readonly #client: MongoClient | undefined;
  readonly #database: Db;
  readonly #deliveries: Collection<DeliveryDocument>;
  /** For what may take as long as it likes. */
  readonly #unbounded: Collection<DeliveryDocument>;
  #closed: Promise<void> | undefined;

  constructor(parts: MongodbDeliveryStoreParts) {
    this.#parts = parts;
    const { connection } = parts;
    if (typeof connection === 'string') {
      this.#client = new MongoClient(connection, parts.options);
      this.#database = this.#client.db();
    } else {
      this.#client = undefined;
      this.#database = connection;
    }
    // On the disks of most: what a client saw succeed must outlive the primary.
    const settings: CollectionOptions = {
      writeConcern: { w: 'majority', journal: true },
      readPreference: 'primary',
      ignoreUndefined: true,
    };
    this.#unbounded = this.#database.collection<DeliveryDocument>(collectionName, settings);
    this.#deliveries = this.#database.collection<DeliveryDocument>(collectionName, {
      ...settings,
      timeoutMS,
    });
  }

  /** Making an index that is there already does nothing, so nodes may do it at once. */
  async migrate(): Promise<void> {
    await this.#unbounded.createIndexes([
      {
        key: { 'queue.lane': 1, 'queue.at': 1, _id: 1 },
        name: 'pending',
        partialFilterExpression: { 'queue.lane': { $exists: true } },
      },
      { key: { createdAt: -1, _id: -1 }, name: 'created' },
      { key: { endpoint: 1, createdAt: -1, _id: -1 }, name: 'endpoint' },
      { key: { className: 1, objectId: 1, createdAt: -1, _id: -1 }, name: 'object' },
      { key: { state: 1, createdAt: -1, _id: -1 }, name: 'state' },
      {
        key: { finishedAt: 1, _id: 1 },
        name: 'finished',
        partialFilterExpression: { finishedAt: { $exists: true } },
      },
      { key: { 'attempts.startedAt': 1 }, name: 'attempts' },
    ]);
  }

  /**
   * All or none as far as single documents go: what a failing insert has written is deleted again. A process that dies
   * in between leaves deliveries of events that did happen, and without a lease one can be claimed in that moment.
   */
  async insert(deliveries: readonly NewDelivery[], lease: Lease | undefined): Promise<void> {
    if (deliveries.length === 0) return;
    assertDistinctIds(deliveries.map(({ id }) => id));
    const tooLarge = deliveries.find(({ body }) => Buffer.byteLength(body) > maxBodyBytes);
    if (tooLarge) {
      throw new DeliveryStoreError(
        'invalid',
        `the body of ${tooLarge.id} has more than ${maxBodyBytes} bytes`,
      );
    }
    const call = this.#createToken();
    try {
      await this.#deliveries.insertMany(deliveries.map(delivery => toDocument(delivery, lease, call)));
    } catch (error) {
      await this.#undoInsert(deliveries, call);
      if (isDuplicate(error)) await this.#takeOver(deliveries, call);
      throw translateInsertError(error);
    }
  }

  async claim(request: ClaimRequest): Promise<readonly Delivery[]> {
    const { lease, now, except } = request;
    const tally = new ClaimTally(request);
    for (let pass = 1; pass <= maxPasses && !tally.isFull; pass++) {
      const candidates = await findCandidates(this.#deliveries, {
        lanes: await readLanes(this.#deliveries, except),
        now,
        tally,
      });
      const won = await this.#lease(
        candidates.map(({ id }) => id),
        lease,
        now,
      );
      const places = new Map(candidates.map(({ id }, place) => [id, place]));
      const placeOf = ({ id }: Delivery): number => places.get(id) ?? 0;
      tally.add(won.toSorted((a, b) => placeOf(a) - placeOf(b)));
      // Otherwise others were faster with some of the candidates: further back there may be more.
      if (won.length === candidates.length) break;
    }
    return tally.claimed;
  }

  async claimByIds(
    ids: readonly string[],
    lease: Lease,
    { now, maxBodyLength }: NamedClaim,
  ): Promise<readonly Delivery[]> {
    const bounded = maxBodyLength === undefined ? ids : await this.#cutByLength(ids, maxBodyLength);
    return this.#lease(bounded, lease, now);
  }

  async renew(owner: string, ids: readonly string[], expiresAt: number): Promise<readonly string[]> {
    const held = { _id: { $in: [...ids] }, 'queue.owner': owner };
    await this.#deliveries.updateMany(held, { $set: { 'queue.until': expiresAt } });
    const documents = await this.#deliveries.find(held).project<{ _id: string }>({ _id: 1 }).toArray();
    return documents.map(({ _id }) => _id);
  }

  async release(owner: string, ids: readonly string[], nextAttemptAt: number): Promise<void> {
    await this.#deliveries.updateMany(
      { _id: { $in: [...ids] }, 'queue.owner': owner },
      {
        $set: { 'queue.at': nextAttemptAt, 'queue.until': 0 },
        $unset: { 'queue.owner': '', 'queue.claim': '' },
      },
    );
  }

  async finish(finished: readonly FinishedAttempt[]): Promise<readonly string[]> {
    if (finished.length === 0) return [];
    const ids = finished.map(({ attempt }) => attempt.deliveryId);
    const endpoints = await this.#readEndpoints(
      finished
        .filter(({ progress }) => progress.state === 'pending')
        .map(({ attempt }) => attempt.deliveryId),
    );
    const call = this.#createToken();
    const writes = finished.map(({ attempt, owner, progress }): AnyBulkWriteOperation<DeliveryDocument> => ({
      updateOne: {
        filter: { _id: attempt.deliveryId, 'queue.owner': owner },
        update: {
          ...toProgressUpdate(endpoints.get(attempt.deliveryId) ?? '', progress),
          $push: { attempts: toAttemptEntry(attempt, call) },
        },
      },
    }));
    const { matchedCount } = await this.#deliveries.bulkWrite(writes, { ordered: false });
    if (matchedCount === finished.length) return ids;
    const held = await this.#deliveries
      .find({ _id: { $in: ids }, 'attempts.call': call })
      .project<{ _id: string }>({ _id: 1 })
      .toArray();
    return held.map(({ _id }) => _id);
  }

  async nextDueAt(except: readonly string[]): Promise<number | undefined> {
    return findNextDue(this.#deliveries, await readLanes(this.#deliveries, except));
  }

  async countByState(filter: DeliveryFilter): Promise<Readonly<Record<DeliveryState, number>>> {
    const groups = await this.#deliveries
      .aggregate<{
        _id: DeliveryState;
        count: number;
      }>([{ $match: toQuery(filter) }, { $group: { _id: '$state', count: { $sum: 1 } } }])
      .toArray();
    const countOf = (state: DeliveryState): number => groups.find(({ _id }) => _id === state)?.count ?? 0;
    return {
      pending: countOf('pending'),
      succeeded: countOf('succeeded'),
      exhausted: countOf('exhausted'),
      cancelled: countOf('cancelled'),
    };
  }

  async list(filter: DeliveryFilter, page: Page): Promise<DeliveryPage> {
    const conditions = [toQuery(filter)];
    if (page.cursor !== undefined) {
      const { createdAt, id } = parseCursor(page.cursor);
      conditions.push({ $or: [{ createdAt: { $lt: createdAt } }, { createdAt, _id: { $lt: id } }] });
    }
    const documents = await this.#deliveries
      .find({ $and: conditions })
      .sort({ createdAt: -1, _id: -1 })
      .limit(page.limit + 1)
      .project<Omit<DeliveryDocument, 'body' | 'attempts'>>({ body: 0, attempts: 0 })
      .toArray();
    return cutPage(documents.map(toSummary), page.limit);
  }

  async get(id: string): ReturnType<DeliveryStore['get']> {
    const document = await this.#deliveries.findOne({ _id: id });
    if (document === null) return undefined;
    return {
      delivery: toDelivery(document),
      attempts: document.attempts.map(entry => toAttempt(id, entry)),
    };
  }

  async stats({ since, until, bucketMs, endpoint }: StatsRequest): Promise<readonly StatsBucket[]> {
    const within = { $gte: since, $lt: until };
    const started = '$attempts.startedAt';
    const groups = await this.#deliveries
      .aggregate<{
        _id: { start: number; status: number | null; error: string | null };
        attempts: number;
        total: number;
        longest: number;
      }>([
        // Of an array a range is judged by both bounds together in $elemMatch only; else the index takes one of them.
        {
          $match: {
            ...(endpoint !== undefined && { endpoint }),
            attempts: { $elemMatch: { startedAt: within } },
          },
        },
        { $project: { attempts: 1 } },
        { $unwind: '$attempts' },
        { $match: { 'attempts.startedAt': within } },
        {
          $group: {
            _id: {
              start: { $subtract: [started, { $mod: [started, bucketMs] }] },
              status: { $ifNull: ['$attempts.status', null] },
              error: { $ifNull: ['$attempts.error', null] },
            },
            attempts: { $sum: 1 },
            total: { $sum: '$attempts.durationMs' },
            longest: { $max: '$attempts.durationMs' },
          },
        },
      ])
      .toArray();
    return sumStatsBuckets(
      groups.map(({ _id: { start, status, error }, attempts, total, longest }) => ({
        start,
        statusDigit: status === null ? undefined : Math.floor(status / 100),
        succeeded: error === null,
        attempts,
        totalDurationMs: total,
        maxDurationMs: longest,
      })),
    );
  }

  replay(filter: DeliveryFilter & { readonly id?: string }, schedule: ReplaySchedule): Promise<number> {
    return replayOnMongodb(this.#deliveries, filter, schedule);
  }

  countReplayable(filter: DeliveryFilter): Promise<number> {
    return countReplayableOnMongodb(this.#deliveries, filter);
  }

  cancel(endpoint: string, now: number, createdUntil = Infinity): Promise<number> {
    return cancelOnMongodb(this.#deliveries, endpoint, { now, createdUntil });
  }

  findLastKept(keep: number): Promise<FinishedPlace | undefined> {
    return findLastKeptOnMongodb(this.#deliveries, keep);
  }

  purge(before: FinishedPlace, signal?: AbortSignal): Promise<number> {
    return purgeOnMongodb(this.#deliveries, before, signal);
  }

  expunge(className: string, objectId: string, now: number): Promise<number> {
    return expungeOnMongodb(this.#deliveries, { className, objectId, now });
  }

  async listen(onWake: () => void): Promise<StopListening | undefined> {
    if (!(await hasChangeStreams(this.#database))) return undefined;
    return watchInserts(this.#unbounded, this.#parts, onWake);
  }

  close(): Promise<void> {
    this.#closed ??= this.#client ? closeInTime(this.#parts, this.#client.close()) : Promise.resolve();
    return this.#closed;
  }

  /** Each document goes to one claim: the server checks and changes it in one step. */
  async #lease(ids: readonly string[], lease: Lease, now: number): Promise<readonly Delivery[]> {
    if (ids.length === 0) return [];
    const claim = this.#createToken();
    const { modifiedCount } = await this.#deliveries.updateMany(
      { _id: { $in: [...ids] }, 'queue.at': { $lte: now }, 'queue.until': { $lte: now } },
      { $set: { 'queue.owner': lease.owner, 'queue.until': lease.expiresAt, 'queue.claim': claim } },
    );
    if (modifiedCount === 0) return [];
    const documents = await this.#deliveries
      .find({ _id: { $in: [...ids] }, 'queue.claim': claim })
      .project<Omit<DeliveryDocument, 'attempts'>>({ attempts: 0 })
      .toArray();
    return documents.map(toDelivery);
  }

  /** Those that come before the body that reaches the bound, and that one. */
  async #cutByLength(ids: readonly string[], maxBodyLength: number): Promise<readonly string[]> {
    const documents = await this.#deliveries
      .find({ _id: { $in: [...ids] } })
      .project<Pick<DeliveryDocument, '_id' | 'bodyLength'>>({ bodyLength: 1 })
      .toArray();
    const lengths = new Map(documents.map(({ _id, bodyLength }) => [_id, bodyLength]));
    let before = 0;
    return ids.filter(id => {
      if (before >= maxBodyLength) return false;
      before += lengths.get(id) ?? 0;
      return true;
    });
  }

  /** The lane of a retry is named by its endpoint, which never changes. */
  async #readEndpoints(ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
    if (ids.length === 0) return new Map();
    const documents = await this.#deliveries
      .find({ _id: { $in: [...ids] } })
      .project<Pick<DeliveryDocument, '_id' | 'endpoint'>>({ endpoint: 1 })
      .toArray();
    return new Map(documents.map(({ _id, endpoint }) => [_id, endpoint]));
  }

  /**
   * Documents that an earlier insert wrote without its answer coming through become this one's: should that insert fail
   * yet, its undo no longer finds what a caller now takes for durable, and it waits for the majority. Throws an error
   * that may pass when the undo was faster and none is there any more.
   */
  async #takeOver(deliveries: readonly NewDelivery[], call: string): Promise<void> {
    const { matchedCount } = await this.#deliveries.updateMany(
      { _id: { $in: deliveries.map(({ id }) => id) } },
      { $set: { insert: call } },
    );
    if (matchedCount === 0)
      throw new Error('deliveries were there already, and another insert took them back');
  }

  async #undoInsert(deliveries: readonly NewDelivery[], call: string): Promise<void> {
    try {
      await this.#deliveries.deleteMany({ _id: { $in: deliveries.map(({ id }) => id) }, insert: call });
    } catch (error) {
      const message = error instanceof Error ? error.message : 'unknown error';
      this.#parts.logger.warn(`an insert of deliveries failed and may have left some behind: ${message}`);
    }
  }

  #createToken(): string {
    return this.#parts.clock.randomBytes(12).toString('base64url');
  }
}

function translateInsertError(error: unknown): unknown {
  if (!isDuplicate(error)) return error;
  const message = error instanceof Error ? error.message : 'insert failed';
  return new DeliveryStoreError('repeated-id', message, { cause: error });
}

function isDuplicate(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === duplicateKey;
}
