// Delivery stores of a test's own, on each database and in memory.
import type { DeliveryStore } from '../../src/events/delivery-store';
import { MemoryDeliveryStore } from '../../src/events/memory-delivery-store';
import { MongodbDeliveryStore } from '../../src/events/mongodb-delivery-store';
import { PostgresDeliveryStore } from '../../src/events/postgres-delivery-store';
import { systemClock } from '../../src/shared/clock';
import type { TestDatabase } from './databases';
import { silentLogger } from './silent-logger';

export interface OpenedStore {
  readonly store: DeliveryStore;
  dispose(): Promise<void>;
}

export async function openMemoryStore(): Promise<OpenedStore> {
  const store = new MemoryDeliveryStore();
  return { store, dispose: () => store.close() };
}

/** In an empty database, with its tables made. */
export async function openDatabaseStore(database: TestDatabase): Promise<OpenedStore> {
  const fresh = await database.create();
  const parts = { connection: fresh.databaseURI, clock: systemClock, logger: silentLogger };
  const store =
    database.kind === 'postgres' ? new PostgresDeliveryStore(parts) : new MongodbDeliveryStore(parts);
  await store.migrate();
  return {
    store,
    dispose: async () => {
      await store.close();
      await fresh.drop();
    },
  };
}
