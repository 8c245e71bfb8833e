// How every spelling of an address is judged: a table by hand, and properties over generated spellings.
import { BlockList, isIP } from 'node:net';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { createAddressGuard, type AddressGuard } from '../../src/http/address-guard';
import { parseNetworkOptions } from '../../src/shared/network-options';
import { propertyRuns } from '../support/property-runs';

const guards = {
  open: createAddressGuard(parseNetworkOptions({})),
  closed: createAddressGuard(parseNetworkOptions({ allowPrivate: false })),
  chosen: createAddressGuard(
    parseNetworkOptions({
      allowPrivate: false,
      allow: ['169.254.169.254', '10.1.0.0/16', '127.0.0.1', 'fd12::/16', '*.trusted.test'],
      deny: ['10.1.2.3', '8.8.8.8', '2001:4860::/32', 'evil.test', '*.evil.test'],
      ports: [80, 443, '8000-8999'],
    }),
  ),
};

/** One letter for each of the three policies: a is allowed, r refused, n a name, of which the lookup decides. */
type Expected = `${Letter}${Letter}${Letter}`;
type Letter = 'a' | 'r' | 'n';
const letters = { allowed: 'a', refused: 'r', undecided: 'n' } as const;

/** Groups of URLs. What has no scheme stands for the host of `http://…/`; `only` keeps it as it is. */
interface Group {
  readonly what: string;
  readonly expected: Expected;
  readonly hosts?: readonly string[];
  readonly only?: readonly string[];
}

