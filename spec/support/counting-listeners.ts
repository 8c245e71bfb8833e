// HTTP servers that share one port on several addresses of this machine and count the connections that reach them.
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';

export interface CountingListener {
  readonly address: string;
  /** Connections that reached it so far, for certain: what was made before has been counted. */
  count(): Promise<number>;
}

export interface CountingListeners {
  readonly port: number;
  readonly listeners: readonly CountingListener[];
  close(): Promise<void>;
}

const maxAttempts = 20;

/** Listens on 127.0.0.1 and like addresses with one port of the system's choice; TLS when a certificate is given. */
export async function startCountingListeners(options: {
  readonly addresses: readonly string[];
  readonly respond: RequestListener;
  readonly tls?: { readonly key: string; readonly cert: string };
}): Promise<CountingListeners> {
  const { addresses, respond, tls } = options;
  const createOne = () => (tls === undefined ? createServer(respond) : createTlsServer(tls, respond));
  // A port that is free on the first address may be taken on the next by another process.
  for (let attempt = 1; ; attempt++) {
    const servers: (Server | TlsServer)[] = [];
    const listeners: CountingListener[] = [];
    let port = 0;
    try {
      for (const address of addresses) {
        const server = createOne();
        servers.push(server);
        listeners.push(countConnections(server, address));
        server.listen(port, address);
        await once(server, 'listening');
        port = (server.address() as AddressInfo).port;
      }
      return { port, listeners, close: () => closeAll(servers) };
    } catch (error) {
      await closeAll(servers);
      const taken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
      if (!taken || attempt === maxAttempts) throw error;
    }
  }
}

function countConnections(server: Server | TlsServer, address: string): CountingListener {
  /** The ports that connections came from. */
  const seen: (number | undefined)[] = [];
  let own = 0;
  server.on('connection', (socket: Socket) => seen.push(socket.remotePort));
  return {
    address,
    count: async () => {
      // Connections are accepted in the order in which they were made: once ours is there, all earlier ones are.
      own += 1;
      const from = seen.length;
      const socket = connect((server.address() as AddressInfo).port, address);
      await once(socket, 'connect');
      while (!seen.slice(from).includes(socket.localPort)) await once(server, 'connection');
      socket.destroy();
      return seen.length - own;
    },
  };
}

async function closeAll(servers: readonly (Server | TlsServer)[]): Promise<void> {
  const closed = servers
    .filter(server => server.listening)
    .map(server => new Promise<void>(resolve => server.close(() => resolve())));
  for (const server of servers) server.closeAllConnections();
  await Promise.all(closed);
}
