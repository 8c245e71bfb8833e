// The guard on real sockets: listeners that must not be reached count their connections, and a name server lies.
// All listeners share one port: 127.0.0.1 stands for what is allowed, 127.0.0.2, 127.0.0.3 and ::1 for what is not.
import { ADDRCONFIG } from 'node:dns';
import { once } from 'node:events';
import type { IncomingMessage, RequestListener } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { Client } from 'undici';
import {
  AddressRefusal,
  createAddressGuard,
  guardConnector,
  type AddressGuard,
} from '../../src/http/address-guard';
import { createConnector } from '../../src/http/connector';
import type { ExchangeClient, ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
import { NameLookups } from '../../src/http/name-lookups';
import { createExchangeClient, type UndiciClientOptions } from '../../src/http/undici-client';
import { systemClock } from '../../src/shared/clock';
import { parseNetworkOptions } from '../../src/shared/network-options';
import { tryUrl } from '../../src/shared/try-url';
import { addressSpellings, policies, type Spelling } from '../support/address-spellings';
import { startChildProgram } from '../support/child-program';
import {
  startCountingListeners,
  type CountingListener,
  type CountingListeners,
} from '../support/counting-listeners';
import { createLookupThreads } from '../support/lookup-threads';
import { readCertificate } from '../support/misbehaving-receiver';
import { startRebindingNameServer, type RebindingNameServer } from '../support/rebinding-name-server';

const good = '127.0.0.1';
const bad = ['127.0.0.2', '127.0.0.3', '::1'] as const;
const denial = { deny: ['127.0.0.2/31', '::1'] };
const refusal = { kind: 'failure', failure: 'address', phase: 'connect', tries: 1 };

let names: RebindingNameServer;
let started: CountingListeners;
let allowed: CountingListener;
let forbidden: readonly CountingListener[];
/** Connections at the forbidden listeners that a test without guard made on purpose. */
let control: number;
const requests: IncomingMessage[] = [];
const clients: ExchangeClient[] = [];
const totals = { exchanges: 0, guarded: 0, controls: 0 };

async function start(tls?: { readonly key: string; readonly cert: string }): Promise<void> {
  const options = { addresses: [good, ...bad], respond };
  started = await startCountingListeners(tls === undefined ? options : { ...options, tls });
  [allowed, ...forbidden] = started.listeners as [CountingListener, ...CountingListener[]];
}

beforeEach(async () => {
  names = await startRebindingNameServer();
  await start();
  control = 0;
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map(client => client.close()));
  const reached = await countForbidden();
  totals.guarded += reached - control;
  totals.controls += control;
  await started.close();
  await names.close();
  requests.length = 0;
  expect(reached).toBe(control);
});

afterAll(() => {
  console.log(
    `address guard: ${totals.exchanges} exchanges, connections at the forbidden listeners: ` +
      `${totals.guarded} with the guard, ${totals.controls} in controls without it`,
  );
});

const respond: RequestListener = (request, response) => {
  requests.push(request);
  request.resume();
  request.on('end', () => {
    if (request.url === '/close') response.setHeader('connection', 'close');
    if (request.url === '/redirect')
      response.writeHead(307, { location: `http://${bad[0]}:${started.port}/` });
    response.end('{}');
  });
};

async function countForbidden(): Promise<number> {
  const counts = await Promise.all(forbidden.map(listener => listener.count()));
  return counts.reduce((sum, count) => sum + count, 0);
}

function createGuard(network: unknown = denial): AddressGuard {
  const lookups = new NameLookups({ resolve: names.resolve });
  return createAddressGuard(parseNetworkOptions(network), { lookups });
}

function open(options: UndiciClientOptions) {
  const client = createExchangeClient(options);
  clients.push(client);
  return (url: string, more: Partial<ExchangeRequest> = {}): Promise<ExchangeResult> => {
    totals.exchanges += 1;
    return client.exchange({
      url,
      headers: {},
      body: Buffer.from('{}'),
      timeoutMs: 30_000,
      maxReplyBytes: 1000,
      ...more,
    });
  };
}

