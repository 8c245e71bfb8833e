// What of a reply goes into the log of attempts.
import fc from 'fast-check';
import { excerptOf } from '../../src/events/reply-excerpt';
import type { ExchangeReply } from '../../src/http/exchange';

function reply(fields: Partial<ExchangeReply>): ExchangeReply {
  return {
    kind: 'reply',
    status: 200,
    headers: {},
    body: Buffer.alloc(0),
    durationMs: 1,
    tries: 1,
    ...fields,
  };
}

describe('the excerpt of a reply', () => {
  it('has the headers and the beginning of the body', () => {
    const headers = { 'content-type': 'text/plain', server: 'nginx' };
    expect(excerptOf(reply({ headers, body: Buffer.from('ok') }))).toEqual({ headers, body: 'ok' });
    expect(excerptOf(reply({ headers }))).toEqual({ headers });
  });

  it.each([
    'set-cookie',
    'cookie',
    'authorization',
    'proxy-authorization',
    'www-authenticate',
    'proxy-authenticate',
    'authentication-info',
    'x-api-key',
    'x-amz-security-token',
    'x-session-id',
    'x-client-secret',
    'x-hub-signature',
  ])('does not show %s', name => {
    const excerpt = excerptOf(reply({ headers: { [name]: 'canary' } }));
    expect(excerpt).toEqual({ headers: { [name]: '(redacted)' } });
  });

  it('does not show what the request was authorized with, when the receiver answers with it', () => {
    const sent = {
      authorization: 'Basic Y2FuYXJ5OmNhbmFyeQ==',
      'x-own': 'canary "quoted\\"',
      'x-key': 'canary/with space',
      'webhook-signature': 'v1,canarycanary',
      'webhook-id': 'msg_0123456789',
      'x-short': 'yes',
    };
    const echo = { 'x-echo': encodeURIComponent('canary/with') };
    const excerpt = excerptOf(
      reply({ headers: echo, body: Buffer.from(JSON.stringify({ sent, plain: sent['x-own'] })) }),
      sent,
    );
    const text = JSON.stringify(excerpt);
    expect(text).not.toMatch(/canary|Y2Fu|quoted/);
    expect(text).toContain('msg_0123456789');
    expect(text).toContain('yes');
  });

  const hex = (text: string): string => Buffer.from(text).toString('hex');
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const encodings: readonly (readonly [string, (text: string) => string])[] = [
    ['hex', hex],
    ['hex in capitals', text => hex(text).toUpperCase()],
    ['hex behind a digit', text => `7${hex(text)}`],
    ['bytes of a URL', text => hex(text).replace(/../g, '%$&')],
    ['base64', base64],
    ['base64 at the second byte', text => base64(`"${text}"`)],
    ['base64 at the third byte', text => base64(`k=${text}`)],
    ['base64url', text => Buffer.from(`>?${text}`).toString('base64url')],
    ['base64 behind letters', text => `key-${base64(text)}`],
    ['base64 of headers', text => base64(JSON.stringify({ host: 'a', 'x-key': text, accept: '*/*' }))],
    ['base64 whose slashes are escaped', text => base64(`ÿÿÿ${text}`).replaceAll('/', '\\/')],
  ];

  it.each(encodings)('does not show what the request was authorized with as %s', (_name, encode) => {
    const sent = { 'x-key': '4b1f"canary"~0?9e3', 'webhook-id': 'msg_0123456789' };
    const [echo, id] = [encode(sent['x-key']), encode(sent['webhook-id'])];
    const body = Buffer.from(`{"echo":"${echo}","id":"${id}"}`);
    // What is no secret stays, in whatever form.
    expect(excerptOf(reply({ headers: { 'x-echo': `a ${echo}, ${id}` }, body }), sent)).toEqual({
      headers: { 'x-echo': `a (redacted), ${id}` },
      body: `{"echo":"(redacted)","id":"${id}"}`,
    });
  });

  it.each([
    ['hex', hex, 16],
    ['base64', base64, 11],
  ] as const)('shows no beginning of a secret in %s that its end cuts in two', (_name, encode, least) => {
    const sent = { 'x-key': 'canary-canary-canary-canary' };
    const echo = encode(sent['x-key']);
    for (let shown = least; shown < echo.length; shown++) {
      const dots = '.'.repeat(1024 - shown);
      expect(excerptOf(reply({ body: Buffer.from(dots + echo) }), sent).body).toBe(`${dots}(redacted)`);
    }
  });

  it('does not show the password that Basic authorization holds', () => {
    const sent = { authorization: `Basic ${base64('parse:canary-password')}` };
    const said = 'user parse, password canary-password, pair parse:canary-password';
    const body = Buffer.from(`${said}, ${base64(`"canary-password"`)}`);
    expect(excerptOf(reply({ body }), sent).body).toBe(
      'user parse, password (redacted), pair (redacted), (redacted)',
    );
  });

  it('shows no beginning of a secret that its end cuts in two', () => {
    const sent = { 'x-key': 'canary-canary-canary-canary' };
    const body = Buffer.from(`${'.'.repeat(1014)}${sent['x-key']}`);
    expect(excerptOf(reply({ body }), sent)).toEqual({
      headers: {},
      body: `${'.'.repeat(1014)}(redacted)`,
      bodyTruncated: true,
    });
    const headers = { 'x-echo': `${'.'.repeat(246)}${sent['x-key']}` };
    expect(excerptOf(reply({ headers }), sent)).toEqual({
      headers: { 'x-echo': `${'.'.repeat(246)}(redacted)` },
    });
  });

  it('cuts many and long headers', () => {
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`x-${index}`, 'v']));
    const cut = excerptOf(reply({ headers: many }));
    expect(Object.keys(cut.headers ?? {}).length).toBe(32);
    expect(cut.headersLeftOut).toBe(68);
    const long = excerptOf(reply({ headers: { 'x-a': 'a'.repeat(10_000) } }));
    expect(JSON.stringify(long).length).toBeLessThan(400);
  });

  it('cuts a body at a whole character and says so', () => {
    const body = Buffer.from(`a${'é'.repeat(600)}`);
    expect(excerptOf(reply({ body }))).toEqual({
      headers: {},
      body: `a${'é'.repeat(511)}`,
      bodyTruncated: true,
    });
    expect(excerptOf(reply({ body: Buffer.from('half'), truncated: true }))).toMatchObject({
      bodyTruncated: true,
    });
  });

  it('is text that PostgreSQL takes, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1200 }), bytes => {
        const { body } = excerptOf(reply({ body: Buffer.from(bytes) }));
        const text = typeof body === 'string' ? body : '';
        expect(text).not.toContain('\0');
        expect(Buffer.from(text).toString()).toBe(text);
        expect(text.length).toBeLessThanOrEqual(1024);
      }),
      { seed: 11 },
    );
  });

  it('is not led astray by names of object properties', () => {
    const headers = Object.fromEntries([
      ['constructor', 'a'],
      ['__proto__', 'b'],
    ]);
    const excerpt = excerptOf(reply({ headers }));
    expect(Object.getPrototypeOf(excerpt.headers)).toBe(Object.prototype);
  });
});
