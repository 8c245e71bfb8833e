// The key behind what is sealed: dear to guess, and cheap for who has it.
import { deriveKey } from '../../src/hooks/derive-key';

describe('the key of an encryptionKey', () => {
  it('costs whoever guesses a sixth of a second, and who has it only once', async () => {
    const before = process.cpuUsage();
    const first = deriveKey('a key of some length');
    expect(deriveKey('a key of some length')).toBe(first);
    expect(await first).toHaveLength(32);
    const { user, system } = process.cpuUsage(before);
    // 160 ms were measured. No machine is eight times as fast; without the work factor it would be microseconds.
    expect((user + system) / 1000).toBeGreaterThan(20);
  });

  it('is the same everywhere and for ever: databases depend on it', async () => {
    expect((await deriveKey('a key of some length')).toString('hex')).toBe(
      '759689f430f512e881bfbf451c8ebee4ed042d42f6482e7ea7147eb619da8819',
    );
  });

  it('is another one for another text', async () => {
    const keys = await Promise.all(['', 'a', 'A', 'a '].map(deriveKey));
    expect(new Set(keys.map(key => key.toString('hex'))).size).toBe(4);
  });
});