function urlOf(host: string, path = '/'): string {
  return `http://${host}:${started.port}${path}`;
}

describe('a name whose address changes', () => {
  it('keeps its connection, and is refused when a new one is needed', async () => {
    names.script('hooks.test', { a: [good] }, { a: [bad[0]] });
    const exchange = open({ lookup: createGuard().lookup });
    for (let i = 0; i < 50; i++) expect(await exchange(urlOf('hooks.test'))).toMatchObject({ status: 200 });
    expect(await exchange(urlOf('hooks.test', '/close'))).toMatchObject({ status: 200 });
    expect(await allowed.count()).toBe(1);
    expect(names.lookups('hooks.test')).toBe(1);

    const refused = await exchange(urlOf('hooks.test'));
    expect(refused).toMatchObject(refusal);
    expect(refused).toMatchObject({ detail: 'hooks.test: 127.0.0.2 is refused: an entry of deny says so' });
    expect(names.lookups('hooks.test')).toBe(2);
  });

  it('from one look-up to the next is judged and used by the same look-up', async () => {
    const rounds = Array.from({ length: 60 }, (_, index) => ({
      a: [index % 2 === 0 ? good : bad[index % 4 === 1 ? 0 : 1]],
    }));
    names.script('rebind.test', ...rounds);
    const exchange = open({ lookup: createGuard().lookup });
    const results: ExchangeResult[] = [];
    for (let i = 0; i < rounds.length; i++) results.push(await exchange(urlOf('rebind.test', '/close')));
    expect(results.filter(result => result.kind === 'reply')).toHaveLength(30);
    expect(
      results.filter(result => result.kind === 'failure' && result.detail.includes('is refused')),
    ).toHaveLength(30);
    expect(names.lookups('rebind.test')).toBe(60);
    expect(await allowed.count()).toBe(30);
  });

  it('is asked for anew by every connection when its time to live is 0', async () => {
    names.script('hooks.test', { a: [good], ttl: 0 });
    const exchange = open({ lookup: createGuard().lookup });
    for (let i = 0; i < 5; i++)
      expect(await exchange(urlOf('hooks.test', '/close'))).toMatchObject({ status: 200 });
    expect(names.lookups('hooks.test')).toBe(5);
  });

  it('gets past a check that is not made at connect time', async () => {
    names.script('rebind.test', { a: [good] }, { a: [bad[0]] });
    const guard = createGuard();
    // The mistake: the check resolves the name, and the connection resolves it once more.
    const [checked] = await names.resolve('rebind.test', 0);
    expect(guard.judgeAddress(checked?.address ?? '').kind).toBe('allowed');
    const exchange = open({
      lookup: createGuard({}).lookup,
    });
    expect(await exchange(urlOf('rebind.test'))).toMatchObject({ status: 200 });
    control = 1;
  });
});

