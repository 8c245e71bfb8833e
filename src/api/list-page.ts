// Pages of lists that are in memory as a whole. Those of deliveries are cut by their store.
import type { JsonObject } from '../shared/json';
import { invalidRequest } from './api-parameters';

export interface ListEntry {
  /** Where it stands in the list: unique, and the same while the entry is there. */
  readonly place: string;
  readonly show: () => JsonObject;
}

/** `{results, next}` by place; `cursor` is the `next` of the page before. Throws INVALID_REQUEST for one that is not. */
export function cutList(
  entries: readonly ListEntry[],
  { limit, cursor }: { readonly limit: number; readonly cursor?: string | undefined },
): JsonObject {
  const after = cursor === undefined ? '' : placeOf(cursor);
  const rest = entries.filter(({ place }) => place > after).sort((a, b) => (a.place < b.place ? -1 : 1));
  const results = rest.slice(0, limit);
  const last = results.at(-1);
  return {
    results: results.map(({ show }) => show()),
    ...(last && results.length < rest.length && { next: Buffer.from(last.place).toString('base64url') }),
  };
}

function placeOf(cursor: string): string {
  const place = Buffer.from(cursor, 'base64url').toString();
  if (place !== '' && Buffer.from(place).toString('base64url') === cursor) return place;
  throw invalidRequest('cursor must be the next of an earlier answer');
}
