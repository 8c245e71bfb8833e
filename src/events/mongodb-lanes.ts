// Finds due deliveries on MongoDB without reading a backlog: one look at the front of every lane, then the first few of
// those lanes that can be next.
import type { Collection } from 'mongodb';
import { chooseForClaim, compareRanked, type ClaimCandidate, type ClaimTally } from './claim-choice';
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

/** Lanes that are looked at at once; each is one small query by the index. */
const lanesAtOnce = 32;
/** Endpoints that are read at once, of which each has two lanes at most. */
const endpointsAtOnce = 16;

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
 * What a claim takes. The lanes of an endpoint are read together, as they share its places; endpoints in the order of
 * their fronts, and no further than they can matter.
 */
export async function findCandidates(
  collection: Collection<DeliveryDocument>,
  {
    lanes,
    now,
    tally,
  }: { readonly lanes: readonly Lane[]; readonly now: number; readonly tally: ClaimTally },
): Promise<readonly ClaimCandidate[]> {
  const ahead = groupByEndpoint(lanes.filter(({ at }) => at <= now));
  const found: ClaimCandidate[] = [];
  for (let start = 0; start < ahead.length; start += endpointsAtOnce) {
    const front = ahead[start];
    const { chosen, inOrder } = chooseForClaim(found, tally);
    const last = inOrder[tally.limit - 1];
    // Everything of the endpoints to come is behind the last that there is room for.
    if (
      front === undefined ||
      (last && compareRanked(last, { row: { at: front.at, id: '' }, turn: 1 }) < 0)
    ) {
      return chosen;
    }
    const next = ahead.slice(start, start + endpointsAtOnce).flatMap(({ lanes }) => lanes);
    const rows = await Promise.all(
      next.map(lane => readFront(collection, { lane, now, limit: tally.roomOf(lane.endpoint).rows })),
    );
    found.push(...rows.flat());
  }
  return chooseForClaim(found, tally).chosen;
}

/** Oldest fronts first. */
function groupByEndpoint(
  lanes: readonly Lane[],
): readonly { readonly at: number; readonly lanes: readonly Lane[] }[] {
  const groups = new Map<string, { at: number; lanes: Lane[] }>();
  for (const lane of lanes) {
    const group = groups.get(lane.endpoint) ?? { at: lane.at, lanes: [] };
    group.at = Math.min(group.at, lane.at);
    group.lanes.push(lane);
    groups.set(lane.endpoint, group);
  }
  return [...groups.values()].sort((a, b) => a.at - b.at);
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
): Promise<readonly ClaimCandidate[]> {
  if (limit <= 0) return [];
  const { endpoint, isRetry } = lane;
  const rows = await collection
    .find({ 'queue.lane': lane.key, 'queue.at': { $lte: now }, 'queue.until': { $lte: now } })
    .sort({ 'queue.at': 1, _id: 1 })
    .limit(limit)
    .project<Pick<DeliveryDocument, '_id' | 'queue' | 'bodyLength'>>({ 'queue.at': 1, bodyLength: 1 })
    .toArray();
  return rows.flatMap(({ _id: id, queue, bodyLength }) =>
    queue === undefined ? [] : [{ id, endpoint, isRetry, at: queue.at, bodyLength }],
  );
}
