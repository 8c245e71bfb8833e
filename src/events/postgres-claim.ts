// How due deliveries are found and leased on PostgreSQL without reading a backlog.
//
// The endpoints that have pending rows are found by hopping from one to the next in the index
// `_webhook_delivery_pending`, and each one's first rows are read from there: the cost goes by the number of endpoints,
// not of rows. Planned anew each time: a plan made while the table was empty would be kept when it is full.
import type { Pool } from 'pg';
import { ClaimTally, placesPerRetry } from './claim-choice';
import type { Delivery } from './delivery';
import type { ClaimRequest, Lease, NamedClaim } from './delivery-store';
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

/** The first due rows of endpoint `e`, fresh ones or retries. */
const firstDue = (round: string): string => `(
        SELECT d.id, d.next_attempt_at FROM ${deliveryTable} d
        WHERE d.state = 'pending' AND d.endpoint = e.endpoint AND ${round} AND ${claimable}
        ORDER BY d.next_attempt_at, d.id LIMIT room.places
      )`;

/** As `rank` of claim-choice.ts: 0 for a retry that has a place of its own, 1 for a fresh one, 2 for another retry. */
const turnOfRetry = `CASE WHEN room.places < 2 THEN 1
        WHEN row_number() OVER (ORDER BY retries.next_attempt_at, retries.id)
          <= greatest(1, room.places / ${placesPerRetry}) THEN 0
        ELSE 2 END`;

/**
 * $4: limit; $5: limit of one endpoint; $6: endpoints to leave; $7 to $9: endpoints of which this claim has taken some,
 * how many, and the length of their bodies; $10, $11: length of bodies, of all and of one endpoint.
 *
 * Lengths are read by a subquery of each row, and once: as a join, a plan could read all bodies that are kept.
 */
const claimDue = `WITH RECURSIVE ${endpoints}, due AS MATERIALIZED (
    SELECT chosen.*, coalesce((
      SELECT octet_length(b.body) FROM ${bodyTable} b WHERE b.delivery_id = chosen.id
    ), 0) AS length
    FROM (
      SELECT e.endpoint, room.length AS room, next.id, next.next_attempt_at, next.turn = 2 AS is_late
      FROM endpoints e
      LEFT JOIN unnest($7::text[], $8::bigint[], $9::bigint[]) AS taken(endpoint, places, length)
        ON taken.endpoint = e.endpoint
      CROSS JOIN LATERAL (
        SELECT least($4::bigint, $5::bigint - coalesce(taken.places, 0)) AS places,
          $11::bigint - coalesce(taken.length, 0) AS length
      ) room
      CROSS JOIN LATERAL (
        SELECT rounds.* FROM (
          SELECT fresh.id, fresh.next_attempt_at, 1 AS turn FROM ${firstDue('NOT d.is_retry')} fresh
          UNION ALL
          SELECT retries.id, retries.next_attempt_at, ${turnOfRetry} FROM ${firstDue('d.is_retry')} retries
        ) rounds
        ORDER BY rounds.turn, rounds.next_attempt_at, rounds.id LIMIT room.places
      ) next
      WHERE e.endpoint <> ALL ($6::text[])
      ORDER BY is_late, next.next_attempt_at, next.id
      LIMIT $4
    ) chosen
  ), bounded AS (
    SELECT own.*, sum(own.length) OVER (ORDER BY own.is_late, own.next_attempt_at, own.id) - own.length AS before
    FROM (
      SELECT due.*, sum(due.length) OVER (
          PARTITION BY due.endpoint ORDER BY due.is_late, due.next_attempt_at, due.id
        ) - due.length AS before_own
      FROM due
    ) own
    WHERE own.before_own < own.room
  ), candidates AS (
    SELECT bounded.id FROM bounded WHERE bounded.before < $10::bigint
  ), ${leaseCandidates}`;

/** $5: length of bodies. */
const claimNamed = `WITH named AS MATERIALIZED (
    SELECT listed.id, listed.place, coalesce((
      SELECT octet_length(b.body) FROM ${bodyTable} b WHERE b.delivery_id = listed.id
    ), 0) AS length
    FROM unnest($4::text[]) WITH ORDINALITY AS listed(id, place)
  ), bounded AS (
    SELECT named.*, sum(named.length) OVER (ORDER BY named.place) - named.length AS before FROM named
  ), candidates AS (
    SELECT bounded.id FROM bounded WHERE bounded.before < $5::bigint
  ), ${leaseCandidates}`;

/** DeliveryStore.claim. */
export async function claimFromPostgres(pool: Pool, request: ClaimRequest): Promise<readonly Delivery[]> {
  const { lease, now, limitPerEndpoint, except } = request;
  const tally = new ClaimTally(request);
  for (let pass = 1; pass <= maxPasses && !tally.isFull; pass++) {
    const taken = [...tally.taken];
    const { rows } = await pool.query<Row>(claimDue, [
      lease.owner,
      lease.expiresAt,
      now,
      tally.limit,
      limitPerEndpoint,
      except,
      taken.map(([endpoint]) => endpoint),
      taken.map(([, sum]) => sum.rows),
      taken.map(([, sum]) => sum.bodyLength),
      tally.maxBodyLength,
      request.maxBodyLengthPerEndpoint ?? Number.MAX_SAFE_INTEGER,
    ]);
    const { deliveries, candidates } = parseClaimed(rows);
    tally.add(deliveries);
    // Otherwise others were faster with some of the candidates: further back there may be more.
    if (deliveries.length === candidates) break;
  }
  return tally.claimed;
}

/** DeliveryStore.claimByIds. */
export async function claimByIdsFromPostgres(
  pool: Pool,
  ids: readonly string[],
  { owner, expiresAt }: Lease,
  { now, maxBodyLength = Number.MAX_SAFE_INTEGER }: NamedClaim,
): Promise<readonly Delivery[]> {
  const { rows } = await pool.query<Row>(claimNamed, [
    owner,
    expiresAt,
    now,
    [...new Set(ids)],
    maxBodyLength,
  ]);
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
