// A real HTTP proxy for CONNECT, in this process, that does as it is told; plain or TLS.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';

/** What the proxy does with a CONNECT; a number is the status that it answers, `echo` answers 403 and what it was sent. */
export type ProxyBehaviour = 'tunnel' | 'hang' | 'reset' | 'speak-first' | 'echo' | number;

export interface ConnectProxy {
  readonly host: string;
  readonly port: number;
  /** Every CONNECT, in order: where to, and what it was told of the client. */
  readonly asked: readonly { readonly authority: string; readonly authorization: string | undefined }[];
  /** The headers of every CONNECT, names and values in turn, as they came. */
  readonly rawHeaders: readonly (readonly string[])[];
  /** Requests of any other method: what must never come. */
  readonly others: readonly string[];
  /** Connections that it accepted. */
  readonly connections: number;
  /** One behaviour after the other, the last one again and again. At first: tunnel. */
  behave(...behaviours: readonly ProxyBehaviour[]): void;
  /** Resolves once so many CONNECTs have come. */
  received(count: number): Promise<void>;
  /** Resolves once no connection to or through the proxy is open. */
  allClosed(): Promise<void>;
  close(): Promise<void>;
}

export async function startConnectProxy(tls?: {
  readonly key: string;
  readonly cert: string;
}): Promise<ConnectProxy> {
  const asked: { authority: string; authorization: string | undefined }[] = [];
  const rawHeaders: string[][] = [];
  const others: string[] = [];
  const sockets = new Set<Socket>();
  const waiters = new Set<() => void>();
  let behaviours: readonly ProxyBehaviour[] = ['tunnel'];
  let turn = 0;
  let connections = 0;

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
    sockets.add(socket);
    socket
      .on('error', () => undefined)
      .once('close', () => {
        sockets.delete(socket);
        wake();
      });
  };

  function onConnect(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const authority = request.url ?? '';
    asked.push({ authority, authorization: request.headers['proxy-authorization'] });
    rawHeaders.push(request.rawHeaders);
    const behaviour = behaviours[Math.min(turn++, behaviours.length - 1)] ?? 'tunnel';
    wake();
    // A server's sockets stay half open after their other side has ended.
    socket.on('error', () => undefined).once('end', () => socket.destroy());
    if (behaviour !== 'tunnel') socket.resume();
    if (typeof behaviour === 'number') {
      socket.end(`HTTP/1.1 ${behaviour} No\r\nContent-Length: 4\r\n\r\nno!\n`);
      return;
    }
    switch (behaviour) {
      case 'hang':
        return;
      case 'reset':
        socket.destroy();
        return;
      case 'echo': {
        const echo = request.rawHeaders.join(' ');
        socket.end(
          `HTTP/1.1 403 ${echo}\r\nX-Echo: ${echo}\r\nContent-Length: ${echo.length}\r\n\r\n${echo}`,
        );
        return;
      }
      case 'speak-first':
        socket.write('HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{"success":{}}');
        return;
      case 'tunnel': {
        const url = new URL(`http://${authority}`);
        const upstream = connect(Number(url.port || 80), url.hostname.replace(/^\[(.*)\]$/, '$1'));
        track(upstream);
        upstream.once('connect', () => {
          socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
          upstream.write(head);
          socket.pipe(upstream).pipe(socket);
        });
        upstream.once('close', () => socket.destroy());
        socket.once('close', () => upstream.destroy());
      }
    }
  }

  const server: Server | TlsServer = tls === undefined ? createServer() : createTlsServer(tls);
  server.on('connection', (socket: Socket) => {
    connections += 1;
    track(socket);
  });
  server.on('connect', onConnect);
  server.on('request', (request, response) => {
    others.push(`${request.method} ${request.url}`);
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    host: '127.0.0.1',
    port,
    asked,
    rawHeaders,
    others,
    get connections() {
      return connections;
    },
    behave: (...given) => {
      behaviours = given;
      turn = 0;
    },
    received: count => until(() => asked.length >= count),
    allClosed: () => until(() => sockets.size === 0),
    close: async () => {
      const closed = new Promise<void>(resolve => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
