// Cuts deliveries into what one insert takes. All of a save in one statement would be a text that V8 does not make: its
// longest has 537 M units, which 600 subscriptions to an object of 1 MB exceed.
import type { NewDelivery } from './delivery';

export interface InsertBounds {
  readonly maxRows: number;
  /** UTF-16 units of bodies; one body with more goes alone. */
  readonly maxBodyLength: number;
}

export interface InsertPart {
  readonly deliveries: readonly NewDelivery[];
  readonly bodyLength: number;
}

/** In their order; none is empty. Reads no further than it is asked for. */
export function* cutIntoParts(
  deliveries: Iterable<NewDelivery>,
  { maxRows, maxBodyLength }: InsertBounds,
): Generator<InsertPart, void> {
  let part: NewDelivery[] = [];
  let bodyLength = 0;
  for (const delivery of deliveries) {
    const { length } = delivery.body;
    if (part.length > 0 && (part.length >= maxRows || bodyLength + length > maxBodyLength)) {
      yield { deliveries: part, bodyLength };
      part = [];
      bodyLength = 0;
    }
    part.push(delivery);
    bodyLength += length;
  }
  if (part.length > 0) yield { deliveries: part, bodyLength };
}
