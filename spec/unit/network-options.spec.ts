// The `network` options: what is read, and what is refused with which words.
import { WebhookError } from '../../src/errors';
import {
  compileNetworkPolicy,
  parseAddressPattern,
  parseNetworkOptions,
} from '../../src/shared/network-options';

describe('parseNetworkOptions', () => {
  it('fills in the defaults', () => {
    expect(parseNetworkOptions(undefined)).toEqual({ allowPrivate: true, allow: [], deny: [] });
    expect(parseNetworkOptions({})).toEqual({ allowPrivate: true, allow: [], deny: [] });
  });

  it('keeps entries as they were written', () => {
    const given = {
      allowPrivate: false,
      allow: ['10.0.0.0/8', '2001:DB8::/32', 'Hooks.Example.', '*.example.com', 'bücher.example', '::1'],
      deny: ['127.0.0.1', '0.0.0.0/0', '::/0', 'localhost', '_dmarc.example'],
      ports: [443, '8000-8999', '80'],
    };
    expect(parseNetworkOptions(given)).toEqual(given);
  });

  const address = 'must be a CIDR range of an IP address without zone id, such as 10.0.0.0/8 or fd00::/8';
  const name = 'must be an IP address, a CIDR range, a host name or "*." and a host name';
  const port = 'must be a port in 1..65535 or a range such as "8000-8999"';
  it.each<[unknown, string]>([
    ['closed', 'network must be an object, got "closed"'],
    [[], 'network must be an object, got []'],
    [{ allowPrivat: false }, 'network must have no field "allowPrivat", got {"allowPrivat":false}'],
    [{ allowPrivate: 'no' }, 'network.allowPrivate must be true or false, got "no"'],
    [
      { allow: '10.0.0.0/8' },
      'network.allow must be a list of addresses, CIDR ranges and host names, got "10.0.0.0/8"',
    ],
    [{ allow: [10] }, 'network.allow.0 must be an IP address, a CIDR range or a host name, got 10'],
    [
      { deny: ['a.test', '10.0.0.0/33'] },
      'network.deny.1 must have a prefix length in 0..32, got "10.0.0.0/33"',
    ],
    [{ deny: ['::/129'] }, 'network.deny.0 must have a prefix length in 0..128, got "::/129"'],
    [{ deny: ['10.0.0.0/'] }, 'network.deny.0 must have a prefix length in 0..32, got "10.0.0.0/"'],
    [{ deny: ['10.0.0.0/08'] }, 'network.deny.0 must have a prefix length in 0..32, got "10.0.0.0/08"'],
    [{ deny: ['10.0.0.0/-1'] }, 'network.deny.0 must have a prefix length in 0..32, got "10.0.0.0/-1"'],
    [
      { deny: ['10.1.0.0/8'] },
      'network.deny.0 must have no bit set after the prefix, as in 10.0.0.0/8, got "10.1.0.0/8"',
    ],
    [
      { deny: ['fd00::1/8'] },
      'network.deny.0 must have no bit set after the prefix, as in fd00::/8, got "fd00::1/8"',
    ],
    [{ deny: ['10.0.0.0/8/8'] }, `network.deny.0 ${address}, got "10.0.0.0/8/8"`],
    [{ deny: ['10/8'] }, `network.deny.0 ${address}, got "10/8"`],
    [{ deny: ['010.0.0.0/8'] }, `network.deny.0 ${address}, got "010.0.0.0/8"`],
    [{ deny: ['fe80::1%eth0'] }, `network.deny.0 ${address}, got "fe80::1%eth0"`],
    [{ deny: ['http://a.test'] }, `network.deny.0 ${address}, got "http://a.test"`],
    [
      { deny: ['127.1'] },
      'network.deny.0 must be a name or an address written in full, as in 127.0.0.1, got "127.1"',
    ],
    [
      { deny: ['0x7f000001'] },
      'network.deny.0 must be a name or an address written in full, as in 127.0.0.1, got "0x7f000001"',
    ],
    [{ deny: ['a.test:80'] }, 'network.deny.0 must have no port and no brackets, got "a.test:80"'],
    [{ deny: ['[::1]'] }, 'network.deny.0 must have no port and no brackets, got "[::1]"'],
    [{ deny: ['*'] }, `network.deny.0 ${name}, got "*"`],
    [{ deny: ['*.'] }, `network.deny.0 ${name}, got "*."`],
    [{ deny: ['a.*.test'] }, `network.deny.0 ${name}, got "a.*.test"`],
    [{ deny: ['**.test'] }, `network.deny.0 ${name}, got "**.test"`],
    [{ deny: ['a..test'] }, `network.deny.0 ${name}, got "a..test"`],
    [{ deny: ['a test'] }, `network.deny.0 ${name}, got "a test"`],
    [{ deny: ['a.test\n'] }, `network.deny.0 ${name}, got "a.test\\n"`],
    [{ deny: ['user@a.test'] }, `network.deny.0 ${name}, got "user@a.test"`],
    [{ deny: ['%61.test'] }, `network.deny.0 ${name}, got "%61.test"`],
    [{ deny: [''] }, `network.deny.0 ${name}, got ""`],
    [
      { deny: ['a'.repeat(301)] },
      `network.deny.0 must have at most 300 characters, got "${'a'.repeat(56)}...`,
    ],
    [{ ports: 80 }, 'network.ports must be a list of ports, got 80'],
    [{ ports: [] }, 'network.ports must have an entry, got []'],
    [{ ports: [null] }, 'network.ports.0 must be a port or a range such as "8000-8999", got null'],
    [{ ports: [0] }, `network.ports.0 ${port}, got 0`],
    [{ ports: [80, 65_536] }, `network.ports.1 ${port}, got 65536`],
    [{ ports: [80.5] }, `network.ports.0 ${port}, got 80.5`],
    [{ ports: [-80] }, `network.ports.0 ${port}, got -80`],
    [{ ports: ['90-80'] }, `network.ports.0 ${port}, got "90-80"`],
    [{ ports: ['80-'] }, `network.ports.0 ${port}, got "80-"`],
    [{ ports: ['80-90-100'] }, `network.ports.0 ${port}, got "80-90-100"`],
    [{ ports: ['http'] }, `network.ports.0 ${port}, got "http"`],
  ])('refuses %j', (input, message) => {
    const parse = () => parseNetworkOptions(input);
    expect(parse).toThrow(WebhookError);
    expect(parse).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', message }));
  });

  it('refuses more than 1000 entries', () => {
    const parse = () => parseNetworkOptions({ allow: Array.from({ length: 1001 }, () => 'a.test') });
    expect(parse).toThrow('network.allow must have at most 1000 entries');
  });
});

describe('parseAddressPattern', () => {
  it.each([
    ['Bücher.Example.', { kind: 'name', name: 'xn--bcher-kva.example' }],
    ['*.EXAMPLE.com', { kind: 'subdomains', name: 'example.com' }],
  ])('reads %s', (text, expected) => {
    expect(parseAddressPattern(text)).toEqual(expected);
  });
});

describe('the key of a policy', () => {
  const keyOf = (network: unknown) => compileNetworkPolicy(parseNetworkOptions(network)).key;

  it('is the same for ranges that mean the same', () => {
    const key = keyOf({ allow: ['10.0.0.0/8', '10.1.2.3'] });
    expect(keyOf({ allow: ['10.1.2.3/32', '::ffff:10.0.0.0/104', '10.0.0.0/8'] })).toBe(key);
    expect(keyOf({ deny: ['2001:DB8:0::/32'] })).toBe(keyOf({ deny: ['2001:db8::/32'] }));
  });

  it('joins ports that touch', () => {
    expect(keyOf({ ports: [80, 81, '82-90', '85-100'] })).toBe(keyOf({ ports: ['80-100'] }));
    expect(keyOf({ ports: [80, 82] })).not.toBe(keyOf({ ports: ['80-82'] }));
  });
});
