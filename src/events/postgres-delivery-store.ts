// Deliveries in PostgreSQL: writing them, leases, and what is read for people. Claiming and upkeep are in files beside it.
import { Pool, type PoolConfig } from 'pg';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { Delivery, DeliveryState, NewDelivery } from './delivery';
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
import { claimByIdsFromPostgres, claimFromPostgres, nextDueAtOnPostgres } from './postgres-claim';
import { listenOnPostgres } from './postgres-listener';
import { attemptTable, bodyTable, deliveryTable, migratePostgres, wakeChannel } from './postgres-migrations';
import {
  conditionOf,
  numberOf,
  optionalNumber,
  Parameters,
  parseAttempt,
  parseDelivery,
  parseSummary,
  summaryColumns,
  textOf,
  type Row,
} from './postgres-rows';
import {
  cancelOnPostgres,
  countReplayableOnPostgres,
  expungeOnPostgres,
  findLastKeptOnPostgres,
  purgeOnPostgres,
  replayOnPostgres,
} from './postgres-upkeep';
import { sumStatsBuckets } from './stats-buckets';
import { closeInTime } from './store-retries';

export interface PostgresDeliveryStoreParts {
  /** An address, settings of a pool, or a pool that the caller closes. */
  readonly connection: string | PoolConfig | Pool;
  readonly clock: Clock;
  readonly logger: Logger;
  /** False behind a pooler in transaction mode that knows no prepared statements (PgBouncer before 1.21). Default true. */
  readonly preparedStatements?: boolean;
}

const poolDefaults: PoolConfig = {
  max: 10,
  connectionTimeoutMillis: 10_000,
  // Ends the connection of a query that nobody answers; shorter than the default lease, longer than any query here.
  query_timeout: 30_000,
  keepAlive: true,
  application_name: 'parse-server-webhooks',
};

/** Deadlocks end one of the two; it may try again at once, since the other goes on. */
const deadlockDetected = '40P01';
const maxTries = 5;

const insert = `WITH input AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
      $8::bigint[], $9::bigint[], $10::boolean[], $11::integer[], $12::text[])
      AS t(id, webhook_id, endpoint, type, class_name, object_id, body, created_at, next_attempt_at, is_test, depth,
        traceparent)
  ), bodies AS (
    INSERT INTO ${bodyTable} (delivery_id, body) SELECT id, body FROM input
  ), deliveries AS (
    INSERT INTO ${deliveryTable} (id, webhook_id, endpoint, type, class_name, object_id, created_at, is_test, depth,
      traceparent, state, attempt_count, attempts_before_replay, next_attempt_at, lease_owner, lease_expires_at, is_expunged)
    SELECT id, webhook_id, endpoint, type, class_name, object_id, created_at, is_test, depth, traceparent,
      'pending', 0, 0, next_attempt_at, $13::text, $14::bigint, false FROM input
  )
  SELECT pg_notify('${wakeChannel}', '') WHERE $13::text IS NULL`;

/**
 * `ANY (ARRAY(SELECT …))` hides from the planner how many ids there are. Where it knows of 500 and has no statistics yet,
 * it reads all pending rows instead: 29 ms against 8 ms with 50,000 of them (PostgreSQL 18). Only pending rows have a
 * lease, so the state need not be asked for.
 */
const finish = `WITH input AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::bigint[], $6::integer[], $7::text[],
      $8::bigint[], $9::integer[], $10::bigint[], $11::double precision[], $12::integer[], $13::text[], $14::text[],
      $15::text[], $16::text[])
      AS t(id, owner, state, attempt_count, next_attempt_at, last_status, last_error, finished_at,
        number, started_at, duration_ms, status, error, phase, reply, node)
  ), moved AS (
    UPDATE ${deliveryTable} d SET state = i.state, attempt_count = i.attempt_count,
      next_attempt_at = i.next_attempt_at, last_status = i.last_status, last_error = i.last_error,
      finished_at = i.finished_at, lease_owner = NULL, lease_expires_at = NULL
    FROM input i WHERE d.id = ANY (ARRAY(SELECT id FROM input)) AND d.id = i.id AND d.lease_owner = i.owner
    RETURNING d.id, d.endpoint
  ), attempts AS (
    INSERT INTO ${attemptTable} (delivery_id, endpoint, number, started_at, duration_ms, status, error, phase, reply,
      node)
    SELECT i.id, moved.endpoint, i.number, i.started_at, i.duration_ms, i.status, i.error, i.phase, i.reply, i.node
    FROM input i JOIN moved ON moved.id = i.id
  )
  SELECT id FROM moved`;

const renew = `UPDATE ${deliveryTable} SET lease_expires_at = $3
  WHERE id = ANY (ARRAY(SELECT unnest($2::text[]))) AND lease_owner = $1 RETURNING id`;

const release = `UPDATE ${deliveryTable} SET lease_owner = NULL, lease_expires_at = NULL, next_attempt_at = $3
  WHERE id = ANY (ARRAY(SELECT unnest($2::text[]))) AND lease_owner = $1`;

