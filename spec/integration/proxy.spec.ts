// Calls through a configured proxy: a real one for CONNECT, which tells where it was asked to go. Listeners that must not
// be reached count their connections.
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import type { RequestListener } from 'node:http';
import { createAddressGuard, type AddressGuard } from '../../src/http/address-guard';
import type { ExchangeClient, ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
import { NameLookups } from '../../src/http/name-lookups';
import { createExchangeClient, type UndiciClientOptions } from '../../src/http/undici-client';
import { parseOptions } from '../../src/options';
import { parseNetworkOptions } from '../../src/shared/network-options';
import { startConnectProxy, type ConnectProxy } from '../support/connect-proxy';
import { startCountingListeners, type CountingListeners } from '../support/counting-listeners';
import { describeOnDatabase } from '../support/databases';
import { readCertificate, reservePort } from '../support/misbehaving-receiver';
import { startParseApplication } from '../support/parse-application';
import { startRebindingNameServer, type RebindingNameServer } from '../support/rebinding-name-server';
import { startWebhookReceiver } from '../support/webhook-receiver';

const good = '127.0.0.1';
const bad = '127.0.0.2';
const password = 'proxy-password-0123456789';

let names: RebindingNameServer;
let receivers: CountingListeners;
let proxy: ConnectProxy;
/** Connections at the forbidden listener that a test made on purpose. */
let control: number;
const clients: ExchangeClient[] = [];
const hosts: (string | undefined)[] = [];
/** Names of all headers that receivers got. */
const received = new Set<string>();

const respond: RequestListener = (request, response) => {
  hosts.push(request.headers.host);
  Object.keys(request.headers).forEach(name => received.add(name));
  request.resume().on('end', () => response.end('{}'));
};

async function start(tls?: { readonly key: string; readonly cert: string }): Promise<void> {
  receivers = await startCountingListeners({
    addresses: [good, bad],
    respond,
    ...(tls !== undefined && { tls }),
  });
}

beforeEach(async () => {
  control = 0;
  names = await startRebindingNameServer();
  proxy = await startConnectProxy();
  await start();
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map(client => client.close()));
  expect([await countOf(bad), proxy.others]).toEqual([control, []]);
  await proxy.allClosed();
  await proxy.close();
  await receivers.close();
  await names.close();
  hosts.length = 0;
  received.clear();
});

const proxyUrl = (credentials = ''): string =>
  `http://${credentials && `${credentials}@`}${proxy.host}:${proxy.port}`;
const countOf = (address: string): Promise<number> | undefined =>
  receivers.listeners.find(listener => listener.address === address)?.count();
/** The receivers of these tests are on loopback, which a proxied call reaches only if it is listed. */
const listed = { allow: ['127.0.0.0/8'] };
const createGuard = (network: object = { deny: [bad] }): AddressGuard =>
  createAddressGuard(parseNetworkOptions({ ...listed, ...network }), {
    lookups: new NameLookups({ resolve: names.resolve }),
    isProxied: true,
  });

function open(options: UndiciClientOptions = {}, guard = createGuard()) {
  const client = createExchangeClient({ proxy: { url: proxyUrl() }, ...options });
  clients.push(client);
  return (url: string, more: Partial<ExchangeRequest> = {}): Promise<ExchangeResult> =>
    client.exchange({
      url,
      route: { key: guard.key, guard, ca: readCertificate('ca') },
      headers: {},
      body: Buffer.from('{}'),
      timeoutMs: 20_000,
      maxReplyBytes: 1000,
      ...more,
    });
}

const urlOf = (host: string, scheme = 'http'): string => `${scheme}://${host}:${receivers.port}/`;
const authorities = (): string[] => proxy.asked.map(({ authority }) => authority);

describe('a call through the proxy', () => {
  it('goes to the address that was judged, with the name in Host alone', async () => {
    names.script('hooks.test', { a: [good] });
    expect(await open()(urlOf('hooks.test'))).toMatchObject({ kind: 'reply', status: 200 });
    expect(authorities()).toEqual([`${good}:${receivers.port}`]);
    expect(hosts).toEqual([`hooks.test:${receivers.port}`]);
  });

  it('uses its tunnel again', async () => {
    const exchange = open();
    for (let i = 0; i < 5; i++) expect(await exchange(urlOf(good))).toMatchObject({ status: 200 });
    expect([authorities().length, proxy.connections, await countOf(good)]).toEqual([1, 1, 1]);
  });

  it('checks the certificate of the receiver against its name', async () => {
    await receivers.close();
    await start({ key: readCertificate('receiver.key'), cert: readCertificate('trusted') });
    names.script('localhost', { a: [good] });
    names.script('other.test', { a: [good] });
    const exchange = open();
    expect(await exchange(urlOf('localhost', 'https'))).toMatchObject({ kind: 'reply', status: 200 });
    expect(await exchange(urlOf('other.test', 'https'))).toMatchObject({
      failure: 'tls',
      detail: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
    });
    expect(authorities()).toEqual([`${good}:${receivers.port}`, `${good}:${receivers.port}`]);
  });

  it('tells the proxy user name and password, and nobody else', async () => {
    const exchange = open({ proxy: { url: proxyUrl(`us%40er:${password}`) } });
    expect(await exchange(urlOf(good))).toMatchObject({ status: 200 });
    const authorization = `Basic ${Buffer.from(`us@er:${password}`).toString('base64')}`;
    expect(proxy.asked).toEqual([{ authority: `${good}:${receivers.port}`, authorization }]);
    expect(received).toContain('host');
    expect([...received].filter(name => /auth|proxy/.test(name))).toEqual([]);
  });

  it('tries the next address of the name when the proxy does not reach one', async () => {
    names.script('hooks.test', { a: ['127.0.0.7', good] });
    proxy.behave(502, 'tunnel');
    expect(await open()(urlOf('hooks.test'))).toMatchObject({ status: 200, tries: 1 });
    expect(authorities().sort()).toEqual([`${good}:${receivers.port}`, `127.0.0.7:${receivers.port}`]);
  });

  it('is not led astray by proxy variables', async () => {
    const before = process.env['http_proxy'];
    process.env['http_proxy'] = `http://${bad}:${receivers.port}`;
    try {
      expect(await open()(urlOf(good))).toMatchObject({ status: 200 });
    } finally {
      if (before === undefined) delete process.env['http_proxy'];
      else process.env['http_proxy'] = before;
    }
    expect(proxy.connections).toBe(1);
  });
});

