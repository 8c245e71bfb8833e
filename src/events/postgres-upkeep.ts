// What is done to many deliveries at once on PostgreSQL: replay, cancel, purge, expunge. In steps of a thousand rows, so
// that no statement holds many locks for long; a crash leaves whole steps done.
import type { Pool } from 'pg';
import type { DeliveryFilter, FinishedPlace, ReplaySchedule } from './delivery-store';
import {
  attemptTable,
  bodyTable,
  deliveryTable,
  finishedIndex,
  unhurried,
  wakeChannel,
} from './postgres-migrations';
import { conditionOf, numberOf, optionalNumber, Parameters, textOf, type Row } from './postgres-rows';

const rowsPerStep = 1000;
/** Of a table or alias `d`: what a replay takes. */
const replayable = `d.state <> 'pending' AND NOT d.is_expunged`;
const lowestBigint = '-9223372036854775808';
const highestBigint = '9223372036854775807';

/** DeliveryStore.replay. */
export async function replayOnPostgres(
  pool: Pool,
  filter: DeliveryFilter & { readonly id?: string },
  { dueAt, perSecond }: ReplaySchedule,
): Promise<number> {
  let replayed = 0;
  let after: readonly [createdAt: number, id: string] | undefined;
  for (;;) {
    const parameters = new Parameters();
    const chosen = conditionOf(filter, parameters);
    const further =
      after === undefined
        ? 'true'
        : `(d.created_at, d.id) > (${parameters.add(after[0])}::bigint, ${parameters.add(after[1])}::text)`;
    const { rows } = await pool.query<Row>(
      `WITH page AS (
        SELECT d.id, d.created_at FROM ${deliveryTable} d
        WHERE ${chosen} AND ${further} AND ${replayable}
        ORDER BY d.created_at, d.id LIMIT ${rowsPerStep} FOR UPDATE SKIP LOCKED
      ), numbered AS (
        SELECT p.id, row_number() OVER (ORDER BY p.created_at, p.id) - 1 AS place FROM page p
      ), moved AS (
        UPDATE ${deliveryTable} d SET state = 'pending', finished_at = NULL,
          attempts_before_replay = d.attempt_count,
          next_attempt_at = ${parameters.add(dueAt)}::bigint
            + (${parameters.add(replayed)}::bigint + n.place) * 1000 / ${parameters.add(perSecond)}::bigint
        FROM numbered n WHERE d.id = n.id RETURNING d.id, d.created_at
      )
      SELECT m.id, m.created_at, count(*) OVER () AS moved, pg_notify('${wakeChannel}', '')
      FROM moved m ORDER BY m.created_at DESC, m.id DESC LIMIT 1`,
      parameters.values,
    );
    const last = rows[0];
    if (last === undefined) return replayed;
    replayed += numberOf(last.moved);
    if (numberOf(last.moved) < rowsPerStep) return replayed;
    after = [numberOf(last.created_at), textOf(last.id)];
  }
}

/** DeliveryStore.countReplayable. */
export async function countReplayableOnPostgres(pool: Pool, filter: DeliveryFilter): Promise<number> {
  const parameters = new Parameters();
  const { rows } = await pool.query<Row>(
    `SELECT count(*) AS count FROM ${deliveryTable} d WHERE ${conditionOf(filter, parameters)} AND ${replayable}`,
    parameters.values,
  );
  return numberOf(rows[0]?.count);
}

const cancelled = `state = 'cancelled', finished_at = $2, next_attempt_at = NULL,
  lease_owner = NULL, lease_expires_at = NULL`;

/**
 * $4, $5, $6: where the step before ended, in the order of the index of what is pending. Each step goes on from there: by
 * another order it would read all that is left, and from the front the entries of what is cancelled, which stay until a
 * vacuum. Locked by id, in the order of all that lock many; what has moved on meanwhile is judged anew, by the time of its
 * end: by its state, a planner without statistics would take the index of what is pending and read all of it.
 */
const cancelStep = (wait: string): string => `WITH page AS MATERIALIZED (
    SELECT d.id, d.is_retry, d.next_attempt_at FROM ${deliveryTable} d
    WHERE d.state = 'pending' AND d.endpoint = $1 AND d.created_at <= $3
      AND (d.is_retry, d.next_attempt_at, d.id) > ($4::boolean, $5::bigint, $6::text)
    ORDER BY d.is_retry, d.next_attempt_at, d.id LIMIT ${rowsPerStep}
  ), locked AS MATERIALIZED (
    SELECT d.id FROM ${deliveryTable} d WHERE d.id = ANY (ARRAY(SELECT id FROM page)) AND d.finished_at IS NULL
    ORDER BY d.id FOR UPDATE ${wait}
  ), moved AS (
    UPDATE ${deliveryTable} d SET ${cancelled} WHERE d.id = ANY (ARRAY(SELECT id FROM locked)) RETURNING d.id
  )
  SELECT p.is_retry, p.next_attempt_at, p.id, (SELECT count(*) FROM page) AS found, (SELECT count(*) FROM moved) AS moved
  FROM page p ORDER BY p.is_retry DESC, p.next_attempt_at DESC, p.id DESC LIMIT 1`;

