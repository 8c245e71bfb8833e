// Time bounds, the caller's signal and close: what ends an exchange early. Real sockets.
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import type { LookupFunction } from 'node:net';
import type { ExchangeClient, ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
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
      headers: {},
      body: Buffer.from('{}'),
      timeoutMs: 20_000,
      maxReplyBytes: 1_000_000,
      ...more,
    });
  return { client, exchange };
}
const neverLooksUp: LookupFunction = () => undefined;

describe('timeoutMs', () => {
  it.each([
    ['hangs-before-headers', 'first-byte'],
    ['hangs-after-headers', 'body'],
    ['drips', 'body'],
  ] as const)('ends %s in phase %s and throws the connection away', async (behaviour, phase) => {
    const { exchange } = open();
    const result = await exchange(receiver.url(behaviour), { timeoutMs: 200 });
    expect(result).toMatchObject({ kind: 'failure', failure: 'timeout', phase, tries: 1 });
    // 1 ms less than the timer: it counts whole milliseconds of the loop.
    expect(result.durationMs).toBeGreaterThanOrEqual(199);
    await receiver.allClosed();
    expect(await exchange(receiver.url('ok'))).toMatchObject({ kind: 'reply' });
    expect(receiver.requests.map(request => request.connection)).toEqual([1, 2]);
  });

  it('is kept above one second, where the timers of undici step by half a second', async () => {
    const { exchange } = open();
    // Both go through one timer and one turn of the loop, so that a pause of the process does not change the order.
    const reference = new Promise(resolve => setTimeout(() => setImmediate(resolve, 'late'), 1250));
    const ending = exchange(receiver.url('hangs-before-headers'), { timeoutMs: 1100 });
    expect(await Promise.race([ending, reference])).toMatchObject({
      failure: 'timeout',
      phase: 'first-byte',
    });
    expect((await ending).durationMs).toBeGreaterThanOrEqual(1099);
    await reference;
  });

  it('ends a connection that is not made, in phase connect, before connectTimeoutMs', async () => {
    const { exchange } = open({ lookup: neverLooksUp, connectTimeoutMs: 60_000 });
    const result = await exchange('http://receiver.test/', { timeoutMs: 150 });
    expect(result).toMatchObject({ kind: 'failure', failure: 'timeout', phase: 'connect', tries: 1 });
  });

  it('ends an exchange that waits for a free connection, which is then never sent', async () => {
    const { exchange } = open({ maxConnectionsPerOrigin: 1 });
    const first = exchange(receiver.url('hangs-before-headers'), { timeoutMs: 600 });
    const second = await exchange(receiver.url('ok'), { timeoutMs: 150 });
    expect(second).toMatchObject({ failure: 'timeout', phase: 'connect', tries: 1 });
    expect(await first).toMatchObject({ failure: 'timeout', phase: 'first-byte' });
    expect(await exchange(receiver.url('ok'))).toMatchObject({ kind: 'reply' });
    expect(receiver.requests.map(request => request.path)).toEqual(['/hangs-before-headers', '/ok']);
  });

  it('keeps the connection that is ready too late for the next exchange, and sends nothing of the first', async () => {
    let answerLookup: (() => void) | undefined;
    const lookup: LookupFunction = (_name, options, callback) => {
      answerLookup = () => {
        if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }]);
        else callback(null, '127.0.0.1', 4);
      };
    };
    const { exchange } = open({ lookup, maxConnectionsPerOrigin: 1 });
    const url = receiver.url('ok').replace('127.0.0.1', 'receiver.test');
    expect(await exchange(url, { timeoutMs: 150 })).toMatchObject({ failure: 'timeout', phase: 'connect' });
    const next = exchange(`${url}?second`);
    answerLookup?.();
    expect(await next).toMatchObject({ kind: 'reply' });
    expect(receiver.requests.map(request => request.path)).toEqual(['/ok?second']);
    expect(receiver.connections).toBe(1);
  });

  it('does not hold a pause of this process against a receiver that answered in time', async () => {
    // The receiver runs in a thread of its own, so that it answers while this thread stands still.
    const answered = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
       const server = require('node:http').createServer((request, response) => {
         response.on('finish', () => { Atomics.add(workerData, 0, 1); Atomics.notify(workerData, 0); });
         request.resume().on('end', () => response.end('{}'));
       });
       server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));`,
      { eval: true, workerData: answered },
    );
    try {
      const [port] = await once(worker, 'message');
      const { exchange } = open();
      const url = `http://127.0.0.1:${String(port)}/`;
      await exchange(url);
      Atomics.wait(answered, 0, 0);
      const result = exchange(url, { timeoutMs: 100 });
      // undici looks at an idle connection for one turn of the loop before it writes.
      for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve));
      expect(Atomics.wait(answered, 0, 1, 30_000)).not.toBe('timed-out');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150);
      expect(await result).toMatchObject({ kind: 'reply', status: 200 });
    } finally {
      await worker.terminate();
    }
  });
});