describe('a name with several addresses', () => {
  it.each([
    ['the good one first', { a: [good, bad[0]] }],
    ['the bad one first', { a: [bad[0], good] }],
    ['the bad one in IPv6', { a: [good], aaaa: ['::1'] }],
    ['the bad one mapped into IPv6', { a: [good], aaaa: ['::ffff:127.0.0.2'] }],
    ['all of them bad', { a: [...bad.slice(0, 2)], aaaa: ['::1'] }],
    ['a metadata service among them', { a: [good, '169.254.169.254'] }],
    ['the unspecified address among them', { a: ['0.0.0.0', good] }],
  ])('is refused as a whole, %s', async (_what, round) => {
    names.script('hooks.test', round);
    const result = await open({ lookup: createGuard().lookup })(urlOf('hooks.test'));
    expect(result).toMatchObject(refusal);
    expect(result).toMatchObject({ detail: expect.stringMatching(/^hooks\.test: .* is refused: /) });
    expect(await allowed.count()).toBe(0);
  });

  it('is tried one after the other when all are allowed', async () => {
    // Nobody listens at 127.0.0.4 and 127.0.0.5.
    names.script('hooks.test', { a: ['127.0.0.4', '127.0.0.5', good] });
    const exchange = open({ lookup: createGuard().lookup });
    for (let i = 0; i < 20; i++)
      expect(await exchange(urlOf('hooks.test'))).toMatchObject({ status: 200, tries: 1 });
    expect(await allowed.count()).toBe(1);
    expect(names.lookups('hooks.test')).toBe(1);
  });

  it('is connected to without autoSelectFamily, too', async () => {
    names.script('hooks.test', { a: [good] }, { a: [good, bad[0]] });
    const { lookup } = createGuard();
    const socket = connect({ host: 'hooks.test', port: started.port, lookup, autoSelectFamily: false });
    await once(socket, 'connect');
    expect(socket.remoteAddress).toBe(good);
    socket.destroy();
    const refused = connect({ host: 'hooks.test', port: started.port, lookup, autoSelectFamily: false });
    const [error] = (await once(refused, 'error')) as [unknown];
    expect(error).toBeInstanceOf(AddressRefusal);
  });
});

describe('a name', () => {
  it('that is another name for a forbidden one is refused', async () => {
    names.script('hooks.test', { cname: 'inner.test', a: [bad[1]] });
    expect(await open({ lookup: createGuard().lookup })(urlOf('hooks.test'))).toMatchObject(refusal);
    expect(names.lookups('hooks.test')).toBe(1);
  });

  it('that is another name for an allowed one is called', async () => {
    names.script('hooks.test', { cname: 'outer.test', a: [good] });
    expect(await open({ lookup: createGuard().lookup })(urlOf('hooks.test'))).toMatchObject({ status: 200 });
  });

  it('with IPv6 addresses alone is called when they are allowed, and refused when not', async () => {
    names.script('hooks.test', { aaaa: ['::1'] });
    expect(await open({ lookup: createGuard().lookup })(urlOf('hooks.test'))).toMatchObject(refusal);
    const loose = open({ lookup: createGuard({ deny: ['127.0.0.2/31'] }).lookup });
    expect(await loose(urlOf('hooks.test'))).toMatchObject({ status: 200 });
    control = 1;
  });

  it('that does not exist fails as such', async () => {
    names.script('hooks.test', 'nxdomain');
    const result = await open({ lookup: createGuard().lookup })(urlOf('hooks.test'));
    expect(result).toMatchObject({
      failure: 'dns',
      phase: 'connect',
      detail: expect.stringContaining('ENOTFOUND'),
    });
  });

  it('of this machine is resolved and judged like any other', async () => {
    const guard = createAddressGuard(parseNetworkOptions({}));
    expect(await open({ lookup: guard.lookup })(urlOf('localhost'))).toMatchObject({ status: 200 });
    const closed = createAddressGuard(parseNetworkOptions({ allowPrivate: false }));
    for (const host of ['localhost', 'LOCALHOST', '%6cocalhost']) {
      expect(await open({ lookup: closed.lookup })(urlOf(host))).toMatchObject(refusal);
    }
    // Where localhost is ::1 as well, that is the address that Node takes first.
    control = await countForbidden();
    expect((await allowed.count()) + control).toBe(1);
  });

  it('whose server is silent fails within the bound on connections', async () => {
    names.script('hooks.test', 'silent');
    const result = await open({ lookup: createGuard().lookup, connectTimeoutMs: 200 })(urlOf('hooks.test'));
    expect(result).toMatchObject({ failure: 'connect', phase: 'connect', tries: 2 });
    expect(result).toMatchObject({ detail: expect.stringContaining('within 200 ms') });
    expect(result.durationMs).toBeGreaterThanOrEqual(350);
    expect(result.durationMs).toBeLessThan(5000);
  });

  it('that is answered after its exchange is over is not connected to any more', async () => {
    names.script('hooks.test', 'silent', { a: [good] });
    const guard = createGuard();
    const failed = open({ lookup: guard.lookup })(urlOf('hooks.test'), { timeoutMs: 100 });
    await names.asked('hooks.test', 1);
    expect(await failed).toMatchObject({ failure: 'timeout', phase: 'connect' });
    await Promise.all(clients.splice(0).map(client => client.close()));
    const late = new Promise(resolve =>
      guard.lookup('hooks.test', { all: true }, (_error, found) => resolve(found)),
    );
    names.releaseSilent({ a: [good] });
    expect(await late).toEqual([{ address: good, family: 4 }]);
    expect(await allowed.count()).toBe(0);
  });

  it('is looked up once for many connections at the same time', async () => {
    names.script('hooks.test', 'silent', { a: [bad[0]] });
    const exchange = open({ lookup: createGuard().lookup, maxConnectionsPerOrigin: 40 });
    const results = Promise.all(Array.from({ length: 40 }, () => exchange(urlOf('hooks.test'))));
    await names.asked('hooks.test', 1);
    names.releaseSilent({ a: [good] });
    expect((await results).map(result => result.kind)).toEqual(Array.from({ length: 40 }, () => 'reply'));
    expect(names.lookups('hooks.test')).toBe(1);
  });
});