/** DeliveryStore.cancel: first what can be had without waiting, then what was locked meanwhile. */
export async function cancelOnPostgres(
  pool: Pool,
  endpoint: string,
  { now, createdUntil }: { readonly now: number; readonly createdUntil: number | undefined },
): Promise<number> {
  let count = 0;
  for (const wait of ['SKIP LOCKED', '']) {
    let after: readonly unknown[] = [false, lowestBigint, ''];
    for (;;) {
      const parameters = [endpoint, now, createdUntil ?? highestBigint, ...after];
      const { rows } = await pool.query<Row>(cancelStep(wait), parameters);
      const last = rows[0];
      if (last === undefined) break;
      count += numberOf(last.moved);
      if (numberOf(last.found) < rowsPerStep) break;
      after = [last.is_retry, last.next_attempt_at, last.id];
    }
  }
  return count;
}

/** $1, $2: a place among finished deliveries; what ended before it goes. */
/**
 * From where the step before ended: entries of deleted rows stay in the index while any transaction may still see them, and
 * each step would read all of them again.
 */
const purgeStep = `WITH doomed AS (
    SELECT d.id, d.finished_at FROM ${deliveryTable} d
    WHERE d.finished_at IS NOT NULL AND (d.finished_at, d.id) < ($1::bigint, $2::text)
      AND (d.finished_at, d.id) > ($3::bigint, $4::text)
    ORDER BY d.finished_at, d.id LIMIT ${rowsPerStep} FOR UPDATE SKIP LOCKED
  ), attempts AS (
    DELETE FROM ${attemptTable} a USING doomed WHERE a.delivery_id = doomed.id
  ), bodies AS (
    DELETE FROM ${bodyTable} b USING doomed WHERE b.delivery_id = doomed.id
  ), deliveries AS (
    DELETE FROM ${deliveryTable} d USING doomed WHERE d.id = doomed.id RETURNING d.id
  )
  SELECT finished_at, id, (SELECT count(*) FROM deliveries) AS count FROM doomed
  ORDER BY finished_at DESC, id DESC LIMIT 1`;

/** DeliveryStore.purge. */
export async function purgeOnPostgres(
  pool: Pool,
  { finishedAt, id }: FinishedPlace,
  signal: AbortSignal | undefined,
): Promise<number> {
  let after: readonly [finishedAt: string | number, id: string] = [lowestBigint, ''];
  for (let purged = 0; ;) {
    if (signal?.aborted === true) return purged;
    const { rows } = await pool.query<Row>(purgeStep, [finishedAt, id, ...after]);
    const [last] = rows;
    if (!last) return purged;
    const count = numberOf(last.count);
    purged += count;
    if (count < rowsPerStep) return purged;
    after = [numberOf(last.finished_at), textOf(last.id)];
  }
}

/** Of an entry in the index of finished deliveries, whose ids have 30 characters: 8 + 8 + 32, and 4 of its page. */
const bytesPerEntry = 52;

/**
 * DeliveryStore.findLastKept. To count them is to read as many entries of an index, without their rows: 40 ms for 400,000
 * (PostgreSQL 18). An index that is too small to hold so many is not read at all.
 */
export async function findLastKeptOnPostgres(pool: Pool, keep: number): Promise<FinishedPlace | undefined> {
  const size = await pool.query<Row>(`SELECT pg_relation_size(to_regclass('${finishedIndex}')) AS bytes`);
  const bytes = optionalNumber(size.rows[0]?.bytes);
  if (bytes !== undefined && bytes / bytesPerEntry < keep) return undefined;
  const { rows } = await pool.query<Row>({
    ...unhurried(
      `SELECT finished_at, id FROM ${deliveryTable} WHERE finished_at IS NOT NULL
      ORDER BY finished_at DESC, id DESC OFFSET $1 LIMIT 1`,
    ),
    values: [keep - 1],
  });
  const [last] = rows;
  return last && { finishedAt: numberOf(last.finished_at), id: textOf(last.id) };
}

/** DeliveryStore.expunge. */
export async function expungeOnPostgres(
  pool: Pool,
  {
    className,
    objectId,
    now,
  }: { readonly className: string; readonly objectId: string; readonly now: number },
): Promise<number> {
  const client = await pool.connect();
  let failure: Error | undefined;
  try {
    await client.query('BEGIN');
    // A statement of its own: it waits for attempts that are being recorded, and only the next one sees their replies.
    const { rows } = await client.query<Row>(
      `SELECT id FROM ${deliveryTable} WHERE class_name = $1 AND object_id = $2 ORDER BY id FOR UPDATE`,
      [className, objectId],
    );
    const ids = rows.map(({ id }) => textOf(id));
    await client.query(`UPDATE ${bodyTable} SET body = '{}' WHERE delivery_id = ANY ($1)`, [ids]);
    await client.query(
      `UPDATE ${attemptTable} SET reply = NULL WHERE delivery_id = ANY ($1) AND reply IS NOT NULL`,
      [ids],
    );
    await client.query(`UPDATE ${deliveryTable} SET ${cancelled} WHERE id = ANY ($1) AND state = 'pending'`, [
      ids,
      now,
    ]);
    await client.query(`UPDATE ${deliveryTable} SET is_expunged = true WHERE id = ANY ($1)`, [ids]);
    await client.query('COMMIT');
    return ids.length;
  } catch (error) {
    failure = error instanceof Error ? error : new Error('expunge failed', { cause: error });
    throw failure;
  } finally {
    // A connection in the middle of a failed transaction is closed, which rolls back.
    client.release(failure);
  }
}
