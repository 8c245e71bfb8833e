// What comes back of an exchange when the receiver answers, however oddly. Real sockets.
import type { ExchangeClient, ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
import { createExchangeClient } from '../../src/http/undici-client';
import {
  startMisbehavingReceiver,
  type Behaviour,
  type ConnectionBehaviour,
  type MisbehavingReceiver,
} from '../support/misbehaving-receiver';

const success = '{"success":{"ok":true}}';
let receiver: MisbehavingReceiver;
let client: ExchangeClient;

beforeAll(async () => {
  receiver = await startMisbehavingReceiver();
  client = createExchangeClient();
});
afterAll(async () => {
  await client.close();
  await receiver.close();
});

function exchange(url: string, more: Partial<ExchangeRequest> = {}): Promise<ExchangeResult> {
  return client.exchange({
    url,
    headers: { 'content-type': 'application/json', 'webhook-id': 'msg_1' },
    body: Buffer.from('{"a":"é"}'),
    timeoutMs: 10_000,
    maxReplyBytes: 1024 * 1024,
    ...more,
  });
}
const meet = (behaviour: Behaviour | ConnectionBehaviour, more?: Partial<ExchangeRequest>) =>
  exchange(receiver.url(behaviour), more);

describe('what the receiver gets', () => {
  it('is a POST with path, query, headers and the raw body', async () => {
    const before = receiver.requests.length;
    const result = await exchange(`${receiver.url('ok')}?q=%20x&r=ü#part`, {
      headers: { 'x-a': '1', host: 'evil', 'content-length': '7' },
    });
    expect(result).toMatchObject({ kind: 'reply', status: 200, tries: 1 });
    const request = receiver.requests[before];
    expect(request).toMatchObject({ method: 'POST', path: '/ok?q=%20x&r=%C3%BC' });
    expect(request?.body.toString()).toBe('{"a":"é"}');
    expect(request?.headers).toEqual({
      host: new URL(receiver.url('ok')).host,
      connection: 'keep-alive',
      'x-a': '1',
      'accept-encoding': 'identity',
      'content-length': '10',
    });
  });

  it('is content-length 0 when the body is empty', async () => {
    await meet('ok', { body: Buffer.alloc(0) });
    expect(receiver.requests.at(-1)?.headers['content-length']).toBe('0');
  });

  it('is the accept-encoding of the caller when there is one', async () => {
    await meet('ok', { headers: { 'accept-encoding': 'gzip' } });
    expect(receiver.requests.at(-1)?.headers['accept-encoding']).toBe('gzip');
  });
});

describe('the reply', () => {
  it('carries status, headers, body and duration', async () => {
    const result = await meet('ok');
    expect(result).toMatchObject({ kind: 'reply', status: 200, tries: 1 });
    if (result.kind !== 'reply') return;
    expect(result.headers).toMatchObject({ 'content-type': 'application/json' });
    expect(result.body.toString()).toBe(success);
    expect(result.durationMs).toBeGreaterThan(0);
  });

  it('has lower-case header names and repeated headers joined', async () => {
    expect(await meet('repeated-headers')).toMatchObject({ headers: { 'x-a': '1, 2', 'x-b': '3' } });
    expect(await meet('error-500-html')).toMatchObject({
      status: 500,
      headers: { 'set-cookie': 'a=1, b=2' },
    });
  });

  it.each([
    ['status-204', 204, ''],
    ['status-304', 304, ''],
    ['empty-200', 200, ''],
    ['encoded-nothing', 204, ''],
    ['error-500-json', 500, '{"error":"the receiver is unwell"}'],
    ['html-200', 200, '<html>hello</html>'],
    ['invalid-json', 200, '{"success": {'],
    ['utf8-bom', 200, `\ufeff${success}`],
    ['trailers', 200, '{}'],
    ['until-closed', 200, '{"success":1}'],
    ['early-hints', 200, '{}'],
    ['length-too-small', 200, 'four'],
  ] as const)('of %s is %i with its body', async (behaviour, status, body) => {
    const result = await meet(behaviour);
    expect(result).toMatchObject({ kind: 'reply', status });
    expect(result.kind === 'reply' && result.body.toString()).toBe(body);
  });

  it('keeps the bytes of other character sets', async () => {
    const latin1 = await meet('latin1');
    expect(latin1.kind === 'reply' && latin1.body.toString('latin1')).toBe('{"success":"café"}');
    const utf16 = await meet('utf16');
    expect(utf16.kind === 'reply' && utf16.body.subarray(0, 2)).toEqual(Buffer.from([0xff, 0xfe]));
  });

  it.each(['deep-arrays', 'deep-objects'] as const)('of %s is not looked into', async behaviour => {
    const result = await meet(behaviour);
    expect(result.kind === 'reply' && result.body.length).toBeGreaterThan(200_000);
  });

  it.each([301, 302, 307, 308] as const)('is the redirect %i itself, which is not followed', async status => {
    const before = receiver.requests.length;
    const result = await meet(`redirect-${status}`);
    expect(result).toMatchObject({ kind: 'reply', status, headers: { location: `/redirect-${status}` } });
    expect(receiver.requests).toHaveLength(before + 1);
  });

  it('does not come through a proxy that the environment names', async () => {
    const old = process.env['http_proxy'];
    process.env['http_proxy'] = receiver.url('refuses');
    const direct = createExchangeClient();
    try {
      const result = await direct.exchange({
        url: receiver.url('ok'),
        headers: {},
        body: Buffer.from('{}'),
        timeoutMs: 10_000,
        maxReplyBytes: 100,
      });
      expect(result).toMatchObject({ kind: 'reply', status: 200 });
    } finally {
      if (old === undefined) delete process.env['http_proxy'];
      else process.env['http_proxy'] = old;
      await direct.close();
    }
  });
});

describe('a reply that is no HTTP', () => {
  it.each([
    ['not-http', 'protocol', 'first-byte'],
    ['oversized-headers', 'protocol', 'first-byte'],
    ['unasked-continue', 'protocol', 'first-byte'], // undici refuses a 100 that nobody asked for
    ['unasked-upgrade', 'protocol', 'first-byte'],
    ['length-and-chunks', 'protocol', 'first-byte'],
    ['resets-before-headers', 'reset', 'first-byte'],
    ['closes-before-headers', 'reset', 'first-byte'],
    ['resets-mid-body', 'reset', 'body'],
    ['truncates-chunks', 'reset', 'body'],
    ['length-too-great', 'reset', 'body'],
  ] as const)('%s fails as %s in phase %s, once', async (behaviour, failure, phase) => {
    const before = receiver.requests.length;
    expect(await meet(behaviour)).toMatchObject({ kind: 'failure', failure, phase, tries: 1 });
    expect(receiver.requests).toHaveLength(before + 1);
  });
});

describe('a request that cannot be made', () => {
  it.each([
    '',
    'nonsense',
    '/path',
    'ftp://127.0.0.1/',
    'file:///etc/passwd',
    'http://user:secret@127.0.0.1/',
  ])('to %j fails as protocol without a try and without telling the URL', async url => {
    const result = await exchange(url);
    expect(result).toMatchObject({ kind: 'failure', failure: 'protocol', phase: 'connect', tries: 0 });
    expect(result.kind === 'failure' && result.detail).not.toContain('secret');
  });

  it.each([
    ['a line break in a header', { 'x-a': 'secret\r\nx-b: 1' }],
    ['a header name with a space', { 'x a': 'secret' }],
    ['transfer-encoding', { 'transfer-encoding': 'chunked' }],
  ])('for %s fails as protocol and sends nothing', async (_name, headers) => {
    const before = receiver.requests.length;
    const result = await exchange(receiver.url('ok'), { headers });
    expect(result).toMatchObject({ kind: 'failure', failure: 'protocol', phase: 'connect' });
    expect(result.kind === 'failure' && result.detail).not.toContain('secret');
    expect(receiver.requests).toHaveLength(before);
    // The connection that was prepared serves the next one.
    expect(await exchange(receiver.url('ok'))).toMatchObject({ kind: 'reply' });
  });
});
