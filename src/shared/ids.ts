// Identifiers of messages, in the form Standard Webhooks recommends.
import type { Clock } from './clock';

const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** `msg_` and 26 Crockford base-32 characters: 48 bits of time, 80 of randomness (a ULID), so ids sort by time. */
export function createMessageId(clock: Clock): string {
  let time = clock.now();
  const head = new Array<string>(10);
  for (let i = 9; i >= 0; i--) {
    head[i] = alphabet.charAt(time % 32);
    time = Math.floor(time / 32);
  }
  let tail = '';
  for (const byte of clock.randomBytes(16)) tail += alphabet.charAt(byte & 31);
  return `msg_${head.join('')}${tail}`;
}
