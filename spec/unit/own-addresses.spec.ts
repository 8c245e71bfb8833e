// The server's own public addresses where private ones are closed, with interfaces that a test lists.
import type { LookupAddress } from 'node:dns';
import { networkInterfaces } from 'node:os';
import { createAddressGuard, type AddressGuard } from '../../src/http/address-guard';
import { findDestination } from '../../src/http/address-ranges';
import { NameLookups } from '../../src/http/name-lookups';
import { createOwnAddresses, findOwnerOnThisMachine, type FindOwner } from '../../src/http/own-addresses';
import { parseIp } from '../../src/shared/ip-address';
import { parseNetworkOptions } from '../../src/shared/network-options';
import { ManualClock } from '../support/manual-clock';

const own = ['93.184.216.34', '2606:4700::1111', '2002:101:101::1', '10.0.0.5', 'fe80::1', '::1'];

function open(interfaces: () => readonly string[] = () => own) {
  const clock = new ManualClock();
  const findOwner = createOwnAddresses({ read: interfaces, clock });
  return { clock, guard: (network: object) => guardWith(network, findOwner) };
}

function guardWith(
  network: object,
  findOwner: FindOwner,
  found: readonly LookupAddress[] = [],
): AddressGuard {
  return createAddressGuard(parseNetworkOptions(network), {
    findOwner,
    lookups: new NameLookups({ resolve: () => Promise.resolve(found) }),
  });
}

function lookUp(guard: AddressGuard, hostname: string): Promise<Error | null> {
  return new Promise(resolve => guard.lookup(hostname, { all: true }, error => resolve(error)));
}

const closed = { allowPrivate: false };

describe("the server's own addresses", () => {
  it.each([
    ['IPv4', '93.184.216.34'],
    ['IPv4 in another spelling', '0x5db8d822'],
    ['IPv4 inside IPv6', '[::ffff:93.184.216.34]'],
    ['IPv4 behind NAT64', '[64:ff9b::93.184.216.34]'],
    ['IPv6', '[2606:4700:0:0::1111]'],
    ['6to4', '[2002:101:101::1]'],
    ['IPv4 behind 6to4', '1.1.1.1'],
  ])('are refused like private ones, at registration and at every connection: %s', async (_what, host) => {
    const guard = open().guard(closed);
    const refused = { kind: 'refused', reason: 'range', detail: expect.stringMatching(/this server's own$/) };
    expect(guard.judgeUrl(`http://${host}/`)).toMatchObject(refused);
    const { hostname } = new URL(`http://${host}/`);
    expect(guard.judgeTarget({ protocol: 'http:', hostname, port: '' })).toMatchObject(refused);
    const address = hostname.replace(/^\[|\]$/g, '');
    const found = [{ address, family: address.includes(':') ? 6 : 4 }];
    const findOwner = createOwnAddresses({ read: () => own });
    expect(await lookUp(guardWith(closed, findOwner, found), 'hooks.test')).toMatchObject({
      message: expect.stringMatching(/^hooks\.test: .*this server's own$/),
    });
  });

  it('are called where private ones may be, and other addresses always', () => {
    const { guard } = open();
    expect(guard({}).judgeUrl('http://93.184.216.34/')).toEqual({ kind: 'allowed' });
    expect(guard(closed).judgeUrl('http://93.184.216.35/')).toEqual({ kind: 'allowed' });
    expect(guard(closed).judgeUrl('http://[2606:4700::1112]/')).toEqual({ kind: 'allowed' });
  });

  it('are opened by an entry of allow: an address, a range, or a name that has them', async () => {
    const { guard } = open();
    for (const allow of ['93.184.216.34', '93.184.216.0/24'])
      expect(guard({ ...closed, allow: [allow] }).judgeUrl('http://93.184.216.34/').kind).toBe('allowed');
    const findOwner = createOwnAddresses({ read: () => own });
    const named = guardWith({ ...closed, allow: ['hooks.test'] }, findOwner, [
      { address: '93.184.216.34', family: 4 },
    ]);
    expect(await lookUp(named, 'hooks.test')).toBeNull();
    expect(await lookUp(named, 'other.test')).toMatchObject({ reason: 'range' });
  });

  it("are refused by a hook's own network, too", () => {
    const guard = createAddressGuard(parseNetworkOptions({}), {
      narrowedBy: parseNetworkOptions(closed),
      findOwner: createOwnAddresses({ read: () => own }),
    });
    expect(guard.judgeUrl('http://93.184.216.34/').kind).toBe('refused');
  });

  it('are those that the interfaces have at the moment, read once in two seconds', () => {
    let addresses: readonly string[] = [];
    let reads = 0;
    const { clock, guard } = open(() => {
      reads += 1;
      return addresses;
    });
    const judge = (): string => guard(closed).judgeUrl('http://93.184.216.34/').kind;
    expect(judge()).toBe('allowed');
    addresses = own;
    clock.advance(1999);
    expect([judge(), reads]).toEqual(['allowed', 1]);
    clock.advance(1);
    expect([judge(), judge(), reads]).toEqual(['refused', 'refused', 2]);
    addresses = [];
    clock.advance(2000);
    expect(judge()).toBe('allowed');
  });

  it('are the last known ones while the interfaces cannot be read, and before that all public ones', () => {
    let fails = true;
    const { clock, guard } = open(() => {
      if (fails) throw new Error('EMFILE');
      return own;
    });
    const judge = (host: string): unknown => guard(closed).judgeUrl(`http://${host}/`);
    expect(judge('93.184.216.35')).toMatchObject({
      kind: 'refused',
      detail: "93.184.216.35 is refused: this server's own addresses cannot be read",
    });
    expect(guard({}).judgeUrl('http://93.184.216.35/').kind).toBe('allowed');
    fails = false;
    expect([judge('93.184.216.34'), judge('93.184.216.35')]).toMatchObject([
      { kind: 'refused' },
      { kind: 'allowed' },
    ]);
    fails = true;
    clock.advance(2000);
    expect([judge('93.184.216.34'), judge('93.184.216.35')]).toMatchObject([
      { kind: 'refused' },
      { kind: 'allowed' },
    ]);
  });

  it('are read from this machine by default', () => {
    const addresses = Object.values(networkInterfaces()).flatMap((list = []) =>
      list.map(each => each.address),
    );
    const owners = addresses.map(text => {
      const address = parseIp(text);
      return address && findOwnerOnThisMachine(findDestination(address));
    });
    expect(owners).toEqual(addresses.map(() => 'own'));
  });
});
