// Bearer tokens on the real server, checked as a gateway checks them: with node's cryptography and the public JWKS only.
import {
  createHash,
  createHmac,
  createPublicKey,
  timingSafeEqual,
  verify,
  type JsonWebKey,
} from 'node:crypto';
import express from 'express';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { readRawRows } from '../support/hook-rows';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import {
  Reply,
  startWebhookReceiver,
  type ReceivedCall,
  type WebhookReceiver,
} from '../support/webhook-receiver';

function secretOf(byte: number, size = 32): string {
  return `whsec_${Buffer.alloc(size, byte).toString('base64')}`;
}

interface Token {
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly signed: Buffer;
  readonly signature: Buffer;
}

function tokenOf(call: ReceivedCall): Token {
  const [header = '', claims = '', signature = ''] = String(call.headers.authorization)
    .replace(/^Bearer /, '')
    .split('.');
  const parse = (part: string): Record<string, unknown> =>
    JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as Record<string, unknown>;
  return {
    header: parse(header),
    claims: parse(claims),
    signed: Buffer.from(`${header}.${claims}`),
    signature: Buffer.from(signature, 'base64url'),
  };
}

type Jwk = JsonWebKey & { readonly kid: string; readonly alg: string };

/** As RFC 7518 says, for the key that the token names. */
function isVerifiedBy({ header, signed, signature }: Token, keys: readonly Jwk[]): boolean {
  const jwk = keys.find(({ kid }) => kid === header.kid);
  if (!jwk || jwk.alg !== header.alg) return false;
  const key = createPublicKey({ key: jwk, format: 'jwk' });
  return verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature);
}

function isVerifiedBySecret({ header, signed, signature }: Token, secret: string): boolean {
  const key = Buffer.from(secret.replace('whsec_', ''), 'base64');
  const expected = createHmac('sha256', key).update(signed).digest();
  return header.alg === 'HS256' && timingSafeEqual(expected, signature);
}

