import fc from 'fast-check';
import { createHmac } from 'node:crypto';
import { inspect } from 'node:util';
import { Webhook } from 'standardwebhooks';
import {
  createSigner,
  generateEd25519Key,
  parseEd25519Key,
  parseEd25519PublicKey,
  parseSecret,
  publicKeyOf,
} from '../../src/http/webhook-signature';
import { systemClock } from '../../src/shared/clock';
import { decodeSecret, generateSecret } from '../../src/shared/secret-format';
import { propertyRuns } from '../support/property-runs';

/** The example of the Standard Webhooks libraries' own tests. */
const example = {
  secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
  id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
  timestamp: 1614265330,
  body: Buffer.from('{"test": 2432232314}'),
  signature: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
};

/** Made with Go's crypto/ed25519: NewKeyFromSeed of the bytes 0 to 31, over msg_01.1700000000.{"näme":"Welpe"}. */
const goExample = {
  privateKey: 'whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=',
  publicKey: 'whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=',
  body: Buffer.from('{"näme":"Welpe"}'),
  signature: 'v1a,SUWBXJiD8V3wJpYVYZ2r9d6inH4+zLIDeNZTD2kszW2wUXDYzfaHkHcPlH/CRZgAO06VzJGvWcx65FPPuXYABQ==',
};

function secretOf(size: number): string {
  return `whsec_${Buffer.alloc(size, 7).toString('base64')}`;
}

function messageOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error('nothing was thrown');
}

describe('a signing secret', () => {
  test.each([24, 25, 32, 63, 64])('of %i bytes is taken', size => {
    expect(decodeSecret(secretOf(size))).toEqual(Buffer.alloc(size, 7));
    expect(parseSecret(secretOf(size)).key.symmetricKeySize).toBe(size);
  });

  test.each([
    ['nothing', undefined, 'it is of type undefined'],
    ['null', null, 'it is of type null'],
    ['a number', 7, 'it is of type number'],
    ['an empty string', '', 'it does not begin with whsec_'],
    ['base64 without the prefix', secretOf(24).slice(6), 'it does not begin with whsec_'],
    ['another prefix', secretOf(32).replace('whsec', 'whpk'), 'it does not begin with whsec_'],
    ['the prefix alone', 'whsec_', 'it has 0'],
    ['23 bytes', secretOf(23), 'it has 23'],
    ['65 bytes', secretOf(65), 'it has 65'],
    ['missing padding', secretOf(25).replace(/=+$/, ''), 'the rest is not base64 with padding'],
    ['the URL alphabet', `whsec_${'-_'.repeat(16)}`, 'the rest is not base64 with padding'],
    ['a line break at the end', `${secretOf(24)}\n`, 'the rest is not base64 with padding'],
    ['blanks', secretOf(24).replace('B', ' '), 'the rest is not base64 with padding'],
    ['spare bits that are set', `whsec_${'A'.repeat(42)}B=`, 'the rest is not base64 with padding'],
  ])('is refused when it is %s', (_, text, problem) => {
    expect(messageOf(() => parseSecret(text))).toBe(
      `secret must be whsec_ and the base64 of 24 to 64 bytes: ${problem}`,
    );
  });

  it('is never quoted when it is refused', () => {
    expect(messageOf(() => parseSecret('whsec_topsecrettopsecret'))).not.toContain('topsecret');
  });

  it('shows in neither JSON nor an inspection', () => {
    const secret = parseSecret(example.secret);
    expect(JSON.stringify(secret)).toBe('{"key":{}}');
    expect(inspect(secret, { depth: 9, showHidden: true })).not.toContain('MfKQ9r8');
  });

  it('is generated with 32 random bytes', () => {
    const secrets = Array.from({ length: 100 }, () => generateSecret(systemClock));
    expect(new Set(secrets).size).toBe(100);
    for (const secret of secrets) expect(decodeSecret(secret)).toHaveLength(32);
  });
});

