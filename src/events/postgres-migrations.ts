// The tables of deliveries on PostgreSQL, and how they come to be, version by version.
//
// They lie beside Parse's own, in the schema that the connection writes to: that needs no right that Parse Server does
// not have. No class can be called so: class names begin with a letter, and those of Parse with `_` and a capital.
// Parse Server touches tables of its classes only (deleteAllClasses in PostgresStorageAdapter.js).
import type { Pool, PoolClient } from 'pg';

export const deliveryTable = '_webhook_delivery';
export const bodyTable = '_webhook_body';
export const attemptTable = '_webhook_attempt';
export const finishedIndex = '_webhook_delivery_ended';
export const wakeChannel = '_webhook_delivery';
const migrationTable = '_webhook_migration';

/** Any number, the same in all versions: `webhooks` in ASCII. */
const lockKey = '8602242893397388147';

/**
 * Texts compare as bytes (`COLLATE "C"`): ids must sort by creation whatever the database's language, and it is faster.
 *
 * Bodies have a table of their own because each attempt writes a new version of the delivery's row: with 1 kB bodies
 * inline, 100,000 deliveries that were inserted and finished took 253 MB, apart 153 MB, of which lists and claims read
 * only the 22 MB without bodies; the time was the same within the noise (PostgreSQL 18).
 *
 * Claims and renewals change no column that an index names, so they are heap-only updates where the page has room:
 * hence the fillfactor. Leases are in no index for that reason. Rows that are being attempted stand at the front of
 * their endpoint in `_webhook_delivery_pending` and are stepped over; a dispatcher holds few of them.
 *
 * The index of attempts is not unique: a number that comes twice must not stop a batch of others from being recorded.
 */
const migrations: readonly (readonly string[])[] = [
  [
    `CREATE TABLE ${deliveryTable} (
      id text COLLATE "C" PRIMARY KEY,
      webhook_id text COLLATE "C" NOT NULL,
      endpoint text COLLATE "C" NOT NULL,
      type text COLLATE "C" NOT NULL,
      class_name text COLLATE "C",
      object_id text COLLATE "C",
      created_at bigint NOT NULL,
      is_test boolean NOT NULL,
      depth integer NOT NULL,
      state text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'succeeded', 'exhausted', 'cancelled')),
      attempt_count integer NOT NULL,
      attempts_before_replay integer NOT NULL,
      is_retry boolean NOT NULL GENERATED ALWAYS AS (attempt_count > 0) STORED,
      next_attempt_at bigint,
      lease_owner text COLLATE "C",
      lease_expires_at bigint,
      last_status integer,
      last_error text COLLATE "C",
      finished_at bigint,
      is_expunged boolean NOT NULL,
      CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL)),
      CHECK ((state = 'pending') = (finished_at IS NULL)),
      CHECK ((lease_owner IS NULL) = (lease_expires_at IS NULL)),
      CHECK (lease_owner IS NULL OR state = 'pending')
    ) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)`,
    `CREATE INDEX ${deliveryTable}_pending ON ${deliveryTable} (endpoint, is_retry, next_attempt_at, id)
      WHERE state = 'pending'`,
    `CREATE INDEX ${deliveryTable}_created ON ${deliveryTable} (created_at)`,
    `CREATE INDEX ${deliveryTable}_endpoint ON ${deliveryTable} (endpoint, created_at)`,
    `CREATE INDEX ${deliveryTable}_object ON ${deliveryTable} (class_name, object_id, created_at)
      WHERE class_name IS NOT NULL`,
    `CREATE INDEX ${deliveryTable}_finished ON ${deliveryTable} (finished_at) WHERE finished_at IS NOT NULL`,
    `CREATE INDEX ${deliveryTable}_failed ON ${deliveryTable} (created_at)
      WHERE state IN ('exhausted', 'cancelled')`,
    `CREATE TABLE ${bodyTable} (
      delivery_id text COLLATE "C" PRIMARY KEY,
      body text NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0.05)`,
    `CREATE TABLE ${attemptTable} (
      delivery_id text COLLATE "C" NOT NULL,
      endpoint text COLLATE "C" NOT NULL,
      number integer NOT NULL,
      started_at bigint NOT NULL,
      duration_ms double precision NOT NULL,
      status integer,
      error text COLLATE "C",
      phase text COLLATE "C",
      reply text,
      node text COLLATE "C" NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0.05)`,
    `CREATE INDEX ${attemptTable}_delivery ON ${attemptTable} (delivery_id)`,
    `CREATE INDEX ${attemptTable}_endpoint ON ${attemptTable} (endpoint, started_at)`,
    `CREATE INDEX ${attemptTable}_started ON ${attemptTable} USING brin (started_at) WITH (pages_per_range = 32)`,
  ],
  [`ALTER TABLE ${deliveryTable} ADD COLUMN traceparent text COLLATE "C"`],
  [
    `CREATE INDEX ${finishedIndex} ON ${deliveryTable} (finished_at, id) WHERE finished_at IS NOT NULL`,
    `DROP INDEX ${deliveryTable}_finished`,
  ],
];

/** An index on many rows takes long, and so does the wait for the node that makes it. In milliseconds. */
const stepTimeoutMs = 60 * 60 * 1000;

/** With an hour in place of the limit of the pool. The types of pg know this setting of clients only; its queries take it, too (8.23). */
export const unhurried = (text: string): { readonly text: string; readonly query_timeout: number } => ({
  text,
  query_timeout: stepTimeoutMs,
});

/**
 * Brings the tables up to date. Any number of nodes may call it at once: one does the work, the others wait. Looks
 * before it locks, so that an account without the right to create tables can start on a database that is up to date.
 */
export async function migratePostgres(pool: Pool): Promise<void> {
  const client = await pool.connect();
  let failure: Error | undefined;
  try {
    if ((await readVersion(client)) >= migrations.length) return;
    await client.query('BEGIN');
    await client.query(unhurried(`SELECT pg_advisory_xact_lock(${lockKey})`));
    await client.query(
      `CREATE TABLE IF NOT EXISTS ${migrationTable} (version integer PRIMARY KEY, applied_at timestamptz NOT NULL)`,
    );
    const version = await readVersion(client);
    for (const [index, statements] of migrations.entries()) {
      if (index < version) continue;
      for (const statement of statements) await client.query(unhurried(statement));
      await client.query(`INSERT INTO ${migrationTable} VALUES ($1, now())`, [index + 1]);
    }
    await client.query('COMMIT');
  } catch (error) {
    failure = error instanceof Error ? error : new Error('migration failed', { cause: error });
    throw failure;
  } finally {
    // A connection in the middle of a failed transaction is closed, which rolls back.
    client.release(failure);
  }
}

/** 0 when there are no tables yet. */
async function readVersion(client: PoolClient): Promise<number> {
  const found = await client.query<{ found: boolean }>('SELECT to_regclass($1) IS NOT NULL AS found', [
    migrationTable,
  ]);
  if (found.rows[0]?.found !== true) return 0;
  const { rows } = await client.query<{ version: number | null }>(
    `SELECT max(version) AS version FROM ${migrationTable}`,
  );
  return rows[0]?.version ?? 0;
}