const groups: readonly Group[] = [
  {
    what: '127.0.0.1, which the third policy allows, in IPv4',
    expected: 'ara',
    hosts: [
      '127.0.0.1',
      '127.0.0.1.',
      '2130706433',
      '2130706433.',
      '0x7f000001',
      '0X7F000001',
      '0x7F000001.',
      '0x00000000007f000001',
      '0x7f.0.0.1',
      '0x7f.0x0.0x0.0x1',
      '0X7F.0.0.0X1',
      '0x0000007f.1',
      '0177.0.0.1',
      '0177.0.0.01',
      '0177.00.00.01',
      '0000000000000177.1',
      '017700000001',
      '0017700000001',
      '127.1',
      '127.0.1',
      '127.0x0.1',
      '127.00.1',
      '127.0.0.0x1',
      '127.0.0x0.01',
      '127.0x1',
      '0x7f.1',
      '0x7f.01',
      '0177.1',
      '0x7f.0.1',
      '0177.0x0.1',
      '0177.0.0x.1',
    ],
  },
  {
    what: '127.0.0.1 in other characters',
    expected: 'ara',
    hosts: [
      '\uff11\uff12\uff17\uff0e\uff10\uff0e\uff10\uff0e\uff11', // fullwidth digits and dots
      '127\u30020\u30020\u30021', // ideographic full stop
      '127\uff610\uff610\uff611', // halfwidth ideographic full stop
      '\uff11\uff12\uff17.1',
      '\u2460\u2461\u2466.\u24ea.\u24ea.\u2460', // circled digits
      '\u{1d7cf}\u{1d7d0}\u{1d7d5}.\u{1d7ce}.\u{1d7ce}.\u{1d7cf}', // mathematical digits
      '0\uff587f.1', // fullwidth x
      '\u00b9\u00b2\u2077.\u2070.\u2070.\u00b9', // superscript digits
      '127.0.0\u00ad.1', // soft hyphen
      '127\u200b.0.0.1', // zero-width space
      '127.0.0.\u20601', // word joiner
      '127.0.0.1\u3002',
      '%31%32%37.0.0.1',
      '127%2e0%2e0%2e1',
      '127%2E0%2E0%2E1%2E',
      '%30%78%37%66.1',
      '%32%31%33%30%37%30%36%34%33%33',
      '%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1',
      '127%E3%80%820%E3%80%820%E3%80%821',
    ],
  },
  {
    what: '127.0.0.1 in URLs of many forms',
    expected: 'ara',
    only: [
      'HTTP://127.0.0.1/',
      'hTtPs://127.0.0.1',
      'http:127.0.0.1',
      'http:/127.0.0.1',
      'http:///127.0.0.1',
      'http://///127.0.0.1',
      'http:\\\\127.0.0.1\\x',
      'http:/\\127.0.0.1',
      '  http://127.0.0.1/  ',
      '\u0000\u0001http://127.0.0.1/',
      'ht\ntp://127.0.0.1/',
      'http:\t//127.0.0.1/',
      'http://127.0.\t0.1/',
      'http://127.0.0.\n1/',
      'http://12\r\n7.0.0.1/',
      'http://@127.0.0.1/',
      'http://:@127.0.0.1/',
      'http://127.0.0.1:/',
      'http://127.0.0.1:80/',
      'http://127.0.0.1:00080/',
      'http://127.0.0.1:8\t0/',
      'https://127.0.0.1:443/',
      'http://127.0.0.1:8000/',
      'http://127.0.0.1:8999/',
      'http://127.0.0.1?@1.1.1.1',
      'http://127.0.0.1#@1.1.1.1/',
      'http://127.0.0.1\\@1.1.1.1/',
      'http://127.0.0.1/@1.1.1.1/',
    ],
  },
  {
    what: '127.0.0.1 inside IPv6',
    expected: 'ara',
    hosts: [
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      '[::FFFF:7F00:0001]',
      '[0:0:0:0:0:ffff:127.0.0.1]',
      '[0000:0000:0000:0000:0000:ffff:7f00:0001]',
      '[::ffff:127.0.0.1]:8080',
      '[64:ff9b::127.0.0.1]',
      '[64:ff9b::7f00:1]',
      '[64:FF9B:0:0:0:0:7F00:1]',
      '[0064:ff9b::127.0.0.1]',
      '[2002:7f00:1::]',
      '[2002:7f00:0001::1]',
      '[2002:7F00:1:ffff:ffff:ffff:ffff:ffff]',
    ],
  },
  {
    what: 'other loopback addresses',
    expected: 'arr',
    hosts: [
      '127.0.0.0',
      '127.0.0.2',
      '127.1.2.3',
      '127.255.255.255',
      '2130706434',
      '0x7f000002',
      '0177.0.0.2',
      '127.2',
      '127.65536',
      '[::1]',
      '[0:0:0:0:0:0:0:1]',
      '[0::1]',
      '[::0001]',
      '[::0.0.0.1]',
      '[0000:0000:0000:0000:0000:0000:0000:0001]',
      '[::1]:80',
      '[::ffff:127.0.0.2]',
      '[::ffff:127.255.255.255]',
      '[64:ff9b::127.255.0.1]',
      '[2002:7f00:2::]',
    ],
  },
  {
    what: 'private and shared addresses',
    expected: 'arr',
    hosts: [
      '10.0.0.0',
      '10.0.0.1',
      '10.255.255.255',
      '10.1',
      '167772161',
      '0xa000001',
      '0xa.1',
      '012.0.0.1',
      '012.1',
      '172.16.0.1',
      '172.31.255.255',
      '2886729729',
      '0xac100001',
      '0254.020.0.1',
      '192.168.0.1',
      '192.168.1',
      '3232235521',
      '0xc0.0xa8.1.1',
      '0300.0250.0.1',
      '192.0xa80001',
      '192.168.255.255',
      '100.64.0.1',
      '100.127.255.255',
      '100.100.100.100',
      '0x64400001',
      '[fc00::]',
      '[fc00::1]',
      '[fd00::1]',
      '[fd00:ec1:ffff::254]',
      '[fd00:ec3::254]',
      '[fd20:ce::253]',
      '[fd20:ce::255]',
      '[FDFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF]',
      '[::ffff:10.0.0.1]',
      '[::ffff:c0a8:1]',
      '[::ffff:100.64.0.1]',
      '[64:ff9b::10.0.0.1]',
      '[64:ff9b::192.168.0.1]',
      '[2002:a00:1::]',
      '[2002:c0a8:1::1]',
      '[2002:ac10:1::]',
      '[2002:6440:1::]',
      '\uff11\uff10.0.0.1',
      '192%2e168.0.1',
    ],
  },
  {
    what: 'private addresses that the third policy allows',
    expected: 'ara',
    hosts: [
      '10.1.0.0',
      '10.1.0.1',
      '10.1.255.255',
      '167837697',
      '0x0a010001',
      '012.01.0.1',
      '10.1.0.1:8080',
      '[::ffff:10.1.0.1]',
      '[64:ff9b::a01:1]',
      '[2002:a01:1::]',
      '[fd12::1]',
      '[FD12:3456::]:8443',
    ],
  },
  {
    what: 'private addresses that the third policy allows and denies',
    expected: 'arr',
    hosts: [
      '10.1.2.3',
      '10.1.515',
      '167838211',
      '0xa010203',
      '012.1.2.3',
      '[::ffff:10.1.2.3]',
      '[2002:a01:203::]',
      '[64:ff9b::a01:203]',
    ],
  },
  {
    what: 'public addresses, some next to special ones',
    expected: 'aaa',
    hosts: [
      '1.1.1.1',
      '1.0.1',
      '93.184.216.34',
      '1572395042',
      '0x5db8d822',
      '0135.0270.0330.042',
      '1.1.1.1:80',
      '1.1.1.1:443',
      '1.1.1.1:8000',
      '1.1.1.1:8999',
      '1.0.0.0',
      '9.255.255.255',
      '11.0.0.0',
      '100.63.255.255',
      '100.128.0.0',
      '126.255.255.255',
      '128.0.0.0',
      '169.253.255.255',
      '169.255.0.0',
      '172.15.255.255',
      '172.32.0.0',
      '191.255.255.255',
      '192.0.1.0',
      '192.0.3.0',
      '192.88.98.255',
      '192.88.100.0',
      '192.167.255.255',
      '192.169.0.0',
      '198.17.255.255',
      '198.20.0.0',
      '198.51.99.255',
      '198.51.101.0',
      '203.0.112.255',
      '203.0.114.0',
      '223.255.255.255',
      '[2606:4700::1111]',
      '[2606:4700::1111]:443',
      '[2a00:1450:4001:800::200e]',
      '[2001:2:1::]',
      '[2001:f:ffff::]',
      '[2001:30::]',
      '[2001:db7:ffff::]',
      '[2000::]',
      '[3ffe:ffff::]',
      '[3fff:1000::]',
      '168.63.129.15',
      '168.63.129.17',
      '[2001:db9::]',
      '[2003::]',
      '[::ffff:1.1.1.1]',
      '[::ffff:101:101]',
      '[64:ff9b::1.1.1.1]',
      '[2002:101:101::1]',
    ],
  },
  {
    what: 'public addresses that the third policy denies',
    expected: 'aar',
    hosts: [
      '8.8.8.8',
      '8.8.8.8.',
      '134744072',
      '0x08080808',
      '010.010.010.010',
      '8.8.2056',
      '[::ffff:8.8.8.8]',
      '[64:ff9b::808:808]',
      '[2002:808:808::]',
      '[2001:4860:4860::8888]',
    ],
  },
  {
    what: 'ports that the third policy does not list',
    expected: 'aar',
    hosts: [
      '1.1.1.1:1',
      '1.1.1.1:22',
      '1.1.1.1:81',
      '1.1.1.1:7999',
      '1.1.1.1:9000',
      '1.1.1.1:65535',
      '[2606:4700::1111]:25',
    ],
    only: ['https://1.1.1.1:444/'],
  },
  { what: 'ports of an allowed address that are not listed', expected: 'arr', hosts: ['127.0.0.1:6379'] },
  {
    what: '169.254.169.254, which the third policy allows',
    expected: 'rra',
    hosts: [
      '169.254.169.254',
      '169.254.169.254.',
      '169.254.169.254:80',
      '2852039166',
      '0xa9fea9fe',
      '0xA9FEA9FE',
      '025177524776',
      '0251.0376.0251.0376',
      '0xa9.0xfe.0xa9.0xfe',
      '169.254.43518',
      '169.16689662',
      '0xa9.254.0251.254',
      '\uff11\uff16\uff19.254.169.254',
      '169\u3002254\u3002169\u3002254',
      '169%2e254%2e169%2e254',
      '[::ffff:169.254.169.254]',
      '[::ffff:a9fe:a9fe]',
      '[64:ff9b::169.254.169.254]',
      '[64:ff9b::a9fe:a9fe]',
      '[2002:a9fe:a9fe::]',
    ],
  },
  {
    what: 'special IPv4 ranges',
    expected: 'rrr',
    hosts: [
      '0.0.0.0',
      '0',
      '00',
      '0x',
      '0x0',
      '0.0',
      '0x.0x.0',
      '1',
      '1.',
      '0.1.2.3',
      '0.255.255.255',
      '100.100.100.200',
      '0x646464c8',
      '168.63.129.16',
      '2822734096',
      '0xa83f8110',
      '0250.077.0201.020',
      '168.63.33040',
      '169.254.0.0',
      '169.254.170.2',
      '169.254.255.255',
      '192.0.0.1',
      '192.0.0.192',
      '192.0.0.255',
      '192.0.2.1',
      '192.88.99.1',
      '198.18.0.1',
      '198.19.255.255',
      '198.51.100.7',
      '203.0.113.9',
      '224.0.0.1',
      '239.255.255.255',
      '0xe0000001',
      '240.0.0.1',
      '255.255.255.254',
      '255.255.255.255',
      '4294967295',
      '0xffffffff',
      '037777777777',
    ],
  },
  {
    what: 'special IPv6 ranges and special IPv4 addresses inside IPv6',
    expected: 'rrr',
    hosts: [
      '[::]',
      '[0:0:0:0:0:0:0:0]',
      '[::0.0.0.0]',
      '[::2]',
      '[::127.0.0.1]',
      '[::7f00:1]',
      '[::1.1.1.1]',
      '[::a9fe:a9fe]',
      '[::ffff:0.0.0.0]',
      '[::ffff:0.0.0.1]',
      '[::ffff:224.0.0.1]',
      '[::ffff:255.255.255.255]',
      '[::ffff:169.254.0.1]',
      '[::ffff:100.100.100.200]',
      '[::ffff:168.63.129.16]',
      '[64:ff9b::a83f:8110]',
      '[2002:a83f:8110::]',
      '[::fffe:1.1.1.1]',
      '[::ffff:0:127.0.0.1]',
      '[::ffff:0:1.1.1.1]',
      '[00ff::1]',
      '[64:ff9b::0.0.0.0]',
      '[64:ff9b::255.255.255.255]',
      '[64:ff9b::198.18.0.1]',
      '[64:ff9b:1::1.1.1.1]',
      '[64:ff9b:1:ffff::a00:1]',
      '[100::1]',
      '[100:0:0:1::]',
      '[100:0:0:1:ffff:ffff:ffff:ffff]',
      '[100:0:0:2::1]',
      '[200::1]',
      '[400::1]',
      '[1fff:ffff::1]',
      '[2001:2::]',
      '[2001:2:0:ffff::1]',
      '[2001:10::]',
      '[2001:1f:ffff::1]',
      '[2001:20::1]',
      '[2001:2f:ffff::1]',
      '[4000::]',
      '[5eff::1]',
      '[5f01::1]',
      '[7fff::1]',
      '[8000::1]',
      '[c000::1]',
      '[fbff:ffff::1]',
      '[fe00::1]',
      '[fe7f::1]',
      '[2001::]',
      '[2001:0:1:1::1]',
      '[2001:0:4136:e378:8000:63bf:3fff:fdd2]',
      '[2001:0:7f00:1::]',
      '[2001:db8::1]',
      '[2001:DB8:ffff::]',
      '[2002::1]',
      '[2002:e000:1::]',
      '[2002:ffff:ffff::]',
      '[2002:6464:64c8::]',
      '[3fff::1]',
      '[3fff:fff:ffff::1]',
      '[5f00::1]',
      '[fd00:ec2::]',
      '[fd00:ec2::23]',
      '[fd00:ec2::253]',
      '[fd00:ec2::254]',
      '[fd00:ec2:ffff:ffff:ffff:ffff:ffff:ffff]',
      '[fd20:ce::254]',
      '[FD20:00CE:0:0:0:0:0:0254]',
      '[FD00:0EC2:0:0:0:0:0:0254]',
      '[fe80::]',
      '[fe80::1]',
      '[febf:ffff::1]',
      '[fec0::1]',
      '[feff::1]',
      '[ff00::]',
      '[ff02::1]',
      '[ffff::]',
    ],
  },
  {
    what: 'hosts that are none',
    expected: 'rrr',
    hosts: [
      '',
      '.1',
      '..1',
      '127.0.0.1%00',
      '127.0.0.1\u0000',
      '1.1.1.1%00.example.com',
      '127.0.0.1%20',
      '127.0.0.1%0a',
      '127.0.0.1%2f',
      '127.0.0.1%23',
      '1.1.1.1%40127.0.0.1',
      '127.0.0.1%5c',
      '%',
      '%zz.example.com',
      '256.0.0.1',
      '127.0.0.256',
      '127.0.0.0x100',
      '127.16777216',
      '4294967296',
      '0x100000000',
      '0x7f000001ff',
      '1.2.3.4.5',
      '127.0.0.0.1',
      '08.8.8.8',
      '0x7g.0.0.1',
      '1.1.1.-1.1',
      'example.com.1',
      'example.0x7f',
      'example com',
      'exa<mple.com',
      'xn--',
      '\ufffd.example.com',
      '::1',
      '[::1',
      '[]',
      '[127.0.0.1]',
      '[::1]%2e',
      '[::1].',
      '[::1]x',
      '[1::2::3]',
      '[:::1]',
      '[::g]',
      '[::00001]',
      '[::ffff:127.1]',
      '[::ffff:0177.0.0.1]',
      '[::ffff:127.0.0.1.]',
      '[::ffff:256.0.0.1]',
      '[1:2:3:4:5:6:7:8:9]',
      '[fe80::1%eth0]',
      '[fe80::1%25eth0]',
      '[::1%25lo]',
      '[::ffff:127.0.0.1%251]',
      '[\uff1a\uff1a1]',
      '1.1.1.1:0',
      '1.1.1.1:65536',
      '1.1.1.1:-1',
      '1.1.1.1:8x',
      '1.1.1.1:80:80',
    ],
  },
  {
    what: 'URLs that carry credentials',
    expected: 'rrr',
    only: [
      'http://user@1.1.1.1/',
      'http://user:pass@1.1.1.1/',
      'http://:pass@1.1.1.1/',
      'http://1.1.1.1@127.0.0.1/',
      'http://127.0.0.1@1.1.1.1/',
      'http://1.1.1.1:80@127.0.0.1/',
      'http://1.1.1.1%2f@127.0.0.1/',
      'http://a@b@1.1.1.1/',
      'http://localhost@1.1.1.1/',
      'http://%00@1.1.1.1/',
      'http:user@1.1.1.1',
    ],
  },
  {
    what: 'what is no http URL',
    expected: 'rrr',
    only: [
      '',
      ' ',
      '1.1.1.1',
      '1.1.1.1:80',
      '//1.1.1.1/',
      '/1.1.1.1',
      '://1.1.1.1',
      'http',
      'http:',
      'http://',
      'http://:80/',
      'http://?',
      'http://#x',
      'ftp://1.1.1.1/',
      'ws://1.1.1.1/',
      'wss://1.1.1.1/',
      'gopher://1.1.1.1:70/',
      'file:///etc/passwd',
      'file://1.1.1.1/',
      'data:,1.1.1.1',
      'javascript:1',
      'unix:/run/docker.sock',
      'http+unix://%2Frun/',
      'blob:http://1.1.1.1/x',
      'view-source:http://1.1.1.1/',
      'url:http://1.1.1.1/',
      'localhost:80',
    ],
  },
  {
    what: 'names, of which the lookup decides',
    expected: 'nnn',
    hosts: [
      'localhost',
      'LOCALHOST',
      'localhost.',
      'localhost..',
      'localhost:8080',
      '%6cocalhost',
      '\uff4cocalhost',
      'lo\u00adcalhost',
      'localhost.localdomain',
      'ip6-localhost',
      'trusted.test',
      'api.trusted.test',
      'metadata.google.internal',
      '127.0.0.1.nip.io',
      '127.0.0.1..',
      '127-0-0-1.example',
      '0x7f000001.example',
      '0x7f.1.example',
      '1e1',
      '0b1',
      '127.0.0.1a',
      '+1',
      '-1',
      '1_1',
      'a..b',
      '.',
      'notevil.test',
      'evil.test.example',
      'b\u00fccher.example',
      'xn--bcher-kva.example',
      '\u24d4xample.com',
    ],
  },
  {
    what: 'names and ports of names that the third policy refuses',
    expected: 'nnr',
    hosts: [
      'evil.test',
      'EVIL.test',
      'evil.test.',
      'evil.test..',
      'evil\u3002test',
      '%65vil.test',
      '\uff45vil.test',
      'ev\u00adil.test',
      'evil.test:443',
      'a.evil.test',
      'a.b.evil.test.',
      'localhost:81',
      'api.trusted.test:22',
    ],
  },
];

