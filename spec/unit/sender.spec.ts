// What goes out beside the body, by a clock that moves when the test says so.
import { createHash } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { Senders, whyUnreachable, type Sender } from '../../src/blocking/sender';
import { ServerKeys } from '../../src/blocking/server-keys';
import type { RingKey } from '../../src/http/key-ring';
import { publicKeyOf } from '../../src/http/webhook-signature';
import type { HookSettings } from '../../src/hooks/hook-settings';
import { installHook, type InstalledHook } from '../../src/hooks/installed-hook';
import { rotate, type SecretSet } from '../../src/hooks/secret-rotation';
import { verify } from '../../src/receiver';
import { createMessageId } from '../../src/shared/ids';
import { parseNetworkOptions } from '../../src/shared/network-options';
import { ManualClock } from '../support/manual-clock';

const hour = 60 * 60 * 1000;
const body = Buffer.from('{"a":"Ü🐶"}');

function secretOf(byte: number): string {
  return `whsec_${Buffer.alloc(32, byte).toString('base64')}`;
}

function hookWith(
  settings: HookSettings = {},
  secrets: SecretSet | undefined = { current: secretOf(1), old: [] },
) {
  return installHook({
    hook: { target: { kind: 'function', functionName: 'f' }, url: 'https://hooks.example.com:8443/a/b?c=d' },
    settings,
    secrets,
    defaults: {},
  });
}

function open(network = {}) {
  const clock = new ManualClock();
  const keys = new ServerKeys(clock);
  let text: string | undefined;
  const senders = new Senders({
    clock,
    issuer: 'https://parse.example.com/parse',
    webhookKey: 'the-webhook-key',
    network: parseNetworkOptions(network),
    keyRing: () => keys.ring,
  });
  const headersOf = (hook: InstalledHook, sender: Sender = senders.of(hook)): Record<string, string> =>
    sender.headers({ webhookId: createMessageId(clock), depth: 2, body });
  const isSignedWith = (headers: Record<string, string>, secret: string): boolean => {
    try {
      verify(body, headers, secret, { now: () => clock.now() });
      return true;
    } catch {
      return false;
    }
  };
  return {
    clock,
    keys,
    senders,
    headersOf,
    isSignedWith,
    addKey: async (key: RingKey) => {
      text = await keys.rotated(text, key, { revokeOthers: false });
      keys.use(text);
    },
  };
}

function keyIdOf(headers: Record<string, string>): string | undefined {
  return jwt.decode(headers.authorization?.replace('Bearer ', '') ?? '', { complete: true })?.header.kid;
}

describe('the webhook key', () => {
  it('goes to hooks, and to other registrations only where they want it', () => {
    const { senders } = open();
    const { label, origin, settings, secrets } = hookWith();
    const keyOf = (wants: object): string | undefined =>
      senders
        .of({ label, origin, settings, secrets, ...wants })
        .headers({ webhookId: 'msg_1', depth: 1, body })['x-parse-webhook-key'];
    expect([keyOf({}), keyOf({ sendsWebhookKey: true }), keyOf({ sendsWebhookKey: false })]).toEqual([
      'the-webhook-key',
      'the-webhook-key',
      undefined,
    ]);
  });
});

