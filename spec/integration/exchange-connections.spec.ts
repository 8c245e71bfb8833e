// Which connections are made, kept, tried again and thrown away. Real sockets.
import type { LookupFunction } from 'node:net';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import type { ExchangeClient, ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
import { ConnectFailure } from '../../src/http/connect-failure';
import { createExchangeClient, type UndiciClientOptions } from '../../src/http/undici-client';
import { startMisbehavingReceiver, type MisbehavingReceiver } from '../support/misbehaving-receiver';

let receiver: MisbehavingReceiver;
const clients: ExchangeClient[] = [];

beforeEach(async () => {
  receiver = await startMisbehavingReceiver();
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map(client => client.close()));
  await receiver.close();
});

function open(options: UndiciClientOptions = {}) {
  const client = createExchangeClient(options);
  clients.push(client);
  const exchange = (url: string, more: Partial<ExchangeRequest> = {}): Promise<ExchangeResult> =>
    client.exchange({
      url,
      headers: { 'webhook-id': 'msg_1' },
      body: Buffer.from('{}'),
      timeoutMs: 20_000,
      maxReplyBytes: 1_000_000,
      ...more,
    });
  return { client, exchange };
}

/** A lookup that gives one outcome after the other, the last one again and again. */
function lookupOf(...outcomes: readonly (string | Error)[]): {
  lookup: LookupFunction;
  calls: () => number;
} {
  let calls = 0;
  const lookup: LookupFunction = (_hostname, options, callback) => {
    const outcome = outcomes[Math.min(calls, outcomes.length - 1)] ?? '127.0.0.1';
    calls += 1;
    process.nextTick(() => {
      if (typeof outcome !== 'string') callback(Object.assign(outcome, { syscall: 'getaddrinfo' }), '');
      else if (options.all === true) callback(null, [{ address: outcome, family: 4 }]);
      else callback(null, outcome, 4);
    });
  };
  return { lookup, calls: () => calls };
}
const named = (url: string): string => url.replace('127.0.0.1', 'receiver.test');

describe('keep-alive', () => {
  it('serves 50 exchanges one after the other over one connection', async () => {
    const { exchange } = open();
    for (let i = 0; i < 50; i++) expect(await exchange(receiver.url('ok'))).toMatchObject({ status: 200 });
    expect(receiver.requests).toHaveLength(50);
    expect(receiver.connections).toBe(1);
  });

  it('serves 200 exchanges at once over no more connections than allowed', async () => {
    const { exchange } = open({ maxConnectionsPerOrigin: 16 });
    const results = await Promise.all(Array.from({ length: 200 }, () => exchange(receiver.url('ok'))));
    expect(results.filter(result => result.kind === 'reply' && result.status === 200)).toHaveLength(200);
    expect(receiver.connections).toBe(16);
  });

  it('serves 200 exchanges at once over the default connections', async () => {
    const { exchange } = open();
    const results = await Promise.all(Array.from({ length: 200 }, () => exchange(receiver.url('ok'))));
    expect(results.filter(result => result.kind === 'reply' && result.status === 200)).toHaveLength(200);
    expect(receiver.connections).toBeLessThanOrEqual(128);
  });

  it('makes a new connection, without a second try, when the receiver closed the idle one', async () => {
    const { exchange } = open();
    expect(await exchange(receiver.url('closes-after-reply'))).toMatchObject({ kind: 'reply' });
    await receiver.allClosed();
    expect(await exchange(receiver.url('ok'))).toMatchObject({ kind: 'reply', tries: 1 });
    expect(receiver.connections).toBe(2);
  });

  it('keeps origins apart', async () => {
    const other = await startMisbehavingReceiver();
    try {
      const { exchange } = open();
      for (const url of [receiver.url('ok'), other.url('ok'), receiver.url('ok'), other.url('ok')]) {
        expect(await exchange(url)).toMatchObject({ kind: 'reply' });
      }
      expect([receiver.connections, other.connections]).toEqual([1, 1]);
    } finally {
      await other.close();
    }
  });

  it('survives 600 origins, whose unused pools are dropped', async () => {
    const { lookup } = lookupOf(new Error('no such name'));
    const { exchange } = open({ lookup });
    const results: ExchangeResult[] = [];
    for (let i = 0; i < 600; i++) results.push(await exchange(`http://name${i}.test/`));
    expect(results.every(result => result.kind === 'failure' && result.failure === 'dns')).toBe(true);
    expect(await exchange(receiver.url('ok'))).toMatchObject({ kind: 'reply' });
  });
});

