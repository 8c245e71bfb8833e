// Asks a proxy for a tunnel to one address (CONNECT, RFC 9110, section 9.3.6). Judges no address, knows no receiver.
import { request as requestPlain, type ClientRequest } from 'node:http';
import { request as requestSecure } from 'node:https';
import { isIP, isIPv6, type Socket } from 'node:net';
import { parseProxyUrl, type ProxyOptions } from '../shared/network-options';
import { ConnectFailure } from './connect-failure';
import { describeError } from './describe-error';

export interface ProxyTunnels {
  /**
   * Opens a tunnel to an IP address. Fails with a ConnectFailure that names the proxy by host and port, never by its
   * URL. `holds` is given what ends the attempt early.
   */
  open(address: string, port: number, holds: (discard: () => void) => void): Promise<Socket>;
}

/** The proxy says that it cannot reach this address: another one of the same name may do. */
export class TunnelUnreachable extends ConnectFailure {}

/** 502, 503 and 504: the proxy found no way (RFC 9110, section 15.6). Anything else is its decision. */
const unreachableStatus = [502, 503, 504];
const maxProxyHeaderBytes = 16_384;

export function createProxyTunnels(proxy: ProxyOptions): ProxyTunnels {
  const { secure, host, port: proxyPort, authorization } = parseProxyUrl(proxy.url);
  const name = `the proxy ${isIPv6(host) ? `[${host}]` : host}:${proxyPort}`;

  function ask(authority: string): ClientRequest {
    const options = {
      host,
      port: proxyPort,
      method: 'CONNECT',
      path: authority,
      // None of its own: NODE_USE_ENV_PROXY gives the agent that Node shares a proxy.
      agent: false as const,
      headers: {
        host: authority,
        ...(authorization !== undefined && { 'proxy-authorization': authorization }),
      },
      maxHeaderSize: maxProxyHeaderBytes,
    };
    return secure
      ? requestSecure({
          ...options,
          // Else Node takes it from the Host header, which names the receiver.
          servername: isIP(host) === 0 ? host : '',
          rejectUnauthorized: true,
          ...(proxy.ca !== undefined && { ca: proxy.ca }),
        })
      : requestPlain(options);
  }

  return {
    open: (address, port, holds) =>
      new Promise((resolve, reject) => {
        const authority = `${isIPv6(address) ? `[${address}]` : address}:${port}`;
        const request = ask(authority);
        holds(() => request.destroy());
        request
          .once('connect', (response, socket: Socket, head) => {
            const status = response.statusCode ?? 0;
            // An 'error' that nobody hears ends the process.
            socket.on('error', () => undefined);
            if (status >= 200 && status < 300 && head.length === 0) {
              resolve(socket);
              return;
            }
            socket.destroy();
            const unreachable = unreachableStatus.includes(status);
            const what = status >= 200 && status < 300 ? 'sent more than its answer' : `answered ${status}`;
            const Failure = unreachable ? TunnelUnreachable : ConnectFailure;
            reject(
              new Failure('connect', `${name} ${what} to CONNECT ${authority}`, { retryable: unreachable }),
            );
          })
          .on('error', error =>
            reject(
              new ConnectFailure('connect', `${name}: ${describeError(error)}`, {
                retryable: true,
                cause: error,
              }),
            ),
          )
          .end();
      }),
  };
}