describe('the headers of a call', () => {
  it('are the ones of the hook, of the protocol and of the signature', () => {
    const { headersOf, isSignedWith, clock } = open();
    const headers = headersOf(hookWith({ headers: { 'x-own': '1' } }));
    expect(headers).toEqual({
      'content-type': 'application/json',
      'user-agent': expect.stringMatching(/^parse-server-webhooks\//),
      'webhook-id': expect.any(String),
      'webhook-timestamp': String(clock.now() / 1000),
      'webhook-signature': expect.stringMatching(/^v1,\S{44}$/),
      'x-parse-webhook-depth': '2',
      'x-parse-webhook-key': 'the-webhook-key',
      'x-own': '1',
    });
    expect(isSignedWith(headers, secretOf(1))).toBe(true);
    expect(isSignedWith(headers, secretOf(2))).toBe(false);
  });

  it('have the time of each attempt, not of the preparation', () => {
    const { headersOf, senders, clock, isSignedWith } = open();
    const hook = hookWith();
    const sender = senders.of(hook);
    clock.advance(hour + 999);
    expect(senders.of(hook)).toBe(sender);
    const headers = headersOf(hook);
    expect(headers['webhook-timestamp']).toBe(String(Math.floor(clock.now() / 1000)));
    expect(isSignedWith(headers, secretOf(1))).toBe(true);
  });
});

describe('old secrets', () => {
  it('sign along until their grace period is over, to the millisecond', () => {
    const { headersOf, isSignedWith, clock } = open();
    const first = rotate({ current: secretOf(1), old: [] }, { newSecret: secretOf(2), nowMs: clock.now() });
    const secrets = rotate(first, { newSecret: secretOf(3), graceMs: 2 * hour, nowMs: clock.now() });
    const hook = hookWith({}, secrets);
    const signing = (): number[] => {
      const headers = headersOf(hook);
      return [3, 2, 1].filter(byte => isSignedWith(headers, secretOf(byte)));
    };
    expect(signing()).toEqual([3, 2, 1]);
    clock.advance(2 * hour - 1);
    expect(signing()).toEqual([3, 2, 1]);
    clock.advance(1);
    expect(signing()).toEqual([3, 1]);
    clock.advance(22 * hour);
    expect(signing()).toEqual([3]);
    expect(headersOf(hook)['webhook-signature']).not.toContain(' ');
  });
});

describe('nothing is sent unsigned in place of signed', () => {
  test.each<[string, HookSettings, SecretSet | undefined]>([
    ['without a secret', {}, undefined],
    ['for v1a without a key', { signatures: ['v1', 'v1a'] }, { current: secretOf(1), old: [] }],
    ['for RS256 without a key', { bearer: { algorithm: 'RS256' } }, { current: secretOf(1), old: [] }],
    ['for ES256 without a key', { bearer: { algorithm: 'ES256' } }, { current: secretOf(1), old: [] }],
    [
      'for HS256 with a secret of 24 bytes',
      { bearer: { algorithm: 'HS256' } },
      { current: `whsec_${Buffer.alloc(24).toString('base64')}`, old: [] },
    ],
  ])('%s', (_what, settings, secrets) => {
    const { senders } = open();
    const hook = { ...hookWith(settings), secrets };
    expect(() => senders.of(hook)).toThrow(/f has no secret|there is no|needs a secret/);
  });
});

describe('keys of the server', () => {
  it('sign from the moment that they are there, and the former beside the new one', async () => {
    const { addKey, keys, headersOf, isSignedWith } = open();
    const hook = hookWith({ signatures: ['v1a'] });
    await addKey('ed25519');
    const [one] = keys.ring.ed25519.map(({ key }) => publicKeyOf(key));
    expect(isSignedWith(headersOf(hook), one ?? '')).toBe(true);
    await addKey('ed25519');
    const both = keys.ring.ed25519.map(({ key }) => publicKeyOf(key));
    const headers = headersOf(hook);
    expect(both.map(key => isSignedWith(headers, key))).toEqual([true, true]);
    expect(isSignedWith(headers, secretOf(1))).toBe(false);
  });

  it('of tokens take their turn by the clock, with no change of the keys', async () => {
    const { addKey, keys, headersOf, clock } = open();
    const hook = hookWith({ bearer: { algorithm: 'ES256' } });
    await addKey('ES256');
    const ofHook = (): readonly string[] =>
      keys.ring.bearer.keys.filter(({ algorithm }) => algorithm === 'ES256').map(({ keyId }) => keyId);
    const [first] = ofHook();
    expect(keyIdOf(headersOf(hook))).toBe(first);
    await addKey('ES256');
    const second = ofHook()[1];
    expect(keyIdOf(headersOf(hook))).toBe(first);
    clock.advance(3 * hour - 1);
    expect(keyIdOf(headersOf(hook))).toBe(first);
    clock.advance(1);
    expect(keyIdOf(headersOf(hook))).toBe(second);
  });
});

describe('authorization', () => {
  it('is a token with its claims', () => {
    const { headersOf, clock } = open();
    const headers = headersOf(hookWith({ bearer: { algorithm: 'HS256' } }));
    const token = headers.authorization?.replace('Bearer ', '') ?? '';
    const iat = Math.floor(clock.now() / 1000);
    expect(jwt.verify(token, Buffer.alloc(32, 1), { algorithms: ['HS256'], clockTimestamp: iat })).toEqual({
      iss: 'https://parse.example.com/parse',
      aud: 'https://hooks.example.com:8443',
      iat,
      exp: iat + 60,
      jti: headers['webhook-id'],
      body_sha256: createHash('sha256').update(body).digest('hex'),
    });
  });

  it('is the header that the operator gave, or the name and password', () => {
    const { headersOf } = open();
    expect(headersOf(hookWith({ headers: { authorization: 'Token x' } })).authorization).toBe('Token x');
    const basicAuth = { username: 'Aladdin', password: 'open sesame' };
    expect(headersOf(hookWith({ basicAuth })).authorization).toBe('Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==');
  });
});

describe('the route of a call', () => {
  const keyOf = (settings: HookSettings): string => open().senders.of(hookWith(settings)).route.key;

  it('is shared by hooks with the same network and certificates, and by no others', () => {
    const deny = parseNetworkOptions({ deny: ['10.0.0.0/8'] });
    const tls = [
      { ca: 'a' },
      { ca: 'b' },
      { cert: 'a', key: 'b' },
      { ca: 'a', cert: 'a', key: 'b' },
      { cert: 'a', key: 'c' },
    ];
    const keys = [keyOf({}), keyOf({ network: deny }), ...tls.map(each => keyOf({ tls: each }))];
    expect(new Set(keys).size).toBe(keys.length);
    expect(keyOf({ tls: { ca: 'a' } })).toBe(keys[2]);
    expect(keyOf({ network: parseNetworkOptions({}) })).toBe(keys[0]);
  });

  it("is guarded by the plugin's policy and the hook's own", () => {
    const { senders } = open({ allowPrivate: false });
    const { guard } = senders.of(hookWith({ network: parseNetworkOptions({ ports: [80] }) })).route;
    expect(guard?.judgeUrl('http://127.0.0.1/')).toMatchObject({ kind: 'refused', reason: 'range' });
    expect(guard?.judgeUrl('http://1.1.1.1:81/')).toMatchObject({ kind: 'refused', reason: 'port' });
    expect(guard?.judgeUrl('http://1.1.1.1/')).toEqual({ kind: 'allowed' });
  });

  it('names no certificate key', () => {
    expect(keyOf({ tls: { cert: 'a', key: 'canary' } })).not.toContain('canary');
  });
});

describe('why a URL may not be called', () => {
  it('is told of literal addresses, and not of names', () => {
    const closed = parseNetworkOptions({ allowPrivate: false });
    expect(whyUnreachable('http://10.0.0.1/', { network: closed }, undefined)).toMatch(/private/);
    expect(
      whyUnreachable('http://10.0.0.1/', { network: parseNetworkOptions({}) }, undefined),
    ).toBeUndefined();
    expect(whyUnreachable('http://name.example.com/', { network: closed }, undefined)).toBeUndefined();
  });

  it("is the word of the plugin's policy and of the hook's", () => {
    const [open, closed, ports] = [{}, { allowPrivate: false }, { ports: [80] }].map(parseNetworkOptions);
    if (!open || !closed || !ports) throw new Error('no policies');
    expect(whyUnreachable('http://10.0.0.1/', { network: closed }, ports)).toMatch(/private/);
    expect(whyUnreachable('http://10.0.0.1/', { network: open }, closed)).toMatch(/private/);
    expect(whyUnreachable('http://10.0.0.1:81/', { network: open }, ports)).toMatch(/port 81/);
    expect(whyUnreachable('http://10.0.0.1/', { network: open }, ports)).toBeUndefined();
  });

  it("is, behind a proxy, that loopback is the proxy's own: unless the plugin lists it", () => {
    const proxy = { url: 'http://proxy.internal:3128' };
    const listing = (...allow: string[]) => ({ proxy, network: parseNetworkOptions({ allow }) });
    const spellings = [
      '127.0.0.1',
      '127.1',
      '[::1]',
      '[::ffff:127.0.0.1]',
      'localhost',
      'LOCALHOST.',
      'a.localhost',
    ];
    for (const host of spellings) {
      const url = `http://${host}:8080/`;
      expect([host, whyUnreachable(url, listing(), undefined)]).toEqual([
        host,
        expect.stringContaining("loopback of the proxy's host"),
      ]);
      expect(whyUnreachable(url, listing('127.0.0.0/8', '::1'), undefined)).toBeUndefined();
      expect(whyUnreachable(url, { network: parseNetworkOptions({}) }, undefined)).toBeUndefined();
    }
    expect(whyUnreachable('http://localhost/', listing('localhost'), undefined)).toBeUndefined();
    // A hook narrows: it neither opens loopback nor has to name it again.
    const ports = parseNetworkOptions({ allow: ['127.0.0.1'], ports: [8080] });
    expect(whyUnreachable('http://127.0.0.1:8080/', listing(), ports)).toMatch(/loopback/);
    expect(
      whyUnreachable('http://127.0.0.1:8080/', listing('127.0.0.1'), parseNetworkOptions({})),
    ).toBeUndefined();
    expect(whyUnreachable('http://10.0.0.1/', listing(), undefined)).toBeUndefined();
  });
});