describeOnEachDatabase('bearer tokens', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let front: Server;
  let jwksUrl: string;
  let count = 0;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
    front = createServer(express().use('/webhooks', parse.webhooks.router())).listen(0, '127.0.0.1');
    await once(front, 'listening');
    const address = front.address();
    if (address === null || typeof address === 'string') throw new Error('the front has no port');
    jwksUrl = `http://127.0.0.1:${address.port}/webhooks/jwks.json`;
  });

  afterAll(async () => {
    front.close();
    front.closeAllConnections();
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  async function publicKeys(): Promise<readonly Jwk[]> {
    const response = await fetch(jwksUrl, { headers: { connection: 'close' } });
    return ((await response.json()) as { keys: Jwk[] }).keys;
  }

  async function register(settings: object): Promise<{ name: string; answer: Answer }> {
    const name = `bearer${++count}`;
    const url = receiver.on(`/${name}`, () => ({ success: 1 }));
    const answer = await parse.master('POST', '/hooks/functions', {
      body: { functionName: name, url, ...settings },
    });
    return { name, answer };
  }

  async function callOf(name: string): Promise<ReceivedCall> {
    const before = receiver.calls.filter(({ path }) => path === `/${name}`).length;
    expect((await parse.client('POST', `/functions/${name}`, { body: { a: 'Ü🐶' } })).body).toEqual({
      result: 1,
    });
    const call = (await receiver.received(`/${name}`, before + 1))[before];
    if (!call) throw new Error('no call');
    return call;
  }

  const rotateKey = (key: string, how: object = {}): Promise<Answer> =>
    parse.master('POST', '/webhooks/keys/rotate', { body: { key, ...how } });

  it('are absent unless they were asked for', async () => {
    const { name } = await register({});
    expect((await callOf(name)).headers).not.toHaveProperty('authorization');
  });

  it.each(['HS256', 'RS256', 'ES256'])(
    'of %s say who, to whom, when, which message and which body',
    async algorithm => {
      const { name, answer } = await register({ bearer: { algorithm } });
      expect(answer.status).toBe(200);
      const call = await callOf(name);
      const token = tokenOf(call);
      const iat = Number(token.claims.iat);
      expect(token.claims).toEqual({
        iss: parse.serverURL,
        aud: `http://127.0.0.1:${receiver.port}`,
        iat,
        exp: iat + 60,
        jti: call.headers['webhook-id'],
        body_sha256: createHash('sha256').update(call.raw).digest('hex'),
      });
      expect(Math.abs(iat - Date.now() / 1000)).toBeLessThan(60);
      expect(token.header).toMatchObject({ alg: algorithm, typ: 'JWT' });
      const keys = await publicKeys();
      expect(isVerifiedBy(token, keys)).toBe(algorithm !== 'HS256');
      if (algorithm === 'HS256') {
        expect(isVerifiedBySecret(token, answer.body.secret)).toBe(true);
        expect(isVerifiedBySecret(token, secretOf(8))).toBe(false);
      }
      const forged = { ...token, signed: Buffer.concat([token.signed, Buffer.from('x')]) };
      expect(isVerifiedBy(forged, keys)).toBe(false);
      // Beside the signature, not in its place.
      expect(call.headers['webhook-signature']).toMatch(/^v1,/);
    },
  );

  it('are on notifications too', async () => {
    const url = receiver.on('/after', () => new Reply(204, ''));
    await parse.registerHook({
      className: 'After',
      triggerName: 'afterSave',
      url,
      bearer: { algorithm: 'ES256' },
    });
    await parse.client('POST', '/classes/After', { body: { a: 1 } });
    const [call] = await receiver.received('/after', 1);
    expect(call && isVerifiedBy(tokenOf(call), await publicKeys())).toBe(true);
    expect(call && tokenOf(call).claims.jti).toBe(call?.headers['webhook-id']);
  });

  it('have public keys that hold nothing private', async () => {
    await register({ bearer: { algorithm: 'RS256' } });
    await register({ bearer: { algorithm: 'ES256' } });
    const keys = await publicKeys();
    expect(keys.map(({ alg }) => alg).sort()).toEqual(['ES256', 'RS256']);
    for (const key of keys) {
      const names = key.kty === 'RSA' ? ['kty', 'n', 'e'] : ['kty', 'crv', 'x', 'y'];
      expect(Object.keys(key).sort()).toEqual([...names, 'kid', 'use', 'alg'].sort());
    }
    const { body } = await parse.master('GET', '/webhooks/jwks.json');
    expect(body).toEqual({ keys });
    expect(JSON.stringify(await readRawRows(database.kind, fresh, 'WebhookState'))).not.toContain(
      'PRIVATE KEY',
    );
    expect(parse.logs.join('\n')).not.toMatch(/PRIVATE KEY|eyJ/);
  });

  it.each(['RS256', 'ES256'])(
    'of %s go on with the old key while the new one is published',
    async algorithm => {
      const { name } = await register({ bearer: { algorithm } });
      const before = tokenOf(await callOf(name));
      expect(await rotateKey(algorithm)).toMatchObject({ status: 201, body: {} });
      const keys = (await publicKeys()).filter(({ alg }) => alg === algorithm);
      expect(keys).toHaveLength(2);
      const after = tokenOf(await callOf(name));
      // A gateway that has cached the keys of before still believes it.
      expect(after.header.kid).toBe(before.header.kid);
      expect(isVerifiedBy(after, keys)).toBe(true);
      expect(await rotateKey(algorithm)).toMatchObject({ status: 201 });
      // The one whose turn had not come is replaced.
      expect((await publicKeys()).filter(({ alg }) => alg === algorithm)).toHaveLength(2);
    },
  );

  it.each(['RS256', 'ES256'])(
    'of %s are of the new key at once when the others are revoked',
    async algorithm => {
      const { name } = await register({ bearer: { algorithm } });
      const before = tokenOf(await callOf(name));
      expect(await rotateKey(algorithm, { revokeOthers: true })).toMatchObject({ status: 201, body: {} });
      const keys = (await publicKeys()).filter(({ alg }) => alg === algorithm);
      expect(keys).toHaveLength(1);
      const after = tokenOf(await callOf(name));
      expect([isVerifiedBy(before, keys), isVerifiedBy(after, keys)]).toEqual([false, true]);
    },
  );

  it.each([
    [{ revokeOthers: 'yes' }, 'revokeOthers must be true or false, got "yes"'],
    [{ revokeOthers: null }, 'revokeOthers must be true or false, got null'],
    [{ revokeOther: true }, 'unknown field "revokeOther"'],
  ])('keep their keys when a rotation is asked for with %j', async (how, error) => {
    await register({ bearer: { algorithm: 'ES256' } });
    const keys = await publicKeys();
    expect(await rotateKey('ES256', how)).toMatchObject({ status: 400, body: { code: 143, error } });
    expect(await publicKeys()).toEqual(keys);
  });

  it('of HS256 are made with the new secret from a rotation on', async () => {
    const { name, answer } = await register({ bearer: { algorithm: 'HS256' } });
    const { body } = await parse.master('POST', `/webhooks/hooks/functions/${name}/secret/rotate`, {
      body: {},
    });
    const token = tokenOf(await callOf(name));
    expect(isVerifiedBySecret(token, body.secret)).toBe(true);
    expect(isVerifiedBySecret(token, answer.body.secret)).toBe(false);
  });

  it('can be asked for, changed and given up later', async () => {
    const { name } = await register({});
    const path = `/webhooks/hooks/functions/${name}`;
    const change = async (bearer: object | null): Promise<Answer> =>
      parse.master('PATCH', path, { body: { bearer } });
    expect((await change({ algorithm: 'ES256' })).body).toMatchObject({ bearer: { algorithm: 'ES256' } });
    expect(tokenOf(await callOf(name)).header.alg).toBe('ES256');
    await change({ algorithm: 'RS256' });
    expect(tokenOf(await callOf(name)).header.alg).toBe('RS256');
    expect((await change(null)).body).not.toHaveProperty('bearer');
    expect((await callOf(name)).headers).not.toHaveProperty('authorization');
  });

  describe('of HS256 with a secret of 24 bytes', () => {
    const short = secretOf(7, 24);
    const refusal = {
      status: 400,
      body: {
        code: 143,
        error: 'bearer HS256 needs a secret of 32 bytes or more (RFC 7518, 3.2), this one has 24',
      },
    };

    it('are refused at registration', async () => {
      const { name, answer } = await register({ bearer: { algorithm: 'HS256' }, secret: short });
      expect(answer).toMatchObject(refusal);
      expect((await parse.master('GET', `/webhooks/hooks/functions/${name}`)).status).toBe(404);
    });

    it('are refused at a rotation, and the secret stays', async () => {
      const { name, answer } = await register({ bearer: { algorithm: 'HS256' } });
      const path = `/webhooks/hooks/functions/${name}/secret/rotate`;
      expect(await parse.master('POST', path, { body: { secret: short } })).toMatchObject(refusal);
      expect(isVerifiedBySecret(tokenOf(await callOf(name)), answer.body.secret)).toBe(true);
    });

    it('are refused when they are asked for later', async () => {
      const { name, answer } = await register({ secret: short });
      expect(answer.status).toBe(200);
      const path = `/webhooks/hooks/functions/${name}`;
      expect(await parse.master('PATCH', path, { body: { bearer: { algorithm: 'HS256' } } })).toMatchObject(
        refusal,
      );
      expect((await callOf(name)).headers).not.toHaveProperty('authorization');
      // The server's keys do not depend on the secret.
      expect((await parse.master('PATCH', path, { body: { bearer: { algorithm: 'ES256' } } })).status).toBe(
        200,
      );
    });
  });

  it.each([
    [{ algorithm: 'none' }],
    [{ algorithm: 'HS512' }],
    [{}],
    ['HS256'],
    [{ algorithm: 'HS256', key: 'x' }],
  ])('are refused as %j', async bearer => {
    expect((await register({ bearer })).answer).toMatchObject({
      status: 400,
      body: { code: 143, error: expect.stringContaining('bearer') },
    });
  });
});

