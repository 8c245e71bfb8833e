// Identifiers of messages.
import { systemClock } from '../../src/shared/clock';
import { createMessageId } from '../../src/shared/ids';

const at = (now: number, byte = 0) => ({
  ...systemClock,
  now: () => now,
  randomBytes: (size: number) => Buffer.alloc(size, byte),
});

describe('createMessageId', () => {
  it('is msg_ and 26 characters of Crockford base 32', () => {
    for (let n = 0; n < 1000; n++)
      expect(createMessageId(systemClock)).toMatch(/^msg_[0-9A-HJKMNP-TV-Z]{26}$/);
  });

  it('begins with the time', () => {
    expect(createMessageId(at(0))).toBe(`msg_${'0'.repeat(26)}`);
    // The ULID specification's example of a time.
    expect(createMessageId(at(1469918176385))).toBe(`msg_01ARYZ6S41${'0'.repeat(16)}`);
  });

  it('sorts by time', () => {
    const times = [0, 1, 31, 32, 1e12, 1.7e12, 2 ** 48 - 1];
    const ids = times.map(now => createMessageId(at(now, 255)));
    expect([...ids].sort()).toEqual(ids);
  });

  it('does not repeat within one millisecond', () => {
    const ids = Array.from({ length: 10_000 }, () => createMessageId({ ...systemClock, now: () => 1 }));
    expect(new Set(ids).size).toBe(ids.length);
  });
});
