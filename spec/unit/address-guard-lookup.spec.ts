// What the guard's lookup hands on for a name, in every form that net.connect asks for, and policies that narrow others.
import { promises as dns, type LookupAddress, type LookupOptions } from 'node:dns';
import fc from 'fast-check';
import {
  AddressRefusal,
  createAddressGuard,
  guardConnector,
  type AddressGuard,
} from '../../src/http/address-guard';
import { NameLookups, type ResolveName } from '../../src/http/name-lookups';
import { parseNetworkOptions } from '../../src/shared/network-options';
import { propertyRuns } from '../support/property-runs';

const good4: LookupAddress = { address: '93.184.216.34', family: 4 };
const good6: LookupAddress = { address: '2606:4700::1111', family: 6 };
const bad4: LookupAddress = { address: '169.254.169.254', family: 4 };
const bad6: LookupAddress = { address: 'fe80::1%eth0', family: 6 };
const inner4: LookupAddress = { address: '10.0.0.5', family: 4 };

function guardWith(network: unknown, resolve: ResolveName): AddressGuard {
  return createAddressGuard(parseNetworkOptions(network), {
    lookups: new NameLookups({ resolve }),
    findOwner: () => 'other',
  });
}

function answering(...addresses: readonly LookupAddress[]): ResolveName {
  return () => Promise.resolve(addresses);
}

interface Answer {
  readonly error: Error | null;
  readonly address: string | readonly LookupAddress[];
  readonly family: number | undefined;
}

function lookUp(guard: AddressGuard, options: LookupOptions = { all: true }, hostname = 'hooks.test') {
  return new Promise<Answer>(resolve => {
    guard.lookup(hostname, options, (error, address, family) => resolve({ error, address, family }));
  });
}

describe('guards of different policies', () => {
  it('share the look-up of a name, and each judges what it finds', async () => {
    // Only who answers is replaced: getaddrinfo asks the servers of the machine and no other.
    const answers: ((addresses: readonly LookupAddress[]) => void)[] = [];
    const lookup = jest
      .spyOn(dns, 'lookup')
      .mockImplementation(
        (() => new Promise(resolve => answers.push(resolve))) as unknown as typeof dns.lookup,
      );
    try {
      const [open, closed] = [{}, { allowPrivate: false }].map(network =>
        createAddressGuard(parseNetworkOptions(network)),
      );
      if (!open || !closed) throw new Error('no guards');
      const both = [lookUp(open), lookUp(closed)];
      expect(lookup.mock.calls).toEqual([['hooks.test', { all: true, hints: 0 }]]);
      answers[0]?.([inner4]);
      const [opened, refused] = await Promise.all(both);
      expect(opened).toMatchObject({ error: null, address: [inner4] });
      expect(refused?.error).toBeInstanceOf(AddressRefusal);
    } finally {
      lookup.mockRestore();
    }
  });

  it('have the same key when they mean the same', () => {
    const keyOf = (policy: object, narrowedBy?: object): string =>
      createAddressGuard(parseNetworkOptions(policy), {
        narrowedBy: narrowedBy && parseNetworkOptions(narrowedBy),
      }).key;
    const first = keyOf({ allow: ['10.0.0.0/8', 'A.test'], ports: [80, '81-90'] });
    expect(keyOf({ ports: ['80-85', '85-90'], allow: ['a.test.', '10.0.0.0/8', 'a.test'] })).toBe(first);
    const closed = { allowPrivate: false };
    const pair = keyOf({ ports: [80] }, closed);
    expect(keyOf({ ports: ['80'] }, closed)).toBe(pair);
    // Narrowed by its like: nothing is narrowed.
    expect(keyOf(closed, closed)).toBe(keyOf(closed));
    const others = [
      {},
      closed,
      { ports: [80] },
      { ports: ['1-65535'] },
      { allow: ['10.0.0.0/8'] },
      { deny: ['10.0.0.0/8'] },
      { deny: ['a.test'] },
      { deny: ['*.a.test'] },
    ].map(network => keyOf(network));
    expect(new Set([first, pair, ...others]).size).toBe(2 + others.length);
  });
});

