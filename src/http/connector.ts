// Makes connections for undici: DNS, TCP and TLS within one bound. Leaves what is said over them to undici.
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import type { buildConnector } from 'undici';
import type { Clock } from '../shared/clock';
import { classifyConnectError, ConnectFailure, type ConnectStage } from './connect-failure';

export interface ConnectorOptions {
  /** Bound on DNS, TCP and TLS together, in milliseconds. */
  readonly connectTimeoutMs: number;
  readonly clock: Clock;
  /** Resolves names in place of dns.lookup; Node does not call it for IP literals. */
  readonly lookup?: LookupFunction | undefined;
  /** PEM certificates trusted instead of Node's own roots. */
  readonly ca?: string | undefined;
  /** PEM client certificate and private key. */
  readonly clientCertificate?: { readonly cert: string; readonly key: string } | undefined;
}

export interface Connector {
  readonly connect: buildConnector.connector;
  /** Ends the connections that are still being made. */
  close(): void;
}

/**
 * Builds the connector of one client.
 *
 * undici has its own (lib/core/connect.js), but bounds connections above 1 s with a timer of 500 ms steps, and
 * `destroy()` of a Client leaves a connection that is being made alone until it is made.
 */
export function createConnector(options: ConnectorOptions): Connector {
  const { clock, connectTimeoutMs, lookup, ca, clientCertificate } = options;
  const cancels = new Set<() => void>();
  let secureContext: SecureContext | undefined;

  function openSocket(target: buildConnector.Options): Socket | TLSSocket {
    const host = target.hostname;
    const common = lookup === undefined ? { host } : { host, lookup };
    if (target.protocol !== 'https:') return connectTcp({ ...common, port: Number(target.port || 80) });
    // One context for all connections: reading the roots again costs more than the rest of a handshake.
    secureContext ??= createSecureContext({ ...(ca !== undefined && { ca }), ...clientCertificate });
    return connectTls({
      ...common,
      port: Number(target.port || 443),
      secureContext,
      // RFC 6066, section 3: no server name for IP literals. Node then checks the certificate against `host`.
      // Nor is the dot that may end a name part of it.
      servername: isIP(host) === 0 ? host.replace(/\.$/, '') : '',
      // Said aloud because NODE_TLS_REJECT_UNAUTHORIZED=0 only changes the default.
      rejectUnauthorized: true,
      ALPNProtocols: ['http/1.1'],
    });
  }

  function connect(target: buildConnector.Options, callback: buildConnector.Callback): void {
    const socket = openSocket(target);
    const secure = target.protocol === 'https:';
    let stage: ConnectStage = 'tcp';
    let done = false;

    const finish = (failure: ConnectFailure | undefined): void => {
      if (done) return;
      done = true;
      cancelTimer();
      cancels.delete(cancel);
      if (failure === undefined) {
        callback(null, socket);
      } else {
        socket.destroy();
        callback(failure, null);
      }
    };
    const cancel = (): void =>
      finish(new ConnectFailure('aborted', 'the client was closed', { retryable: false }));
    const cancelTimer = clock.schedule(connectTimeoutMs, () => {
      const message = `no connection to ${target.hostname}:${target.port} within ${connectTimeoutMs} ms`;
      finish(new ConnectFailure('connect', message, { retryable: true, timedOut: true }));
    });
    cancels.add(cancel);

    // The error listener stays for the life of the socket: an 'error' that nobody hears ends the process.
    socket
      .on('error', error => finish(classifyConnectError(error, stage)))
      .once('lookup', (error: Error | null | undefined) => {
        if (error) stage = 'dns';
      })
      .once('connect', () => {
        stage = 'tls';
        if (!secure) finish(undefined);
      })
      .setNoDelay(true)
      .setKeepAlive(true, 60_000);
    if (secure) socket.once('secureConnect', () => finish(undefined));
  }

  return {
    connect,
    close: () => {
      for (const cancel of [...cancels]) cancel();
    },
  };
}