describe('an ed25519 key', () => {
  it('is the seed of RFC 8032, and its public key the one of the first test vector there', () => {
    const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
    const publicKey = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');
    const key = parseEd25519Key(`whsk_${seed.toString('base64')}`);
    expect(publicKeyOf(key)).toBe(`whpk_${publicKey.toString('base64')}`);
    expect(parseEd25519PublicKey(publicKeyOf(key)).asymmetricKeyType).toBe('ed25519');
  });

  it('is generated as text that can be read', () => {
    const [one, other] = [generateEd25519Key(systemClock), generateEd25519Key(systemClock)];
    expect(one).not.toBe(other);
    expect(publicKeyOf(parseEd25519Key(one))).toMatch(/^whpk_[A-Za-z0-9+/]{43}=$/);
  });

  test.each([
    ['private', () => parseEd25519Key(secretOf(32)), 'private key', 'whsk_', 'it does not begin with whsk_'],
    [
      'private',
      () => parseEd25519Key(`whsk_${Buffer.alloc(64).toString('base64')}`),
      'private key',
      'whsk_',
      'it has 64: if that is seed and public key, keep the first 32',
    ],
    [
      'public',
      () => parseEd25519PublicKey(`whpk_${Buffer.alloc(31).toString('base64')}`),
      'public key',
      'whpk_',
      'it has 31',
    ],
    ['public', () => parseEd25519PublicKey(undefined), 'public key', 'whpk_', 'it is of type undefined'],
  ])('that is no %s key is refused with the reason', (_, work, what, prefix, problem) => {
    expect(messageOf(work)).toBe(`${what} must be ${prefix} and the base64 of 32 bytes: ${problem}`);
  });
});

describe('a signer', () => {
  it('writes the signature of the specification’s libraries', () => {
    const signer = createSigner({ secrets: [parseSecret(example.secret)] });
    expect(signer.sign(example.id, example.timestamp, example.body)).toBe(example.signature);
  });

  it('writes the ed25519 signature that Go writes', () => {
    const key = parseEd25519Key(goExample.privateKey);
    expect(publicKeyOf(key)).toBe(goExample.publicKey);
    const signer = createSigner({ secrets: [], ed25519: [key] });
    expect(signer.sign('msg_01', 1700000000, goExample.body)).toBe(goExample.signature);
  });

  it('lists the secrets in their order and then the ed25519 keys', () => {
    const secrets = [secretOf(24), secretOf(32), secretOf(64)].map(parseSecret);
    const ed25519 = [goExample.privateKey, generateEd25519Key(systemClock)].map(parseEd25519Key);
    const list = createSigner({ secrets, ed25519 }).sign('msg_1', 5, Buffer.from('{}')).split(' ');
    const alone = [
      ...secrets.map(secret => createSigner({ secrets: [secret] })),
      ...ed25519.map(key => createSigner({ secrets: [], ed25519: [key] })),
    ].map(signer => signer.sign('msg_1', 5, Buffer.from('{}')));
    expect(list).toEqual(alone);
    expect(list.map(entry => entry.split(',')[0])).toEqual(['v1', 'v1', 'v1', 'v1a', 'v1a']);
  });

  it('needs a key', () => {
    expect(() => createSigner({ secrets: [] })).toThrow('a signer needs at least one key');
  });

  test.each(['', 'msg.1', 'msg 1', 'msg\n1', 'mäg', 'x'.repeat(257)])('refuses the id %j', id => {
    const signer = createSigner({ secrets: [parseSecret(example.secret)] });
    expect(() => signer.sign(id, 1, Buffer.alloc(0))).toThrow('webhookId must be 1 to 256 visible ASCII');
  });

  test.each([-1, 1.5, NaN, Infinity])('refuses the timestamp %p', timestamp => {
    const signer = createSigner({ secrets: [parseSecret(example.secret)] });
    expect(() => signer.sign('msg_1', timestamp, Buffer.alloc(0))).toThrow('timestampSeconds must be');
  });

  it('signs any bytes, text or not, as a plain HMAC over the concatenation does', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 24, maxLength: 64 }),
        fc.uint8Array({ maxLength: 300 }),
        fc.nat(),
        (key, bytes, timestamp) => {
          const [secret, body] = [Buffer.from(key), Buffer.from(bytes)];
          const signer = createSigner({ secrets: [parseSecret(`whsec_${secret.toString('base64')}`)] });
          const content = Buffer.concat([Buffer.from(`msg_x.${timestamp}.`), body]);
          const expected = createHmac('sha256', secret).update(content).digest('base64');
          expect(signer.sign('msg_x', timestamp, body)).toBe(`v1,${expected}`);
        },
      ),
      propertyRuns,
    );
  });

  it('is believed by the official library, whatever text is sent', () => {
    const secret = generateSecret(systemClock);
    const [signer, judge] = [createSigner({ secrets: [parseSecret(secret)] }), new Webhook(secret)];
    const timestamp = Math.floor(Date.now() / 1000);
    fc.assert(
      fc.property(fc.json({ stringUnit: 'binary' }), text => {
        const body = Buffer.from(text);
        const headers = {
          'webhook-id': 'msg_1',
          'webhook-timestamp': String(timestamp),
          'webhook-signature': signer.sign('msg_1', timestamp, body),
        };
        expect(judge.verify(body, headers)).toEqual(JSON.parse(body.toString()));
      }),
      propertyRuns,
    );
  });
});
