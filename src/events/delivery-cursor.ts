// Where a page of deliveries ended, as text for clients: the keys of its last row.
import { DeliveryStoreError } from './delivery-store-error';

/** Deliveries are listed by createdAt, then id, both descending. */
export interface PageEnd {
  readonly createdAt: number;
  readonly id: string;
}

export function formatCursor({ createdAt, id }: PageEnd): string {
  return Buffer.from(JSON.stringify([createdAt, id])).toString('base64url');
}

/** Throws a DeliveryStoreError `invalid-cursor` for a text that formatCursor did not make. */
export function parseCursor(text: string): PageEnd {
  const keys = parseJson(Buffer.from(text, 'base64url').toString());
  if (Array.isArray(keys) && keys.length === 2) {
    const [createdAt, id] = keys as readonly unknown[];
    // No id has other characters, and of those some are refused by databases.
    const isId = typeof id === 'string' && /^[\x20-\x7e]+$/.test(id);
    if (Number.isSafeInteger(createdAt) && typeof createdAt === 'number' && isId) {
      return { createdAt, id };
    }
  }
  throw new DeliveryStoreError('invalid-cursor', 'cursor must be the next of an earlier page');
}

/** Cuts a page out of rows that were read one beyond its limit. */
export function cutPage<Row extends PageEnd>(
  rows: readonly Row[],
  limit: number,
): { readonly deliveries: readonly Row[]; readonly next: string | undefined } {
  const last = rows[limit - 1];
  const next = rows.length > limit && last !== undefined ? formatCursor(last) : undefined;
  return { deliveries: rows.slice(0, limit), next };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
