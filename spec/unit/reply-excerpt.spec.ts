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
