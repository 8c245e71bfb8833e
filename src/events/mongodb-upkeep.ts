// What is done to many deliveries at once on MongoDB: replay, cancel, purge, expunge. A crash leaves some of them done.
import type { Collection } from 'mongodb';
import type { DeliveryFilter, FinishedPlace, ReplaySchedule } from './delivery-store';
import { laneOf, toQuery, type DeliveryDocument } from './mongodb-documents';

const rowsPerStep = 1000;

type Deliveries = Collection<DeliveryDocument>;

/** What a replay takes. */
const replayable = { state: { $ne: 'pending' as const }, isExpunged: { $exists: false } };

/** DeliveryStore.replay. */
export async function replayOnMongodb(
  deliveries: Deliveries,
  filter: DeliveryFilter & { readonly id?: string },
  { dueAt, perSecond }: ReplaySchedule,
): Promise<number> {
  let replayed = 0;
  let further: object = {};
  for (;;) {
    const documents = await deliveries
      .find({ $and: [toQuery(filter), further, replayable] })
      .sort({ createdAt: 1, _id: 1 })
      .limit(rowsPerStep)
      .project<Pick<DeliveryDocument, '_id' | 'createdAt' | 'endpoint' | 'attemptCount'>>({
        createdAt: 1,
        endpoint: 1,
        attemptCount: 1,
      })
      .toArray();
    const last = documents.at(-1);
    if (last === undefined) return replayed;
    const dueOf = (index: number): number => dueAt + Math.floor(((replayed + index) * 1000) / perSecond);
    const { modifiedCount } = await deliveries.bulkWrite(
      documents.map(({ _id, endpoint, attemptCount }, index) => ({
        updateOne: {
          filter: { _id, ...replayable },
          update: {
            $set: {
              state: 'pending',
              attemptsBeforeReplay: attemptCount,
              queue: { lane: laneOf(endpoint, attemptCount), at: dueOf(index), until: 0 },
            },
            $unset: { finishedAt: '' },
          },
        },
      })),
      { ordered: false },
    );
    replayed += modifiedCount;
    if (documents.length < rowsPerStep) return replayed;
    const { createdAt, _id } = last;
    further = { $or: [{ createdAt: { $gt: createdAt } }, { createdAt, _id: { $gt: _id } }] };
  }
}

/** DeliveryStore.countReplayable. */
export function countReplayableOnMongodb(deliveries: Deliveries, filter: DeliveryFilter): Promise<number> {
  return deliveries.countDocuments({ $and: [toQuery(filter), replayable] });
}

/** DeliveryStore.cancel: in steps, each of which fits into the time that one operation has, however many there are. */
export async function cancelOnMongodb(
  deliveries: Deliveries,
  endpoint: string,
  { now, createdUntil }: { readonly now: number; readonly createdUntil: number },
): Promise<number> {
  let cancelled = 0;
  // Fresh ones first: what is attempted meanwhile comes to the other lane.
  for (const lane of [laneOf(endpoint, 0), laneOf(endpoint, 1)]) {
    let from = -Infinity;
    for (;;) {
      // What is cancelled leaves the index; from `from` on, what is too young to be cancelled is read once.
      const documents = await deliveries
        .find({ 'queue.lane': lane, 'queue.at': { $gte: from }, createdAt: { $lte: createdUntil } })
        .sort({ 'queue.at': 1, _id: 1 })
        .limit(rowsPerStep)
        .project<Pick<DeliveryDocument, '_id' | 'queue'>>({ 'queue.at': 1 })
        .toArray();
      const ids = documents.map(({ _id }) => _id);
      if (ids.length > 0) {
        cancelled += await cancelMatching(
          deliveries,
          { _id: { $in: ids }, 'queue.lane': { $exists: true } },
          now,
        );
      }
      if (ids.length < rowsPerStep) break;
      from = documents.at(-1)?.queue?.at ?? from;
    }
  }
  return cancelled;
}

/** Longest that the ones to be kept may be counted, in milliseconds: many more entries than any other query reads. */
const countTimeoutMs = 60 * 60 * 1000;

/** DeliveryStore.purge. */
export async function purgeOnMongodb(
  deliveries: Deliveries,
  { finishedAt, id }: FinishedPlace,
  signal: AbortSignal | undefined,
): Promise<number> {
  const endedBefore = { $or: [{ finishedAt: { $lt: finishedAt } }, { finishedAt, _id: { $lt: id } }] };
  for (let purged = 0; ;) {
    if (signal?.aborted === true) return purged;
    const found = await deleteFirst(deliveries, endedBefore);
    purged += found.deleted;
    if (!found.isFull) return purged;
  }
}

/**
 * DeliveryStore.findLastKept. Counts entries of the index `finished` alone: `$gte: 0` can be judged by them, `$exists`
 * could not. How many documents there are, pending ones among them, the server knows without counting.
 */
export async function findLastKeptOnMongodb(
  deliveries: Deliveries,
  keep: number,
): Promise<FinishedPlace | undefined> {
  if ((await deliveries.estimatedDocumentCount()) <= keep) return undefined;
  const [last] = await deliveries
    .find({ finishedAt: { $gte: 0 } }, { timeoutMS: countTimeoutMs })
    .sort({ finishedAt: -1, _id: -1 })
    .skip(keep - 1)
    .limit(1)
    .project<{ _id: string; finishedAt: number }>({ finishedAt: 1 })
    .toArray();
  return last && { finishedAt: last.finishedAt, id: last._id };
}

/** DeliveryStore.expunge. */
export async function expungeOnMongodb(
  deliveries: Deliveries,
  {
    className,
    objectId,
    now,
  }: { readonly className: string; readonly objectId: string; readonly now: number },
): Promise<number> {
  // Cancelled first: no reply can be recorded after what follows.
  await cancelMatching(deliveries, { className, objectId, 'queue.lane': { $exists: true } }, now);
  const { matchedCount } = await deliveries.updateMany(
    { className, objectId },
    { $set: { body: '{}', isExpunged: true }, $unset: { 'attempts.$[].reply': '' } },
  );
  return matchedCount;
}

async function cancelMatching(deliveries: Deliveries, filter: object, now: number): Promise<number> {
  const { modifiedCount } = await deliveries.updateMany(filter, {
    $set: { state: 'cancelled', finishedAt: now },
    $unset: { queue: '' },
  });
  return modifiedCount;
}

/** Deletes the finished ones of `filter` that ended first: a step of them. */
async function deleteFirst(
  deliveries: Deliveries,
  filter: object,
): Promise<{ readonly deleted: number; readonly isFull: boolean }> {
  const documents = await deliveries
    .find({ $and: [filter, { finishedAt: { $exists: true } }] })
    .sort({ finishedAt: 1, _id: 1 })
    .limit(rowsPerStep)
    .project<{ _id: string }>({ _id: 1 })
    .toArray();
  if (documents.length === 0) return { deleted: 0, isFull: false };
  const { deletedCount } = await deliveries.deleteMany({
    _id: { $in: documents.map(({ _id }) => _id) },
    finishedAt: { $exists: true },
  });
  return { deleted: deletedCount, isFull: documents.length === rowsPerStep };
}
