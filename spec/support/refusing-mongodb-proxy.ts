// A proxy in front of MongoDB that answers commands which write to one collection with an error of the server's kind, in
// the server's protocol: for errors that no server in the tests can be made to give.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { BSON } from 'mongodb';

export interface RefusingMongodbProxy {
  /** `uri` with this proxy's host and port in place of the target's. */
  through(uri: string): string;
  /** From now on commands that insert into `collection` are answered with `error` and do not reach the server. */
  refuse(
    collection: string,
    error: { readonly code: number; readonly codeName: string; readonly errmsg: string },
  ): void;
  relent(): void;
  /** Commands that were refused. */
  readonly refused: number;
  close(): Promise<void>;
}

/** OP_MSG (MongoDB Wire Protocol): 16 bytes of header, 4 of flags, then sections; of kind 0 is the command itself. */
const opMsg = 2013;
const bodyAt = 21;

export async function startRefusingMongodbProxy(targetUri: string): Promise<RefusingMongodbProxy> {
  const target = new URL(targetUri);
  const sockets = new Set<Socket>();
  let rule: { readonly collection: string; readonly error: object } | undefined;
  let refused = 0;

  const judge = (message: Buffer): Buffer | undefined => {
    if (rule === undefined || message.readInt32LE(12) !== opMsg || message[20] !== 0) return undefined;
    const size = message.readInt32LE(bodyAt);
    const command = BSON.deserialize(message.subarray(bodyAt, bodyAt + size));
    if (command['insert'] !== rule.collection) return undefined;
    refused += 1;
    return createReply(message.readInt32LE(4), { ok: 0, ...rule.error });
  };

  const server = createServer(near => {
    const far = connect(Number(target.port), target.hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    let pending = Buffer.alloc(0);
    near.on('data', (bytes: Buffer) => {
      pending = Buffer.concat([pending, bytes]);
      while (pending.length >= 16 && pending.length >= pending.readInt32LE(0)) {
        const message = pending.subarray(0, pending.readInt32LE(0));
        pending = pending.subarray(message.length);
        const reply = judge(message);
        if (reply === undefined) far.write(message);
        else near.write(reply);
      }
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
    refuse: (collection, error) => {
      rule = { collection, error };
    },
    relent: () => {
      rule = undefined;
    },
    get refused() {
      return refused;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function createReply(responseTo: number, document: object): Buffer {
  const body = BSON.serialize(document);
  const head = Buffer.alloc(bodyAt);
  head.writeInt32LE(bodyAt + body.length, 0);
  head.writeInt32LE(responseTo, 8);
  head.writeInt32LE(opMsg, 12);
  return Buffer.concat([head, body]);
}
