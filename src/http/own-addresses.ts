// Which addresses are this server's own at the moment, by its network interfaces. Judges nothing.
import { networkInterfaces } from 'node:os';
import { systemClock, type Clock } from '../shared/clock';
import { parseIp, type IpAddress } from '../shared/ip-address';
import { findDestination } from './address-ranges';

/** `unknown`: the interfaces cannot be read, and never could. */
export type Owner = 'own' | 'other' | 'unknown';

/** Whose an address is, as findDestination gives it. */
export type FindOwner = (destination: IpAddress) => Owner;

export interface OwnAddressesOptions {
  /** The addresses of all interfaces, without zone ids. May throw. Default: os.networkInterfaces. */
  readonly read?: () => readonly string[];
  /** Default: the system's. */
  readonly clock?: Clock;
}

/** How old a list may be, in milliseconds. Reading it takes system calls, and a new connection asks for each address. */
const maxAgeMs = 2000;

/**
 * Reads the addresses when they are asked for and keeps them for 2 s. When they cannot be read (a process without a
 * free file descriptor cannot), the last list that could be holds on.
 */
export function createOwnAddresses({
  read = readInterfaces,
  clock = systemClock,
}: OwnAddressesOptions = {}): FindOwner {
  let known: ReadonlySet<string> | undefined;
  let readAt = -Infinity;

  function refresh(): void {
    if (clock.monotonicMs() - readAt < maxAgeMs) return;
    try {
      known = new Set(read().flatMap(text => normalize(text) ?? []));
      readAt = clock.monotonicMs();
    } catch {
      // Read again for the next address.
    }
  }

  return destination => {
    refresh();
    if (known === undefined) return 'unknown';
    return known.has(destination.toString()) ? 'own' : 'other';
  };
}

let ofProcess: FindOwner | undefined;

/** Of the machine that this process runs on. */
export const findOwnerOnThisMachine: FindOwner = destination =>
  (ofProcess ??= createOwnAddresses())(destination);

function normalize(text: string): string | undefined {
  const address = parseIp(text);
  return address && findDestination(address).toString();
}

function readInterfaces(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((addresses = []) =>
    addresses.map(({ address }) => address),
  );
}