const rows = groups.flatMap(({ what, expected, hosts = [], only = [] }) =>
  [...hosts.map(host => `http://${host}/`), ...only].map(url => ({ what, expected, url })),
);

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
    console.log(`address guard: ${rows.length} spellings under ${Object.keys(guards).length} policies`),
  );

  it('has at least 200 spellings, each once', () => {
    expect(rows.length).toBeGreaterThanOrEqual(200);
    expect(new Set(rows.map(({ url }) => url)).size).toBe(rows.length);
  });

  it.each(rows.map(({ what, expected, url }) => [JSON.stringify(url), what, expected, url] as const))(
    'judges %s: %s',
    (_shown, _what, expected, url) => {
      expect(judgeByAll(url)).toBe(expected);
    },
  );
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

const addressNumber = fc.oneof(
  fc.nat(0xffffffff),
  // Addresses near the special ranges, which a plain random number seldom meets.
  fc
    .tuple(fc.constantFrom(0, 10, 100, 127, 169, 172, 192, 198, 203, 224, 240, 255), fc.nat(0xffffff))
    .map(([first, rest]) => first * 0x1000000 + rest),
);

function toDotted(number: number): string {
  return [24, 16, 8, 0].map(shift => (number >>> shift) & 255).join('.');
}

/** A spelling of an IPv4 address: one to four parts, each decimal, octal or hexadecimal. */
const spelling = fc
  .record({
    number: addressNumber,
    parts: fc.integer({ min: 1, max: 4 }),
    bases: fc.array(fc.constantFrom(8, 10, 16), { minLength: 4, maxLength: 4 }),
    zeros: fc.array(fc.nat(3), { minLength: 4, maxLength: 4 }),
    upper: fc.boolean(),
    dot: fc.constantFrom('.', '\u3002', '\uff0e', '%2e'),
    end: fc.constantFrom('', '.'),
  })
  .map(({ number, parts, bases, zeros, upper, dot, end }) => {
    const values = Array.from({ length: parts }, (_, index) =>
      index < parts - 1 ? (number >>> (24 - 8 * index)) & 255 : number % 2 ** (8 * (5 - parts)),
    );
    const texts = values.map((value, index) => {
      const base = bases[index] ?? 10;
      const text = value.toString(base);
      const padded = '0'.repeat(zeros[index] ?? 0) + text;
      return base === 16 ? `0x${padded}` : base === 8 ? `0${padded}` : text;
    });
    const host = texts.join(dot) + end;
    return { dotted: toDotted(number), host: upper ? host.toUpperCase() : host };
  });

