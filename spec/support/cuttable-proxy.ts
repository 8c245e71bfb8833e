// A TCP proxy that a test can cut and mend: a database or a network that goes away.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface CuttableProxy {
  /** `uri` with this proxy's host and port in place of the target's. */
  through(uri: string): string;
  /**
   * Cuts when a client next sends bytes that hold `text`; those bytes do not arrive. Ends every connection and refuses
   * new ones until `mend`. Resolves when it happens.
   */
  cutAt(text: string): Promise<void>;
  /**
   * When a client next sends bytes that hold `text`, those bytes arrive and nothing comes back on that connection from
   * then on. Resolves when it happens, with the function that ends the connection.
   */
  muteAt(text: string): Promise<() => void>;
  /** From now on no bytes pass in either direction, on no connection, and none is ended: a network that drops packets. */
  silence(): void;
  /** Ends silent connections, too, which have lost bytes. */
  mend(): Promise<void>;
  close(): Promise<void>;
}

export async function startCuttableProxy(targetUri: string): Promise<CuttableProxy> {
  const target = new URL(targetUri);
  const ends = new Map<Socket, () => void>();
  let trap: { readonly text: string; readonly sprung: () => void } | undefined;
  let mute: { readonly text: string; readonly sprung: (end: () => void) => void } | undefined;
  let isSilent = false;
  const endOthers = (spared?: Socket): void => {
    for (const [near, end] of ends) if (near !== spared) end();
  };
  const server = createServer(near => {
    const far = connect(Number(target.port), target.hostname);
    const end = (): void => {
      ends.delete(near);
      near.destroy();
      far.destroy();
    };
    ends.set(near, end);
    for (const socket of [near, far]) {
      // A reset is what a cut looks like.
      socket.on('error', () => undefined);
      socket.on('close', end);
    }
    let isMute = false;
    near.on('data', (bytes: Buffer) => {
      if (isSilent) return;
      if (mute && bytes.includes(mute.text)) {
        isMute = true;
        mute.sprung(end);
        mute = undefined;
      }
      if (!trap || !bytes.includes(trap.text)) {
        far.write(bytes);
        return;
      }
      server.close();
      near.removeAllListeners('data');
      endOthers(near);
      // The MongoDB driver sends a heartbeat as soon as a query fails, and one on a connection that it does not yet know
      // to be dead is never answered nor given up (7.1.0). So the heartbeat's connection goes before the query's.
      setImmediate(() => setImmediate(end));
      trap.sprung();
      trap = undefined;
    });
    far.on('data', (bytes: Buffer) => {
      if (!isMute && !isSilent) near.write(bytes);
    });
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
    cutAt: text =>
      new Promise(resolve => {
        trap = { text, sprung: resolve };
      }),
    muteAt: text =>
      new Promise(resolve => {
        mute = { text, sprung: resolve };
      }),
    silence: () => {
      isSilent = true;
    },
    mend: async () => {
      if (isSilent) {
        isSilent = false;
        endOthers();
        return;
      }
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    },
    close: async () => {
      endOthers();
      if (!server.listening) return;
      server.close();
      await once(server, 'close');
    },
  };
}
