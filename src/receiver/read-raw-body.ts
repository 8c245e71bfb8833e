// The bytes of a request as they came, bounded. Knows node:http and what frameworks put beside a request they have read.
import type { IncomingMessage } from 'node:http';

/** A node request, with what express, body parsers and cloud platforms may have added. */
export type RawRequest = IncomingMessage & { body?: unknown; rawBody?: unknown };

export type RawBody =
  | { readonly kind: 'body'; readonly body: Buffer }
  | { readonly kind: 'too-large' }
  /** Somebody read the stream and kept only what was parsed. */
  | { readonly kind: 'already-read' }
  /** The sender went away; there is nobody to answer. */
  | { readonly kind: 'aborted' };

/** Reads at most `maxBytes`; what is more is read and thrown away, so that the sender gets to see the answer. */
export function readRawBody(request: RawRequest, maxBytes: number): Promise<RawBody> {
  const kept = keptBytes(request);
  if (kept)
    return Promise.resolve(kept.length > maxBytes ? { kind: 'too-large' } : { kind: 'body', body: kept });
  if (request.readableEnded) return Promise.resolve({ kind: 'already-read' });
  if (request.destroyed) return Promise.resolve({ kind: 'aborted' });
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) {
    request.resume();
    return Promise.resolve({ kind: 'too-large' });
  }
  return new Promise(resolve => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const settle = (result: RawBody): void => {
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
      resolve(result);
    };
    const onData = (chunk: Buffer | string): void => {
      const data = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
      bytes += data.length;
      chunks.push(data);
      if (bytes <= maxBytes) return;
      settle({ kind: 'too-large' });
      request.resume();
    };
    const onEnd = (): void => settle({ kind: 'body', body: Buffer.concat(chunks) });
    const onClose = (): void => settle({ kind: 'aborted' });
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });
}

/** Cloud Functions and Firebase keep `rawBody`; express.raw() and express.text() leave the whole body in `body`. */
function keptBytes(request: RawRequest): Buffer | undefined {
  for (const kept of [request.rawBody, request.body]) {
    if (Buffer.isBuffer(kept)) return kept;
    if (typeof kept === 'string') return Buffer.from(kept, 'utf8');
  }
  return undefined;
}
