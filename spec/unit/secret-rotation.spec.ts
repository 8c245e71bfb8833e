import {
  activeSecrets,
  defaultGraceMs,
  dropExpired,
  maxGraceMs,
  maxOldSecrets,
  nextExpiryAt,
  parseSecretSet,
  rotate,
  type SecretSet,
  wasReplaced,
} from '../../src/hooks/secret-rotation';

const hour = 60 * 60 * 1000;
const start = 1_700_000_000_000;

function secret(n: number): string {
  return `whsec_${Buffer.alloc(32, n).toString('base64')}`;
}

function rotated(times: number, everyMs = hour): SecretSet {
  let set: SecretSet = { current: secret(0), old: [] };
  for (let n = 1; n <= times; n++) set = rotate(set, { newSecret: secret(n), nowMs: start + n * everyMs });
  return set;
}

describe('rotating a secret', () => {
  it('makes the new one current and lets the former sign along for 24 hours', () => {
    const set = rotate({ current: secret(0), old: [] }, { newSecret: secret(1), nowMs: start });
    expect(set).toMatchObject({
      current: secret(1),
      old: [{ secret: secret(0), expiresAt: start + 24 * hour }],
    });
    expect(activeSecrets(set, start)).toEqual([secret(1), secret(0)]);
    expect(activeSecrets(set, start + defaultGraceMs - 1)).toEqual([secret(1), secret(0)]);
    expect(activeSecrets(set, start + defaultGraceMs)).toEqual([secret(1)]);
  });

  it('drops the former at once with a grace period of 0', () => {
    const set = rotate({ current: secret(0), old: [] }, { newSecret: secret(1), graceMs: 0, nowMs: start });
    expect(set).toMatchObject({ current: secret(1), old: [] });
  });

  it('remembers what was replaced, by a digest, until it is made current again', () => {
    const set = rotated(3);
    expect([0, 1, 2, 3].map(n => wasReplaced(set, secret(n)))).toEqual([true, true, true, false]);
    expect(JSON.stringify(set.replaced)).not.toMatch(/whsec_/);
    const back = rotate(set, { newSecret: secret(1), nowMs: start + 4 * hour });
    expect([0, 1, 2, 3].map(n => wasReplaced(back, secret(n)))).toEqual([true, false, true, true]);
    expect(
      wasReplaced(parseSecretSet(JSON.parse(JSON.stringify(dropExpired(back, Infinity)))), secret(0)),
    ).toBe(true);
    expect(rotated(60).replaced).toHaveLength(50);
  });

  it('leaves earlier ones their own end, newest first', () => {
    const set = rotated(3);
    expect(activeSecrets(set, start + 3 * hour)).toEqual([3, 2, 1, 0].map(secret));
    expect(activeSecrets(set, start + 25 * hour)).toEqual([3, 2, 1].map(secret));
    expect(activeSecrets(set, start + 26 * hour)).toEqual([3, 2].map(secret));
  });

  it('keeps ten old ones at most, and drops the oldest', () => {
    const set = rotated(14, 1000);
    expect(set.old).toHaveLength(maxOldSecrets);
    expect(activeSecrets(set, start + 14_000)).toEqual([14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4].map(secret));
  });

  it('drops what has expired', () => {
    const set = rotate(rotated(3), { newSecret: secret(9), nowMs: start + 100 * hour });
    expect(set.old.map(({ secret: text }) => text)).toEqual([secret(3)]);
  });

  it('goes back to an old secret without signing twice with it', () => {
    const set = rotate(rotated(1), { newSecret: secret(0), nowMs: start + 2 * hour });
    expect(activeSecrets(set, start + 2 * hour)).toEqual([secret(0), secret(1)]);
  });

  it('leaves the set it was given alone', () => {
    const set = Object.freeze({ current: secret(0), old: Object.freeze([]) });
    rotate(set, { newSecret: secret(1), nowMs: start });
    expect(set).toEqual({ current: secret(0), old: [] });
  });

  test.each([
    ['the current one', secret(0), undefined, 'the new secret is the current one already'],
    ['a malformed one', 'whsec_short', undefined, 'secret must be whsec_ and the base64 of 24 to 64 bytes'],
    ['a negative grace period', secret(1), -1, `graceMs must be an integer in 0..${maxGraceMs}, got -1`],
    ['a fraction', secret(1), 0.5, 'got 0.5'],
    ['more than 90 days', secret(1), maxGraceMs + 1, `got ${maxGraceMs + 1}`],
    ['no number', secret(1), NaN, 'got NaN'],
  ])('is refused for %s', (_, newSecret, graceMs, message) => {
    const change = { newSecret, nowMs: start, ...(graceMs !== undefined && { graceMs }) };
    expect(() => rotate({ current: secret(0), old: [] }, change)).toThrow(message);
  });
});

describe('a set of secrets', () => {
  it('says when its signer is out of date', () => {
    const set = rotated(2);
    expect(nextExpiryAt(set, start + 2 * hour)).toBe(start + 25 * hour);
    expect(nextExpiryAt(set, start + 25 * hour)).toBe(start + 26 * hour);
    expect(nextExpiryAt(set, start + 26 * hour)).toBeUndefined();
  });

  it('is the same one when nothing has expired', () => {
    const set = rotated(2);
    expect(dropExpired(set, start + 3 * hour)).toBe(set);
    expect(dropExpired(set, start + 25 * hour).old).toHaveLength(1);
  });

  it('survives storage', () => {
    const set = rotated(3);
    expect(parseSecretSet(JSON.parse(JSON.stringify(set)))).toEqual(set);
    expect(parseSecretSet({ current: secret(1) })).toEqual({ current: secret(1), old: [] });
  });

  test.each([
    ['nothing', undefined, 'at the top'],
    ['a text', 'whsec_', 'at the top'],
    ['no current secret', { old: [] }, 'at current'],
    ['a malformed current secret', { current: 'whsec_canary', old: [] }, 'at current'],
    ['an old one without an end', { current: secret(0), old: [{ secret: secret(1) }] }, 'at old.0.expiresAt'],
    [
      'too many old ones',
      { current: secret(0), old: Array(11).fill({ secret: secret(1), expiresAt: 1 }) },
      'at old',
    ],
    ['an unknown field', { current: secret(0), old: [], extra: 1 }, 'at the top'],
  ])('is refused when it is stored as %s, without a word of its content', (_, value, place) => {
    expect(() => parseSecretSet(value)).toThrow(`the stored secrets are unreadable ${place}`);
  });
});
