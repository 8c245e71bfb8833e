// A database of a test's own on a PostgreSQL server.
import { Client } from 'pg';
import type { FreshDatabase } from './databases';

const connectionTimeoutMillis = 10_000;

export async function createPostgresDatabase(serverUri: string, name: string): Promise<FreshDatabase> {
  await runOnPostgres(serverUri, `CREATE DATABASE "${name}"`);
  const uri = new URL(serverUri);
  uri.pathname = `/${name}`;
  return {
    databaseURI: uri.href,
    databaseOptions: {},
    drop: async () => {
      await runOnPostgres(serverUri, `DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`);
    },
  };
}

/** Runs one statement in a session of its own and returns its rows. */
export async function runOnPostgres(uri: string, statement: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: uri, connectionTimeoutMillis });
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}
