// Why a connection could not be made, and whether making it once more can help. Knows nothing of HTTP.
import { describeError, errorCode } from './describe-error';

/** What a connector hands to undici, and undici to the exchange, when no connection was made. */
export class ConnectFailure extends Error {
  readonly failure: 'dns' | 'address' | 'connect' | 'tls' | 'aborted';
  /** True when an immediate second connection may succeed: no byte of the request was sent. */
  readonly retryable: boolean;
  /** True when a bound on connections passed: a second try only makes sense when its time is left. */
  readonly timedOut: boolean;

  constructor(
    failure: ConnectFailure['failure'],
    message: string,
    more: { readonly retryable: boolean; readonly timedOut?: boolean; readonly cause?: unknown },
  ) {
    super(message, { cause: more.cause });
    this.name = 'ConnectFailure';
    this.failure = failure;
    this.retryable = more.retryable;
    this.timedOut = more.timedOut ?? false;
  }
}

/** How far a connection had come when it failed. */
export type ConnectStage = 'dns' | 'tcp' | 'proxy' | 'tls';

/**
 * Names the failure of a connection from where it happened and from Node's error.
 * A lookup that refuses an address may fail with a ConnectFailure of its own, which is kept.
 */
export function classifyConnectError(error: unknown, stage: ConnectStage): ConnectFailure {
  if (error instanceof ConnectFailure) return error;
  const message = describeError(error);
  switch (stage) {
    case 'dns':
      return new ConnectFailure('dns', message, { retryable: true, cause: error });
    case 'tcp':
    case 'proxy':
      return new ConnectFailure('connect', message, { retryable: true, cause: error });
    case 'tls': {
      // A connection that ends within the handshake is a receiver that restarts; a certificate or a version
      // that does not suit will not suit a millisecond later.
      const code = errorCode(error);
      return new ConnectFailure('tls', message, {
        retryable: code === 'ECONNRESET' || code === 'EPIPE',
        cause: error,
      });
    }
    default:
      return stage satisfies never;
  }
}
