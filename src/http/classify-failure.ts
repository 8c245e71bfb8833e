// Names the failure of an exchange from the error that undici gave. Decides nothing about retries.
import { ConnectFailure } from './connect-failure';
import { errorCode } from './describe-error';
import type { ExchangeFailureKind, ExchangePhase } from './exchange';

/** The kind of failure behind an error that undici handed to a request in this phase. */
export function classifyFailure(error: unknown, phase: ExchangePhase): ExchangeFailureKind {
  if (error instanceof ConnectFailure) return error.failure;
  const code = errorCode(error);
  switch (code) {
    case 'UND_ERR_DESTROYED':
    case 'UND_ERR_CLOSED':
      return 'aborted';
    case 'UND_ERR_SOCKET':
      // undici 7.30 lib/dispatcher/client-h1.js uses one code for a closed connection ("other side closed",
      // "closed") and for an answer that it refuses: "bad response" (a 100 nobody asked for), "bad upgrade" (101).
      return isRefusedResponse(error) ? 'protocol' : 'reset';
    case 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH':
      // In the body: shorter than announced. Before, undici gives this for whatever the parser refuses, once a
      // content-length was read (Parser.createError): a reply with chunks besides, for instance.
      return phase === 'body' ? 'reset' : 'protocol';
    case 'HPE_INVALID_EOF_STATE': // chunks without the last one
      return 'reset';
    default:
      if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_') || code === 'EPROTO') return 'tls';
      // What Node reports of a socket: ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH…
      if (/^E[A-Z0-9]+$/.test(code)) return 'reset';
      // HPE_… (llhttp), UND_ERR_HEADERS_OVERFLOW, UND_ERR_INVALID_ARG, Z_… (zlib).
      return 'protocol';
  }
}

function isRefusedResponse(error: unknown): boolean {
  return (
    typeof error === 'object' &&
    error !== null &&
    'message' in error &&
    (error.message === 'bad response' || error.message === 'bad upgrade')
  );
}
