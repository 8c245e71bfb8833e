// The rows that this package keeps, behind its back: as an older server, the built-in or an attacker would touch them.
import { Client } from 'pg';
import type { DatabaseKind, FreshDatabase } from './databases';
import { withMongodb } from './mongodb-database';

export interface HookRow {
  readonly functionName?: string | null;
  readonly className?: string | null;
  readonly triggerName?: string | null;
  readonly url?: string | null;
}

const columns = ['functionName', 'className', 'triggerName', 'url'] as const;

/** Adds rows to `_Hooks` as they are, with no check. Parse Server must have started once on this database. */
export async function insertHookRows(
  kind: DatabaseKind,
  database: FreshDatabase,
  rows: readonly HookRow[],
): Promise<void> {
  if (kind === 'mongodb') {
    await withMongodb(database.databaseURI, db =>
      db.collection('_Hooks').insertMany(rows.map(row => ({ ...row }))),
    );
    return;
  }
  await withPostgres(database, async client => {
    for (const row of rows) {
      const values = columns.map(column => row[column] ?? null);
      await client.query(
        'INSERT INTO "_Hooks" ("functionName", "className", "triggerName", "url") VALUES ($1, $2, $3, $4)',
        values,
      );
    }
  });
}

/** Every row of a class as the database holds it. */
export async function readRawRows(
  kind: DatabaseKind,
  database: FreshDatabase,
  className: string,
): Promise<readonly Record<string, unknown>[]> {
  return kind === 'mongodb'
    ? withMongodb(database.databaseURI, db => db.collection(className).find({}).toArray())
    : withPostgres(
        database,
        async client => (await client.query<Record<string, unknown>>(`SELECT * FROM "${className}"`)).rows,
      );
}

async function withPostgres<Result>(
  database: FreshDatabase,
  use: (client: Client) => Promise<Result>,
): Promise<Result> {
  const client = new Client({ connectionString: database.databaseURI });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}
