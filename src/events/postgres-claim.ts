// How due deliveries are found and leased on PostgreSQL without reading a backlog.
//
// The endpoints that have pending rows are found by hopping from one to the next in the index
// `_webhook_delivery_pending`, and each one's first rows are read from there: the cost goes by the number of endpoints,
// not of rows. Planned anew each time: a plan made while the table was empty would be kept when it is full.
import type { Pool } from 'pg';
import type { Delivery } from './delivery';
import type { ClaimRequest, Lease } from './delivery-store';
import { bodyTable, deliveryTable } from './postgres-migrations';
import { numberOf, optionalNumber, parseDelivery, summaryColumns, type Row } from './postgres-rows';

/** A claim that lost candidates to others looks again, at most so often. */
const maxPasses = 5;

const endpoints = `endpoints(endpoint) AS (
    (SELECT d.endpoint FROM ${deliveryTable} d WHERE d.state = 'pending' ORDER BY d.endpoint LIMIT 1)
    UNION ALL
    SELECT further.endpoint FROM endpoints e CROSS JOIN LATERAL (
      SELECT d.endpoint FROM ${deliveryTable} d WHERE d.state = 'pending' AND d.endpoint > e.endpoint
      ORDER BY d.endpoint LIMIT 1
    ) further
  )`;

/** $3: now. Only pending rows have a nextAttemptAt. */
const claimable = `d.next_attempt_at <= $3 AND (d.lease_expires_at IS NULL OR d.lease_expires_at <= $3)`;

/**
 * Leases those of `candidates` that are still to be had. A row that another claim has locked is skipped; one that it
 * has just leased fails the condition, which PostgreSQL checks again on the newest version (READ COMMITTED).
 */
const leaseCandidates = `locked AS (
    SELECT d.id FROM ${deliveryTable} d WHERE d.id = ANY (ARRAY(SELECT c.id FROM candidates c)) AND ${claimable}
    FOR UPDATE SKIP LOCKED
  ), claimed AS (
    UPDATE ${deliveryTable} d SET lease_owner = $1, lease_expires_at = $2 FROM locked
    WHERE d.id = locked.id RETURNING d.*
  )
  SELECT counted.candidates, ${summaryColumns}, b.body
  FROM (SELECT count(*) AS candidates FROM candidates) counted
  LEFT JOIN (claimed d JOIN ${bodyTable} b ON b.delivery_id = d.id) ON true
  ORDER BY d.is_retry, d.next_attempt_at, d.id`;

/** The first due rows of endpoint `e`, fresh ones or retries. $5: limit of one endpoint. */
const firstDue = (round: string): string => `(
        SELECT d.id, d.is_retry, d.next_attempt_at FROM ${deliveryTable} d
        WHERE d.state = 'pending' AND d.endpoint = e.endpoint AND ${round} AND ${claimable}
        ORDER BY d.next_attempt_at, d.id LIMIT $5 - coalesce(taken.count, 0)
      )`;

const claimDue = `WITH RECURSIVE ${endpoints}, candidates AS (
    SELECT due.id FROM endpoints e
    LEFT JOIN unnest($7::text[], $8::bigint[]) AS taken(endpoint, count) ON taken.endpoint = e.endpoint
    CROSS JOIN LATERAL (
      SELECT rounds.* FROM (${firstDue('NOT d.is_retry')} UNION ALL ${firstDue('d.is_retry')}) rounds
      ORDER BY rounds.is_retry, rounds.next_attempt_at, rounds.id LIMIT $5 - coalesce(taken.count, 0)
    ) due
    WHERE e.endpoint <> ALL ($6::text[])
    ORDER BY due.is_retry, due.next_attempt_at, due.id
    LIMIT $4
  ), ${leaseCandidates}`;

const claimNamed = `WITH candidates AS (SELECT unnest($4::text[]) AS id), ${leaseCandidates}`;

/** DeliveryStore.claim. */
export async function claimFromPostgres(pool: Pool, request: ClaimRequest): Promise<readonly Delivery[]> {
  const { lease, now, limit, limitPerEndpoint, except } = request;
  const claimed: Delivery[] = [];
  const taken = new Map<string, number>();
  for (let pass = 1; pass <= maxPasses; pass++) {
    const { rows } = await pool.query<Row>(claimDue, [
      lease.owner,
      lease.expiresAt,
      now,
      limit - claimed.length,
      limitPerEndpoint,
      except,
      [...taken.keys()],
      [...taken.values()],
    ]);
    const { deliveries, candidates } = parseClaimed(rows);
    claimed.push(...deliveries);
    if (deliveries.length === candidates || claimed.length >= limit) break;
    // Others were faster with some of the candidates: further back there may be more.
    for (const { endpoint } of deliveries) taken.set(endpoint, (taken.get(endpoint) ?? 0) + 1);
  }
  return claimed;
}

/** DeliveryStore.claimByIds. */
export async function claimByIdsFromPostgres(
  pool: Pool,
  ids: readonly string[],
  { owner, expiresAt }: Lease,
  now: number,
): Promise<readonly Delivery[]> {
  const { rows } = await pool.query<Row>(claimNamed, [owner, expiresAt, now, [...new Set(ids)]]);
  return parseClaimed(rows).deliveries;
}

/** One row stands for no delivery when none was claimed. */
function parseClaimed(rows: readonly Row[]): {
  readonly deliveries: readonly Delivery[];
  readonly candidates: number;
} {
  return {
    deliveries: rows.filter(({ id }) => id !== null).map(parseDelivery),
    candidates: numberOf(rows[0]?.candidates ?? 0),
  };
}

/**
 * Of each endpoint and round: its first free row, and of the leased rows before that one the first whose lease ends.
 * Leased rows behind a free one are due later than it.
 */
const nextDue = `WITH RECURSIVE ${endpoints}
  SELECT min(least(free.due_at, leased.due_at)) AS due_at
  FROM endpoints e
  CROSS JOIN (VALUES (false), (true)) AS round(is_retry)
  LEFT JOIN LATERAL (
    SELECT d.next_attempt_at AS due_at FROM ${deliveryTable} d
    WHERE d.state = 'pending' AND d.endpoint = e.endpoint AND d.is_retry = round.is_retry
      AND d.lease_owner IS NULL
    ORDER BY d.next_attempt_at, d.id LIMIT 1
  ) free ON true
  LEFT JOIN LATERAL (
    SELECT min(greatest(d.next_attempt_at, d.lease_expires_at)) AS due_at FROM ${deliveryTable} d
    WHERE d.state = 'pending' AND d.endpoint = e.endpoint AND d.is_retry = round.is_retry
      AND d.lease_owner IS NOT NULL AND d.next_attempt_at < coalesce(free.due_at, 9223372036854775807)
  ) leased ON true
  WHERE e.endpoint <> ALL ($1::text[])`;

/** DeliveryStore.nextDueAt. */
export async function nextDueAtOnPostgres(
  pool: Pool,
  except: readonly string[],
): Promise<number | undefined> {
  const { rows } = await pool.query<Row>(nextDue, [except]);
  return optionalNumber(rows[0]?.due_at);
}
