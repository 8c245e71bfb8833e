// A receiver process: counts its calls and answers with the object it got, as the built-in webhooks need it:
// they fail a save on `{"success": true}`. `?delay=20` answers after 20 ms.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from './processes';

let calls = 0;
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    calls += 1;
    const { object } = JSON.parse(Buffer.concat(chunks).toString()) as { object: unknown };
    const answer = Buffer.from(JSON.stringify({ success: object }));
    const headers = { 'content-type': 'application/json', 'content-length': answer.length };
    const delayMs = Number(new URL(request.url ?? '/', 'http://x').searchParams.get('delay') ?? 0);
    const send = (): unknown => response.writeHead(200, headers).end(answer);
    if (delayMs > 0) setTimeout(send, delayMs);
    else send();
  });
}).listen(0, '127.0.0.1', () => {
  serve(
    { port: (server.address() as AddressInfo).port },
    () => ({ calls }),
    async () => void server.close(),
  );
});
