// A receiver that does whatever a receiver can do wrong, on real sockets; a behaviour is chosen by the path.
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:https';
import { brotliCompressSync, constants, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';

export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  /** 1 for the first connection that the receiver accepted, 2 for the second… */
  readonly connection: number;
}

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | Buffer;
}

type Respond = (request: RecordedRequest, response: ServerResponse) => void;

const megabyte = 1024 * 1024;
const success = JSON.stringify({ success: { ok: true } });

/** Where the PEM fixtures lie: made with openssl 3.0, valid until 2126 except `expired`. */
export const certificateFolder = join(__dirname, 'certificates');

export function readCertificate(name: CertificateName | 'ca' | 'receiver.key'): string {
  return readFileSync(join(certificateFolder, name.includes('.') ? name : `${name}.pem`), 'utf8');
}

export const certificateNames = ['trusted', 'self-signed', 'wrong-host', 'expired'] as const;
export type CertificateName = (typeof certificateNames)[number];

/** What a path of the receiver does once the whole request has come. */
const behaviours = {
  ok: answerWith({ body: success }),
  'status-204': answerWith({ status: 204 }),
  'status-304': answerWith({ status: 304 }),
  'empty-200': answerWith({ body: '' }),
  'error-500-json': answerWith({ status: 500, body: '{"error":"the receiver is unwell"}' }),
  'error-500-html': answerWith({
    status: 500,
    headers: { 'content-type': 'text/html', 'set-cookie': ['a=1', 'b=2'] },
    body: '<html>500</html>',
  }),
  'html-200': answerWith({ headers: { 'content-type': 'text/html' }, body: '<html>hello</html>' }),
  'invalid-json': answerWith({ body: '{"success": {' }),
  'deep-arrays': answerWith({ body: `{"success":${'['.repeat(100_000)}${']'.repeat(100_000)}}` }),
  'deep-objects': answerWith({ body: `{"success":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}` }),
  'utf8-bom': answerWith({ body: `\ufeff${success}` }),
  latin1: answerWith({ body: Buffer.from('{"success":"caf\u00e9"}', 'latin1') }),
  utf16: answerWith({ body: Buffer.from(`\ufeff${success}`, 'utf16le') }),
  gzip: answerWith({ headers: { 'content-encoding': 'gzip' }, body: gzipSync(success) }),
  deflate: answerWith({ headers: { 'content-encoding': 'deflate' }, body: deflateSync(success) }),
  'raw-deflate': answerWith({ headers: { 'content-encoding': 'deflate' }, body: deflateRawSync(success) }),
  br: answerWith({ headers: { 'content-encoding': 'br' }, body: brotliCompressSync(success) }),
  'unknown-encoding': answerWith({ headers: { 'content-encoding': 'zstd' }, body: success }),
  'encoded-nothing': answerWith({ status: 204, headers: { 'content-encoding': 'gzip' } }),
  'broken-gzip': answerWith({ headers: { 'content-encoding': 'gzip' }, body: success }),
  'truncated-gzip': answerWith({
    headers: { 'content-encoding': 'gzip' },
    body: gzipSync(success).subarray(0, -9),
  }),
  'gzip-bomb': (_request, response) => {
    // 1,024 members of 1 MiB of zeros each, 1 kB on the wire: 1 GiB.
    const member = gzipSync(Buffer.alloc(megabyte));
    response.writeHead(200, { 'content-encoding': 'gzip' });
    pour(response, member, 1024);
  },
  'brotli-bomb': (_request, response) => {
    response.writeHead(200, { 'content-encoding': 'br' });
    const params = { [constants.BROTLI_PARAM_QUALITY]: 1 };
    response.end(brotliCompressSync(Buffer.alloc(128 * megabyte), { params }));
  },
  'gzip-of-nothing': (_request, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' });
    const member = gzipSync('');
    pour(response, Buffer.concat(new Array<Buffer>(5000).fill(member)), Number.POSITIVE_INFINITY);
  },
  'sends-100-mb': (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    pour(response, Buffer.alloc(64 * 1024, 'x'), 1600);
  },
  'announces-100-mb': (_request, response) => {
    response.writeHead(200, { 'content-length': String(100 * megabyte) });
    response.write('x');
  },
  'resets-before-headers': (_request, response) => response.socket?.resetAndDestroy(),
  'closes-before-headers': (_request, response) => response.socket?.end(),
  'resets-mid-body': (_request, response) => {
    response.writeHead(200, { 'content-length': '100' });
    response.write('half', () => response.socket?.resetAndDestroy());
  },
  'truncates-chunks': (_request, response) => {
    response.writeHead(200);
    response.write('half', () => response.socket?.end());
  },
  'hangs-before-headers': () => undefined,
  'hangs-after-headers': (_request, response) => {
    response.writeHead(200, { 'content-length': '100' });
    response.write('half');
  },
  drips: (_request, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write('x'), 10);
    response.once('close', () => clearInterval(timer));
  },
  'redirect-301': redirectToItself(301),
  'redirect-302': redirectToItself(302),
  'redirect-307': redirectToItself(307),
  'redirect-308': redirectToItself(308),
  'not-http': raw('SSH-2.0-OpenSSH_9.6\r\n'),
  'oversized-headers': raw(`HTTP/1.1 200 OK\r\nx-big: ${'x'.repeat(20_000)}\r\ncontent-length: 0\r\n\r\n`),
  'length-too-great': raw('HTTP/1.1 200 OK\r\ncontent-length: 50\r\nconnection: close\r\n\r\nshort', 'close'),
  'length-too-small': raw('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfour and more'),
  'length-and-chunks': raw(
    'HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n',
  ),
  'early-hints': (request, response) => {
    response.writeProcessing();
    response.writeEarlyHints({ link: '</a>; rel=preload' });
    answerWith({ body: '{}' })(request, response);
  },
  'unasked-continue': raw('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}'),
  'unasked-upgrade': raw('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'),
  trailers: (_request, response) => {
    response.writeHead(200, { trailer: 'x-t' });
    response.write('{}');
    response.addTrailers({ 'x-t': '1' });
    response.end();
  },
  'until-closed': raw('HTTP/1.0 200 OK\r\n\r\n{"success":1}', 'close'),
  'repeated-headers': (_request, response) => {
    response.writeHead(200, ['X-A', '1', 'x-a', '2', 'X-B', '3']);
    response.end();
  },
  'closes-after-reply': (_request, response) => {
    const { socket } = response;
    response.end(success, () => socket?.end());
  },
} satisfies Record<string, Respond>;

