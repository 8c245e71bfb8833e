// Which of the due deliveries a claim takes, and what its earlier looks have taken. For PostgreSQL the same choice stands
// in SQL, in postgres-claim.ts.
import type { Delivery, EndpointKey } from './delivery';
import type { ClaimRequest } from './delivery-store';

export interface ClaimCandidate {
  readonly id: string;
  readonly endpoint: EndpointKey;
  readonly isRetry: boolean;
  /** nextAttemptAt. */
  readonly at: number;
  readonly bodyLength: number;
}

/** Of so many places of an endpoint one is a retry's, so that fresh ones without end do not keep retries waiting. */
export const placesPerRetry = 8;

/** What a claim may still take, look after look. */
export class ClaimTally {
  readonly claimed: Delivery[] = [];
  readonly taken = new Map<EndpointKey, { rows: number; bodyLength: number }>();
  readonly #request: ClaimRequest;
  #bodyLength = 0;

  constructor(request: ClaimRequest) {
    this.#request = request;
  }

  get limit(): number {
    return this.#request.limit - this.claimed.length;
  }

  get maxBodyLength(): number {
    return (this.#request.maxBodyLength ?? Number.MAX_SAFE_INTEGER) - this.#bodyLength;
  }

  get isFull(): boolean {
    return this.limit <= 0 || this.maxBodyLength <= 0;
  }

  /** Places of an endpoint, and what of its bodies a row must come before. */
  roomOf(endpoint: EndpointKey): { readonly rows: number; readonly bodyLength: number } {
    const { limitPerEndpoint, maxBodyLengthPerEndpoint = Number.MAX_SAFE_INTEGER } = this.#request;
    const { rows, bodyLength } = this.taken.get(endpoint) ?? { rows: 0, bodyLength: 0 };
    return {
      rows: Math.min(this.limit, limitPerEndpoint - rows),
      bodyLength: maxBodyLengthPerEndpoint - bodyLength,
    };
  }

  add(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      const { endpoint, body } = delivery;
      const { rows, bodyLength } = this.taken.get(endpoint) ?? { rows: 0, bodyLength: 0 };
      this.taken.set(endpoint, { rows: rows + 1, bodyLength: bodyLength + body.length });
      this.#bodyLength += body.length;
      this.claimed.push(delivery);
    }
  }
}

/**
 * Takes from all that are due, as `DeliveryStore.claim` says: `inOrder` is the order in which they were chosen, by which a
 * caller sees whether anything further back can matter; `chosen` is the answer's.
 */
export function chooseForClaim<Row extends ClaimCandidate>(
  due: readonly Row[],
  tally: ClaimTally,
): { readonly chosen: readonly Row[]; readonly inOrder: readonly RankedRow<Row>[] } {
  const inOrder = [...groupByEndpoint(due)]
    .flatMap(([endpoint, rows]) => rank(rows, tally.roomOf(endpoint).rows))
    .sort(compareRanked)
    .slice(0, tally.limit);
  const lengths = new Map<EndpointKey, number>();
  let allLength = 0;
  const chosen = inOrder.flatMap(({ row }) => {
    const ownLength = lengths.get(row.endpoint) ?? 0;
    if (allLength >= tally.maxBodyLength || ownLength >= tally.roomOf(row.endpoint).bodyLength) return [];
    lengths.set(row.endpoint, ownLength + row.bodyLength);
    allLength += row.bodyLength;
    return [row];
  });
  return {
    chosen: chosen.sort((a, b) => Number(a.isRetry) - Number(b.isRetry) || compareDue(a, b)),
    inOrder,
  };
}

export interface RankedRow<Row> {
  readonly row: Row;
  /** 0: a retry that has a place of its own, 1: fresh, 2: another retry. */
  readonly turn: 0 | 1 | 2;
}

/** The order among endpoints: other retries last, all else by age. */
export function compareRanked(
  a: RankedRow<Pick<ClaimCandidate, 'id' | 'at'>>,
  b: RankedRow<Pick<ClaimCandidate, 'id' | 'at'>>,
): number {
  return Number(a.turn === 2) - Number(b.turn === 2) || compareDue(a.row, b.row);
}

/** Takes what one endpoint has places for. */
function rank<Row extends ClaimCandidate>(rows: readonly Row[], places: number): readonly RankedRow<Row>[] {
  if (places <= 0) return [];
  const first = (round: readonly Row[]): readonly Row[] => [...round].sort(compareDue).slice(0, places);
  const ownPlaces = Math.max(1, Math.floor(places / placesPerRetry));
  const turnOfRetry = (place: number): 0 | 1 | 2 => {
    // Of a single place nothing can be set aside: age decides.
    if (places < 2) return 1;
    return place < ownPlaces ? 0 : 2;
  };
  const ranked: RankedRow<Row>[] = [
    ...first(rows.filter(({ isRetry }) => !isRetry)).map(row => ({ row, turn: 1 as const })),
    ...first(rows.filter(({ isRetry }) => isRetry)).map((row, place) => ({ row, turn: turnOfRetry(place) })),
  ];
  return ranked.sort((a, b) => a.turn - b.turn || compareDue(a.row, b.row)).slice(0, places);
}

function groupByEndpoint<Row extends ClaimCandidate>(
  rows: readonly Row[],
): ReadonlyMap<EndpointKey, readonly Row[]> {
  const groups = new Map<EndpointKey, Row[]>();
  for (const row of rows) {
    const group = groups.get(row.endpoint);
    if (group) group.push(row);
    else groups.set(row.endpoint, [row]);
  }
  return groups;
}

/** Ids by code units, as the C collation of PostgreSQL and MongoDB compare the ASCII that they are made of. */
function compareDue(a: Pick<ClaimCandidate, 'id' | 'at'>, b: Pick<ClaimCandidate, 'id' | 'at'>): number {
  return a.at - b.at || (a.id < b.id ? -1 : Number(a.id > b.id));
}