describe('an address that is refused', () => {
  it.each([
    ['a literal', bad],
    ['another spelling of it', '0x7f.2'],
    ['mapped into IPv6', '[::ffff:127.0.0.2]'],
  ])('is not asked of the proxy: %s', async (_what, host) => {
    expect(await open()(urlOf(host))).toMatchObject({ failure: 'address', phase: 'connect', tries: 1 });
    expect(proxy.connections).toBe(0);
  });

  it.each([
    ['alone', { a: [bad] }],
    ['behind a good one', { a: [good, bad] }],
    ['of a metadata service', { a: ['169.254.169.254'] }],
  ])('is not asked of the proxy by its name: %s', async (_what, round) => {
    names.script('hooks.test', round);
    expect(await open()(urlOf('hooks.test'))).toMatchObject({ failure: 'address', tries: 1 });
    expect(proxy.connections).toBe(0);
  });

  it.each([
    '127.0.0.1',
    '127.1',
    '[::ffff:127.0.0.1]',
    'localhost',
    'app.localhost',
    'name-of-loopback.test',
  ])("is the proxy's own loopback, unless it is listed: %s", async host => {
    names.script('name-of-loopback.test', { a: [good] });
    const guard = createGuard({ allow: [] });
    expect(await open({}, guard)(urlOf(host))).toMatchObject({ failure: 'address', tries: 1 });
    expect([proxy.connections, proxy.asked]).toEqual([0, []]);
  });

  it('is not reached by a name whose address changes after it was judged', async () => {
    names.script('rebind.test', { a: [good] }, { a: [bad] });
    const exchange = open();
    expect(await exchange(urlOf('rebind.test'))).toMatchObject({ status: 200 });
    expect(authorities()).toEqual([`${good}:${receivers.port}`]);
    expect(names.lookups('rebind.test')).toBe(1);
  });

  it('would be reached without the guard', async () => {
    names.script('hooks.test', { a: [bad] });
    const exchange = open({}, createGuard({}));
    expect(await exchange(urlOf('hooks.test'))).toMatchObject({ status: 200 });
    expect(authorities()).toEqual([`${bad}:${receivers.port}`]);
    control = 1;
  });

  it('is a port, too', async () => {
    const guard = createGuard({ ports: [receivers.port === 65_535 ? 1 : receivers.port + 1] });
    expect(await open({}, guard)(urlOf(good))).toMatchObject({ failure: 'address' });
    expect(proxy.connections).toBe(0);
  });

  it('fails closed when the name resolves at the proxy alone', async () => {
    names.script('inner.test', 'nxdomain');
    expect(await open()(urlOf('inner.test'))).toMatchObject({ failure: 'dns', phase: 'connect' });
    expect(proxy.connections).toBe(0);
  });
});