describe('the lookup', () => {
  it('hands on every address, in order, when all are allowed', async () => {
    const guard = guardWith({}, answering(good6, good4, inner4));
    expect(await lookUp(guard)).toEqual({ error: null, address: [good6, good4, inner4], family: undefined });
  });

  it('hands on the first address when one is asked for', async () => {
    const guard = guardWith({}, answering(good6, good4));
    expect(await lookUp(guard, {})).toEqual({ error: null, address: good6.address, family: 6 });
    expect(await lookUp(guard, { all: false })).toEqual({ error: null, address: good6.address, family: 6 });
  });

  it.each([
    [4, good4],
    ['IPv4', good4],
    [6, good6],
    ['IPv6', good6],
  ] as const)('hands on only family %s when asked', async (family, expected) => {
    const guard = guardWith({}, answering(good6, good4));
    expect(await lookUp(guard, { family, all: true })).toMatchObject({ address: [expected] });
    expect(await lookUp(guard, { family })).toMatchObject({
      address: expected.address,
      family: expected.family,
    });
  });

  it.each([
    ['first', [bad4, good4]],
    ['last', [good4, good6, bad4]],
    ['of another family than asked for', [good4, bad6]],
    ['alone', [bad6]],
    ['no address at all', [good4, { address: 'localhost', family: 4 }]],
    ['in a form that only getaddrinfo reads', [good4, { address: '0177.1', family: 4 }]],
  ])('refuses a name with a bad address %s', async (_where, addresses) => {
    const guard = guardWith({}, answering(...addresses));
    for (const options of [{ all: true }, {}, { family: 4 }]) {
      const { error } = await lookUp(guard, options);
      expect(error).toBeInstanceOf(AddressRefusal);
      expect(error).toMatchObject({ reason: 'range', retryable: false });
    }
  });

  it('says which address of which name it refused', async () => {
    const { error } = await lookUp(guardWith({}, answering(good4, bad4)));
    expect(error?.message).toBe('hooks.test: 169.254.169.254 is refused: link-local (169.254.0.0/16)');
  });

  it('hands on the error of the resolver', async () => {
    const failure = Object.assign(new Error('queryA ENOTFOUND'), { code: 'ENOTFOUND' });
    expect((await lookUp(guardWith({}, () => Promise.reject(failure)))).error).toBe(failure);
    const thrown = guardWith({}, () => {
      throw failure;
    });
    expect((await lookUp(thrown)).error).toBe(failure);
  });

  it.each([
    [answering(), {}],
    [answering(good6), { family: 4 }],
  ])('fails as not found when there is no fitting address', async (resolve, options) => {
    const { error } = await lookUp(guardWith({}, resolve), options);
    expect(error).toMatchObject({ code: 'ENOTFOUND' });
  });

  it('judges a literal without the resolver', async () => {
    const guard = guardWith({}, () => Promise.reject(new Error('asked')));
    expect(await lookUp(guard, {}, '93.184.216.34')).toMatchObject({
      error: null,
      address: '93.184.216.34',
      family: 4,
    });
    expect(await lookUp(guard, {}, '::1')).toMatchObject({ error: null, address: '::1', family: 6 });
    expect((await lookUp(guard, {}, '169.254.1.1')).error).toBeInstanceOf(AddressRefusal);
  });

  it('refuses a denied name without asking for it', async () => {
    let asked = 0;
    const guard = guardWith({ deny: ['hooks.test'] }, async () => {
      asked += 1;
      return [good4];
    });
    expect((await lookUp(guard, {}, 'Hooks.Test.')).error).toMatchObject({ reason: 'denied' });
    expect(asked).toBe(0);
  });

  it('asks once for connections that want the name at the same time, and anew for the next', async () => {
    const answers: ((addresses: readonly LookupAddress[]) => void)[] = [];
    const guard = guardWith({}, () => new Promise(resolve => answers.push(resolve)));
    const both = Promise.all([lookUp(guard), lookUp(guard, {})]);
    expect(answers).toHaveLength(1);
    answers[0]?.([good4]);
    expect(await both).toMatchObject([{ address: [good4] }, { address: good4.address }]);
    const next = lookUp(guard);
    answers[1]?.([bad4]);
    expect((await next).error).toBeInstanceOf(AddressRefusal);
    expect(answers).toHaveLength(2);
  });

  it('gives every caller a list of its own', async () => {
    const source = [{ ...good4 }];
    const guard = guardWith({}, () => Promise.resolve(source));
    const answers = await Promise.all([lookUp(guard), lookUp(guard)]);
    expect(answers[0].address).not.toBe(answers[1].address);
    source[0] = bad4;
    expect(answers).toMatchObject([{ address: [good4] }, { address: [good4] }]);
  });

  it('passes the hints of the caller on', async () => {
    const hints: number[] = [];
    const guard = guardWith({}, async (_hostname, given) => {
      hints.push(given);
      return [good4];
    });
    await lookUp(guard, { hints: 1024 });
    await lookUp(guard, {});
    expect(hints).toEqual([1024, 0]);
  });

  it('hands on what a name resolves to exactly when all of it is allowed', async () => {
    const someAddress = fc.oneof(
      fc.ipV4(),
      fc.ipV6(),
      fc.constantFrom(good4, good6, bad4, bad6, inner4).map(({ address }) => address),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(someAddress, { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        async (texts, allowPrivate) => {
          const addresses = texts.map(address => ({ address, family: address.includes(':') ? 6 : 4 }));
          const guard = guardWith({ allowPrivate }, answering(...addresses));
          const fine = texts.every(address => guard.judgeAddress(address).kind === 'allowed');
          const { error, address } = await lookUp(guard);
          expect(fine ? address : error instanceof AddressRefusal).toEqual(fine ? addresses : true);
        },
      ),
      propertyRuns,
    );
  });
});

describe('an entry of allow', () => {
  it('that is a name opens the private ranges to that name alone', async () => {
    const guard = guardWith(
      { allowPrivate: false, allow: ['hooks.test', '*.hooks.test'] },
      answering(inner4),
    );
    expect(await lookUp(guard, {})).toMatchObject({ error: null, address: '10.0.0.5' });
    expect(await lookUp(guard, {}, 'a.b.hooks.test.')).toMatchObject({ error: null });
    expect((await lookUp(guard, {}, 'other.test')).error).toBeInstanceOf(AddressRefusal);
    expect(guard.judgeAddress('10.0.0.5').kind).toBe('refused');
  });

  it('that is a name does not open the metadata services', async () => {
    const guard = guardWith({ allow: ['hooks.test'] }, answering(bad4));
    expect((await lookUp(guard)).error).toMatchObject({ reason: 'range' });
  });

  it('that is an address opens every range, and loses against deny', async () => {
    const open = guardWith({ allow: ['169.254.169.254'] }, answering(bad4));
    expect(await lookUp(open)).toMatchObject({ error: null });
    const closed = guardWith({ allow: ['169.254.169.254'], deny: ['169.254.0.0/16'] }, answering(bad4));
    expect((await lookUp(closed)).error).toMatchObject({ reason: 'denied' });
  });

  it('that is a prefix of NAT64 does not open what is behind it', () => {
    const guard = guardWith({ allow: ['64:ff9b::/96', '::/0'] }, answering());
    expect(guard.judgeAddress('64:ff9b::a9fe:a9fe').kind).toBe('refused');
    expect(guard.judgeAddress('::ffff:a9fe:a9fe').kind).toBe('refused');
    expect(guard.judgeAddress('fe80::1').kind).toBe('allowed');
  });

  it('or of deny that is the prefix of mapped addresses says nothing of IPv4', () => {
    const open = guardWith({ allow: ['::ffff:0:0/96'] }, answering());
    expect(open.judgeAddress('169.254.169.254').kind).toBe('refused');
    expect(open.judgeAddress('::ffff:169.254.169.254').kind).toBe('refused');
    const closed = guardWith({ deny: ['::ffff:0:0/96'] }, answering());
    expect(closed.judgeAddress('1.1.1.1').kind).toBe('allowed');
    expect(closed.judgeAddress('::ffff:1.1.1.1').kind).toBe('refused');
  });

  it('is lost against a deny of the address that is carried, or that carries', () => {
    const guard = guardWith({ deny: ['8.8.8.8', '2002::/16'] }, answering());
    expect(guard.judgeAddress('64:ff9b::8.8.8.8')).toMatchObject({ reason: 'denied' });
    expect(guard.judgeAddress('2002:101:101::1')).toMatchObject({ reason: 'denied' });
    expect(guard.judgeAddress('1.1.1.1').kind).toBe('allowed');
  });
});

describe('guardConnector', () => {
  const target = { protocol: 'http:', hostname: '93.184.216.34', port: '' };

  it('hands on what is allowed or a name, and fails the rest without connecting', async () => {
    const guard = guardWith({ allowPrivate: false, ports: [80] }, answering());
    const asked: string[] = [];
    const connect = guardConnector(guard, ({ hostname }, callback) => {
      asked.push(hostname);
      callback(new Error('connected'), null);
    });
    const tryWith = (more: Partial<typeof target>) =>
      new Promise<Error | null>(resolve => connect({ ...target, ...more }, (...[error]) => resolve(error)));
    expect(await tryWith({})).toMatchObject({ message: 'connected' });
    expect(await tryWith({ hostname: 'hooks.test' })).toMatchObject({ message: 'connected' });
    expect(await tryWith({ hostname: '10.0.0.5' })).toMatchObject({ reason: 'range' });
    expect(await tryWith({ hostname: '[::1]' })).toMatchObject({ reason: 'range' });
    expect(await tryWith({ protocol: 'https:' })).toMatchObject({ reason: 'port' });
    expect(await tryWith({ port: '81' })).toMatchObject({ reason: 'port' });
    expect(asked).toEqual(['93.184.216.34', 'hooks.test']);
  });
});

describe('a policy narrowed by another', () => {
  const narrowed = (policy: object, narrowedBy: object, resolve: ResolveName = answering(good4)) =>
    createAddressGuard(parseNetworkOptions(policy), {
      narrowedBy: parseNetworkOptions(narrowedBy),
      lookups: new NameLookups({ resolve }),
      findOwner: () => 'other',
    });

  it.each([
    [
      'its defaults do not open what is closed',
      { allowPrivate: false },
      { ports: [80] },
      'http://127.0.0.1/',
    ],
    ['its allow does not', {}, { allow: ['169.254.169.254'] }, 'http://169.254.169.254/'],
    ['its ports do not', { ports: [80] }, { ports: [80, 22] }, 'http://1.1.1.1:22/'],
    ['its silence on a name does not', { deny: ['a.test'] }, {}, 'http://a.test/'],
    ['its own closing holds', {}, { allowPrivate: false }, 'http://127.0.0.1/'],
    ['its own ports hold', {}, { ports: [443] }, 'http://1.1.1.1/'],
    ['its own deny holds', {}, { deny: ['a.test'] }, 'http://a.test/'],
    [
      'what only the first allows is refused',
      { allow: ['169.254.1.1'] },
      { ports: [80] },
      'http://169.254.1.1/',
    ],
  ])('refuses what either refuses: %s', (_what, policy, narrowedBy, url) => {
    expect(narrowed(policy, narrowedBy).judgeUrl(url).kind).toBe('refused');
    const { hostname, port } = new URL(url);
    expect(narrowed(policy, narrowedBy).judgeTarget({ protocol: 'http:', hostname, port }).kind).toBe(
      'refused',
    );
  });

  it('allows what both allow', async () => {
    const guard = narrowed({ allow: ['169.254.1.1'] }, { allow: ['169.254.1.1'], ports: [80] });
    expect(guard.judgeUrl('http://169.254.1.1/')).toEqual({ kind: 'allowed' });
    expect(guard.judgeAddress('169.254.1.1')).toEqual({ kind: 'allowed' });
    expect(guard.judgeUrl('http://a.test/')).toEqual({ kind: 'undecided' });
    expect(await lookUp(guard)).toMatchObject({ error: null, address: [good4] });
  });

  it.each([
    [{ allowPrivate: false }, {}],
    [{}, { allowPrivate: false }],
    [{ allowPrivate: false, allow: ['hooks.test'] }, { allowPrivate: false }],
    [{ deny: ['10.0.0.5'] }, { allow: ['10.0.0.5'] }],
  ])('vets the addresses of a name by %j and %j', async (policy, narrowedBy) => {
    const { error } = await lookUp(narrowed(policy, narrowedBy, answering(good4, inner4)));
    expect(error).toBeInstanceOf(AddressRefusal);
  });
});
