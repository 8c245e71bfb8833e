// From what an operator types in to a key: the one place that pays for guessing.
import { createHash, scrypt } from 'node:crypto';

/**
 * OWASP's password storage cheat sheet has N 2^15, r 8, p 3 among its minima; 32 MiB of memory. Measured on Node 20.20:
 * 160 ms of a core for each key, in the thread pool, and so for each guess.
 */
const cost = { N: 2 ** 15, r: 8, p: 3, maxmem: 64 * 1024 * 1024 };

/**
 * One for all installations: every node must come to the same key with nothing but the option, before it has read
 * anything. The price is that one table of guesses would serve against all who chose the same weak text.
 */
const salt = 'parse-server-webhooks/secrets';

/** By a hash of the material. Several Parse Servers of one process, and their restarts, pay once. */
const derived = new Map<string, Promise<Buffer>>();

/** 32 bytes of `keyMaterial`: the `encryptionKey` option or the master key, any length; use 32 random bytes or more. */
export function deriveKey(keyMaterial: string): Promise<Buffer> {
  const id = createHash('sha256').update(keyMaterial).digest('base64');
  const known = derived.get(id);
  if (known) return known;
  const key = new Promise<Buffer>((resolve, reject) => {
    scrypt(keyMaterial, salt, 32, cost, (error, bytes) => {
      if (error) reject(error);
      else resolve(bytes);
    });
  });
  derived.set(id, key);
  key.catch(() => derived.delete(id));
  return key;
}
