// Where deliveries go: what dispatching must know of a subscription or an `after*` hook, and nothing else of it.
import type { ConnectionRoute } from '../http/exchange';
import type { EndpointKey } from './delivery';
import type { RetryPolicy } from './retry-policy';

/** What goes out beside the body. */
export interface EndpointSender {
  readonly route: ConnectionRoute;
  /** All headers of one attempt, signature included. */
  headers(call: {
    readonly webhookId: string;
    readonly depth: number;
    readonly body: Buffer;
  }): Record<string, string>;
}

/** An endpoint as it is now: what changes is a new object, so an attempt under way keeps what it began with. */
export interface Endpoint {
  readonly key: EndpointKey;
  /** For logs and metrics: `subscription orders`, `webhook afterSave Puppy`. */
  readonly label: string;
  readonly url: string;
  /** A paused endpoint keeps its backlog and gets no attempts. */
  readonly isPaused: boolean;
  /**
   * When its last pause ended, in milliseconds since 1970: what was written before goes out at a bounded rate. Undefined
   * where that is not stored (`after*` hooks): then a node knows of pauses that ended in its time.
   */
  readonly resumedAt: number | undefined;
  /** Bound on one attempt, in milliseconds. */
  readonly timeoutMs: number;
  /** Bound on the time from the request to the reply's headers, in milliseconds. Default `timeoutMs`. */
  readonly firstByteTimeoutMs?: number | undefined;
  /** Attempts in flight at once on one node. */
  readonly concurrency: number;
  readonly retry: RetryPolicy;
  /** Throws a WebhookError when it cannot sign: nothing goes out unsigned in place of signed. */
  sender(): EndpointSender;
}

/** The endpoints in force on this node. */
export interface Endpoints {
  find(key: EndpointKey): Endpoint | undefined;
  /** Keys of the paused ones. */
  paused(): readonly EndpointKey[];
  /** Reads what other nodes changed. Afterwards an endpoint that `find` does not know is gone for good. */
  refresh(): Promise<void>;
  /** Runs after every change of what is in force. */
  onChange(listener: () => void): void;
}
