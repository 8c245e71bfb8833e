// Certificates and handshakes. Real sockets, certificates from spec/support/certificates.
import { connect, createServer, type AddressInfo, type LookupFunction } from 'node:net';
import type { ExchangeClient, ExchangeResult } from '../../src/http/exchange';
import { createExchangeClient, type UndiciClientOptions } from '../../src/http/undici-client';
import {
  readCertificate,
  startMisbehavingReceiver,
  type MisbehavingReceiver,
} from '../support/misbehaving-receiver';

let receiver: MisbehavingReceiver;
const clients: ExchangeClient[] = [];

beforeEach(async () => {
  receiver = await startMisbehavingReceiver();
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map(client => client.close()));
  await receiver.close();
});

function open(options: UndiciClientOptions = { ca: readCertificate('ca') }) {
  const client = createExchangeClient(options);
  clients.push(client);
  return (url: string): Promise<ExchangeResult> =>
    client.exchange({ url, headers: {}, body: Buffer.from('{}'), timeoutMs: 20_000, maxReplyBytes: 1000 });
}
const toReceiver: LookupFunction = (_name, options, callback) => {
  if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }]);
  else callback(null, '127.0.0.1', 4);
};

it('accepts a certificate of a trusted authority and keeps the connection', async () => {
  const exchange = open();
  for (let i = 0; i < 3; i++) {
    expect(await exchange(receiver.url('tls-trusted'))).toMatchObject({
      kind: 'reply',
      status: 200,
      tries: 1,
    });
  }
  expect(receiver.connections).toBe(1);
});

it('checks the certificate against the name, not against the address it resolves to', async () => {
  const exchange = open({ ca: readCertificate('ca'), lookup: toReceiver });
  const url = receiver.url('tls-trusted');
  expect(await exchange(url.replace('127.0.0.1', 'receiver.test'))).toMatchObject({ kind: 'reply' });
  expect(await exchange(url.replace('127.0.0.1', 'elsewhere.test'))).toMatchObject({ failure: 'tls' });
});

it.each([
  ['tls-self-signed', /DEPTH_ZERO_SELF_SIGNED_CERT/],
  ['tls-wrong-host', /ERR_TLS_CERT_ALTNAME_INVALID/],
  ['tls-expired', /CERT_HAS_EXPIRED/],
] as const)('refuses %s, once, and sends nothing', async (behaviour, detail) => {
  const result = await open()(receiver.url(behaviour));
  expect(result).toMatchObject({ kind: 'failure', failure: 'tls', phase: 'connect', tries: 1 });
  expect(result.kind === 'failure' && result.detail).toMatch(detail);
  expect(receiver.requests).toHaveLength(0);
  expect(receiver.connections).toBe(1);
});

it('refuses an authority that nobody trusts', async () => {
  const result = await open({})(receiver.url('tls-trusted'));
  expect(result).toMatchObject({ kind: 'failure', failure: 'tls', tries: 1 });
});

it('refuses a bad certificate even if NODE_TLS_REJECT_UNAUTHORIZED is 0', async () => {
  const old = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
  try {
    expect(await open()(receiver.url('tls-self-signed'))).toMatchObject({ failure: 'tls' });
  } finally {
    if (old === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = old;
  }
});

it('fails https to a port that speaks http as tls, once', async () => {
  const result = await open()(receiver.url('ok').replace('http:', 'https:'));
  expect(result).toMatchObject({ kind: 'failure', failure: 'tls', phase: 'connect', tries: 1 });
});

it('tries once more when the connection ends within the handshake', async () => {
  let connections = 0;
  const target = new URL(receiver.url('tls-trusted'));
  const front = createServer(socket => {
    connections += 1;
    socket.on('error', () => undefined);
    if (connections === 1) socket.once('data', () => socket.resetAndDestroy());
    else {
      const behind = connect(Number(target.port), '127.0.0.1');
      behind.on('error', () => socket.destroy());
      socket.once('close', () => behind.destroy());
      socket.pipe(behind).pipe(socket);
    }
  });
  await new Promise<void>(resolve => front.listen(0, '127.0.0.1', resolve));
  const exchange = open();
  try {
    const result = await exchange(`https://127.0.0.1:${(front.address() as AddressInfo).port}/ok`);
    expect(result).toMatchObject({ kind: 'reply', status: 200, tries: 2 });
    expect(receiver.requests).toHaveLength(1);
  } finally {
    await Promise.all(clients.splice(0).map(client => client.close()));
    await new Promise<void>(resolve => front.close(() => resolve()));
  }
});
