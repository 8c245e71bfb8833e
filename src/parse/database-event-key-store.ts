// Idempotency keys of published events, in the database Parse Server uses: `objectId` is unique on both kinds.
import { parseCodes } from '../errors';
import type { EventKeyRow, EventKeyStore, StoredEventKey } from '../events/event-key-store';
import { ensureClass, ignoreParseError, isParseError, numberOf, onlyRow, textOf } from './database-rows';
import type { DatabaseController } from './internals';

const className = 'WebhookEventKey';
const unfinished = -1;

export class DatabaseEventKeyStore implements EventKeyStore {
  readonly #database: DatabaseController;

  constructor(database: DatabaseController) {
    this.#database = database;
  }

  async prepare(): Promise<void> {
    await ensureClass(this.#database, className, {
      eventId: { type: 'String' },
      digest: { type: 'String' },
      at: { type: 'Number' },
      deliveries: { type: 'Number' },
    });
  }

  async claim({ id, eventId, digest, at }: EventKeyRow): Promise<StoredEventKey | undefined> {
    const createdAt = new Date(at).toISOString();
    const row = {
      objectId: id,
      eventId,
      digest,
      at,
      deliveries: unfinished,
      createdAt,
      updatedAt: createdAt,
    };
    for (;;) {
      try {
        await this.#database.create(className, row);
        return undefined;
      } catch (error) {
        if (!isParseError(error, parseCodes.duplicateValue)) throw error;
      }
      const [stored] = await this.#database.find(className, { objectId: id }, onlyRow);
      // Gone in between: purged, or removed by another claim.
      if (stored) return parseRow(stored);
    }
  }

  async finish(id: string, deliveries: number): Promise<void> {
    await this.#database
      .update(className, { objectId: id }, { deliveries })
      .catch(ignoreParseError(parseCodes.objectNotFound, undefined));
  }

  async remove(id: string, at: number): Promise<void> {
    await this.#destroy({ objectId: id, at });
  }

  async purge(before: number): Promise<void> {
    await this.#destroy({ at: { $lt: before } });
  }

  async #destroy(query: object): Promise<void> {
    await this.#database
      .destroy(className, query)
      .catch(ignoreParseError(parseCodes.objectNotFound, undefined));
  }
}

function parseRow(row: Readonly<Record<string, unknown>>): StoredEventKey {
  const deliveries = typeof row.deliveries === 'number' ? row.deliveries : unfinished;
  return {
    id: textOf(row.objectId),
    eventId: textOf(row.eventId),
    digest: textOf(row.digest),
    at: numberOf(row.at),
    deliveries: deliveries < 0 ? undefined : deliveries,
  };
}
