// The port to where used idempotency keys of published events are kept.

export interface EventKeyRow {
  /** A hash of the key. */
  readonly id: string;
  readonly eventId: string;
  /** A hash of type and data: the same key with another event is a mistake. */
  readonly digest: string;
  /** Milliseconds since 1970: of the event. */
  readonly at: number;
}

export interface EventKeyStore {
  /** Creates the class where it is missing. Safe on many nodes at once. */
  prepare(): Promise<void>;
  /** Writes the row and answers undefined; where one of this id is there already, answers that. */
  claim(row: EventKeyRow): Promise<StoredEventKey | undefined>;
  /** Says that the deliveries are stored, and how many. */
  finish(id: string, deliveries: number): Promise<void>;
  /** Removes a row, unless it has been claimed anew since `at`. */
  remove(id: string, at: number): Promise<void>;
  /** Removes all rows with `at` < `before`. */
  purge(before: number): Promise<void>;
}

export interface StoredEventKey extends EventKeyRow {
  /** Undefined while they are being stored, or when a crash came in between. */
  readonly deliveries: number | undefined;
}
