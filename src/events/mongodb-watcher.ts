// Hears by a change stream that deliveries wait. Only replica sets and sharded clusters have change streams.
import type { Db, Document } from 'mongodb';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { StopListening } from './delivery-store';

const retryMs = 5000;

/** True for a member of a replica set, or a router of a sharded cluster. Servers that do not know the command are neither. */
export async function hasChangeStreams(database: Db): Promise<boolean> {
  try {
    const hello = await database.admin().command({ hello: 1 });
    return typeof hello['setName'] === 'string' || hello['msg'] === 'isdbgrid';
  } catch {
    return false;
  }
}

/** What is used of a ChangeStream. */
interface WatchedStream {
  on(event: 'change', listener: (change: { readonly operationType: string }) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  close(): Promise<void>;
}

/** A Collection of DeliveryDocuments. */
export interface WatchedCollection {
  watch(pipeline: Document[]): WatchedStream;
}

/**
 * Calls `onWake` for deliveries inserted without a lease, and whenever the stream is opened anew. The driver resumes by
 * itself after a lost connection; what it cannot resume is opened again 5 s later, and so is a stream that ends because
 * the collection or the database was dropped or renamed: of that it tells in a last event, `invalidate`, and not by an
 * error (https://www.mongodb.com/docs/manual/reference/change-events/invalidate/).
 */
export function watchInserts(
  collection: WatchedCollection,
  parts: { readonly clock: Clock; readonly logger: Logger },
  onWake: () => void,
): StopListening {
  let stopped = false;
  let cancelRetry = (): void => undefined;
  let current: WatchedStream | undefined;

  const openLater = (stream: WatchedStream, reason: string): void => {
    if (stopped || current !== stream) return;
    current = undefined;
    parts.logger.warn(`lost the stream that tells of deliveries, again in ${retryMs} ms: ${reason}`);
    // An error of its end is the one that is known already.
    void stream.close().catch(() => undefined);
    cancelRetry = parts.clock.schedule(retryMs, () => {
      open();
      onWake();
    });
  };

  const open = (): void => {
    const stream = collection.watch([
      {
        $match: {
          $or: [
            { operationType: 'insert', 'fullDocument.queue.owner': { $exists: false } },
            { operationType: 'invalidate' },
          ],
        },
      },
      { $project: { operationType: 1 } },
    ]);
    current = stream;
    stream.on('change', ({ operationType }) => {
      if (operationType === 'invalidate') openLater(stream, 'the collection is gone');
      else onWake();
    });
    stream.on('error', error => openLater(stream, error.message));
  };

  open();
  return async () => {
    if (stopped) return;
    stopped = true;
    cancelRetry();
    await current?.close();
  };
}
