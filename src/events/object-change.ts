// What happened to an object, as Parse Server saw it: the input of matching and of event bodies.
import type { JsonObject } from '../shared/json';

export type ChangeKind = 'create' | 'update' | 'delete';

/** An object that was created, updated or deleted; all values as REST JSON without secrets, as on the wire of hooks. */
export interface ObjectChange {
  readonly kind: ChangeKind;
  readonly className: string;
  readonly objectId: string;
  /** As it is now; of a delete, as it was. With className, createdAt and updatedAt. */
  readonly object: JsonObject;
  /** As it was before; updates only. */
  readonly original?: JsonObject;
  /** The changed keys with their new values, `{"__op":"Delete"}` for removed ones; updates only. */
  readonly update?: JsonObject;
  readonly user?: JsonObject;
  readonly installationId?: string;
  /** The master key was used. */
  readonly master: boolean;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** How many webhooks led to it: 1 for a change by a client. */
  readonly depth: number;
  /** The trace of the client's operation, as W3C Trace Context writes it. */
  readonly traceparent?: string | undefined;
}

/** An event that an operator or cloud code publishes. */
export interface CustomEvent {
  /** `custom.` and a dotted name. */
  readonly type: string;
  readonly data: JsonObject;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** How many webhooks led to it: 1, the default, for one that a client publishes. */
  readonly depth?: number;
  /** The trace in which it was published. */
  readonly traceparent?: string | undefined;
}