describe('names whose servers are silent', () => {
  it.each([
    ['one', ['first.test'], false],
    ['two that are known to be silent', ['first.test', 'second.test'], true],
  ])(
    'hold up no other receiver, however often they are called and by whatever policy: %s',
    async (_which, silent, isKnown) => {
      const threads = createLookupThreads(names.resolve);
      const lookups = new NameLookups({ resolve: threads.resolve, maxRunning: 2 });
      const routesWith = (dnsTimeoutMs: number) =>
        [denial, { ...denial, ports: ['1-65535'] }].map(network => {
          const guard = createAddressGuard(parseNetworkOptions(network), { lookups, dnsTimeoutMs });
          return { key: guard.key, guard };
        });
      const hasty = open({ dnsTimeoutMs: 100 });
      const callSilent = (): Promise<readonly ExchangeResult[]> =>
        Promise.all(
          routesWith(100).flatMap(route => silent.map(name => hasty(urlOf(name), { route, lane: name }))),
        );
      for (const name of silent) names.script(name, 'silent');
      if (isKnown) {
        await callSilent();
        const ended = Promise.allSettled(
          silent.map(hostname => lookups.find({ hostname, hints: ADDRCONFIG, timeoutMs: 30_000 })),
        );
        names.releaseSilent('nxdomain');
        await ended;
        expect(lookups.size).toEqual({ running: 0, waiting: 0, suspects: silent.length });
      }
      names.script('hooks.test', { a: [good] });
      const patient = open({ connectTimeoutMs: 30_000 });
      for (let round = 0; round < 10; round++) {
        const failing = callSilent();
        for (const route of routesWith(30_000)) {
          const result = await patient(urlOf('hooks.test', '/close'), { route });
          expect(result).toMatchObject({ status: 200, tries: 1 });
        }
        expect(threads.busy).toHaveLength(1);
        for (const result of await failing) expect(result).toMatchObject({ failure: 'dns' });
      }
      expect(await allowed.count()).toBe(20);
    },
  );
});

