// How every spelling of an address is judged: a table by hand, and properties over generated spellings.
import { BlockList, isIP } from 'node:net';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { createAddressGuard, type AddressGuard } from '../../src/http/address-guard';
import type { FindOwner } from '../../src/http/own-addresses';
import { addressSpellings, letters, policies } from '../support/address-spellings';
import { propertyRuns } from '../support/property-runs';
import {
  addressNumber,
  carrier,
  carry,
  ipv6Text,
  spelling,
  toDotted,
  urlText,
} from '../support/url-arbitraries';

/** Whatever the interfaces of the machine are. */
const findOwner: FindOwner = () => 'other';
const guards = {
  open: createAddressGuard(policies.open, { findOwner }),
  closed: createAddressGuard(policies.closed, { findOwner }),
  chosen: createAddressGuard(policies.chosen, { findOwner }),
};

function judgeByAll(url: string): string {
  return Object.values(guards)
    .map(guard => letters[guard.judgeUrl(url).kind])
    .join('');
}

function judgeAddressByAll(address: string): string {
  return Object.values(guards)
    .map(guard => letters[guard.judgeAddress(address).kind])
    .join('');
}

describe('the table of spellings', () => {
  afterAll(() =>
    console.log(
      `address guard: ${addressSpellings.length} spellings under ${Object.keys(guards).length} policies`,
    ),
  );

  it('has at least 200 spellings, each once', () => {
    expect(addressSpellings.length).toBeGreaterThanOrEqual(200);
    expect(new Set(addressSpellings.map(({ url }) => url)).size).toBe(addressSpellings.length);
  });

  it.each(
    addressSpellings.map(({ what, expected, url }) => [JSON.stringify(url), what, expected, url] as const),
  )('judges %s: %s', (_shown, _what, expected, url) => {
    expect(judgeByAll(url)).toBe(expected);
  });
});

describe('judgeAddress', () => {
  it.each([
    ['127.0.0.1', 'ara'],
    ['::1', 'arr'],
    ['::ffff:127.0.0.1', 'ara'],
    ['::ffff:127.0.0.1%lo', 'ara'],
    ['10.0.0.1', 'arr'],
    ['fe80::1', 'rrr'],
    ['fe80::1%eth0', 'rrr'],
    ['FE80::1%25', 'rrr'],
    ['fd12::1%eth0', 'ara'],
    ['1.1.1.1', 'aaa'],
    ['2606:4700::1111', 'aaa'],
    // What node:net takes for a name is no address.
    ['010.0.0.1', 'rrr'],
    ['127.1', 'rrr'],
    ['2130706433', 'rrr'],
    ['0x7f.0.0.1', 'rrr'],
    ['[::1]', 'rrr'],
    ['1.1.1.1/32', 'rrr'],
    [' 1.1.1.1', 'rrr'],
    ['localhost', 'rrr'],
    ['', 'rrr'],
  ])('judges %j', (address, expected) => {
    expect(judgeAddressByAll(address)).toBe(expected);
  });
});

describe('a refusal', () => {
  it.each([
    ['http://10.0.0.5/', 'range', '10.0.0.5 is refused: private (10.0.0.0/8)'],
    ['http://[2002:a00:5::]/', 'range', '2002:a00:5:: is refused: private (10.0.0.0/8)'],
    ['http://8.8.8.8/', 'denied', '8.8.8.8 is refused: an entry of deny says so'],
    ['http://evil.test/', 'denied', 'evil.test is refused: an entry of deny says so'],
    ['http://1.1.1.1:22/', 'port', 'port 22 of 1.1.1.1 is refused: not in ports'],
    ['http://user:hunter2@1.1.1.1/', 'url', 'the URL carries credentials'],
    ['ftp://1.1.1.1/', 'url', "the URL's scheme must be http or https, got ftp:"],
    ['nonsense', 'url', 'the URL is not absolute and well-formed'],
  ])('of %s says why', (url, reason, detail) => {
    expect(guards.chosen.judgeUrl(url)).toEqual({ kind: 'refused', reason, detail });
  });
});

