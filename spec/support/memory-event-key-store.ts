// An EventKeyStore in memory, held to the same contract as the one in a database.
import type { EventKeyRow, EventKeyStore, StoredEventKey } from '../../src/events/event-key-store';

export class MemoryEventKeyStore implements EventKeyStore {
  readonly rows = new Map<string, StoredEventKey>();

  async prepare(): Promise<void> {}

  async claim(row: EventKeyRow): Promise<StoredEventKey | undefined> {
    const stored = this.rows.get(row.id);
    if (!stored) this.rows.set(row.id, { ...row, deliveries: undefined });
    return stored;
  }

  async finish(id: string, deliveries: number): Promise<void> {
    const row = this.rows.get(id);
    if (row) this.rows.set(id, { ...row, deliveries });
  }

  async remove(id: string, at: number): Promise<void> {
    if (this.rows.get(id)?.at === at) this.rows.delete(id);
  }

  async purge(before: number): Promise<void> {
    for (const [id, { at }] of this.rows) if (at < before) this.rows.delete(id);
  }
}
