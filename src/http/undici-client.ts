// The exchange client on undici 7: one long-lived pool per lane, origin and route. Builds the parts and ends them; no
// breaker and no bulkhead: those go around `exchange`.
import type { LookupFunction } from 'node:net';
import { Client } from 'undici';
import { systemClock, type Clock } from '../shared/clock';
import { tryUrl } from '../shared/try-url';
import { guardConnector } from './address-guard';
import { createConnector, type Connector } from './connector';
import { describeError } from './describe-error';
import type {
  ConnectionRoute,
  ExchangeClient,
  ExchangeClientOptions,
  ExchangeFailure,
  ExchangeFailureKind,
} from './exchange';
import { createProxyTunnels } from './proxy-tunnel';
import { ReceiverPool } from './receiver-pool';
import { RunningExchange } from './running-exchange';

export interface UndiciClientOptions extends ExchangeClientOptions {
  /** Default: the system's clock. */
  readonly clock?: Clock;
  /**
   * Resolves names in place of dns.lookup, at connect time: the place of an address guard. IP literals do not
   * come here. Node asks for all addresses (`all: true`) and tries them in turn. May fail with a ConnectFailure,
   * which then says what the exchange reports.
   */
  readonly lookup?: LookupFunction;
  /** PEM certificates trusted instead of Node's own roots, where a request's route names none. */
  readonly ca?: string;
}

/** Pools before the unused ones among them are closed. An unused pool holds some kB and no socket. */
const poolsBeforeSweep = 256;
/** URLs whose parsed form is kept. Parsing costs about 1 µs of some 30. */
const maxParsedUrls = 1024;

/** An idle connection is closed after this, where the receiver's `keep-alive` header names no time of its own. */
export const defaultKeepAliveMs = 4000;
/** A receiver may ask for hours of keep-alive, but load balancers drop idle connections after 60 s, silently. */
export const maxKeepAliveMs = 30_000;
/** Before the time that a receiver names, so that no request meets its end of the connection. */
export const keepAliveMarginMs = 2000;
export const maxHeaderBytes = 16_384;

const plainRoute: ConnectionRoute = { key: 'plain' };

interface Target {
  readonly origin: string;
  readonly path: string;
}

interface RoutedPool {
  readonly origin: string;
  /** The last object with its key. */
  route: ConnectionRoute;
  readonly pool: ReceiverPool;
}

/** The pools of one lane. A hook's has one, until its URL or route changes. */
interface LanePools {
  /** By origin and the route's key. */
  readonly byKey: Map<string, RoutedPool>;
  /** Used last: found without building its key, some 100 characters for every call. */
  last: RoutedPool;
}

