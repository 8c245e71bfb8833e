// Chooses the store of deliveries: the database Parse Server uses, another one, or memory.
import type { Db } from 'mongodb';
import type { PoolConfig } from 'pg';
import { WebhookError } from '../errors';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { DeliveryStore } from './delivery-store';
import { MemoryDeliveryStore } from './memory-delivery-store';
import { MongodbDeliveryStore } from './mongodb-delivery-store';
import { PostgresDeliveryStore } from './postgres-delivery-store';

/** `database`: the one Parse Server uses. `memory`: lost at every stop. */
export type StoreChoice = 'database' | 'memory' | { readonly uri: string };

/** Parse Server's own database, as its storage adapter knows it. */
export type ServerDatabase =
  /** `connection`: what `pg` takes, an address or settings. */
  | { readonly kind: 'postgres'; readonly connection: unknown }
  /** `connect` gives a `Db` of the mongodb driver. */
  | { readonly kind: 'mongodb'; readonly connect: () => Promise<unknown> }
  | { readonly kind: 'unknown' };

/** Throws INVALID_OPTION for an address of neither kind, and where Parse Server's database is of neither. */
export async function openDeliveryStore(
  choice: StoreChoice,
  database: ServerDatabase,
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
): Promise<DeliveryStore> {
  // These two and nothing else that the caller has: both stores take `options`, too.
  const tools = { clock, logger };
  if (choice === 'memory') {
    logger.warn('webhooks: deliveries are kept in memory only, and lost when this process ends');
    return new MemoryDeliveryStore();
  }
  if (choice !== 'database') return openByAddress(choice.uri, tools);
  switch (database.kind) {
    case 'postgres':
      return new PostgresDeliveryStore({ connection: database.connection as string | PoolConfig, ...tools });
    case 'mongodb':
      return new MongodbDeliveryStore({ connection: (await database.connect()) as Db, ...tools });
    case 'unknown':
      throw new WebhookError(
        'INVALID_OPTION',
        'store must be given: the database of this Parse Server is neither PostgreSQL nor MongoDB',
      );
  }
}

function openByAddress(
  uri: string,
  tools: { readonly clock: Clock; readonly logger: Logger },
): DeliveryStore {
  if (/^postgres(ql)?:\/\//.test(uri)) return new PostgresDeliveryStore({ connection: uri, ...tools });
  if (/^mongodb(\+srv)?:\/\//.test(uri)) return new MongodbDeliveryStore({ connection: uri, ...tools });
  throw new WebhookError(
    'INVALID_OPTION',
    'store.uri must begin with postgres://, postgresql://, mongodb:// or mongodb+srv://',
  );
}
