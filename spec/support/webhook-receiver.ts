// A real HTTP server that plays a webhook receiver: it records what it gets and answers what the test says.
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';

export interface ReceivedCall {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The bytes as they came. */
  readonly raw: Buffer;
  // Tests look into bodies as they please.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly body: any;
}

/** What to answer: a value is sent as JSON with 200; a Reply says status and headers too. */
export type Answerer = (call: ReceivedCall) => unknown;

export class Reply {
  constructor(
    readonly status: number,
    readonly body: string | Buffer,
    readonly headers: Readonly<Record<string, string>> = { 'content-type': 'application/json' },
  ) {}
}

export interface WebhookReceiver {
  readonly calls: readonly ReceivedCall[];
  readonly port: number;
  /** A URL of this receiver whose calls `answer` answers. */
  on(path: string, answer: Answerer): string;
  /** The calls to one path, waiting until there are `count` of them. */
  received(path: string, count: number): Promise<readonly ReceivedCall[]>;
  forget(): void;
  close(): Promise<void>;
}

export async function startWebhookReceiver(): Promise<WebhookReceiver> {
  const calls: ReceivedCall[] = [];
  const answerers = new Map<string, Answerer>();
  const waiting = new Set<() => void>();
  const server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const raw = Buffer.concat(chunks);
      const call: ReceivedCall = {
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers,
        raw,
        body: JSON.parse(raw.toString('utf8') || 'null'),
      };
      calls.push(call);
      for (const wake of waiting) wake();
      const answer = await answerers.get(call.path)?.(call);
      if (answer instanceof Reply) response.writeHead(answer.status, answer.headers).end(answer.body);
      else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer ?? {}));
    })().catch(() => response.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the receiver has no port');
  const { port } = address;
  return {
    calls,
    port,
    on: (path, answer) => {
      answerers.set(path, answer);
      return `http://127.0.0.1:${port}${path}`;
    },
    received: async (path, count) => {
      for (;;) {
        const found = calls.filter(call => call.path === path);
        if (found.length >= count) return found;
        await new Promise<void>(resolve => {
          const wake = (): void => {
            waiting.delete(wake);
            resolve();
          };
          waiting.add(wake);
        });
      }
    },
    forget: () => {
      calls.length = 0;
    },
    close: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
