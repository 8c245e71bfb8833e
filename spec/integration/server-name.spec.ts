// The name that a receiver is asked for in a TLS handshake (RFC 6066, section 3).
import { once } from 'node:events';
import { createServer, type TLSSocket } from 'node:tls';
import type { AddressInfo, LookupFunction } from 'node:net';
import { createConnector } from '../../src/http/connector';
import { systemClock } from '../../src/shared/clock';
import { readCertificate } from '../support/misbehaving-receiver';

const toReceiver: LookupFunction = (_name, options, callback) => {
  if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }]);
  else callback(null, '127.0.0.1', 4);
};

it.each([
  ['receiver.test', 'receiver.test'],
  ['receiver.test.', 'receiver.test'],
  ['127.0.0.1', false],
])('for %s it is %p', async (hostname, expected) => {
  const server = createServer({ key: readCertificate('receiver.key'), cert: readCertificate('trusted') });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const seen = once(server, 'secureConnection') as Promise<[TLSSocket]>;
  const { connect } = createConnector({
    connectTimeoutMs: 20_000,
    clock: systemClock,
    lookup: toReceiver,
    ca: readCertificate('ca'),
  });
  const socket = await new Promise<{ destroy(): void }>((resolve, reject) => {
    connect({ hostname, protocol: 'https:', port: String(port) }, (error, made) =>
      made ? resolve(made) : reject(error),
    );
  });
  const [accepted] = await seen;
  expect((accepted as TLSSocket & { servername: string | false }).servername).toBe(expected);
  socket.destroy();
  accepted.destroy();
  server.close();
  await once(server, 'close');
});
