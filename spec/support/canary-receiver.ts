// A receiver that keeps every byte that reaches it, over HTTP and HTTPS, and whose bad answers echo what they got.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { readCertificate } from './misbehaving-receiver';

export interface CanaryRequest {
  readonly path: string;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
  readonly raw: string;
}

/** What a URL of this receiver does: the last part of its path. */
export const answers = {
  yes: (_echo, response) => reply(response, 200, '{"success":true}'),
  object: (_echo, response) => reply(response, 200, '{"success":{"checked":true}}'),
  no: (_echo, response) => reply(response, 200, '{"error":"no"}'),
  coded: (_echo, response) => reply(response, 400, '{"error":{"code":4711,"message":"no"}}'),
  'no-content': (_echo, response) => reply(response, 204, ''),
  'error-page': (echo, response) => reply(response, 500, `<html>${echo}</html>`),
  'not-json': (echo, response) => reply(response, 200, `{"success": ${echo}`),
  'no-answer': (echo, response) => reply(response, 200, JSON.stringify({ echo })),
  'wrong-type': (echo, response) => reply(response, 200, JSON.stringify({ success: [echo, 5, null] })),
  'bad-key': (echo, response) => reply(response, 200, JSON.stringify({ success: { [`a ${echo}`]: echo } })),
  'forbidden-key': (_echo, response) => reply(response, 200, '{"success":{"__proto__":{"a":1}}}'),
  'too-large': (echo, response) => reply(response, 200, JSON.stringify({ success: echo.repeat(3000) })),
  redirect: (echo, response) => {
    response.writeHead(307, { location: '/stolen', 'x-echo': encodeURIComponent(echo).slice(0, 4000) });
    response.end();
  },
  reset: (_echo, response) => response.socket?.resetAndDestroy(),
  garbage: (echo, response) => response.socket?.end(`HTTP/9 ${echo}`),
  late: () => undefined,
  'error-encoded': (echo, response) => {
    const text = credentialsOf(echo);
    response.writeHead(500, { 'x-echo': Buffer.from(`a${text}`).toString('base64url') });
    response.end(`${Buffer.from(text).toString('hex')} ${Buffer.from(`ab${text}`).toString('base64')}`);
  },
} satisfies Record<string, (echo: string, response: ServerResponse) => void>;

export type AnswerName = keyof typeof answers;

export interface CanaryReceiver {
  readonly requests: readonly CanaryRequest[];
  /** Everything that came over any connection, complete requests or not; of HTTPS what was inside. */
  bytes(): Buffer;
  url(path: string, scheme?: 'http' | 'https'): string;
  close(): Promise<void>;
}

export async function startCanaryReceiver(): Promise<CanaryReceiver> {
  const requests: CanaryRequest[] = [];
  const chunks: Buffer[] = [];
  const handle = (message: IncomingMessage, response: ServerResponse): void => {
    const body: Buffer[] = [];
    message.on('data', (chunk: Buffer) => body.push(chunk));
    message.on('end', () => {
      const path = message.url ?? '';
      const raw = Buffer.concat(body).toString('utf8');
      requests.push({ path, rawHeaders: message.rawHeaders, raw });
      const name = path.split('/').at(-1) ?? '';
      const answer = Object.hasOwn(answers, name) ? answers[name as AnswerName] : answers.yes;
      answer(JSON.stringify([message.rawHeaders, raw]), response);
    });
  };
  const record = (socket: Socket): void => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    // Callers that give up reset the connection.
    socket.on('error', () => undefined);
  };
  const plain = createServer(handle).on('connection', record);
  const tls = createTlsServer(
    {
      key: readCertificate('receiver.key'),
      cert: readCertificate('trusted'),
      ca: readCertificate('ca'),
      requestCert: true,
      rejectUnauthorized: false,
    },
    handle,
  ).on('secureConnection', record);
  const ports = { http: await listen(plain), https: await listen(tls) };
  return {
    requests,
    bytes: () => Buffer.concat(chunks),
    url: (path, scheme = 'http') => `${scheme}://127.0.0.1:${ports[scheme]}${path}`,
    close: async () => {
      const closed = [plain, tls].map(server => once(server, 'close'));
      for (const server of [plain, tls]) {
        server.close();
        server.closeAllConnections();
      }
      await Promise.all(closed);
    },
  };
}

/** What an echo has of credentials, short enough for an excerpt. */
function credentialsOf(echo: string): string {
  return [...echo.matchAll(/"(?:x-own-secret|x-parse-webhook-key|authorization)","[^"]*"/gi)].join();
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the receiver has no port');
  return address.port;
}

function reply(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(status === 204 ? undefined : body);
}
