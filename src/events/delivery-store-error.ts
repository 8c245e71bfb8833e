// The errors of a DeliveryStore that say something about what it was asked, not about its connection.

export type DeliveryStoreFault =
  | 'repeated-id' // a delivery of this id is there already
  | 'invalid' // the database refuses a value: it will do so again
  | 'full' // a bound of the store or of the queue in front of it
  | 'invalid-cursor';

/** Trying the same again is of no use, except for `full`. */
export class DeliveryStoreError extends Error {
  readonly fault: DeliveryStoreFault;

  constructor(fault: DeliveryStoreFault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DeliveryStoreError';
    this.fault = fault;
  }
}

/** Throws `repeated-id` when two of `ids` are equal. */
export function assertDistinctIds(ids: readonly string[]): void {
  if (new Set(ids).size === ids.length) return;
  throw new DeliveryStoreError('repeated-id', 'a delivery id occurs twice in one insert');
}