describe('a proxy that', () => {
  const failure = (detail: string): object => ({
    kind: 'failure',
    failure: 'connect',
    phase: 'connect',
    detail: expect.stringContaining(detail),
  });

  it.each([403, 407])('answers %d fails the call at once', async status => {
    proxy.behave(status);
    const result = await open({ proxy: { url: proxyUrl(`user:${password}`) } })(urlOf(good));
    expect(result).toMatchObject({ ...failure(`answered ${status} to CONNECT`), tries: 1 });
    expect(JSON.stringify(result)).not.toMatch(new RegExp(`${password}|user`));
    expect(await countOf(good)).toBe(0);
  });

  it('does not reach the receiver is asked a second time', async () => {
    proxy.behave(502, 'tunnel');
    expect(await open()(urlOf(good))).toMatchObject({ status: 200, tries: 2 });
  });

  it('hangs is given up on within the bound on TCP', async () => {
    proxy.behave('hang');
    const result = await open({ tcpTimeoutMs: 120, connectTimeoutMs: 5000 })(urlOf(good));
    expect(result).toMatchObject({ ...failure('no tunnel through the proxy to 127.0.0.1'), tries: 2 });
    await proxy.allClosed();
  });

  it('hangs is given up on within the bound on connections', async () => {
    proxy.behave('hang');
    const result = await open({ connectTimeoutMs: 120 })(urlOf(good));
    expect(result).toMatchObject(failure('within 120 ms, still at the proxy'));
    await proxy.allClosed();
  });

  it('hangs holds up no close', async () => {
    proxy.behave('hang');
    const running = open({ connectTimeoutMs: 60_000 })(urlOf(good));
    await proxy.received(1);
    await Promise.all(clients.splice(0).map(client => client.close()));
    expect(await running).toMatchObject({ failure: 'aborted' });
    await proxy.allClosed();
  });

  it('cuts the connection is tried twice', async () => {
    proxy.behave('reset');
    expect(await open()(urlOf(good))).toMatchObject({ ...failure('the proxy 127.0.0.1'), tries: 2 });
  });

  it('says more than its answer is not believed: that would be taken for the reply', async () => {
    proxy.behave('speak-first');
    expect(await open()(urlOf(good))).toMatchObject({ ...failure('sent more than its answer'), tries: 1 });
  });

  it('is not there is named without its credentials', async () => {
    const port = await reservePort();
    const url = `http://user:${password}@127.0.0.1:${port}`;
    const result = await open({ proxy: { url } })(urlOf(good));
    expect(result).toMatchObject(failure(`the proxy 127.0.0.1:${port}: connect ECONNREFUSED`));
    expect(JSON.stringify(result)).not.toContain(password);
  });

  it('speaks no HTTP fails the call', async () => {
    const server: Server = createServer(socket => socket.resume().end('SSH-2.0-OpenSSH_9.6\r\n')).listen(
      0,
      good,
    );
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const result = await open({ proxy: { url: `http://127.0.0.1:${port}` } })(urlOf(good));
    expect(result).toMatchObject(failure(`the proxy 127.0.0.1:${port}: `));
    await new Promise(resolve => server.close(resolve));
  });

  it('is reached by TLS is checked like a receiver', async () => {
    const secure = await startConnectProxy({
      key: readCertificate('receiver.key'),
      cert: readCertificate('trusted'),
    });
    try {
      await receivers.close();
      await start({ key: readCertificate('receiver.key'), cert: readCertificate('trusted') });
      const url = `https://localhost:${secure.port}`;
      const trusting = open({ proxy: { url, ca: readCertificate('ca') } });
      expect(await trusting(urlOf(good, 'https'))).toMatchObject({ status: 200 });
      expect(secure.asked).toHaveLength(1);
      const doubting = open({ proxy: { url } });
      expect(await doubting(urlOf(good, 'https'))).toMatchObject({ failure: 'connect' });
      expect(secure.asked).toHaveLength(1);
      await Promise.all(clients.splice(0).map(client => client.close()));
    } finally {
      await secure.close();
    }
  });
});

describe('the option proxy', () => {
  it.each([
    ['no URL', 'nonsense'],
    ['another scheme', `socks5://user:${password}@127.0.0.1:1080`],
    ['a path', `http://user:${password}@127.0.0.1:3128/path`],
    ['a broken escape', `http://user:%zz${password}@127.0.0.1:3128`],
  ])('is refused without being quoted: %s', (_what, url) => {
    const parse = (): unknown => parseOptions({ proxy: { url } });
    expect(parse).toThrow(/^proxy\.url is invalid: must /);
    expect(parse).not.toThrow(new RegExp(`${password}|nonsense`));
  });
});

describeOnDatabase('postgres', 'a Parse Server with a proxy', database => {
  it('sends its calls through it and never logs its password', async () => {
    const fresh = await database.create();
    const receiver = await startWebhookReceiver();
    const parse = await startParseApplication({
      database: fresh,
      webhooks: { proxy: { url: proxyUrl(`user:${password}`) }, network: listed },
    });
    try {
      const url = receiver.on('/hello', () => ({ success: 'hello' }));
      await parse.registerHook({ functionName: 'hello', url });
      const run = (): Promise<{ readonly body: unknown }> =>
        parse.client('POST', '/functions/hello', { body: {} });
      expect((await run()).body).toEqual({ result: 'hello' });
      expect(authorities()).toEqual([new URL(url).host]);
      await parse.registerHook({ functionName: 'refused', url: `http://127.0.0.1:${await reservePort()}/` });
      proxy.behave(407);
      const { body } = await parse.client('POST', '/functions/refused', { body: {} });
      expect(body).toEqual({ code: 141, error: 'webhook function refused failed: connection failed' });
      expect(parse.logs.filter(line => line.includes('answered 407 to CONNECT'))).toHaveLength(1);
      expect(parse.logs.join('\n')).not.toContain(password);
      expect(parse.logs.join('\n')).not.toContain(Buffer.from(`user:${password}`).toString('base64'));
    } finally {
      await parse.stop();
      await receiver.close();
      await fresh.drop();
    }
  });
});
