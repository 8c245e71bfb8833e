// IP addresses and ranges as values: strict parsing and matching, on ipaddr.js. Judges nothing.
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

export type IpAddress = ipaddr.IPv4 | ipaddr.IPv6;

/** A CIDR range whose address has no bit set after the prefix. */
export interface IpRange {
  readonly address: IpAddress;
  readonly prefix: number;
}

/**
 * The address that net.connect would take this text for, without its zone id; undefined when it is none.
 *
 * node:net decides and not ipaddr.js, which also reads `010.0.0.1` (as 8.0.0.1) and `127.1`: names for node:net.
 */
export function parseIp(text: string): IpAddress | undefined {
  return isIP(text) === 0 ? undefined : ipaddr.parse(text.split('%', 1)[0] ?? text);
}

/** Reads `10.0.0.0/8`, or an address alone as the range of that one address. Throws an Error that says what is wrong. */
export function parseIpRange(text: string): IpRange {
  const [base = '', prefixText, ...rest] = text.split('/');
  const address = base.includes('%') ? undefined : parseIp(base);
  if (address === undefined || rest.length > 0) {
    throw new Error('must be a CIDR range of an IP address without zone id, such as 10.0.0.0/8 or fd00::/8');
  }
  const bits = address.kind() === 'ipv4' ? 32 : 128;
  const prefix = prefixText === undefined ? bits : Number(prefixText);
  if (prefixText !== undefined && (!/^(0|[1-9]\d{0,2})$/.test(prefixText) || prefix > bits)) {
    throw new Error(`must have a prefix length in 0..${bits}`);
  }
  const network = networkOf(address, prefix);
  if (network.toString() !== address.toString()) {
    throw new Error(`must have no bit set after the prefix, as in ${network.toString()}/${prefix}`);
  }
  return unmap({ address, prefix });
}

/** True when the address lies in the range; false when they are of different families. */
export function isInRange(address: IpAddress, range: IpRange): boolean {
  return address.kind() === range.address.kind() && address.match(range.address, range.prefix);
}

/** The one way to write the range: equal ranges give equal texts. */
export function formatIpRange({ address, prefix }: IpRange): string {
  return `${address.toString()}/${prefix}`;
}

function networkOf(address: IpAddress, prefix: number): IpAddress {
  const bytes = address.toByteArray().map((byte, index) => {
    const kept = Math.min(Math.max(prefix - 8 * index, 0), 8);
    return byte & (0xff << (8 - kept)) & 0xff;
  });
  return ipaddr.fromByteArray(bytes);
}

/**
 * `::ffff:10.0.0.0/104` means 10.0.0.0/8: the operating system connects to the IPv4 address. The whole prefix,
 * `::ffff:0:0/96`, stays what it is: who writes it means the mapped form, and not every IPv4 address.
 */
function unmap(range: IpRange): IpRange {
  const { address, prefix } = range;
  if (!(address instanceof ipaddr.IPv6) || prefix <= 96 || !address.isIPv4MappedAddress()) return range;
  return { address: address.toIPv4Address(), prefix: prefix - 96 };
}