const carrier = fc.constantFrom('mapped', 'nat64', '6to4');
function carry(number: number, by: 'mapped' | 'nat64' | '6to4'): string {
  const [high, low] = [number >>> 16, number & 0xffff].map(half => half.toString(16));
  switch (by) {
    case 'mapped':
      return `::ffff:${high}:${low}`;
    case 'nat64':
      return `64:ff9b::${high}:${low}`;
    case '6to4':
      return `2002:${high}:${low}::`;
  }
}

const ipv6Text = fc
  .tuple(
    fc.constantFrom(
      '',
      '0',
      '64',
      '100',
      '1fff',
      '2001',
      '2002',
      '2606',
      '3fff',
      '5f00',
      '8000',
      'fd00',
      'fd20',
      'fe80',
      'fec0',
      'ff02',
    ),
    fc.array(
      fc.oneof(
        fc.constant(0),
        fc.constantFrom(0xffff, 0xff9b, 0xdb8, 0xec2, 0xce, 0x254, 0x7f00, 0x2f, 1, 2),
        fc.nat(0xffff),
      ),
      {
        minLength: 8,
        maxLength: 8,
      },
    ),
  )
  .map(([first, groups]) => {
    const all = groups.map(group => group.toString(16));
    return [first === '' ? all[0] : first, ...all.slice(1)].join(':');
  });

const urlText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.webUrl({ withFragments: true, withQueryParameters: true }),
  fc
    .tuple(
      fc.constantFrom('http://', 'https://', 'http:', 'HTTP:\\\\', ' http:/\t/', 'http://u@', 'ftp://', ''),
      fc.oneof(
        spelling.map(({ host }) => host),
        ipv6Text.map(text => `[${text}]`),
        fc.ipV4Extended(),
        fc.ipV6().map(text => `[${text}]`),
        fc.string({
          unit: fc.constantFrom(...Array.from('0123456789abcdefxX.:[]%@/\\ \t\n\u0000\uff11\u3002-')),
          maxLength: 24,
        }),
        fc.domain(),
      ),
      fc.constantFrom('', ':80', ':0', ':65536', '/', '/x@y', '#@1.1.1.1', '\\@1.1.1.1', '%2e', '\u0000'),
    )
    .map(parts => parts.join('')),
);

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
