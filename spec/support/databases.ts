// Databases for tests: a block run once on each kind, with databases of its own that it makes and drops.
import { randomBytes } from 'node:crypto';
import schemaCache from 'parse-server/lib/Adapters/Cache/SchemaCache';
import { describeWithService } from './describe-with-service';
import { createMongodbDatabase } from './mongodb-database';
import { createPostgresDatabase } from './postgres-database';
import type { AvailableService } from './test-services';

export type DatabaseKind = 'postgres' | 'mongodb';

/** An empty database of a test's own. */
export interface FreshDatabase {
  readonly databaseURI: string;
  /** Parse Server's option of this name, beside `databaseURI`. */
  readonly databaseOptions: Record<string, unknown>;
  /** Removes it; sessions that are still open 5 s later are cut off. */
  drop(): Promise<void>;
}

export interface TestDatabase {
  readonly kind: DatabaseKind;
  /**
   * Makes an empty database with a name that nothing else uses. Parse Servers of one process share one cache of
   * classes, which this empties: start one on another database only when those on the last one have stopped.
   */
  create(): Promise<FreshDatabase>;
}

/** Describes `name` once per kind of database. A kind that is not available becomes one skipped or failed test. */
export function describeOnEachDatabase(name: string, body: (database: TestDatabase) => void): void {
  for (const kind of ['postgres', 'mongodb'] as const) describeOnDatabase(kind, name, body);
}

/** Describes `name` on one kind of database only. */
export function describeOnDatabase(
  kind: DatabaseKind,
  name: string,
  body: (database: TestDatabase) => void,
): void {
  describeWithService(kind, `${name} (${kind})`, status => {
    body({ kind, create: () => createDatabase(kind, status) });
  });
}

function createDatabase(kind: DatabaseKind, { address }: AvailableService): Promise<FreshDatabase> {
  schemaCache.clear();
  const databaseName = `parse_test_${randomBytes(8).toString('hex')}`;
  switch (kind) {
    case 'postgres':
      return createPostgresDatabase(address, databaseName);
    case 'mongodb':
      return createMongodbDatabase(address, databaseName);
    default:
      return kind satisfies never;
  }
}
