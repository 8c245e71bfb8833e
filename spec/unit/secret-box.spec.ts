// Secrets at rest: what is sealed opens only with the same key in the same place, untouched.
import { SecretBoxes } from '../../src/hooks/secret-box';
import { resealRecord } from '../../src/hooks/stored-settings';
import { boxOf } from '../support/secret-boxes';

const box = boxOf('a key of some length');

describe('a secret box', () => {
  it.each(['', 'a', 'geheim äöü 🔑', 'x'.repeat(10_000)])('opens what it sealed', plain => {
    expect(box.open(box.seal(plain, 'place'), 'place')).toBe(plain);
  });

  it('seals the same text differently every time, and shows none of it', () => {
    const sealed = Array.from({ length: 10 }, () => box.seal('top secret', 'place'));
    expect(new Set(sealed).size).toBe(10);
    for (const text of sealed) {
      expect(text).toMatch(/^v2\.[A-Za-z0-9_-]+$/);
      expect(Buffer.from(text.slice(3), 'base64url').toString('latin1')).not.toContain('top secret');
    }
  });

  it('can be opened by another box of the same key', () => {
    expect(boxOf('a key of some length').open(box.seal('a', 'place'), 'place')).toBe('a');
  });

  it('stays shut for another key, another place, a changed or cut text', () => {
    const sealed = box.seal('top secret', 'place');
    const middle = Math.floor(sealed.length / 2);
    const flipped = sealed.slice(0, middle) + (sealed[middle] === 'A' ? 'B' : 'A') + sealed.slice(middle + 1);
    const attempts = [
      () => boxOf('another key').open(sealed, 'place'),
      () => box.open(sealed, 'another place'),
      () => box.open(flipped, 'place'),
      ...[3, 10, 20, sealed.length - 4].map(length => () => box.open(sealed.slice(0, length), 'place')),
      () => box.open(sealed.replace('v2', 'v1'), 'place'),
      () => box.open('', 'place'),
      () => box.open('top secret', 'place'),
      () => box.open(`${sealed}.`, 'place'),
      () => box.open(`${sealed}.more`, 'place'),
    ];
    for (const attempt of attempts) {
      expect(attempt).toThrow(
        expect.objectContaining({ code: 'BROKEN_SECRET', message: expect.stringContaining('place') }),
      );
      expect(attempt).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining('top secret') }),
      );
    }
  });

  it.each(['', 'top secret'])('stays shut at whatever length it is cut', plain => {
    const sealed = box.seal(plain, 'place');
    for (let length = 0; length < sealed.length; length++) {
      expect(() => box.open(sealed.slice(0, length), 'place')).toThrow(
        expect.objectContaining({ code: 'BROKEN_SECRET' }),
      );
    }
  });
});

describe('boxes of a server', () => {
  const former = boxOf('a former key');
  const boxes = new SecretBoxes(box, [former]);

  it('open what any of them sealed, and tell which', () => {
    for (const each of [box, former]) {
      const sealed = each.seal('a secret', 'place');
      expect(boxes.open(sealed, 'place')).toBe('a secret');
      expect(boxes.find(sealed, 'place')).toBe(each);
      expect(boxes.find(sealed, 'another place')).toBeUndefined();
    }
    const foreign = boxOf('another key').seal('a secret', 'place');
    expect(boxes.find(foreign, 'place')).toBeUndefined();
    expect(() => boxes.open(foreign, 'place')).toThrow(expect.objectContaining({ code: 'BROKEN_SECRET' }));
  });
});

describe('a record that is sealed anew', () => {
  const current = boxOf('the current key');
  const former = boxOf('a former key');
  const foreign = boxOf('another key');
  const key = 'function/f';

  it('is under the current key, whatever else is in it, and what no key opens stays as it is', () => {
    const lost = foreign.seal('lost', `${key} header x-lost`);
    const stored = {
      ofLaterVersions: 1,
      headers: { 'x-a': former.seal('a', `${key} header x-a`), 'x-lost': lost },
      basicAuth: { username: 'u', password: current.seal('p', `${key} basicAuth`) },
      secrets: former.seal('secrets', `${key} secrets`),
    };
    const text = resealRecord(key, JSON.stringify(stored), new SecretBoxes(current, [former])) ?? '';
    const next = JSON.parse(text) as typeof stored;
    expect(next).toMatchObject({
      ofLaterVersions: 1,
      basicAuth: stored.basicAuth,
      headers: { 'x-lost': lost },
    });
    expect(current.open(next.headers['x-a'], `${key} header x-a`)).toBe('a');
    expect(current.open(next.secrets, `${key} secrets`)).toBe('secrets');
    expect(resealRecord(key, text, new SecretBoxes(current, [former]))).toBeUndefined();
  });

  it.each(['', 'garbage', '[]', '{}', '{"headers":{"x-a":5},"secrets":1}'])('is none in %j', stored => {
    expect(resealRecord(key, stored, new SecretBoxes(current, [former]))).toBeUndefined();
  });
});
