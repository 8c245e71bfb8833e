import { ServerKeys } from '../../src/blocking/server-keys';
import { parseKeyRing } from '../../src/http/key-ring';
import { ManualClock } from '../support/manual-clock';

const v1a = { signatures: ['v1', 'v1a'] as ('v1' | 'v1a')[] };
const es256 = { bearer: { algorithm: 'ES256' as const } };
const rs256 = { bearer: { algorithm: 'RS256' as const } };
const hs256 = { bearer: { algorithm: 'HS256' as const } };

const added = { revokeOthers: false };
const alone = { revokeOthers: true };

describe('the keys of a server', () => {
  it('are made only for hooks that need them', async () => {
    const keys = new ServerKeys(new ManualClock());
    expect(await keys.complete(undefined, [])).toBeUndefined();
    expect(await keys.complete(undefined, [{}, hs256, { signatures: ['v1'] }])).toBeUndefined();
    const ring = parseKeyRing(await keys.complete(undefined, [v1a, rs256, es256, es256, v1a]));
    expect(ring.ed25519).toHaveLength(1);
    expect(ring.bearer.keys.map(({ algorithm }) => algorithm).sort()).toEqual(['ES256', 'RS256']);
  });

  it.each(['RS256', 'ES256'] as const)(
    'of tokens are of both kinds from the first %s on: a set kept by a cache lacks neither',
    async algorithm => {
      const keys = new ServerKeys(new ManualClock());
      const kinds = (text: string | undefined): readonly string[] =>
        parseKeyRing(text)
          .bearer.keys.map(key => key.algorithm)
          .sort();
      const made = await keys.complete(undefined, [{ bearer: { algorithm } }]);
      expect(kinds(made)).toEqual(['ES256', 'RS256']);
      expect(await keys.complete(made, [rs256, es256])).toBeUndefined();
      expect(kinds(await keys.rotated(undefined, algorithm, added))).toEqual(['ES256', 'RS256']);
      expect(kinds(await keys.rotated(undefined, algorithm, alone))).toEqual(['ES256', 'RS256']);
    },
  );

  it('are known to be needed hook by hook', () => {
    const keys = new ServerKeys(new ManualClock());
    expect([v1a, es256, rs256].map(settings => keys.isNeededBy(settings))).toEqual([true, true, true]);
    expect([{}, hs256, { signatures: ['v1' as const] }].map(settings => keys.isNeededBy(settings))).toEqual([
      false,
      false,
      false,
    ]);
  });

  it('are completed and not replaced', async () => {
    const keys = new ServerKeys(new ManualClock());
    const first = await keys.complete(undefined, [v1a]);
    expect(await keys.complete(first, [v1a])).toBeUndefined();
    const second = parseKeyRing(await keys.complete(first, [v1a, es256]));
    expect(second.ed25519.map(({ text }) => text)).toEqual(
      parseKeyRing(first).ed25519.map(({ text }) => text),
    );
  });

  it('come into use as a new ring, and stay the same ring while the text does', async () => {
    const keys = new ServerKeys(new ManualClock());
    const empty = keys.ring;
    const text = await keys.rotated(undefined, 'ed25519', added);
    keys.use(text);
    const ring = keys.ring;
    expect(ring).not.toBe(empty);
    keys.use(text.slice());
    expect(keys.ring).toBe(ring);
    keys.use(await keys.rotated(text, 'ed25519', added));
    expect(keys.ring.ed25519.map(({ text: each }) => each)[1]).toBe(ring.ed25519[0]?.text);
    keys.use(undefined);
    expect(keys.ring).toEqual(empty);
  });

  it('stay in use when a text cannot be read', async () => {
    const keys = new ServerKeys(new ManualClock());
    keys.use(await keys.rotated(undefined, 'ed25519', added));
    const { ring } = keys;
    expect(() => keys.use('garbage')).toThrow('unreadable');
    expect(keys.ring).toBe(ring);
  });

  it.each(['ed25519', 'RS256', 'ES256'] as const)(
    'of %s are all but the new one revoked when that is asked',
    async key => {
      const keys = new ServerKeys(new ManualClock());
      const count = (text: string): number => {
        const { ed25519, bearer } = parseKeyRing(text);
        return key === 'ed25519'
          ? ed25519.length
          : bearer.keys.filter(({ algorithm }) => algorithm === key).length;
      };
      const two = await keys.rotated(await keys.rotated(undefined, key, added), key, added);
      expect([count(two), count(await keys.rotated(two, key, alone))]).toEqual([2, 1]);
    },
  );
});
