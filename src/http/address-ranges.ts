// What an IP address is for: the special ranges, and the IPv4 addresses that IPv6 addresses carry. Judges nothing.
import ipaddr from 'ipaddr.js';
import { formatIpRange, isInRange, parseIpRange, type IpAddress } from '../shared/ip-address';

export type AddressKind =
  | 'public'
  | 'private'
  | 'loopback'
  | 'shared' // between a provider and its customers, RFC 6598
  | 'link-local'
  | 'metadata' // hands out a cloud machine's credentials
  | 'multicast'
  | 'unspecified'
  | 'broadcast'
  | 'documentation'
  | 'benchmark'
  | 'reserved';

export interface AddressClass {
  readonly kind: AddressKind;
  /** The range that says so, as CIDR; undefined for public addresses. */
  readonly range: string | undefined;
}

/**
 * The IANA special-purpose registries (RFC 6890 and what followed it); of ranges within one another the inner
 * one comes first. Metadata services outside link-local: 100.100.100.200 (Alibaba Cloud), 168.63.129.16 (Azure's
 * WireServer), fd00:ec2::254 and ::23 (EC2, and its pods' credentials), fd20:ce::254 (Google Cloud).
 */
const table: readonly (readonly [cidr: string, kind: AddressKind])[] = [
  ['0.0.0.0/32', 'unspecified'],
  ['0.0.0.0/8', 'reserved'], // "this network", RFC 1122
  ['10.0.0.0/8', 'private'],
  ['100.100.100.200/32', 'metadata'],
  ['100.64.0.0/10', 'shared'],
  ['127.0.0.0/8', 'loopback'],
  ['168.63.129.16/32', 'metadata'],
  ['169.254.0.0/16', 'link-local'],
  ['172.16.0.0/12', 'private'],
  ['192.0.0.0/24', 'reserved'], // IETF protocols, and 192.0.0.192: metadata of Oracle Cloud
  ['192.0.2.0/24', 'documentation'],
  ['192.88.99.0/24', 'reserved'], // 6to4 relays, RFC 7526
  ['192.168.0.0/16', 'private'],
  ['198.18.0.0/15', 'benchmark'],
  ['198.51.100.0/24', 'documentation'],
  ['203.0.113.0/24', 'documentation'],
  ['224.0.0.0/4', 'multicast'],
  ['255.255.255.255/32', 'broadcast'],
  ['240.0.0.0/4', 'reserved'],
  ['::/128', 'unspecified'],
  ['::1/128', 'loopback'],
  ['::/8', 'reserved'], // ::a.b.c.d among them: "IPv4-compatible", deprecated, RFC 4291 section 2.5.5.1
  ['64:ff9b:1::/48', 'reserved'], // NAT64 of a network's own choice: where it leads cannot be known
  ['100::/64', 'reserved'], // discard
  ['100:0:0:1::/64', 'reserved'], // dummy prefix, RFC 9780
  ['2001::/32', 'reserved'], // Teredo
  ['2001:2::/48', 'benchmark'], // RFC 5180
  ['2001:10::/28', 'reserved'], // ORCHID, RFC 4843
  ['2001:20::/28', 'reserved'], // ORCHIDv2, RFC 7343: identifiers, not routed
  ['2001:db8::/32', 'documentation'],
  ['3fff::/20', 'documentation'],
  ['5f00::/16', 'reserved'], // segment routing
  ['fd00:ec2::/32', 'metadata'],
  ['fd20:ce::254/128', 'metadata'],
  ['fc00::/7', 'private'],
  ['fe80::/10', 'link-local'],
  ['fec0::/10', 'reserved'], // site-local, deprecated, RFC 3879
  ['ff00::/8', 'multicast'],
  // The rest of IPv6 outside 2000::/3, the only global unicast that IANA has given out (RFC 4291, section 2.4).
  ['::/3', 'reserved'],
  ['4000::/2', 'reserved'],
  ['8000::/1', 'reserved'],
];

const ranges = table.map(([cidr, kind]) => ({ kind, ...parseIpRange(cidr) }));

/** Prefixes whose addresses reach an IPv4 address, and the byte at which it starts. */
const carriers = [
  { range: parseIpRange('::ffff:0:0/96'), at: 12 }, // mapped: the system uses IPv4
  { range: parseIpRange('64:ff9b::/96'), at: 12 }, // NAT64, RFC 6052
  { range: parseIpRange('2002::/16'), at: 2 }, // 6to4, RFC 3056
];

/** The IPv4 address behind a mapped, NAT64 or 6to4 address; every other address itself. */
export function findDestination(address: IpAddress): IpAddress {
  const carrier = carriers.find(({ range }) => isInRange(address, range));
  if (carrier === undefined) return address;
  return ipaddr.fromByteArray(address.toByteArray().slice(carrier.at, carrier.at + 4));
}

/** What the address is for, by the address that it leads to. */
export function classifyAddress(address: IpAddress): AddressClass {
  const destination = findDestination(address);
  const found = ranges.find(range => isInRange(destination, range));
  return found === undefined
    ? { kind: 'public', range: undefined }
    : { kind: found.kind, range: formatIpRange(found) };
}