export class PostgresDeliveryStore implements DeliveryStore {
  readonly #parts: PostgresDeliveryStoreParts;
  readonly #pool: Pool;
  readonly #ownsPool: boolean;
  readonly #prepared: boolean;
  #closed: Promise<void> | undefined;

  constructor(parts: PostgresDeliveryStoreParts) {
    this.#parts = parts;
    this.#prepared = parts.preparedStatements ?? true;
    const { connection } = parts;
    this.#ownsPool = !isPool(connection);
    if (isPool(connection)) {
      this.#pool = connection;
      return;
    }
    const config = typeof connection === 'string' ? { connectionString: connection } : connection;
    this.#pool = new Pool({ ...poolDefaults, ...config });
    // Without a listener the loss of an idle connection would end the process; the next query gets a new one.
    this.#pool.on('error', error =>
      parts.logger.warn(`lost a connection to the deliveries: ${error.message}`),
    );
  }

  async migrate(): Promise<void> {
    await migratePostgres(this.#pool);
  }

  async insert(deliveries: readonly NewDelivery[], lease: Lease | undefined): Promise<void> {
    if (deliveries.length === 0) return;
    assertDistinctIds(deliveries.map(({ id }) => id));
    const values = [
      ...columnsOf(deliveries, [
        'id',
        'webhookId',
        'endpoint',
        'type',
        'className',
        'objectId',
        'body',
        'createdAt',
        'nextAttemptAt',
        'isTest',
        'depth',
        'traceparent',
      ]),
      lease?.owner,
      lease?.expiresAt,
    ];
    try {
      await this.#pool.query({
        ...(this.#prepared && { name: 'webhook-delivery-insert-2' }),
        text: insert,
        values,
      });
    } catch (error) {
      throw translateInsertError(error);
    }
  }

  claim(request: ClaimRequest): Promise<readonly Delivery[]> {
    return claimFromPostgres(this.#pool, request);
  }

  claimByIds(ids: readonly string[], lease: Lease, claim: NamedClaim): Promise<readonly Delivery[]> {
    return claimByIdsFromPostgres(this.#pool, ids, lease, claim);
  }

  async renew(owner: string, ids: readonly string[], expiresAt: number): Promise<readonly string[]> {
    return idsOf(await this.#retry(renew, [owner, sorted(ids), expiresAt]));
  }

  async release(owner: string, ids: readonly string[], nextAttemptAt: number): Promise<void> {
    await this.#retry(release, [owner, sorted(ids), nextAttemptAt]);
  }

  async finish(finished: readonly FinishedAttempt[]): Promise<readonly string[]> {
    if (finished.length === 0) return [];
    const ordered = [...finished].sort((a, b) => (a.attempt.deliveryId < b.attempt.deliveryId ? -1 : 1));
    const attempts = ordered.map(({ attempt }) => attempt);
    const replies = attempts.map(({ reply }) => (reply === undefined ? undefined : JSON.stringify(reply)));
    return idsOf(
      await this.#retry(finish, [
        ...columnsOf(attempts, ['deliveryId']),
        ...columnsOf(ordered, ['owner']),
        ...columnsOf(
          ordered.map(({ progress }) => progress),
          ['state', 'attemptCount', 'nextAttemptAt', 'lastStatus', 'lastError', 'finishedAt'],
        ),
        ...columnsOf(attempts, ['number', 'startedAt', 'durationMs', 'status', 'error', 'phase']),
        replies,
        ...columnsOf(attempts, ['node']),
      ]),
    );
  }

  nextDueAt(except: readonly string[]): Promise<number | undefined> {
    return nextDueAtOnPostgres(this.#pool, except);
  }

  async countByState(filter: DeliveryFilter): Promise<Readonly<Record<DeliveryState, number>>> {
    const parameters = new Parameters();
    const { rows } = await this.#pool.query<Row>(
      `SELECT d.state, count(*) AS count FROM ${deliveryTable} d WHERE ${conditionOf(filter, parameters)}
      GROUP BY d.state`,
      parameters.values,
    );
    const counts = new Map(rows.map(row => [textOf(row.state), numberOf(row.count)]));
    const countOf = (state: DeliveryState): number => counts.get(state) ?? 0;
    return {
      pending: countOf('pending'),
      succeeded: countOf('succeeded'),
      exhausted: countOf('exhausted'),
      cancelled: countOf('cancelled'),
    };
  }

  async list(filter: DeliveryFilter, page: Page): Promise<DeliveryPage> {
    const parameters = new Parameters();
    let condition = conditionOf(filter, parameters);
    if (page.cursor !== undefined) {
      const { createdAt, id } = parseCursor(page.cursor);
      condition += ` AND (d.created_at, d.id) < (${parameters.add(createdAt)}::bigint, ${parameters.add(id)}::text)`;
    }
    const { rows } = await this.#pool.query<Row>(
      `SELECT ${summaryColumns} FROM ${deliveryTable} d WHERE ${condition}
      ORDER BY d.created_at DESC, d.id DESC LIMIT ${parameters.add(page.limit + 1)}`,
      parameters.values,
    );
    return cutPage(rows.map(parseSummary), page.limit);
  }

  async get(id: string): ReturnType<DeliveryStore['get']> {
    const found = await this.#pool.query<Row>(
      `SELECT ${summaryColumns}, b.body FROM ${deliveryTable} d JOIN ${bodyTable} b ON b.delivery_id = d.id
      WHERE d.id = $1`,
      [id],
    );
    const row = found.rows[0];
    if (row === undefined) return undefined;
    const attempts = await this.#pool.query<Row>(
      `SELECT * FROM ${attemptTable} WHERE delivery_id = $1 ORDER BY number, started_at`,
      [id],
    );
    return { delivery: parseDelivery(row), attempts: attempts.rows.map(parseAttempt) };
  }

  async stats({ since, until, bucketMs, endpoint }: StatsRequest): Promise<readonly StatsBucket[]> {
    const { rows } = await this.#pool.query<Row>(
      `SELECT started_at - started_at % $3::bigint AS start, status / 100 AS status_digit,
        error IS NULL AS succeeded, count(*) AS attempts, sum(duration_ms) AS total, max(duration_ms) AS longest
      FROM ${attemptTable}
      WHERE started_at >= $1 AND started_at < $2 ${endpoint === undefined ? '' : 'AND endpoint = $4'}
      GROUP BY 1, 2, 3`,
      [since, until, bucketMs, ...(endpoint === undefined ? [] : [endpoint])],
    );
    return sumStatsBuckets(
      rows.map(row => ({
        start: numberOf(row.start),
        statusDigit: optionalNumber(row.status_digit),
        succeeded: row.succeeded === true,
        attempts: numberOf(row.attempts),
        totalDurationMs: numberOf(row.total),
        maxDurationMs: numberOf(row.longest),
      })),
    );
  }

  replay(filter: DeliveryFilter & { readonly id?: string }, schedule: ReplaySchedule): Promise<number> {
    return replayOnPostgres(this.#pool, filter, schedule);
  }

  countReplayable(filter: DeliveryFilter): Promise<number> {
    return countReplayableOnPostgres(this.#pool, filter);
  }

  cancel(endpoint: string, now: number, createdUntil?: number): Promise<number> {
    return cancelOnPostgres(this.#pool, endpoint, { now, createdUntil });
  }

  findLastKept(keep: number): Promise<FinishedPlace | undefined> {
    return findLastKeptOnPostgres(this.#pool, keep);
  }

  purge(before: FinishedPlace, signal?: AbortSignal): Promise<number> {
    return purgeOnPostgres(this.#pool, before, signal);
  }

  expunge(className: string, objectId: string, now: number): Promise<number> {
    return expungeOnPostgres(this.#pool, { className, objectId, now });
  }

  listen(onWake: () => void): Promise<StopListening> {
    const { clock, logger } = this.#parts;
    return listenOnPostgres({ connection: this.#pool.options, clock, logger }, onWake);
  }

  close(): Promise<void> {
    this.#closed ??= this.#ownsPool ? closeInTime(this.#parts, this.#pool.end()) : Promise.resolve();
    return this.#closed;
  }

  async #retry(text: string, values: readonly unknown[]): Promise<readonly Row[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await this.#pool.query<Row>(text, [...values])).rows;
      } catch (error) {
        if (sqlStateOf(error) !== deadlockDetected || attempt >= maxTries) throw error;
      }
    }
  }
}

/** Not by instanceof: an application's pool may come from another copy of pg. */
function isPool(connection: PostgresDeliveryStoreParts['connection']): connection is Pool {
  return typeof connection === 'object' && 'query' in connection;
}

/** Lists of the values of each key: what unnest takes. Whole numbers where the column is bigint is the caller's promise. */
function columnsOf<Item>(items: readonly Item[], keys: readonly (keyof Item)[]): unknown[][] {
  return keys.map(key => items.map(item => item[key]));
}

function idsOf(rows: readonly Row[]): readonly string[] {
  return rows.map(({ id }) => textOf(id));
}

/** Statements that lock many rows take them in one order, as far as PostgreSQL keeps to it. */
function sorted(ids: readonly string[]): readonly string[] {
  return [...new Set(ids)].sort();
}

/**
 * Classes 22 (data exception: a NUL in a text) and 23 (integrity) and 54 (a key too long for an index) are about the
 * values: https://www.postgresql.org/docs/current/errcodes-appendix.html.
 */
function translateInsertError(error: unknown): unknown {
  const state = sqlStateOf(error);
  const message = error instanceof Error ? error.message : 'insert failed';
  if (state === '23505') return new DeliveryStoreError('repeated-id', message, { cause: error });
  return ['22', '23', '54'].includes(state.slice(0, 2))
    ? new DeliveryStoreError('invalid', message, { cause: error })
    : error;
}

/** Empty when it is no error of the server. */
function sqlStateOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code) ? error.code : '';
}