describe('every refused spelling of the table', () => {
  /** With the listeners' port in it, if it names none: so that a connection would find one of them. */
  function aimAtListeners({ url, host }: Spelling): string {
    const path = tryUrl(url)?.port === '' ? '/close' : '/';
    if (host !== undefined) return path === '/' ? url : `http://${host}:${started.port}${path}`;
    return url.replace(/127\.0\.0\.1(?!:)/, `127.0.0.1:${started.port}`);
  }

  it.each([
    ['open', 0],
    ['closed', 1],
    ['chosen', 2],
  ] as const)('is sent by the client, and none reaches a listener: policy %s', async (policy, at) => {
    const exchange = open({});
    const guard = createAddressGuard(policies[policy], {
      lookups: new NameLookups({ resolve: names.resolve }),
      findOwner: () => 'other',
    });
    const route = { key: guard.key, guard };
    const refused = addressSpellings.filter(({ expected }) => expected[at] === 'r');
    expect(refused.length).toBeGreaterThanOrEqual(200);
    const urls = new Set(refused.flatMap(spelling => [spelling.url, aimAtListeners(spelling)]));
    const kinds = new Map<string, number>();
    for (const url of urls) {
      const result = await exchange(url, { route });
      const kind = result.kind === 'failure' ? `${result.failure}, ${result.tries} tries` : 'reply';
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
    // What is no URL at all is not tried.
    expect([...kinds.keys()].sort()).toEqual(['address, 1 tries', 'protocol, 0 tries']);
    const reached = (await allowed.count()) + (await countForbidden());
    console.log(
      `address guard: policy ${policy}, spellings tried ${refused.length} in ${urls.size} URLs, ` +
        `connections at the forbidden listener: ${reached}`,
    );
    expect(reached).toBe(0);
    expect(names.lookups('evil.test')).toBe(0);
  });

  it('reaches a listener without the guard where it is one of theirs: the count above can be another', async () => {
    const exchange = open({});
    const urls = addressSpellings
      .filter(({ host }) => host !== undefined)
      .map(aimAtListeners)
      .filter(url => {
        const parsed = tryUrl(url);
        if (parsed?.port !== String(started.port)) return false;
        return [good, ...bad, `[${bad[2]}]`].includes(parsed.hostname);
      });
    expect(urls.length).toBeGreaterThan(50);
    for (const url of urls) expect(await exchange(url)).toMatchObject({ status: 200 });
    control = await countForbidden();
    expect((await allowed.count()) + control).toBe(urls.length);
  });
});

describe('an IP literal', () => {
  /** Spellings that the operating system takes to the forbidden listeners. */
  const spellings = [
    '127.0.0.2',
    '127.0.0.3',
    '2130706434',
    '0x7f000002',
    '0X7F.3',
    '0177.0.0.2',
    '127.2',
    '127.0.0.2.',
    '\uff11\uff12\uff17.0.0.2',
    '%31%32%37.0.0.3',
    '[::1]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.2]',
    '[::ffff:7f00:3]',
  ];

  /** One request on a connection of its own, made as createExchangeClient makes them. */
  async function request(url: string, guard?: AddressGuard): Promise<number | Error> {
    const connector = createConnector({ connectTimeoutMs: 5000, clock: systemClock, lookup: guard?.lookup });
    const guarded = guard === undefined ? connector.connect : guardConnector(guard, connector.connect);
    const client = new Client(new URL(url).origin, { connect: guarded });
    totals.exchanges += 1;
    try {
      const response = await client.request({ path: '/', method: 'POST', body: '{}' });
      await response.body.dump();
      return response.statusCode;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    } finally {
      await client.destroy();
      connector.close();
    }
  }

  it.each(spellings)('spelled %s is refused before a connection is made', async host => {
    expect(await request(urlOf(host), createGuard())).toBeInstanceOf(AddressRefusal);
  });

  it.each(spellings)('spelled %s reaches its listener without the guard', async host => {
    expect(await request(urlOf(host))).toBe(200);
    control = 1;
  });

  it.each(['127.0.0.1', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]'])(
    'spelled %s, which is allowed, is called',
    async host => {
      expect(await request(urlOf(host), createGuard())).toBe(200);
      expect(await allowed.count()).toBe(1);
    },
  );

  it('is refused for its port, and so is a name', async () => {
    names.script('hooks.test', { a: [good] });
    const guard = createGuard({ ports: [started.port === 65_535 ? 1 : started.port + 1] });
    for (const host of [good, 'hooks.test']) {
      expect(await request(urlOf(host), guard)).toMatchObject({ name: 'AddressRefusal', reason: 'port' });
    }
    expect(await allowed.count()).toBe(0);
    expect(names.lookups('hooks.test')).toBe(0);
  });
});

describe('what else could lead elsewhere', () => {
  it('a redirect is a reply like any other', async () => {
    names.script('hooks.test', { a: [good] });
    expect(await open({ lookup: createGuard().lookup })(urlOf('hooks.test', '/redirect'))).toMatchObject({
      status: 307,
    });
    expect(requests).toHaveLength(1);
  });

  it.each([
    [{}, 'localhost'],
    [{}, good],
    [{ NO_PROXY: 'elsewhere.test', no_proxy: 'elsewhere.test' }, good],
    [{ NODE_USE_ENV_PROXY: '1' }, good],
  ])('the proxy variables mean nothing (with %j, for %s)', async (more, host) => {
    const proxy = `http://${bad[0]}:${started.port}`;
    const variables = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'].flatMap(name => [name, name.toLowerCase()]);
    const program = startChildProgram({
      command: process.execPath,
      args: ['--import', 'tsx', join(__dirname, '../support/exchange-once-main.ts'), urlOf(host)],
      cwd: join(__dirname, '../..'),
      environment: { ...Object.fromEntries(variables.map(name => [name, proxy])), ...more },
    });
    try {
      await program.waitForLine(/^result 200$/);
      expect(await program.exited).toEqual({ code: 0, signal: null });
    } finally {
      await program.dispose();
    }
    // As in the test of localhost above.
    control = host === 'localhost' ? await forbidden[2]!.count() : 0;
    expect(requests.map(({ url, headers }) => `${url} ${headers.host}`)).toEqual([
      `/ ${host}:${started.port}`,
    ]);
  });
});

describe('a pinned connection', () => {
  it('keeps the name in the host header', async () => {
    names.script('hooks.test', { a: [good] });
    await open({ lookup: createGuard().lookup })(urlOf('hooks.test'));
    expect(requests.map(({ headers }) => headers.host)).toEqual([`hooks.test:${started.port}`]);
  });

  it('keeps the name in the TLS handshake and has its certificate checked against it', async () => {
    await started.close();
    await start({ key: readCertificate('receiver.key'), cert: readCertificate('trusted') });
    names.script('receiver.test', { a: [good] });
    names.script('other.test', { a: [good] });
    names.script('rebind.test', { a: [bad[0]] });
    const exchange = open({ lookup: createGuard().lookup, ca: readCertificate('ca') });
    for (let i = 0; i < 20; i++) {
      expect(await exchange(`https://receiver.test:${started.port}/`)).toMatchObject({ status: 200 });
    }
    expect(await allowed.count()).toBe(1);
    expect((requests[0]?.socket as TLSSocket & { servername: string }).servername).toBe('receiver.test');
    expect(await exchange(`https://other.test:${started.port}/`)).toMatchObject({ failure: 'tls' });
    expect(await exchange(`https://rebind.test:${started.port}/`)).toMatchObject(refusal);
  });
});

describe('a client of several policies', () => {
  it('keeps one connection for each, however the policies are written', async () => {
    names.script('hooks.test', { a: [good] });
    const exchange = open({});
    // Parsed anew each time, as for hooks that come from a database.
    const routeOf = (network: unknown) => {
      const guard = createGuard(network);
      return { key: guard.key, guard };
    };
    for (let i = 0; i < 20; i++) {
      for (const network of [
        { deny: ['127.0.0.2', '127.0.0.3'] },
        { deny: ['127.0.0.3/32', '127.0.0.2'] },
        { deny: ['127.0.0.2/31', '::1'] },
      ]) {
        const result = await exchange(urlOf('hooks.test'), { route: routeOf(network) });
        expect(result).toMatchObject({ status: 200 });
      }
    }
    expect(await allowed.count()).toBe(2);
    const closed = { route: routeOf({ allowPrivate: false }) };
    expect(await exchange(urlOf('hooks.test'), closed)).toMatchObject(refusal);
    expect(await allowed.count()).toBe(2);
  });
});
