// Replies whose body is cut instead of refused, and what becomes of their connections. Real sockets.
import type { ExchangeClient, ExchangeResult } from '../../src/http/exchange';
import { createExchangeClient } from '../../src/http/undici-client';
import { startMisbehavingReceiver, type MisbehavingReceiver } from '../support/misbehaving-receiver';

let receiver: MisbehavingReceiver;
let client: ExchangeClient;

beforeEach(async () => {
  receiver = await startMisbehavingReceiver();
  client = createExchangeClient();
});
afterEach(async () => {
  await client.close();
  await receiver.close();
});

function post(url: string, timeoutMs = 20_000): Promise<ExchangeResult> {
  return client.exchange({
    url,
    headers: {},
    body: Buffer.from('{}'),
    timeoutMs,
    maxReplyBytes: 8,
    oversize: 'truncate',
  });
}

describe('oversize: truncate', () => {
  it('gives the beginning of a body, and keeps the connection when little more comes', async () => {
    const url = receiver.answer({ status: 201, body: 'x'.repeat(50_000) });
    expect(await post(url)).toMatchObject({
      kind: 'reply',
      status: 201,
      body: Buffer.from('xxxxxxxx'),
      truncated: true,
    });
    const again = await post(receiver.answer({ body: 'short' }));
    expect(again).toMatchObject({ kind: 'reply', body: Buffer.from('short') });
    expect(again).not.toHaveProperty('truncated');
    expect(receiver.connections).toBeLessThanOrEqual(2);
  });

  it('uses the same connection for calls one after the other', async () => {
    const url = receiver.answer({ body: 'x'.repeat(100) });
    for (let call = 0; call < 5; call++) await post(url);
    expect(receiver.connections).toBe(1);
  });

  it.each(['sends-100-mb', 'gzip-bomb', 'brotli-bomb', 'gzip-of-nothing', 'announces-100-mb'] as const)(
    'takes no more than it must of %s',
    async behaviour => {
      const result = await post(receiver.url(behaviour), 2000);
      if (behaviour === 'announces-100-mb') {
        // One byte came, and then nothing: that is no reply.
        expect(result).toMatchObject({ kind: 'failure', failure: 'timeout', phase: 'body' });
      } else {
        expect(result).toMatchObject({ kind: 'reply', status: 200, truncated: true });
      }
      await client.close();
      await receiver.allClosed();
      expect(receiver.closedBytesWritten).toBeLessThan(16_000_000);
    },
  );

  it('gives up the connection of a body that drips on', async () => {
    expect(await post(receiver.url('drips'))).toMatchObject({
      kind: 'reply',
      body: Buffer.from('xxxxxxxx'),
      truncated: true,
    });
    await receiver.allClosed();
  });
});