export type Behaviour = keyof typeof behaviours;

/** Behaviours of whole servers: what comes before any request, each on a port of its own. */
export type ConnectionBehaviour =
  | 'refuses' // nobody listens there
  | 'resets-at-once' // accepts, then resets, without reading
  | 'never-answers' // accepts and says nothing: with https the handshake hangs
  | 'unresolvable' // a name that RFC 6761 promises not to exist
  | `tls-${CertificateName}`;

export interface MisbehavingReceiver {
  /** A URL that behaves so. */
  url(behaviour: Behaviour | ConnectionBehaviour): string;
  /** Registers an answer, or a function that gives it, and tells its URL. */
  answer(answer: Answer | ((request: RecordedRequest) => Answer)): string;
  /** Every request that came in whole, in order. */
  readonly requests: readonly RecordedRequest[];
  /** Connections accepted by all servers of the receiver. */
  readonly connections: number;
  /** Bytes written to the sockets that are closed by now. */
  readonly closedBytesWritten: number;
  /** Resolves once this many requests have come in all. */
  received(count: number): Promise<void>;
  /** Resolves once no connection is open. */
  allClosed(): Promise<void>;
  /** Ends all servers and connections. */
  close(): Promise<void>;
}

/** Starts the servers of one receiver, all on 127.0.0.1 and ports of the system's choice. */
export async function startMisbehavingReceiver(): Promise<MisbehavingReceiver> {
  const requests: RecordedRequest[] = [];
  const answers = new Map<string, Respond>();
  const sockets = new Set<Socket>();
  const waiters = new Set<() => void>();
  const servers: Server[] = [];
  const numbers = new WeakMap<Socket, number>();
  let connections = 0;
  let closedBytesWritten = 0;

  const wake = (): void => {
    for (const waiter of [...waiters]) waiter();
  };
  const until = (isTrue: () => boolean): Promise<void> =>
    new Promise(resolve => {
      const check = (): void => {
        if (!isTrue()) return;
        waiters.delete(check);
        resolve();
      };
      waiters.add(check);
      check();
    });

  const track = (socket: Socket): void => {
    connections += 1;
    numbers.set(socket, connections);
    sockets.add(socket);
    // Resets are what this receiver is for.
    socket.on('error', () => undefined);
    socket.once('close', () => {
      closedBytesWritten += socket.bytesWritten;
      sockets.delete(socket);
      wake();
    });
  };

  const handle = (message: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = [];
    message.on('data', (chunk: Buffer) => chunks.push(chunk));
    message.on('end', () => {
      const path = message.url ?? '/';
      const request: RecordedRequest = {
        method: message.method ?? '',
        path,
        headers: message.headers,
        body: Buffer.concat(chunks),
        connection: numbers.get(message.socket) ?? 0,
      };
      requests.push(request);
      const respond = answers.get(path) ?? findBehaviour(path);
      respond(request, response);
      wake();
    });
  };

  const listen = async (server: Server): Promise<number> => {
    servers.push(server);
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  };

  const plain = createServer({ keepAliveTimeout: 60_000 }, handle);
  plain.on('connection', track);
  const resetting = createTcpServer(socket => {
    track(socket);
    socket.resetAndDestroy();
  });
  const silent = createTcpServer(socket => {
    track(socket);
    // Without reading, the end of the connection would not be noticed.
    socket.resume();
  });
  const tls = certificateNames.map(name => {
    const server = createTlsServer(
      { key: readCertificate('receiver.key'), cert: readCertificate(name) },
      handle,
    );
    server.on('connection', track);
    // Requests come with the TLS socket, not with the TCP socket that was counted.
    server.on('secureConnection', socket => numbers.set(socket, connections));
    return { name, server };
  });

  const base = `http://127.0.0.1:${await listen(plain)}`;
  const refused = await reservePort();
  const special = new Map<string, string>([
    ['refuses', `http://127.0.0.1:${refused}/`],
    ['resets-at-once', `http://127.0.0.1:${await listen(resetting)}/`],
    ['never-answers', `https://127.0.0.1:${await listen(silent)}/`],
    ['unresolvable', 'http://name.invalid/'],
  ]);
  for (const { name, server } of tls)
    special.set(`tls-${name}`, `https://127.0.0.1:${await listen(server)}/ok`);

  return {
    requests,
    get connections() {
      return connections;
    },
    get closedBytesWritten() {
      return closedBytesWritten;
    },
    url: behaviour => special.get(behaviour) ?? `${base}/${behaviour}`,
    answer: answer => {
      const path = `/answer/${answers.size + 1}`;
      answers.set(path, (request, response) => {
        answerWith(typeof answer === 'function' ? answer(request) : answer)(request, response);
      });
      return base + path;
    },
    received: count => until(() => requests.length >= count),
    allClosed: () => until(() => sockets.size === 0),
    close: async () => {
      const closed = servers.map(server => new Promise<void>(resolve => server.close(() => resolve())));
      for (const socket of sockets) socket.destroy();
      await Promise.all(closed);
    },
  };
}

