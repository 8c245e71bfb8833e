// The cap on a reply and its decoding, while the bytes come in. Real sockets.
import type { ExchangeClient, ExchangeResult } from '../../src/http/exchange';
import { createExchangeClient } from '../../src/http/undici-client';
import { gzipSync } from 'node:zlib';
import { randomBytes } from 'node:crypto';
import {
  startMisbehavingReceiver,
  type Answer,
  type Behaviour,
  type MisbehavingReceiver,
} from '../support/misbehaving-receiver';

const megabyte = 1024 * 1024;
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

function exchange(url: string, maxReplyBytes = megabyte): Promise<ExchangeResult> {
  return client.exchange({ url, headers: {}, body: Buffer.from('{}'), timeoutMs: 30_000, maxReplyBytes });
}
const meet = (behaviour: Behaviour, maxReplyBytes?: number) =>
  exchange(receiver.url(behaviour), maxReplyBytes);

describe('content-encoding', () => {
  it.each(['gzip', 'deflate', 'raw-deflate', 'br'] as const)('%s is undone', async behaviour => {
    const result = await meet(behaviour);
    expect(result.kind === 'reply' && result.body.toString()).toBe('{"success":{"ok":true}}');
  });

  it.each(['identity', '', ' GZIP ', 'x-gzip'])('%j is understood', async encoding => {
    const plain = encoding === 'identity' || encoding === '';
    const body = plain ? Buffer.from('{}') : gzipSync('{}');
    const result = await exchange(receiver.answer({ headers: { 'content-encoding': encoding }, body }));
    expect(result.kind === 'reply' && result.body.toString()).toBe('{}');
  });

  it.each(['unknown-encoding', 'broken-gzip', 'truncated-gzip'] as const)(
    '%s fails as protocol in phase body',
    async behaviour => {
      expect(await meet(behaviour)).toMatchObject({ kind: 'failure', failure: 'protocol', phase: 'body' });
      expect(await meet('ok')).toMatchObject({ kind: 'reply' });
    },
  );

  it('of a body of many chunks keeps every byte', async () => {
    const body = randomBytes(900_000);
    const encoded = await exchange(
      receiver.answer({ headers: { 'content-encoding': 'gzip' }, body: gzipSync(body) }),
    );
    expect(encoded.kind === 'reply' && encoded.body.equals(body)).toBe(true);
    const plain = await exchange(receiver.answer({ body }));
    expect(plain.kind === 'reply' && plain.body.equals(body)).toBe(true);
  });
});

describe('maxReplyBytes', () => {
  const encode = (size: number): Answer => ({
    headers: { 'content-encoding': 'gzip' },
    body: gzipSync(Buffer.alloc(size, 'x')),
  });
  // Chunked, because no content-length tells the size before.
  const chunk = (size: number): Answer => ({
    headers: { 'transfer-encoding': 'chunked' },
    body: Buffer.alloc(size, 'x'),
  });
  const announce = (size: number): Answer => ({ body: Buffer.alloc(size, 'x') });

  it.each([
    ['gzip', encode],
    ['chunked', chunk],
    ['announced', announce],
  ])('lets exactly as many bytes pass, %s', async (_name, build) => {
    const result = await exchange(receiver.answer(build(megabyte)));
    expect(result.kind === 'reply' && result.body.length).toBe(megabyte);
  });

  it.each([
    ['gzip', encode],
    ['chunked', chunk],
    ['announced', announce],
  ])('fails one byte more as too-large, %s', async (_name, build) => {
    const result = await exchange(receiver.answer(build(megabyte + 1)));
    expect(result).toMatchObject({ kind: 'failure', failure: 'too-large', phase: 'body', tries: 1 });
  });

  it('of 0 lets an empty reply pass and nothing else', async () => {
    expect(await meet('status-204', 0)).toMatchObject({ kind: 'reply', status: 204 });
    expect(await meet('ok', 0)).toMatchObject({ failure: 'too-large' });
  });

  it('ends an announced giant before its body', async () => {
    expect(await meet('announces-100-mb')).toMatchObject({ failure: 'too-large', phase: 'body' });
    await receiver.allClosed();
  });

  it('ends 100 MB while they come: the receiver could send only a part', async () => {
    expect(await meet('sends-100-mb')).toMatchObject({ failure: 'too-large', phase: 'body' });
    await receiver.allClosed();
    // What the kernel's buffers of both ends hold, a few MB, is sent in vain.
    expect(receiver.closedBytesWritten).toBeLessThan(40 * megabyte);
  });

  it.each([
    ['gzip-bomb', 128 * megabyte], // of 1 GiB
    // 128 MiB, made in this process, too: the limit holds for both ends.
    ['brotli-bomb', 256 * megabyte],
  ] as const)('ends a %s in a fraction of its memory', async (behaviour, limit) => {
    await meet('gzip');
    const before = process.memoryUsage().rss;
    let peak = before;
    const probe = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 1);
    const result = await meet(behaviour, 100_000);
    clearInterval(probe);
    peak = Math.max(peak, process.memoryUsage().rss);
    expect(result).toMatchObject({ kind: 'failure', failure: 'too-large', phase: 'body' });
    expect(peak - before).toBeLessThan(limit);
  });

  it('ends endless compression of nothing', async () => {
    expect(await meet('gzip-of-nothing', 100_000)).toMatchObject({ failure: 'too-large', phase: 'body' });
    await receiver.allClosed();
  });

  it('never reuses the connection of a reply that was cut off', async () => {
    await meet('sends-100-mb');
    await meet('ok');
    expect(receiver.requests.map(request => request.connection)).toEqual([1, 2]);
  });
});