describeOnEachDatabase('bearer tokens over a restart', database => {
  it('are signed with the same keys, and named by the issuer of the options', async () => {
    const fresh = await database.create();
    const receiver = await startWebhookReceiver();
    const url = receiver.on('/restart', () => ({ success: 1 }));
    const issuer = 'https://parse.example.com';
    const tokens: Token[] = [];
    const keySets: (readonly Jwk[])[] = [];
    for (let start = 0; start < 2; start++) {
      const parse = await startParseApplication({
        database: fresh,
        webhooks: {
          issuer,
          hooks: [{ functionName: 'restart', url, bearer: { algorithm: 'ES256' } }],
        },
      });
      try {
        await parse.client('POST', '/functions/restart', { body: {} });
        keySets.push((await parse.master('GET', '/webhooks/jwks.json')).body.keys);
      } finally {
        await parse.stop();
      }
      const call = receiver.calls.at(-1);
      if (call) tokens.push(tokenOf(call));
    }
    await receiver.close();
    await fresh.drop();
    expect(tokens.map(({ claims }) => claims.iss)).toEqual([issuer, issuer]);
    expect(keySets[1]).toEqual(keySets[0]);
    expect(tokens.map(token => isVerifiedBy(token, keySets[0] ?? []))).toEqual([true, true]);
  });

  it('refuse a declared hook of HS256 whose secret is too short', async () => {
    const fresh = await database.create();
    const printed = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    const hook = {
      functionName: 'short',
      url: 'https://example.com/',
      bearer: { algorithm: 'HS256' },
      secret: secretOf(7, 24),
    };
    await expect(
      startParseApplication({ database: fresh, webhooks: { hooks: [hook] } }),
    ).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/^hooks\.0 is invalid: bearer HS256 needs a secret of 32 bytes/),
    });
    printed.mockRestore();
    await fresh.drop();
  });
});
