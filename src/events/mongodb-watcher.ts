// Hears by a change stream that deliveries wait. Only replica sets and sharded clusters have change streams.
import type { ChangeStream, Collection, Db } from 'mongodb';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { StopListening } from './delivery-store';
import type { DeliveryDocument } from './mongodb-documents';

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

/**
 * Calls `onWake` for deliveries inserted without a lease, and whenever the stream is opened anew. The driver resumes by
 * itself after a lost connection; what it cannot resume is opened again 5 s later.
 */
export function watchInserts(
  collection: Collection<DeliveryDocument>,
  parts: { readonly clock: Clock; readonly logger: Logger },
  onWake: () => void,
): StopListening {
  let stopped = false;
  let cancelRetry = (): void => undefined;
  let current: ChangeStream | undefined;

  const open = (): void => {
    const stream = collection.watch([
      { $match: { operationType: 'insert', 'fullDocument.queue.owner': { $exists: false } } },
      { $project: { operationType: 1 } },
    ]);
    current = stream;
    stream.on('change', () => onWake());
    stream.on('error', (error: Error) => {
      if (stopped || current !== stream) return;
      current = undefined;
      parts.logger.warn(`lost the stream that tells of deliveries, again in ${retryMs} ms: ${error.message}`);
      // An error of its end is the one that is known already.
      void stream.close().catch(() => undefined);
      cancelRetry = parts.clock.schedule(retryMs, () => {
        open();
        onWake();
      });
    });
  };

  open();
  return async () => {
    if (stopped) return;
    stopped = true;
    cancelRetry();
    await current?.close();
  };
}
