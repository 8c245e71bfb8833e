// A receiver process. It counts its calls by `?key=`, answers a hook with the object it got (the built-in webhooks fail a
// save on `{"success": true}`), after `?delay=` milliseconds, and times the way from a save to here.
import { createServer } from 'node:http';
import { isJsonObject } from '../src/shared/json';
import { LatencyRecorder, sharedNowMs } from './measure';
import { serve } from './processes';
import { receiverProtocol } from './receiver-protocol';

interface Count {
  calls: number;
  readonly ids: Set<string>;
  /** From the moment that a body names as `benchAt` to the first byte here. */
  readonly firstByte: LatencyRecorder;
  /** From the request to the end of the reply. */
  readonly own: LatencyRecorder;
  lastAt: number;
}

const counts = new Map<string, Count>();

function countOf(key: string): Count {
  const known = counts.get(key);
  if (known) return known;
  const count: Count = {
    calls: 0,
    ids: new Set(),
    firstByte: new LatencyRecorder(),
    own: new LatencyRecorder(),
    lastAt: 0,
  };
  counts.set(key, count);
  return count;
}

function answerTo(text: string): string {
  const body: unknown = JSON.parse(text);
  const success = isJsonObject(body) ? (body['object'] ?? body['params'] ?? null) : null;
  return JSON.stringify({ success });
}

const server = createServer((request, response) => {
  const arrivedAt = sharedNowMs();
  const { searchParams } = new URL(request.url ?? '/', 'http://receiver');
  const delayMs = Number(searchParams.get('delay') ?? 0);
  const count = countOf(searchParams.get('key') ?? '');
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const text = Buffer.concat(chunks).toString();
    count.calls += 1;
    count.lastAt = arrivedAt;
    const id = request.headers['webhook-id'];
    if (typeof id === 'string') count.ids.add(id);
    const sentAt = /"benchAt":(\d+(?:\.\d+)?)/.exec(text)?.[1];
    if (sentAt !== undefined) count.firstByte.record(arrivedAt - Number(sentAt));
    const answer = Buffer.from(answerTo(text));
    const send = (): void => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': answer.length });
      response.end(answer);
      count.own.record(sharedNowMs() - arrivedAt);
    };
    if (delayMs > 0) setTimeout(send, delayMs);
    else send();
  });
});
server.keepAliveTimeout = 60_000;

server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  serve(
    receiverProtocol,
    { port: address.port },
    {
      answer: ({ key, forget }) => {
        const { calls, ids, firstByte, own, lastAt } = countOf(key);
        if (forget) counts.delete(key);
        return {
          calls,
          distinct: ids.size,
          firstByte: firstByte.read(),
          own: own.read(),
          lastAt,
        };
      },
      stop: () => {
        server.closeAllConnections();
      },
    },
  );
});
