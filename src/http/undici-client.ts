// The exchange client on undici 7: one long-lived pool per origin and route. Builds the parts and ends them; no
// breaker and no bulkhead: those go around `exchange`.
import type { LookupFunction } from 'node:net';
import { Client } from 'undici';
import { systemClock, type Clock } from '../shared/clock';
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

/** A receiver may ask for hours of keep-alive, but load balancers drop idle connections after 60 s, silently. */
const maxKeepAliveMs = 30_000;
export const maxHeaderBytes = 16_384;

const plainRoute: ConnectionRoute = { key: 'plain' };

interface Target {
  readonly origin: string;
  readonly path: string;
}

/** Builds a client that keeps connections open between exchanges; `close` ends them. */
export function createExchangeClient(options: UndiciClientOptions = {}): ExchangeClient {
  const { connectTimeoutMs = 2000, maxConnectionsPerOrigin = 128, keepAliveMs = 4000 } = options;
  const clock = options.clock ?? systemClock;
  const connectors = new Map<string, Connector>();
  const pools = new Map<string, ReceiverPool>();
  const targets = new Map<string, Target>();
  const running = new Set<RunningExchange>();
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
    const connector = createConnector({
      connectTimeoutMs,
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

  function findPool(origin: string, route: ConnectionRoute): ReceiverPool {
    // A key holds no space; the origin comes first because most routes are the same.
    const poolKey = `${origin} ${route.key}`;
    const known = pools.get(poolKey);
    if (known !== undefined) return known;
    if (pools.size >= sweepAt) sweepPools();
    const { connect } = findConnector(route);
    const pool = new ReceiverPool({
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
          maxHeaderSize: maxHeaderBytes,
        }),
    });
    pools.set(poolKey, pool);
    return pool;
  }

  function sweepPools(): void {
    for (const [poolKey, pool] of pools) {
      if (!pool.isUnused) continue;
      pools.delete(poolKey);
      void pool.destroy();
    }
    sweepAt = Math.max(poolsBeforeSweep, 2 * pools.size);
  }

  async function endAll(): Promise<void> {
    for (const exchange of [...running]) exchange.abort('the client was closed');
    for (const connector of connectors.values()) connector.close();
    await Promise.all([...pools.values()].map(pool => pool.destroy()));
    pools.clear();
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
        const pool = findPool(target.origin, request.route ?? plainRoute);
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

function parseTarget(url: string): Target | undefined {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')) return undefined;
  if (parsed.username !== '' || parsed.password !== '') return undefined;
  return { origin: parsed.origin, path: parsed.pathname + parsed.search };
}