describe('connectTimeoutMs', () => {
  it('fails a look-up that hangs as connect, tried twice while there is time', async () => {
    const { exchange } = open({ lookup: neverLooksUp, connectTimeoutMs: 150 });
    const result = await exchange('http://receiver.test/');
    expect(result).toMatchObject({ kind: 'failure', failure: 'connect', phase: 'connect', tries: 2 });
    expect(result.durationMs).toBeGreaterThanOrEqual(298);
  });

  it('is not tried again when timeoutMs has no room for a second one', async () => {
    const { exchange } = open({ lookup: neverLooksUp, connectTimeoutMs: 300 });
    const result = await exchange('http://receiver.test/', { timeoutMs: 550 });
    expect(result).toMatchObject({ kind: 'failure', failure: 'connect', phase: 'connect', tries: 1 });
  });

  it('bounds a TLS handshake that hangs', async () => {
    const { exchange } = open({ connectTimeoutMs: 150 });
    const result = await exchange(receiver.url('never-answers'));
    expect(result).toMatchObject({ kind: 'failure', failure: 'connect', phase: 'connect', tries: 2 });
    await receiver.allClosed();
  });
});

describe('the signal', () => {
  it('that was aborted before sends nothing', async () => {
    const result = await open().exchange(receiver.url('ok'), { signal: AbortSignal.abort() });
    expect(result).toMatchObject({ kind: 'failure', failure: 'aborted', phase: 'connect', tries: 0 });
    expect(receiver.requests).toHaveLength(0);
  });

  it('ends a running exchange and its connection', async () => {
    const { exchange } = open();
    const controller = new AbortController();
    const running = exchange(receiver.url('hangs-before-headers'), { signal: controller.signal });
    await receiver.received(1);
    controller.abort();
    expect(await running).toMatchObject({ failure: 'aborted', phase: 'first-byte', tries: 1 });
    await receiver.allClosed();
  });

  it('is let go of when the exchange is over', async () => {
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...parts: Parameters<typeof add>) => {
      listeners += 1;
      add(...parts);
    };
    signal.removeEventListener = (...parts: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...parts);
    };
    const { exchange } = open();
    await exchange(receiver.url('ok'), { signal });
    await exchange(receiver.url('refuses'), { signal });
    expect(listeners).toBe(0);
  });
});

describe('close', () => {
  it('aborts what runs, waits or connects, and leaves no connection', async () => {
    const { client, exchange } = open({ maxConnectionsPerOrigin: 1, connectTimeoutMs: 60_000 });
    await exchange(receiver.url('ok'));
    const running = [
      exchange(receiver.url('hangs-after-headers')),
      exchange(receiver.url('ok')),
      exchange(receiver.url('never-answers')),
    ];
    await receiver.received(2);
    await client.close();
    for (const result of await Promise.all(running)) {
      expect(result).toMatchObject({ kind: 'failure', failure: 'aborted' });
    }
    await receiver.allClosed();
  });

  it('can be called twice, and then refuses', async () => {
    const { client, exchange } = open();
    await Promise.all([client.close(), client.close()]);
    expect(await exchange(receiver.url('ok'))).toMatchObject({ failure: 'aborted', tries: 0 });
  });

  it('leaves no handle of this process open', async () => {
    const count = (): number =>
      process.getActiveResourcesInfo().filter(name => /TCPSocketWrap|TLSWrap|Timeout|Zlib|Brotli/.test(name))
        .length;
    const { client, exchange } = open({ connectTimeoutMs: 60_000 });
    const before = count();
    const running = exchange(receiver.url('never-answers'));
    await exchange(receiver.url('gzip-bomb'));
    await exchange(receiver.url('ok'));
    await client.close();
    await running;
    await receiver.allClosed();
    expect(count()).toBeLessThanOrEqual(before);
  });
});
