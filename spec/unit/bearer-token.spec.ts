import { createHash, createPublicKey, createSecretKey, generateKeyPairSync, verify } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { createBearerIssuer } from '../../src/http/bearer-token';
import {
  addSigningKey,
  defaultOverlapMs,
  generateSigningKey,
  jwks,
  nextSignsFrom,
  parseSigningKeys,
  serializeSigningKeys,
  signingKeyAt,
  type SigningKey,
  type SigningKeySet,
} from '../../src/http/signing-keys';
import { parseSecret } from '../../src/http/webhook-signature';
import { systemClock, type Clock } from '../../src/shared/clock';

const now = 1_700_000_000_000;
const clock: Clock = { ...systemClock, now: () => now };
const body = Buffer.from('{"object":{"name":"Süße Welpen 🐶"}}');
const request = { audience: 'https://receiver.example', webhookId: 'msg_1', body };
const claims = {
  iss: 'https://parse.example/parse',
  aud: 'https://receiver.example',
  iat: now / 1000,
  exp: now / 1000 + 60,
  jti: 'msg_1',
  body_sha256: createHash('sha256').update(body).digest('hex'),
};
const issuer = claims.iss;
const secretBytes = Buffer.alloc(32, 3);
const secret = parseSecret(`whsec_${secretBytes.toString('base64')}`);
const minute = 60_000;

let es256: SigningKey;
let rs256: SigningKey;
beforeAll(async () => {
  es256 = await generateSigningKey('ES256', now);
  rs256 = await generateSigningKey('RS256', now);
});

