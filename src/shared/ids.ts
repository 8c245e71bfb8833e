// Identifiers of messages, in the form Standard Webhooks recommends.
import type { Clock } from './clock';

const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** `msg_` and 26 Crockford base-32 characters: 48 bits of time, 80 of randomness (a ULID), so ids sort by time. */
export function createMessageId(clock: Clock): string {
  return formatId('msg_', clock.now(), clock.randomBytes(16));
}

/** `dlv_` and a ULID. */
export function createDeliveryId(clock: Clock): string {
  return formatId('dlv_', clock.now(), clock.randomBytes(16));
}

/** The time that an id of formatId was made with, in milliseconds since 1970; undefined for any other text. */
export function timeOfId(id: string): number | undefined {
  let time = 0;
  for (const character of id.slice(4, 14)) {
    const digit = alphabet.indexOf(character);
    if (digit < 0) return undefined;
    time = time * 32 + digit;
  }
  return id.length < 30 ? undefined : time;
}

/** `atMs`: milliseconds since 1970. 5 bits of each of the 16 `bytes` are used. */
export function formatId(prefix: string, atMs: number, bytes: Buffer): string {
  let time = atMs;
  const head = new Array<string>(10);
  for (let i = 9; i >= 0; i--) {
    head[i] = alphabet.charAt(time % 32);
    time = Math.floor(time / 32);
  }
  let tail = '';
  for (const byte of bytes) tail += alphabet.charAt(byte & 31);
  return `${prefix}${head.join('')}${tail}`;
}
