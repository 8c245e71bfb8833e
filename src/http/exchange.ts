// The contract of one HTTP exchange with a receiver: what is asked, what can come of it. Knows no hook and no Parse.
import type { ProxyOptions } from '../shared/network-options';
import type { AddressGuard } from './address-guard';

/** How connections to a receiver are made. One object per registration; equal ones share connections by `key`. */
export interface ConnectionRoute {
  /** Equal keys share connections, so everything below must be equal too. Holds no secret. */
  readonly key: string;
  /** Judges every address at connect time; none allows all. */
  readonly guard?: AddressGuard;
  /** PEM certificates trusted instead of Node's own roots. */
  readonly ca?: string;
  /** PEM client certificate and its private key, for mutual TLS. */
  readonly clientCertificate?: { readonly cert: string; readonly key: string };
}

export interface ExchangeRequest {
  /** Absolute http or https URL, without credentials. */
  readonly url: string;
  /** Default: no guard, Node's roots, no client certificate. */
  readonly route?: ConnectionRoute;
  /**
   * Who sends, in any words. Each lane has connections of its own, so that one whose receiver hangs takes none from
   * another of the same origin. Default: one lane for all that name none.
   */
  readonly lane?: string;
  /** Lower-case names. `content-length` and `host` are set by the client. */
  readonly headers: Readonly<Record<string, string>>;
  /** The raw JSON body, UTF-8. */
  readonly body: Buffer;
  /** Bound on the whole exchange, connection and retry included, in milliseconds (>= 1). */
  readonly timeoutMs: number;
  /** Bound on the time from the request's first byte to the reply's headers, in milliseconds. Default: timeoutMs. */
  readonly firstByteTimeoutMs?: number;
  /** Bound on the decoded reply body, in bytes. */
  readonly maxReplyBytes: number;
  /**
   * What becomes of a reply whose body is larger: `fail` (the default) as `too-large`, or `truncate`: a reply with the
   * first maxReplyBytes of it. The connection is kept when the rest comes soon and is small.
   */
  readonly oversize?: 'fail' | 'truncate';
  /** Ends the exchange early, as `aborted`. */
  readonly signal?: AbortSignal;
}

/** Why no usable reply came. Stable words: they appear in metrics, logs and client messages. */
export type ExchangeFailureKind =
  | 'timeout' // the total bound passed, in any phase, or that on the first byte
  | 'connect' // refused, unreachable, or the connection took too long
  | 'dns' // the name does not resolve, or not in time
  | 'address' // the network policy forbids the address; nothing was sent
  | 'tls' // certificate or handshake, or a handshake that took too long
  | 'reset' // the connection ended after the request went out and before the reply was complete
  | 'protocol' // not HTTP, headers too large or too many, undecodable content-encoding
  | 'too-large' // the reply body passed maxReplyBytes
  | 'aborted'; // the caller's signal

/**
 * Where in its life the exchange was when it ended. `connect`: waiting for or making a connection, nothing sent.
 * `first-byte`: the request is going or gone out, no reply status yet. `body`: status and headers are there.
 */
export type ExchangePhase = 'connect' | 'first-byte' | 'body' | 'done';

export interface ExchangeReply {
  readonly kind: 'reply';
  readonly status: number;
  /** Lower-case names; repeated headers joined with ", ". */
  readonly headers: Readonly<Record<string, string>>;
  /** The body with its content-encoding (gzip, deflate, br) undone; at most maxReplyBytes. */
  readonly body: Buffer;
  /** The body was larger, and is its beginning. */
  readonly truncated?: true;
  readonly durationMs: number;
  /** 1, or 2 when the first connection failed and one more was made. Nothing is sent twice. */
  readonly tries: number;
}

export interface ExchangeFailure {
  readonly kind: 'failure';
  readonly failure: ExchangeFailureKind;
  readonly phase: ExchangePhase;
  /** For operators' logs only: may name addresses. Never for clients. */
  readonly detail: string;
  readonly durationMs: number;
  /** As in a reply; 0 when nothing was tried: a URL that cannot be, a signal aborted before, a closed client. */
  readonly tries: number;
  /** Set on a `timeout`: the bound that passed, in milliseconds. */
  readonly boundMs?: number;
  /** Set on a `timeout` that came while all connections of the lane were taken: the receiver was not even tried. */
  readonly queued?: true;
}

/** How long each part took, in milliseconds; of those that were not reached nothing is said. */
export interface ExchangeTimes {
  /** The wait for a connection: DNS, TCP and TLS where it was new. Until the end, when nothing was sent. */
  readonly connectMs: number;
  /** From the first byte of the request to the head of the reply, or to the end without one. */
  readonly firstByteMs?: number;
  /** From the head of the reply to its end. */
  readonly bodyMs?: number;
}

export type ExchangeResult = (ExchangeReply | ExchangeFailure) & {
  readonly times?: ExchangeTimes;
  /** Whether the exchange was the first on its connection. Absent when it got none. */
  readonly connection?: ConnectionUse;
};

export type ConnectionUse = 'new' | 'reused';

export interface ExchangeClient {
  /** Makes one POST. Never throws and never follows a redirect: what went wrong is in the result. */
  exchange(request: ExchangeRequest): Promise<ExchangeResult>;
  /** Closes idle and running connections. */
  close(): Promise<void>;
}

export interface ExchangeClientOptions {
  /** Bound on DNS, TCP and TLS together, in milliseconds. Default 2000. */
  readonly connectTimeoutMs?: number;
  /** Bounds on each of them, in milliseconds. Default: connectTimeoutMs. */
  readonly dnsTimeoutMs?: number;
  readonly tcpTimeoutMs?: number;
  readonly tlsTimeoutMs?: number;
  /** The proxy that all exchanges go through. Default: none, whatever the environment says. */
  readonly proxy?: ProxyOptions | undefined;
  /** Open sockets per lane and origin. Default 128. */
  readonly maxConnectionsPerOrigin?: number;
  /** Idle keep-alive time when the receiver names none, in milliseconds. Default 4000. */
  readonly keepAliveMs?: number;
}
