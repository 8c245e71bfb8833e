// A database of a test's own on a PostgreSQL server.
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import type { FreshDatabase } from './databases';

const connectionTimeoutMillis = 10_000;
const sessionsCloseWithinMs = 5000;
const pollMs = 10;

export async function createPostgresDatabase(serverUri: string, name: string): Promise<FreshDatabase> {
  await onPostgres(serverUri, query => query(`CREATE DATABASE "${name}"`));
  const uri = new URL(serverUri);
  uri.pathname = `/${name}`;
  return {
    databaseURI: uri.href,
    databaseOptions: {},
    drop: () =>
      onPostgres(serverUri, async query => {
        await waitForSessions(query, name);
        await query(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`);
      }),
  };
}

type Query = (statement: string) => Promise<Record<string, unknown>[]>;

/** Gives `use` a session of its own on the server. */
export async function onPostgres<Result>(
  uri: string,
  use: (query: Query) => Promise<Result>,
): Promise<Result> {
  const client = new Client({ connectionString: uri, connectionTimeoutMillis });
  try {
    await client.connect();
    return await use(async statement => (await client.query<Record<string, unknown>>(statement)).rows);
  } finally {
    await client.end();
  }
}

/**
 * Parse Server's handleShutdown does not wait for its pool to close (PostgresStorageAdapter.js), and a session that is
 * cut off while it closes is an unhandled error in the test file.
 */
async function waitForSessions(query: Query, name: string): Promise<void> {
  const giveUpAt = performance.now() + sessionsCloseWithinMs;
  const sessions = `SELECT pid FROM pg_stat_activity WHERE datname = '${name}'`;
  while ((await query(sessions)).length > 0 && performance.now() < giveUpAt) await delay(pollMs);
}
