// Finds due deliveries on MongoDB without reading a backlog: one look at the front of every lane, then the first few of
// those lanes that can be next.
import type { Collection } from 'mongodb';
import { endpointOf, type DeliveryDocument, type LaneKey } from './mongodb-documents';

export interface Lane {
  readonly key: LaneKey;
  readonly endpoint: string;
  readonly isRetry: boolean;
  /** nextAttemptAt of its first delivery. */
  readonly at: number;
  /** End of that one's lease; 0 when it is free. */
  readonly until: number;
}

export interface Candidate {
  readonly id: string;
  readonly lane: Lane;
  readonly at: number;
}

/** Lanes that are read at once; each is one small query by the index. */
const lanesAtOnce = 32;

/**
 * The front of every lane. MongoDB answers $sort + $group + $first by skipping from lane to lane in the index
 * (https://www.mongodb.com/docs/manual/reference/operator/aggregation/group/#group-optimizations).
 */
export async function readLanes(
  collection: Collection<DeliveryDocument>,
  except: readonly string[],
): Promise<readonly Lane[]> {
  const excepted = new Set(except);
  const fronts = await collection
    .aggregate<{ _id: unknown; at: unknown; until: unknown }>([
      { $match: { 'queue.lane': { $gt: '' } } },
      { $sort: { 'queue.lane': 1, 'queue.at': 1 } },
      { $group: { _id: '$queue.lane', at: { $first: '$queue.at' }, until: { $first: '$queue.until' } } },
    ])
    .toArray();
  return fronts.flatMap(({ _id: key, at, until }) => {
    // A document that is finished while the server reads it may have no lane any more.
    if (typeof key !== 'string' || typeof at !== 'number' || typeof until !== 'number') return [];
    const endpoint = endpointOf(key);
    return excepted.has(endpoint) ? [] : [{ key, endpoint, isRetry: key.startsWith('1'), at, until }];
  });
}

/**
 * Due and free deliveries, in order: fresh ones first, then by nextAttemptAt, then by id: the first `limit`, at most `limitOf` of an endpoint.
 * Lanes are read in the order of their fronts and no further than they can matter.
 */
export async function findCandidates(
  collection: Collection<DeliveryDocument>,
  request: {
    readonly lanes: readonly Lane[];
    readonly now: number;
    readonly limit: number;
    readonly limitOf: (endpoint: string) => number;
  },
): Promise<readonly Candidate[]> {
  const { now, limit, limitOf } = request;
  const ahead = request.lanes
    .filter(lane => lane.at <= now)
    .sort((a, b) => compare({ lane: a, at: a.at }, { lane: b, at: b.at }));
  const found: Candidate[] = [];
  for (let start = 0; start < ahead.length; start += lanesAtOnce) {
    const front = ahead[start];
    const chosen = choose(found, request);
    const last = chosen[limit - 1];
    // Everything in the lanes to come is behind the last that there is room for.
    if (front === undefined || (last && compare(last, { lane: front, at: front.at }) < 0)) return chosen;
    const lanes = ahead.slice(start, start + lanesAtOnce);
    const rows = await Promise.all(
      lanes.map(lane => readFront(collection, { lane, now, limit: Math.min(limit, limitOf(lane.endpoint)) })),
    );
    found.push(...rows.flat());
  }
  return choose(found, request);
}

interface OrderKeys {
  readonly lane: Pick<Lane, 'isRetry'>;
  readonly at: number;
  readonly id?: string;
}

function compare(a: OrderKeys, b: OrderKeys): number {
  const [idOfA, idOfB] = [a.id ?? '', b.id ?? ''];
  return (
    Number(a.lane.isRetry) - Number(b.lane.isRetry) ||
    a.at - b.at ||
    (idOfA < idOfB ? -1 : Number(idOfA > idOfB))
  );
}

/** When the next of these lanes has a delivery that is free or whose lease will have ended. */
export async function findNextDue(
  collection: Collection<DeliveryDocument>,
  lanes: readonly Lane[],
): Promise<number | undefined> {
  const free = lanes.filter(({ until }) => until === 0).map(({ at }) => at);
  const leased = lanes.filter(({ until }) => until > 0);
  const times: (number | undefined)[] = [...free];
  for (let start = 0; start < leased.length; start += lanesAtOnce) {
    const some = leased.slice(start, start + lanesAtOnce);
    times.push(...(await Promise.all(some.map(lane => nextDueOf(collection, lane)))));
  }
  return times.reduce(
    (first, time) => (first === undefined || (time !== undefined && time < first) ? time : first),
    undefined,
  );
}

/** Leased deliveries behind the first free one are due later than it. */
async function nextDueOf(collection: Collection<DeliveryDocument>, lane: Lane): Promise<number | undefined> {
  const free = await collection.findOne(
    { 'queue.lane': lane.key, 'queue.until': 0 },
    { sort: { 'queue.at': 1 }, projection: { 'queue.at': 1 } },
  );
  const freeAt = free?.queue?.at;
  const [leased] = await collection
    .aggregate<{ until: number }>([
      {
        $match: {
          'queue.lane': lane.key,
          'queue.until': { $gt: 0 },
          ...(freeAt !== undefined && { 'queue.at': { $lt: freeAt } }),
        },
      },
      { $group: { _id: null, until: { $min: { $max: ['$queue.at', '$queue.until'] } } } },
    ])
    .toArray();
  if (leased === undefined || freeAt === undefined) return leased?.until ?? freeAt;
  return Math.min(leased.until, freeAt);
}

async function readFront(
  collection: Collection<DeliveryDocument>,
  { lane, now, limit }: { readonly lane: Lane; readonly now: number; readonly limit: number },
): Promise<readonly Candidate[]> {
  if (limit <= 0) return [];
  const rows = await collection
    .find({ 'queue.lane': lane.key, 'queue.at': { $lte: now }, 'queue.until': { $lte: now } })
    .sort({ 'queue.at': 1, _id: 1 })
    .limit(limit)
    .project<Pick<DeliveryDocument, '_id' | 'queue'>>({ 'queue.at': 1 })
    .toArray();
  return rows.flatMap(({ _id: id, queue }) => (queue === undefined ? [] : [{ id, lane, at: queue.at }]));
}

function choose(
  found: readonly Candidate[],
  {
    limit,
    limitOf,
  }: {
    readonly limit: number;
    readonly limitOf: (endpoint: string) => number;
  },
): readonly Candidate[] {
  const counts = new Map<string, number>();
  return [...found]
    .sort(compare)
    .filter(({ lane: { endpoint } }) => {
      const count = counts.get(endpoint) ?? 0;
      counts.set(endpoint, count + 1);
      return count < limitOf(endpoint);
    })
    .slice(0, limit);
}
