// Makes connections for undici: DNS, TCP or a tunnel, and TLS. Leaves what is said over them to undici.
import { lookup as lookupWithSystem, type LookupAddress } from 'node:dns';
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls';
import type { buildConnector } from 'undici';
import type { Clock } from '../shared/clock';
import { ConnectAttempt, type ConnectTimeouts } from './connect-attempt';
import { ConnectFailure } from './connect-failure';
import { TunnelUnreachable, type ProxyTunnels } from './proxy-tunnel';

export interface ConnectorOptions extends ConnectTimeouts {
  readonly clock: Clock;
  /** Resolves names in place of dns.lookup; Node does not call it for IP literals. */
  readonly lookup?: LookupFunction | undefined;
  /** PEM certificates trusted instead of Node's own roots. */
  readonly ca?: string | undefined;
  /** PEM client certificate and private key. */
  readonly clientCertificate?: { readonly cert: string; readonly key: string } | undefined;
  /** All connections are tunnels through it. Names are resolved here all the same, and tunnels go to addresses. */
  readonly proxy?: ProxyTunnels | undefined;
}

export interface Connector {
  readonly connect: buildConnector.connector;
  /** Ends the connections that are still being made. */
  close(): void;
}

/** Addresses of one name that a proxy is asked for before the attempt fails. */
const maxTunnelsTried = 4;

/**
 * Builds the connector of one client.
 *
 * undici has its own (lib/core/connect.js), but bounds connections above 1 s with a timer of 500 ms steps, and
 * `destroy()` of a Client leaves a connection that is being made alone until it is made. Its ProxyAgent has the proxy
 * resolve names, so that nobody judges the address.
 */
export function createConnector(options: ConnectorOptions): Connector {
  const { clock, lookup, ca, clientCertificate, proxy } = options;
  const attempts = new Set<ConnectAttempt>();
  let secureContext: SecureContext | undefined;

  function tlsOptions(host: string) {
    // One context for all connections: reading the roots again costs more than the rest of a handshake.
    secureContext ??= createSecureContext({ ...(ca !== undefined && { ca }), ...clientCertificate });
    return {
      host,
      secureContext,
      // RFC 6066, section 3: no server name for IP literals. Node then checks the certificate against `host`.
      // Nor is the dot that may end a name part of it.
      servername: isIP(host) === 0 ? host.replace(/\.$/, '') : '',
      // Said aloud because NODE_TLS_REJECT_UNAUTHORIZED=0 only changes the default.
      rejectUnauthorized: true,
      ALPNProtocols: ['http/1.1'],
    };
  }

  function connectDirectly({ host, port, secure }: Destination, attempt: ConnectAttempt): void {
    const own = lookup === undefined ? { port } : { port, lookup };
    const socket = secure ? connectTls({ ...tlsOptions(host), ...own }) : connectTcp({ host, ...own });
    attempt.holds(() => socket.destroy());
    // The error listener stays for the life of the socket: an 'error' that nobody hears ends the process.
    socket
      .on('error', error => attempt.fail(error))
      .once('lookup', (error: Error | null | undefined) => {
        if (!error) attempt.enter('tcp');
      })
      .once('connect', () => {
        if (secure) attempt.enter('tls');
        else attempt.succeed(socket);
      });
    if (secure) socket.once('secureConnect', () => attempt.succeed(socket));
    keepOpen(socket);
  }

  async function connectThrough(
    tunnels: ProxyTunnels,
    { host, port, secure }: Destination,
    attempt: ConnectAttempt,
  ): Promise<void> {
    const addresses = isIP(host) === 0 ? await findAddresses(host, lookup ?? lookupWithSystem) : [host];
    attempt.enter('proxy');
    const tunnel = await openFirst(tunnels, { addresses, port }, attempt);
    attempt.holds(() => tunnel.destroy());
    if (attempt.isOver) return;
    tunnel.on('error', error => attempt.fail(error));
    keepOpen(tunnel);
    if (!secure) {
      attempt.succeed(tunnel);
      return;
    }
    attempt.enter('tls');
    const socket = connectTls({ ...tlsOptions(host), socket: tunnel });
    attempt.holds(() => socket.destroy());
    socket.on('error', error => attempt.fail(error)).once('secureConnect', () => attempt.succeed(socket));
  }

  function connect(target: buildConnector.Options, callback: buildConnector.Callback): void {
    const destination = readDestination(target);
    const attempt: ConnectAttempt = new ConnectAttempt({
      timeouts: options,
      clock,
      where: `${destination.host}:${destination.port}`,
      stage: isIP(destination.host) === 0 ? 'dns' : proxy === undefined ? 'tcp' : 'proxy',
      onEnd: result => {
        attempts.delete(attempt);
        if (result instanceof ConnectFailure) callback(result, null);
        else callback(null, result);
      },
    });
    attempts.add(attempt);
    if (proxy === undefined) connectDirectly(destination, attempt);
    else connectThrough(proxy, destination, attempt).catch((error: unknown) => attempt.fail(error));
  }

  return {
    connect,
    close: () => {
      for (const attempt of [...attempts]) {
        attempt.fail(new ConnectFailure('aborted', 'the client was closed', { retryable: false }));
      }
    },
  };
}

interface Destination {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
}

function readDestination({ protocol, hostname, port }: buildConnector.Options): Destination {
  const secure = protocol === 'https:';
  return { host: hostname, port: Number(port || (secure ? 443 : 80)), secure };
}

function keepOpen(socket: Socket): void {
  socket.setNoDelay(true).setKeepAlive(true, 60_000);
}

/** The guard's lookup gives addresses only when all of them are allowed. */
function findAddresses(host: string, lookup: LookupFunction): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    lookup(host, { all: true }, (error, found: string | LookupAddress[]) => {
      if (error) reject(error);
      else resolve(typeof found === 'string' ? [found] : found.map(({ address }) => address));
    });
  });
}

/** A tunnel to the first of the addresses that the proxy reaches. */
async function openFirst(
  tunnels: ProxyTunnels,
  { addresses, port }: { readonly addresses: readonly string[]; readonly port: number },
  attempt: ConnectAttempt,
): Promise<Socket> {
  let failure = new ConnectFailure('dns', 'the name has no address', { retryable: true });
  for (const address of addresses.slice(0, maxTunnelsTried)) {
    if (attempt.isOver) break;
    try {
      return await tunnels.open(address, port, discard => attempt.holds(discard));
    } catch (error) {
      if (!(error instanceof TunnelUnreachable)) throw error;
      failure = error;
    }
  }
  throw failure;
}