describe('a failed connection', () => {
  it('that is refused is tried twice', async () => {
    const result = await open().exchange(receiver.url('refuses'));
    expect(result).toMatchObject({ kind: 'failure', failure: 'connect', phase: 'connect', tries: 2 });
    expect(result.kind === 'failure' && result.detail).toContain('ECONNREFUSED');
  });

  it('of a name that does not resolve is tried twice', async () => {
    const result = await open().exchange(receiver.url('unresolvable'));
    expect(result).toMatchObject({ kind: 'failure', failure: 'dns', phase: 'connect', tries: 2 });
    expect(result.kind === 'failure' && result.detail).toMatch(/ENOTFOUND|EAI_AGAIN/);
  });

  it('is made good by the second try, with the same headers and body', async () => {
    // 127.0.0.2 is this machine, too, but the receiver does not listen there.
    const { lookup, calls } = lookupOf('127.0.0.2', '127.0.0.1');
    const { exchange } = open({ lookup });
    expect(await exchange(named(receiver.url('ok')))).toMatchObject({ kind: 'reply', status: 200, tries: 2 });
    expect(calls()).toBe(2);
    expect(receiver.requests).toMatchObject([{ headers: { 'webhook-id': 'msg_1' } }]);
    expect(receiver.requests[0]?.body.toString()).toBe('{}');
    expect(await exchange(named(receiver.url('ok')))).toMatchObject({ tries: 1 });
  });

  it('by a lookup that fails once is made good', async () => {
    const { lookup } = lookupOf(Object.assign(new Error('try again'), { code: 'EAI_AGAIN' }), '127.0.0.1');
    const result = await open({ lookup }).exchange(named(receiver.url('ok')));
    expect(result).toMatchObject({ kind: 'reply', tries: 2 });
  });

  it('by a lookup that says what failed is reported so', async () => {
    const { lookup, calls } = lookupOf(
      new ConnectFailure('connect', 'the address is not allowed', { retryable: false }),
    );
    const result = await open({ lookup }).exchange(named(receiver.url('ok')));
    expect(result).toMatchObject({ failure: 'connect', detail: 'the address is not allowed', tries: 1 });
    expect(calls()).toBe(1);
  });

  it('in 300 exchanges at once fails every one of them and leaves the pool usable', async () => {
    const server = createHttpServer((_request, response) => response.end('{}'));
    const url = receiver.url('refuses');
    const { exchange } = open({ maxConnectionsPerOrigin: 4 });
    const results = await Promise.all(Array.from({ length: 300 }, () => exchange(url)));
    expect(
      results.filter(r => r.kind === 'failure' && r.failure === 'connect' && r.tries === 2),
    ).toHaveLength(300);

    let connections = 0;
    server.on('connection', () => (connections += 1));
    await new Promise<void>(resolve => server.listen(Number(new URL(url).port), '127.0.0.1', resolve));
    try {
      const after = await Promise.all(Array.from({ length: 100 }, () => exchange(url)));
      expect(after.filter(result => result.kind === 'reply')).toHaveLength(100);
      expect(connections).toBe(4);
    } finally {
      server.closeAllConnections();
      await new Promise<void>(resolve => server.close(() => resolve()));
    }
  });
});

describe('a connection that ends after bytes may have gone out', () => {
  it('is tried again only if the reset came while connecting, when the receiver resets without reading', async () => {
    // The reset reaches us before or after the connection stands, as the kernel likes. undici writes in the tick
    // in which it stands, so afterwards nobody can know that no byte was sent.
    const result = await open().exchange(receiver.url('resets-at-once'));
    expect(result.tries).toBe(receiver.connections);
    expect(result).toMatchObject(
      result.kind === 'failure' && result.phase === 'connect'
        ? { failure: 'connect', tries: 2 }
        : { kind: 'failure', failure: 'reset', phase: 'first-byte' },
    );
  });

  it('is not tried again when the receiver read a part and reset', async () => {
    const sockets: Socket[] = [];
    const server = createTcpServer(socket => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      socket.once('data', () => socket.resetAndDestroy());
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
      const result = await open().exchange(url, { body: Buffer.alloc(5_000_000) });
      expect(result).toMatchObject({ kind: 'failure', failure: 'reset', phase: 'first-byte', tries: 1 });
      expect(sockets).toHaveLength(1);
    } finally {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>(resolve => server.close(() => resolve()));
    }
  });

  it('is not tried again when it is a kept one that the receiver resets', async () => {
    const { exchange } = open();
    await exchange(receiver.url('ok'));
    expect(await exchange(receiver.url('resets-before-headers'))).toMatchObject({
      failure: 'reset',
      tries: 1,
    });
    expect(receiver.requests).toHaveLength(2);
    expect(receiver.connections).toBe(1);
    expect(await exchange(receiver.url('ok'))).toMatchObject({ kind: 'reply', tries: 1 });
    expect(receiver.connections).toBe(2);
  });
});
