// A real https server that answers every call and may ask its clients for certificates.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { certificateFolder, readCertificate } from './misbehaving-receiver';

function readPem(name: 'client-ca.pem' | 'client.pem' | 'client.key'): string {
  return readFileSync(join(certificateFolder, name), 'utf8');
}

/** Its common name is `parse-server`. */
export function readClientCertificate(): { readonly cert: string; readonly key: string } {
  return { cert: readPem('client.pem'), key: readPem('client.key') };
}

export interface TlsReceiver {
  readonly url: string;
  /** Common names of the client certificates of the requests that came; undefined where there was none. */
  readonly clients: readonly (string | undefined)[];
  /** TLS connections that were tried. */
  readonly handshakes: () => number;
  close(): Promise<void>;
}

/** Of a client without a certificate node gives an empty object, whatever its types say. */
function commonNameOf({ subject }: { readonly subject?: { readonly CN?: unknown } }): unknown {
  return subject?.CN;
}

/** An https server that answers every call and, if asked to, lets only clients of its own CA in. */
export async function startTlsReceiver(options: {
  readonly certificate: 'trusted' | 'self-signed';
  readonly asksForCertificates: boolean;
}): Promise<TlsReceiver> {
  const clients: (string | undefined)[] = [];
  let handshakes = 0;
  const server: Server = createServer(
    {
      cert: readCertificate(options.certificate),
      key: readCertificate('receiver.key'),
      ca: readPem('client-ca.pem'),
      requestCert: options.asksForCertificates,
      rejectUnauthorized: options.asksForCertificates,
    },
    (request, response) => {
      const { socket } = request;
      if (!(socket instanceof TLSSocket)) throw new TypeError('the connection is not TLS');
      const name = commonNameOf(socket.getPeerCertificate());
      clients.push(typeof name === 'string' ? name : undefined);
      request.resume().once('end', () => response.end('{"success": 1}'));
    },
  );
  server.on('connection', () => handshakes++);
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the receiver has no port');
  return {
    url: `https://127.0.0.1:${address.port}/`,
    clients,
    handshakes: () => handshakes,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
