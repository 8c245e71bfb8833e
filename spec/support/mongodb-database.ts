// A database of a test's own on a MongoDB server.
import { MongoClient, type Db } from 'mongodb';
import type { FreshDatabase } from './databases';

const serverSelectionTimeoutMS = 10_000;

export async function createMongodbDatabase(serverUri: string, name: string): Promise<FreshDatabase> {
  const databaseURI = nameDatabase(serverUri, name);
  return {
    databaseURI,
    databaseOptions: {},
    drop: () => withMongodb(databaseURI, database => database.dropDatabase()).then(() => undefined),
  };
}

/** `uri` with its database replaced; who logs in is still looked up where `uri` says. */
function nameDatabase(uri: string, name: string): string {
  const parts = /^(?<server>mongodb(?:\+srv)?:\/\/[^/?]+)\/?(?<database>[^?]*)\??(?<query>.*)$/.exec(
    uri,
  )?.groups;
  if (parts === undefined) throw new Error('MONGODB_URI must start with mongodb:// or mongodb+srv://');
  const query = new URLSearchParams(parts['query']);
  if (parts['server']?.includes('@') === true && !query.has('authSource'))
    query.set(
      'authSource',
      parts['database'] === undefined || parts['database'] === '' ? 'admin' : parts['database'],
    );
  const suffix = query.size === 0 ? '' : `?${query.toString()}`;
  return `${parts['server'] ?? ''}/${name}${suffix}`;
}

/** Gives `use` the database that `uri` names, over a connection of its own. */
export async function withMongodb<Result>(
  uri: string,
  use: (database: Db) => Promise<Result>,
): Promise<Result> {
  const client = new MongoClient(uri, { serverSelectionTimeoutMS });
  try {
    return await use(client.db());
  } finally {
    await client.close();
  }
}