/** Checks a token as a gateway does that has nothing but the JWKS: node's crypto and no JWT library. */
function readByJwks(token: string, set: SigningKeySet, nowMs: number): unknown {
  const [head = '', payload = '', signature = ''] = token.split('.');
  const header = JSON.parse(Buffer.from(head, 'base64url').toString());
  const jwk = jwks(set, nowMs).keys.find(({ kid }) => kid === header.kid);
  if (!jwk) throw new Error(`no key ${header.kid} in the JWKS`);
  expect(header).toEqual({ alg: jwk.alg, typ: 'JWT', kid: jwk.kid });
  expect(jwk.use).toBe('sig');
  const key = createPublicKey({ key: { ...jwk }, format: 'jwk' });
  const input = Buffer.from(`${head}.${payload}`);
  const isAuthentic = verify(
    'sha256',
    input,
    { key, dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  );
  if (!isAuthentic) throw new Error('the signature is wrong');
  return JSON.parse(Buffer.from(payload, 'base64url').toString());
}

describe('a bearer token', () => {
  it('by HS256 is checked with the decoded bytes of the secret', () => {
    const token = createBearerIssuer({ algorithm: 'HS256', key: secret.key, issuer, clock }).issue(request);
    const options = { algorithms: ['HS256' as const], clockTimestamp: now / 1000, complete: true as const };
    const decoded = jwt.verify(token, secretBytes, options);
    expect(decoded.header).toEqual({ alg: 'HS256', typ: 'JWT' });
    expect(decoded.payload).toEqual(claims);
  });

  test.each(['RS256', 'ES256'] as const)('by %s is checked with nothing but the JWKS', algorithm => {
    const key = algorithm === 'RS256' ? rs256 : es256;
    const token = createBearerIssuer({
      algorithm,
      key: key.privateKey,
      keyId: key.keyId,
      issuer,
      clock,
    }).issue(request);
    expect(readByJwks(token, { keys: [rs256, es256] }, now)).toEqual(claims);
    const publicKey = createPublicKey(key.privateKey);
    const options = {
      algorithms: [algorithm],
      issuer,
      audience: claims.aud,
      clockTimestamp: now / 1000 + 59,
    };
    expect(jwt.verify(token, publicKey, options)).toEqual(claims);
    expect(() => jwt.verify(token, publicKey, { ...options, clockTimestamp: now / 1000 + 60 })).toThrow(
      'expired',
    );
    expect(() => jwt.verify(token, publicKey, { ...options, audience: 'https://other.example' })).toThrow(
      'audience',
    );
  });

  it('fails with any character changed', () => {
    const token = createBearerIssuer({
      algorithm: 'ES256',
      key: es256.privateKey,
      keyId: es256.keyId,
      issuer,
      clock,
    }).issue(request);
    const publicKey = createPublicKey(es256.privateKey);
    for (let index = 0; index < token.length; index++) {
      // The last character carries two bits, its first: A and Q differ in them, A and B would not.
      const changed = token.slice(0, index) + (token[index] === 'A' ? 'Q' : 'A') + token.slice(index + 1);
      expect(() =>
        jwt.verify(changed, publicKey, { algorithms: ['ES256'], clockTimestamp: now / 1000 }),
      ).toThrow();
    }
  });

  it('names the body by its SHA-256 in hex, as sha256sum prints it', () => {
    const token = createBearerIssuer({ algorithm: 'HS256', key: secret.key, issuer, clock }).issue({
      ...request,
      body: Buffer.alloc(0),
    });
    expect(jwt.decode(token)).toMatchObject({
      body_sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    });
  });

  test.each([
    [
      'HS256',
      () => createSecretKey(Buffer.alloc(31)),
      'needs a secret of at least 32 bytes (RFC 7518, 3.2), got 31',
    ],
    ['HS256', () => es256.privateKey, 'needs a secret, got a private key ec'],
    ['RS256', () => secret.key, 'needs an RSA private key of at least 2048 bits, got a secret key'],
    ['RS256', () => es256.privateKey, 'needs an RSA private key of at least 2048 bits, got a private key ec'],
    ['RS256', () => generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey, 'at least 2048 bits'],
    [
      'ES256',
      () => createPublicKey(es256.privateKey),
      'needs a private key on the curve P-256, got a public key ec',
    ],
    ['ES256', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey, 'on the curve P-256'],
  ] as const)('by %s is refused with a key that does not fit', (algorithm, key, message) => {
    expect(() => createBearerIssuer({ algorithm, key: key(), issuer, clock })).toThrow(message);
  });
});

describe('the JWKS', () => {
  it('has the public members and nothing else', () => {
    const [ec, rsa] = jwks({ keys: [es256, rs256] }, now).keys;
    expect(Object.keys(ec ?? {}).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
    expect(Object.keys(rsa ?? {}).sort()).toEqual(['alg', 'e', 'kid', 'kty', 'n', 'use']);
  });

  it('names keys by the thumbprint of RFC 7638', () => {
    const { kid, ...members } = jwks({ keys: [rs256] }, now).keys[0]!;
    const required = `{"e":"${members.e}","kty":"RSA","n":"${members.n}"}`;
    expect(kid).toBe(createHash('sha256').update(required).digest('base64url'));
    const ec = jwks({ keys: [es256] }, now).keys[0]!;
    const ofEc = `{"crv":"P-256","kty":"EC","x":"${ec.x}","y":"${ec.y}"}`;
    expect(ec.kid).toBe(createHash('sha256').update(ofEc).digest('base64url'));
  });
});

describe('rotating signing keys', () => {
  const rotation = { algorithm: 'ES256' as const, nowMs: now };

  it('lets the first key sign at once', () => {
    expect(nextSignsFrom({ keys: [] }, rotation)).toBe(now);
    expect(nextSignsFrom({ keys: [rs256] }, rotation)).toBe(now);
    expect(signingKeyAt({ keys: [rs256] }, 'ES256', now)).toBeUndefined();
    expect(signingKeyAt({ keys: [es256] }, 'ES256', now - 1)).toBeUndefined();
  });

  it('publishes the next key before it signs, and the former one until its last token is forgotten', async () => {
    const next = await generateSigningKey('ES256', nextSignsFrom({ keys: [es256] }, rotation));
    const set = addSigningKey({ keys: [es256, rs256] }, { key: next, nowMs: now });
    const switchAt = now + defaultOverlapMs;
    const kids = (nowMs: number) => jwks(set, nowMs).keys.map(({ kid }) => kid);

    expect(signingKeyAt(set, 'ES256', now)).toBe(es256);
    expect(new Set(kids(now))).toEqual(new Set([es256.keyId, rs256.keyId, next.keyId]));
    expect(signingKeyAt(set, 'ES256', switchAt - 1)).toBe(es256);
    expect(signingKeyAt(set, 'ES256', switchAt)).toBe(next);
    expect(signingKeyAt(set, 'RS256', switchAt)).toBe(rs256);

    const forgottenAt = switchAt + minute + 5 * minute + defaultOverlapMs;
    expect(kids(forgottenAt - 1)).toContain(es256.keyId);
    expect(new Set(kids(forgottenAt))).toEqual(new Set([rs256.keyId, next.keyId]));
  });

  it('never has a moment at which a token of the last minute cannot be checked', async () => {
    let set: SigningKeySet = { keys: [] };
    const overlapMs = 10 * minute;
    const jwksAt = new Map<number, ReturnType<typeof jwks>>();
    for (let at = 0; at < 600; at++) {
      const nowMs = now + at * minute;
      if (at % 45 === 0) {
        const signsFrom = nextSignsFrom(set, { algorithm: 'ES256', nowMs, overlapMs });
        set = addSigningKey(set, { key: await generateSigningKey('ES256', signsFrom), nowMs, overlapMs });
      }
      jwksAt.set(at, jwks(set, nowMs, overlapMs));
      const signing = signingKeyAt(set, 'ES256', nowMs);
      // A cache may be as old as the overlap, and as young as a minute after the token was made.
      const cached = jwksAt.get(Math.max(0, at - 10));
      expect(cached?.keys.map(({ kid }) => kid)).toContain(signing?.keyId);
      const lastMinutes = signingKeyAt(set, 'ES256', Math.max(now, nowMs - minute));
      expect(jwksAt.get(at)?.keys.map(({ kid }) => kid)).toContain(lastMinutes?.keyId);
      expect(set.keys.length).toBeLessThanOrEqual(3);
    }
  });

  it('replaces a key whose turn had not come', async () => {
    const [one, other] = await Promise.all([
      generateSigningKey('ES256', now + defaultOverlapMs),
      generateSigningKey('ES256', now + minute + defaultOverlapMs),
    ]);
    const first = addSigningKey({ keys: [es256] }, { key: one, nowMs: now });
    const second = addSigningKey(first, { key: other, nowMs: now + minute });
    expect(second.keys).toEqual([es256, other]);
  });

  it('revokes the others at once when asked, and only with a key that signs already', async () => {
    const key = await generateSigningKey('ES256', now);
    const set = addSigningKey({ keys: [es256, rs256] }, { key, nowMs: now, revokeOthers: true });
    expect(set.keys).toEqual([rs256, key]);
    const late = await generateSigningKey('ES256', now + 1);
    expect(() => addSigningKey(set, { key: late, nowMs: now, revokeOthers: true })).toThrow('must sign from');
  });

  it('makes all nodes choose the same of two keys of one instant', async () => {
    const other = await generateSigningKey('ES256', now);
    const chosen = signingKeyAt({ keys: [es256, other] }, 'ES256', now);
    expect(signingKeyAt({ keys: [other, es256] }, 'ES256', now)).toBe(chosen);
  });
});

describe('stored signing keys', () => {
  it('come back as they were, as PKCS #8', () => {
    const text = serializeSigningKeys({ keys: [es256, rs256] });
    expect(JSON.parse(text).keys[0].privateKeyPem).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    const set = parseSigningKeys(text);
    expect(jwks(set, now)).toEqual(jwks({ keys: [es256, rs256] }, now));
    expect(set.keys.map(({ signsFrom }) => signsFrom)).toEqual([now, now]);
  });

  test.each([
    ['no JSON', 'canary'],
    ['another version', '{"version":2,"keys":[]}'],
    [
      'a key that is none',
      '{"version":1,"keys":[{"algorithm":"RS256","privateKeyPem":"canary","signsFrom":0}]}',
    ],
  ])('that are %s are refused without a word of their content', (_, text) => {
    expect(() => parseSigningKeys(text)).toThrow(/^the stored signing keys are unreadable$/);
  });

  it('of the wrong kind are refused', () => {
    const text = serializeSigningKeys({ keys: [es256] }).replace('ES256', 'RS256');
    expect(() => parseSigningKeys(text)).toThrow('the stored signing keys are unreadable');
  });
});