// A second opinion, on node:net's own matching and the ranges written once more.
const special = new BlockList();
for (const cidr of [
  '0.0.0.0/8 169.254.0.0/16 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24',
  '203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32 2001::/32 2001:2::/48 2001:10::/28 2001:20::/28',
  '2001:db8::/32 3fff::/20 fd00:ec2::/32 fd20:ce::254/128',
].flatMap(line => line.split(' '))) {
  addRange(special, cidr);
}
const inner = new BlockList();
for (const cidr of '10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.168.0.0/16 ::1/128 fc00::/7'.split(
  ' ',
)) {
  addRange(inner, cidr);
}

function addRange(list: BlockList, cidr: string): void {
  const [base = '', prefix] = cidr.split('/');
  list.addSubnet(base, Number(prefix), isIP(base) === 4 ? 'ipv4' : 'ipv6');
}

/** The IPv4 address that an IPv6 one leads to, read from its text form. */
function readDestination(address: string): string {
  if (isIP(address) === 4) return address;
  const bytes = ipaddr.parse(address).toByteArray();
  const hex = Buffer.from(bytes).toString('hex');
  if (hex.startsWith('00000000000000000000ffff') || hex.startsWith('0064ff9b0000000000000000')) {
    return bytes.slice(12).join('.');
  }
  return hex.startsWith('2002') ? bytes.slice(2, 6).join('.') : address;
}

function isIn(list: BlockList, address: string): boolean {
  return list.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6');
}

/** Where net.connect would go for a URL's host, or undefined when that is a name. */
function readLiteral(url: string): string | undefined {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? undefined : host;
}

function assertSound(guard: AddressGuard, url: string, forbidden: readonly BlockList[]): void {
  const verdict = guard.judgeUrl(url);
  if (verdict.kind === 'refused') return;
  const literal = readLiteral(url);
  // A verdict of `undecided` on a literal would go past the lookup.
  expect(literal === undefined).toBe(verdict.kind === 'undecided');
  if (literal === undefined) return;
  const destination = readDestination(literal);
  const hits = forbidden.filter(list => isIn(list, destination)).length;
  const outside = isOutside(destination);
  expect({ url, destination, hits, outside }).toEqual({ url, destination, hits: 0, outside: false });
}

/** Outside 2000::/3, not private and not ::1. Not in the list: BlockList takes IPv4 addresses for mapped ones, in ::/8. */
function isOutside(address: string): boolean {
  if (isIP(address) !== 6 || ipaddr.parse(address).toString() === '::1') return false;
  const [first = 0] = ipaddr.parse(address).toByteArray();
  return first >> 5 !== 1 && first >> 1 !== 0xfc >> 1;
}

describe('for any text', () => {
  it('never throws, and allows no literal whose address is forbidden', () => {
    fc.assert(
      fc.property(urlText, url => {
        assertSound(guards.open, url, [special]);
        assertSound(guards.closed, url, [special, inner]);
        guards.chosen.judgeUrl(url);
        guards.chosen.judgeAddress(url);
      }),
      propertyRuns,
    );
  });

  it('judges every spelling of an IPv4 address as that address', () => {
    fc.assert(
      fc.property(spelling, ({ dotted, host }) => {
        const judged = judgeByAll(`http://${host}/`);
        // One comparison for each run: jest's take most of the time.
        expect([new URL(`http://${host}/`).hostname, judged]).toEqual([dotted, judgeAddressByAll(dotted)]);
      }),
      propertyRuns,
    );
  });

  it('judges an IPv4 address inside IPv6 as that address', () => {
    fc.assert(
      fc.property(addressNumber, carrier, (number, by) => {
        const address = carry(number, by);
        const plain = judgeAddressByAll(toDotted(number));
        expect([judgeAddressByAll(address), judgeByAll(`http://[${address}]/`)]).toEqual([plain, plain]);
      }),
      propertyRuns,
    );
  });

  it('refuses exactly the special ranges, the inner ones when they are closed', () => {
    fc.assert(
      fc.property(fc.oneof(addressNumber.map(toDotted), ipv6Text), address => {
        const destination = readDestination(address);
        const isInner = isIn(inner, destination);
        const isSpecial =
          isIn(special, destination) || destination === '100.100.100.200' || isOutside(destination);
        const judged = [guards.open, guards.closed].map(
          guard => guard.judgeAddress(address).kind === 'refused',
        );
        expect(judged).toEqual([isSpecial, isSpecial || isInner]);
      }),
      propertyRuns,
    );
  });
});
