// A TCP proxy that a test can cut and mend: a database or a network that goes away.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface CuttableProxy {
  /** `uri` with this proxy's host and port in place of the target's. */
  through(uri: string): string;
  /** Ends every connection and refuses new ones, until `mend`. */
  cut(): void;
  mend(): Promise<void>;
  /** Cuts when the client next sends bytes that hold `text`; those bytes do not arrive. Resolves when it happens. */
  cutAt(text: string): Promise<void>;
  close(): Promise<void>;
}

export async function startCuttableProxy(targetUri: string): Promise<CuttableProxy> {
  const target = new URL(targetUri);
  const sockets = new Set<Socket>();
  let trap: { readonly text: string; readonly sprung: () => void } | undefined;
  const cut = (): void => {
    // Refused, and not accepted and closed: the MongoDB driver may miss a close between connect and its first command,
    // and then waits for 30 s.
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  const server = createServer(near => {
    const far = connect(Number(target.port), target.hostname);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      // A reset is what a cut looks like.
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    near.on('data', (bytes: Buffer) => {
      if (trap && bytes.includes(trap.text)) {
        const { sprung } = trap;
        trap = undefined;
        cut();
        sprung();
        return;
      }
      far.write(bytes);
    });
    far.on('data', (bytes: Buffer) => near.write(bytes));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  const { port } = address;
  return {
    through: uri => {
      const proxied = new URL(uri);
      proxied.hostname = '127.0.0.1';
      proxied.port = String(port);
      return proxied.href;
    },
    cut,
    mend: async () => {
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    },
    cutAt: text =>
      new Promise(resolve => {
        trap = { text, sprung: resolve };
      }),
    close: async () => {
      if (!server.listening) return;
      cut();
      await once(server, 'close');
    },
  };
}
