// Parse Server's own database as its storage adapters know it (lib/Adapters/Storage), for tables that are not classes.
import type { ServerDatabase } from '../events/open-delivery-store';
import type { DatabaseController } from './internals';

/** PostgresStorageAdapter keeps pg-promise's database, whose `$cn` is what it was made with. */
interface PostgresAdapter {
  readonly _client: { readonly $cn: unknown };
}

/** MongoStorageAdapter connects at its first use. */
interface MongoAdapter {
  connect(): Promise<unknown>;
  readonly database?: unknown;
}

export function serverDatabase({ adapter }: DatabaseController): ServerDatabase {
  if (isPostgres(adapter)) return { kind: 'postgres', connection: connectionOf(adapter._client.$cn) };
  if (!isMongo(adapter)) return { kind: 'unknown' };
  return {
    kind: 'mongodb',
    connect: async () => {
      await adapter.connect();
      return adapter.database;
    },
  };
}

/** Parse Server puts options of its own beside those of `pg`; the size of its pool is for its own queries. */
function connectionOf(given: unknown): unknown {
  if (typeof given !== 'object' || given === null) return given;
  const { host, port, database, user, password, ssl, options } = given as Readonly<Record<string, unknown>>;
  const named = { host, port, database, user, password, ssl, options };
  return Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined));
}

function isPostgres(adapter: unknown): adapter is PostgresAdapter {
  if (typeof adapter !== 'object' || adapter === null || !('_client' in adapter)) return false;
  const { _client: client } = adapter;
  return (typeof client === 'object' || typeof client === 'function') && client !== null && '$cn' in client;
}

function isMongo(adapter: unknown): adapter is MongoAdapter {
  return (
    typeof adapter === 'object' &&
    adapter !== null &&
    '_uri' in adapter &&
    'connect' in adapter &&
    typeof adapter.connect === 'function'
  );
}
