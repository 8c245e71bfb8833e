// Generated spellings of addresses and URLs, for property tests.
import fc from 'fast-check';

export const addressNumber = fc.oneof(
  fc.nat(0xffffffff),
  // Addresses near the special ranges, which a plain random number seldom meets.
  fc
    .tuple(fc.constantFrom(0, 10, 100, 127, 169, 172, 192, 198, 203, 224, 240, 255), fc.nat(0xffffff))
    .map(([first, rest]) => first * 0x1000000 + rest),
);

export function toDotted(number: number): string {
  return [24, 16, 8, 0].map(shift => (number >>> shift) & 255).join('.');
}

/** A spelling of an IPv4 address: one to four parts, each decimal, octal or hexadecimal. */
export const spelling = fc
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

export const carrier = fc.constantFrom('mapped', 'nat64', '6to4');
export function carry(number: number, by: 'mapped' | 'nat64' | '6to4'): string {
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

export const ipv6Text = fc
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

export const urlText = fc.oneof(
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
