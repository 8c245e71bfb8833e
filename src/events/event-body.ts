// The bodies of events, in the shape that Standard Webhooks recommends: type, timestamp, data.
import type { JsonObject } from '../shared/json';
import { selectKeys, type KeySelection } from '../wire/call-fields';
import type { ObjectChange } from './object-change';

/** The body of an event, as text. `at`: milliseconds since 1970. */
export function encodeEvent(type: string, at: number, data: object): string {
  return JSON.stringify({ type, timestamp: new Date(at).toISOString(), data });
}

/** The `data` of an object event with only the wanted keys of the object. */
export function objectEventData(change: ObjectChange, selection: KeySelection): object {
  const { className, objectId, user, installationId, master } = change;
  const { object, original, update } = selectKeys(
    {
      object: change.object,
      ...(change.original && { original: change.original }),
      ...(change.update && { update: change.update }),
      master,
    },
    selection,
  );
  // JSON leaves out what is undefined.
  return { object, original, update, className, objectId, user, installationId, master };
}

/** What is sent instead of a body above `maxBodyBytes`: enough to fetch the object. `bytes`: size of the whole body. */
export function thinEventData({ className, objectId, master }: ObjectChange, bytes: number): JsonObject {
  return { className, objectId, master, truncated: true, bytes };
}
