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

/** Every row of every table or collection, as text. */
export async function listRows(
  kind: DatabaseKind,
  database: FreshDatabase,
): Promise<readonly { readonly table: string; readonly text: string }[]> {
  if (kind === 'mongodb') {
    return withMongodb(database.databaseURI, async db => {
      const collections = await db.listCollections().toArray();
      const found = collections.map(async ({ name }) =>
        (await db.collection(name).find({}).toArray()).map(row => ({
          table: name,
          text: JSON.stringify(row),
        })),
      );
      return (await Promise.all(found)).flat();
    });
  }
  return withPostgres(database, async client => {
    const tables = await client.query<{ name: string }>(
      "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'",
    );
    const rows: { table: string; text: string }[] = [];
    for (const { name } of tables.rows) {
      const found = await client.query<{ text: string }>(`SELECT to_jsonb(t)::text AS text FROM "${name}" t`);
      rows.push(...found.rows.map(({ text }) => ({ table: name, text })));
    }
    return rows;
  });
}

export interface RowChange {
  readonly className: string;
  /** One column and its value. */
  readonly where: Readonly<Record<string, string>>;
  readonly column: string;
  readonly change: (text: string) => string;
}

/** Changes a text of the rows that match, behind everybody's back. */
export async function replaceInRow(
  kind: DatabaseKind,
  database: FreshDatabase,
  { className, where, column, change }: RowChange,
): Promise<void> {
  const [[key, value] = ['', '']] = Object.entries(where);
  const rows = (await readRawRows(kind, database, className)).filter(row => row[key] === value);
  if (rows.length === 0) throw new Error(`no row of ${className} has ${key} ${value}`);
  const next = change(String(rows[0]?.[column]));
  if (kind === 'mongodb') {
    await withMongodb(database.databaseURI, db =>
      db.collection(className).updateMany({ [key]: value }, { $set: { [column]: next } }),
    );
    return;
  }
  await withPostgres(database, client =>
    client.query(`UPDATE "${className}" SET "${column}" = $1 WHERE "${key}" = $2`, [next, value]),
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