/** A port of 127.0.0.1 that was free a moment ago, so that nobody listens there. */
export async function reservePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>(resolve => server.close(() => resolve()));
  return port;
}

function findBehaviour(path: string): Respond {
  const name = path.slice(1).split(/[/?]/)[0] ?? '';
  return Object.hasOwn(behaviours, name)
    ? behaviours[name as Behaviour]
    : answerWith({ status: 404, body: '{"error":"no such behaviour"}' });
}

function answerWith(answer: Answer): Respond {
  return (_request, response) => {
    const headers: Record<string, string | string[]> = { 'content-type': 'application/json' };
    for (const [name, value] of Object.entries(answer.headers ?? {})) {
      headers[name] = typeof value === 'string' ? value : [...value];
    }
    response.writeHead(answer.status ?? 200, headers);
    response.end(answer.body ?? '');
  };
}

function redirectToItself(status: number): Respond {
  return (request, response) => {
    response.writeHead(status, { location: request.path });
    response.end();
  };
}

/**
 * Writes bytes as they are, past Node's HTTP server, which therefore answers nothing more on this connection:
 * only for replies after which a client lets go of it.
 */
function raw(bytes: string, then: 'close' | 'stay' = 'stay'): Respond {
  return (_request, response) => {
    if (then === 'close') response.socket?.end(bytes, 'latin1');
    else response.socket?.write(bytes, 'latin1');
  };
}

/** Sends the chunk so many times, as fast as the other side reads, until it goes away. */
function pour(response: ServerResponse, chunk: Buffer, times: number): void {
  let left = times;
  const more = (): void => {
    while (left > 0 && !response.destroyed) {
      left -= 1;
      if (!response.write(chunk)) {
        response.once('drain', more);
        return;
      }
    }
    if (!response.destroyed) response.end();
  };
  more();
}
