// The PostgreSQL of a test run: the one at POSTGRES_URI, or an embedded one that lives as long as the run.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '../../src/dev/embedded-postgres';
import { onPostgres } from './postgres-database';
import type { StartedService } from './start-services';

/** Throws if there is none. */
export async function startPostgres(): Promise<StartedService> {
  const given = process.env['POSTGRES_URI'];
  if (given !== undefined && given !== '') {
    const version = await readVersion(given);
    return { address: given, label: `POSTGRES_URI ${version}`, stop: async () => undefined };
  }
  const dataDirectory = await mkdtemp(join(tmpdir(), 'parse-server-webhooks-postgres-'));
  const removeData = () => rm(dataDirectory, { recursive: true, force: true });
  try {
    const server = await startEmbeddedPostgres({
      dataDirectory,
      // The data need not survive the run; two workers with several Parse Servers each take up to 10 sessions per server.
      settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '300' },
    });
    return {
      address: server.uri,
      label: `embedded ${await readVersion(server.uri)}`,
      stop: async () => {
        await server.stop();
        await removeData();
      },
    };
  } catch (error) {
    await removeData();
    throw error;
  }
}

async function readVersion(uri: string): Promise<string> {
  const [row] = await onPostgres(uri, query => query('SHOW server_version'));
  return String(row?.['server_version']);
}
