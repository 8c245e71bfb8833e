// What is done to many deliveries at once on MongoDB: replay, cancel, purge, expunge. A crash leaves some of them done.
import type { Collection } from 'mongodb';
import type { DeliveryFilter, PurgeRequest, ReplaySchedule } from './delivery-store';
import { laneOf, toQuery, type DeliveryDocument } from './mongodb-documents';

const rowsPerStep = 1000;

type Deliveries = Collection<DeliveryDocument>;

/** DeliveryStore.replay. */
export async function replayOnMongodb(
  deliveries: Deliveries,
  filter: DeliveryFilter & { readonly id?: string },
  { dueAt, perSecond }: ReplaySchedule,
): Promise<number> {
  const replayable = { state: { $ne: 'pending' as const }, isExpunged: { $exists: false } };
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

/** DeliveryStore.cancel. */
export async function cancelOnMongodb(
  deliveries: Deliveries,
  endpoint: string,
  now: number,
): Promise<number> {
  return cancelMatching(
    deliveries,
    { 'queue.lane': { $in: [laneOf(endpoint, 0), laneOf(endpoint, 1)] } },
    now,
  );
}

/** DeliveryStore.purge. */
export async function purgeOnMongodb(
  deliveries: Deliveries,
  { finishedBefore, keep, limit }: PurgeRequest,
): Promise<number> {
  const old = await deleteFirst(deliveries, { finishedAt: { $lt: finishedBefore } }, limit);
  if (old >= limit) return old;
  const [firstBeyond] = await deliveries
    .find({ finishedAt: { $exists: true } })
    .sort({ finishedAt: -1, _id: -1 })
    .skip(Math.max(keep, 0))
    .limit(1)
    .project<{ _id: string; finishedAt: number }>({ finishedAt: 1 })
    .toArray();
  if (firstBeyond === undefined) return old;
  const { _id, finishedAt } = firstBeyond;
  const beyond = { $or: [{ finishedAt: { $lt: finishedAt } }, { finishedAt, _id: { $lte: _id } }] };
  return old + (await deleteFirst(deliveries, beyond, limit - old));
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

/** Deletes the finished ones of `filter` that ended first. */
async function deleteFirst(deliveries: Deliveries, filter: object, limit: number): Promise<number> {
  const documents = await deliveries
    .find({ $and: [filter, { finishedAt: { $exists: true } }] })
    .sort({ finishedAt: 1, _id: 1 })
    .limit(limit)
    .project<{ _id: string }>({ _id: 1 })
    .toArray();
  if (documents.length === 0) return 0;
  const { deletedCount } = await deliveries.deleteMany({
    _id: { $in: documents.map(({ _id }) => _id) },
    finishedAt: { $exists: true },
  });
  return deletedCount;
}