/** Builds a client that keeps connections open between exchanges; `close` ends them. */
export function createExchangeClient(options: UndiciClientOptions = {}): ExchangeClient {
  const {
    connectTimeoutMs = 2000,
    maxConnectionsPerOrigin = 128,
    keepAliveMs = defaultKeepAliveMs,
  } = options;
  const { dnsTimeoutMs, tcpTimeoutMs, tlsTimeoutMs } = options;
  const proxy = options.proxy && createProxyTunnels(options.proxy);
  const clock = options.clock ?? systemClock;
  const connectors = new Map<string, Connector>();
  const lanes = new Map<string | undefined, LanePools>();
  const targets = new Map<string, Target>();
  const running = new Set<RunningExchange>();
  let poolCount = 0;
  let sweepAt = poolsBeforeSweep;
  let closing: Promise<void> | undefined;

  function findTarget(url: string): Target | undefined {
    const known = targets.get(url);
    if (known !== undefined) return known;
    const target = parseTarget(url);
    if (target === undefined) return undefined;
    if (targets.size >= maxParsedUrls) targets.clear();
    targets.set(url, target);
    return target;
  }

  function findConnector(route: ConnectionRoute): Connector {
    const known = connectors.get(route.key);
    if (known !== undefined) return known;
    // A new route is rare, and often the end of another: of a client certificate that was renewed, say.
    sweep();
    const connector = createConnector({
      connectTimeoutMs,
      dnsTimeoutMs,
      tcpTimeoutMs,
      tlsTimeoutMs,
      proxy,
      clock,
      lookup: route.guard?.lookup ?? options.lookup,
      ca: route.ca ?? options.ca,
      clientCertificate: route.clientCertificate,
    });
    const guarded =
      route.guard === undefined
        ? connector
        : { ...connector, connect: guardConnector(route.guard, connector.connect) };
    connectors.set(route.key, guarded);
    return guarded;
  }

  function findPool(origin: string, route: ConnectionRoute, lane: string | undefined): ReceiverPool {
    const last = lanes.get(lane)?.last;
    if (last !== undefined && last.route === route && last.origin === origin) return last.pool;
    // A key holds no space; the origin comes first because most routes are the same.
    const poolKey = `${origin} ${route.key}`;
    const known = lanes.get(lane)?.byKey.get(poolKey);
    const found = known ?? { origin, route, pool: openPool(origin, route) };
    found.route = route;
    // Looked up again: to open a pool may sweep the others of the lane, and the lane with them.
    const pools = lanes.get(lane);
    if (pools === undefined) {
      lanes.set(lane, { byKey: new Map([[poolKey, found]]), last: found });
    } else {
      pools.byKey.set(poolKey, found);
      pools.last = found;
    }
    return found.pool;
  }

  function openPool(origin: string, route: ConnectionRoute): ReceiverPool {
    if (poolCount >= sweepAt) sweep();
    const { connect } = findConnector(route);
    poolCount += 1;
    return new ReceiverPool({
      maxConnections: maxConnectionsPerOrigin,
      createClient: () =>
        new Client(origin, {
          connect,
          pipelining: 1,
          // 0 switches undici's own bounds off: theirs step by 500 ms; the exchange has one of its own.
          headersTimeout: 0,
          bodyTimeout: 0,
          keepAliveTimeout: keepAliveMs,
          keepAliveMaxTimeout: Math.max(maxKeepAliveMs, keepAliveMs),
          keepAliveTimeoutThreshold: keepAliveMarginMs,
          maxHeaderSize: maxHeaderBytes,
        }),
    });
  }

  /** Drops unused pools, and the connectors without any: they hold the private keys of client certificates. */
  function sweep(): void {
    const usedRoutes = new Set<string>();
    poolCount = 0;
    for (const [lane, pools] of lanes) {
      for (const [poolKey, { route, pool }] of pools.byKey) {
        if (pool.isUnused) {
          pools.byKey.delete(poolKey);
          void pool.destroy();
        } else {
          usedRoutes.add(route.key);
          poolCount += 1;
        }
      }
      const [left] = pools.byKey.values();
      if (left === undefined) lanes.delete(lane);
      else pools.last = left;
    }
    for (const key of connectors.keys()) if (!usedRoutes.has(key)) connectors.delete(key);
    sweepAt = Math.max(poolsBeforeSweep, 2 * poolCount);
  }

  async function endAll(): Promise<void> {
    for (const exchange of [...running]) exchange.abort('the client was closed');
    for (const connector of connectors.values()) connector.close();
    const pools = [...lanes.values()].flatMap(({ byKey }) => [...byKey.values()]);
    await Promise.all(pools.map(({ pool }) => pool.destroy()));
    lanes.clear();
  }

  return {
    exchange: async request => {
      if (closing !== undefined) return notTried('aborted', 'the client is closed');
      if (request.signal?.aborted === true) return notTried('aborted', 'the caller ended the exchange');
      const target = findTarget(request.url);
      if (target === undefined) {
        return notTried('protocol', 'url must be an absolute http or https URL without credentials');
      }
      try {
        const pool = findPool(target.origin, request.route ?? plainRoute, request.lane);
        return await new Promise(resolve => {
          const exchange = new RunningExchange({
            request,
            path: target.path,
            pool,
            clock,
            connectTimeoutMs,
            onSettled: (settled, result) => {
              running.delete(settled);
              resolve(result);
            },
          });
          running.add(exchange);
          exchange.start();
        });
      } catch (error) {
        return notTried('protocol', describeError(error));
      }
    },
    close: () => (closing ??= endAll()),
  };
}

function notTried(failure: ExchangeFailureKind, detail: string): ExchangeFailure {
  return { kind: 'failure', failure, phase: 'connect', detail, durationMs: 0, tries: 0 };
}

/** Where a URL leads, or undefined for one that no exchange is tried with. */
export function parseTarget(url: string): Target | undefined {
  const parsed = tryUrl(url);
  if (parsed === undefined || (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')) return undefined;
  if (parsed.username !== '' || parsed.password !== '') return undefined;
  return { origin: parsed.origin, path: parsed.pathname + parsed.search };
}
