import {
  addKey,
  emptyKeyRing,
  hasKey,
  parseKeyRing,
  replaceKeys,
  serializeKeyRing,
  type KeyRing,
} from '../../src/http/key-ring';
import { jwks, signingKeyAt } from '../../src/http/signing-keys';
import { publicKeyOf } from '../../src/http/webhook-signature';
import { ManualClock } from '../support/manual-clock';

const hour = 60 * 60 * 1000;

function keyIds(ring: KeyRing, nowMs: number): readonly (string | undefined)[] {
  return jwks(ring.bearer, nowMs).keys.map(({ kid }) => kid);
}

describe('a ring of keys', () => {
  it('is empty at first, and has nothing to sign with', () => {
    expect(parseKeyRing(undefined)).toBe(emptyKeyRing);
    for (const key of ['ed25519', 'RS256', 'ES256'] as const)
      expect(hasKey(emptyKeyRing, key, 0)).toBe(false);
  });

  it.each(['ed25519', 'RS256', 'ES256'] as const)('has a %s key at once when it is the first', async key => {
    const clock = new ManualClock();
    const ring = await addKey(emptyKeyRing, key, clock);
    expect(hasKey(ring, key, clock.now())).toBe(true);
    // A node whose clock is behind has it too, and makes no second one.
    expect(hasKey(ring, key, clock.now() - 10 * 60 * 1000)).toBe(true);
    expect(hasKey(ring, key === 'ES256' ? 'RS256' : 'ES256', clock.now())).toBe(false);
    expect(emptyKeyRing).toEqual({ ed25519: [], bearer: { keys: [] } });
  });

  it('survives storage with all its keys', async () => {
    const clock = new ManualClock();
    let ring = emptyKeyRing;
    for (const key of ['ed25519', 'RS256', 'ES256', 'ed25519', 'ES256'] as const)
      ring = await addKey(ring, key, clock);
    const read = parseKeyRing(serializeKeyRing(ring));
    expect(serializeKeyRing(read)).toBe(serializeKeyRing(ring));
    expect(read.ed25519.map(({ key }) => publicKeyOf(key))).toEqual(
      ring.ed25519.map(({ key }) => publicKeyOf(key)),
    );
    expect(jwks(read.bearer, clock.now())).toEqual(jwks(ring.bearer, clock.now()));
  });

  it('signs with the two latest ed25519 keys, newest first', async () => {
    const clock = new ManualClock();
    const one = await addKey(emptyKeyRing, 'ed25519', clock);
    const two = await addKey(one, 'ed25519', clock);
    const three = await addKey(two, 'ed25519', clock);
    expect(two.ed25519[1]).toBe(one.ed25519[0]);
    expect(three.ed25519.slice(1)).toEqual(two.ed25519.slice(0, 1));
    expect(new Set([...one.ed25519, ...two.ed25519, ...three.ed25519].map(({ text }) => text)).size).toBe(3);
  });

  it('publishes a second bearer key three hours before it signs, and the first three hours and more after', async () => {
    const clock = new ManualClock();
    const one = await addKey(emptyKeyRing, 'ES256', clock);
    const two = await addKey(one, 'ES256', clock);
    const [first, second] = two.bearer.keys.map(({ keyId }) => keyId);
    const start = clock.now();
    const signerAt = (nowMs: number) => signingKeyAt(two.bearer, 'ES256', nowMs)?.keyId;
    expect(keyIds(two, start)).toEqual([first, second]);
    expect(signerAt(start)).toBe(first);
    expect(signerAt(start + 3 * hour - 1)).toBe(first);
    expect(signerAt(start + 3 * hour)).toBe(second);
    expect(keyIds(two, start + 6 * hour)).toEqual([first, second]);
    expect(keyIds(two, start + 7 * hour)).toEqual([second]);
  });

  it('replaces a bearer key whose turn has not come', async () => {
    const clock = new ManualClock();
    const two = await addKey(await addKey(emptyKeyRing, 'ES256', clock), 'ES256', clock);
    const again = await addKey(two, 'ES256', clock);
    expect(again.bearer.keys).toHaveLength(2);
    expect(again.bearer.keys[0]).toBe(two.bearer.keys[0]);
    expect(again.bearer.keys[1]?.keyId).not.toBe(two.bearer.keys[1]?.keyId);
  });

  it.each(['RS256', 'ES256'] as const)(
    'has one %s key after all were replaced, which signs at once',
    async key => {
      const clock = new ManualClock();
      const other = key === 'RS256' ? 'ES256' : 'RS256';
      let ring = emptyKeyRing;
      for (const each of ['ed25519', other, key, key] as const) ring = await addKey(ring, each, clock);
      const replaced = await replaceKeys(ring, key, clock);
      const ofKey = replaced.bearer.keys.filter(({ algorithm }) => algorithm === key);
      expect(ofKey).toHaveLength(1);
      expect(ring.bearer.keys.map(({ keyId }) => keyId)).not.toContain(ofKey[0]?.keyId);
      for (const nowMs of [clock.now() - 10 * 60 * 1000, clock.now(), clock.now() + 4 * hour])
        expect(signingKeyAt(replaced.bearer, key, nowMs)).toBe(ofKey[0]);
      expect(signingKeyAt(replaced.bearer, other, clock.now())).toBe(
        signingKeyAt(ring.bearer, other, clock.now()),
      );
      expect(replaced.ed25519).toBe(ring.ed25519);
      // Rotations go on from it as from a first one.
      const next = await addKey(replaced, key, clock);
      expect(signingKeyAt(next.bearer, key, clock.now())).toBe(ofKey[0]);
      expect(keyIds(next, clock.now())).toHaveLength(3);
    },
  );

  it('has one ed25519 key after all were replaced', async () => {
    const clock = new ManualClock();
    const two = await addKey(await addKey(emptyKeyRing, 'ed25519', clock), 'ed25519', clock);
    const { ed25519 } = await replaceKeys(two, 'ed25519', clock);
    expect(ed25519).toHaveLength(1);
    expect(two.ed25519).not.toContainEqual(ed25519[0]);
  });

  test.each([
    ['no JSON', 'whsk_canary'],
    ['another version', '{"version":2,"ed25519":[],"bearer":"canary"}'],
    [
      'a malformed ed25519 key',
      '{"version":1,"ed25519":["whsk_canary"],"bearer":"{\\"version\\":1,\\"keys\\":[]}"}',
    ],
    ['malformed bearer keys', '{"version":1,"ed25519":[],"bearer":"canary"}'],
    ['an unknown field', '{"version":1,"ed25519":[],"bearer":"{\\"version\\":1,\\"keys\\":[]}","canary":1}'],
  ])('is refused when it is stored as %s, without a word of its content', (_what, text) => {
    let error: unknown;
    try {
      parseKeyRing(text);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ code: 'BROKEN_SECRET', message: 'the stored signing keys are unreadable' });
    // Loggers print causes too.
    expect(JSON.stringify(chainOf(error))).not.toContain('canary');
  });
});

function chainOf(error: unknown): readonly string[] {
  // Not instanceof: an error of JSON.parse is of another realm under jest.
  if (typeof error !== 'object' || error === null) return [];
  const { message, cause } = error as { message?: unknown; cause?: unknown };
  return [String(message), ...chainOf(cause)];
}
