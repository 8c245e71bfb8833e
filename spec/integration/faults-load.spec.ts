// Great objects and replies, many saves at once, and receivers that drop connections between calls. On the whole stack.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { describeOnEachDatabase } from '../support/databases';
import { expectRefusal, startFaultStack, type FaultStack } from '../support/fault-stack';
import { Reply } from '../support/webhook-receiver';

const megabyte = 1024 * 1024;

interface RawReceiver {
  readonly url: string;
  /** Sockets accepted so far. */
  readonly sockets: ReadonlySet<Socket>;
  close(): Promise<void>;
}

/** A receiver whose answers need its sockets. `body` is the request's. */
async function startRawReceiver(
  // Tests look into bodies as they please.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  answer: (body: any, response: ServerResponse, request: IncomingMessage) => void,
): Promise<RawReceiver> {
  const sockets = new Set<Socket>();
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => answer(JSON.parse(Buffer.concat(chunks).toString()), response, request));
  });
  server.on('connection', socket => sockets.add(socket.on('error', () => undefined)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    sockets,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

describeOnEachDatabase('a hook under load', database => {
  let stack: FaultStack;

  beforeAll(async () => {
    stack = await startFaultStack(database, {
      parse: { maxUploadSize: '40mb' },
      // A receiver that fails half of its calls has its breaker open; here each call is to have its own fate.
      webhooks: { breakerFailurePercent: 0 },
    });
    // The class exists, so that no test measures the making of its columns.
    const body = { n: 0, text: '', seen: true, echoed: -1 };
    expect((await stack.parse.master('POST', '/classes/Load', { body })).status).toBe(201);
  });
  afterAll(async () => stack.stop());
  afterEach(async () => stack.expectAlive());

  const hook = (url: string, settings: Readonly<Record<string, unknown>> = {}) => ({
    className: 'Load',
    triggerName: 'beforeSave',
    url,
    ...settings,
  });
  const save = (n: number) => stack.parse.client('POST', '/classes/Load', { body: { n } });

  it('carries an object of 10 MB to the receiver and into the database', async () => {
    const text = 'ä'.repeat(5 * megabyte);
    const url = stack.answering('{"success":{"seen":true}}');
    const { status, body } = await stack.withHook(hook(url, { maxRequestBytes: 30 * megabyte }), () =>
      stack.parse.client('POST', '/classes/Load', { body: { text } }),
    );
    expect({ status, seen: body.seen }).toEqual({ status: 201, seen: true });
    const call = stack.receiver.calls.at(-1);
    expect(call?.raw.length).toBeGreaterThan(10 * megabyte);
    expect(call?.body.object.text === text).toBe(true);
    const stored = await stack.parse.master('GET', `/classes/Load/${String(body.objectId)}`);
    expect(stored.body.text === text).toBe(true);
  });

  it('takes a reply of 10 MB where maxReplyBytes allows it', async () => {
    const text = 'x'.repeat(10 * megabyte);
    const url = stack.answering(JSON.stringify({ success: { text } }));
    const { status, body } = await stack.withHook(hook(url, { maxReplyBytes: 11 * megabyte }), () => save(1));
    expect(status).toBe(201);
    const stored = await stack.parse.master('GET', `/classes/Load/${String(body.objectId)}`);
    expect(stored.body.text === text).toBe(true);
    expectRefusal(await stack.withHook(hook(url), () => save(1)), {
      code: 141,
      error: 'webhook beforeSave Load failed: answer is too large',
    });
  });

  it('gives each of 200 saves at once its own fate while the receiver resets half of them', async () => {
    const receiver = await startRawReceiver(({ object }, response) => {
      if (object.n % 2 === 1) response.socket?.resetAndDestroy();
      else response.end(JSON.stringify({ success: { echoed: object.n } }));
    });
    try {
      const numbers = Array.from({ length: 200 }, (_, n) => n);
      const answers = await stack.withHook(hook(receiver.url), () => Promise.all(numbers.map(save)));
      for (const [n, answer] of answers.entries()) {
        if (n % 2 === 0) expect(answer).toMatchObject({ status: 201, body: { echoed: n } });
        else {
          const error = 'webhook beforeSave Load failed: connection was cut';
          expectRefusal(answer, { code: 141, error });
        }
      }
      const { body } = await stack.parse.master(
        'GET',
        '/classes/Load?where={"echoed":{"$gte":0}}&limit=1000',
      );
      expect(body.results.map((row: { n: number }) => row.n).sort((a: number, b: number) => a - b)).toEqual(
        numbers.filter(n => n % 2 === 0),
      );
      expect(body.results.every((row: { n: number; echoed: number }) => row.n === row.echoed)).toBe(true);
    } finally {
      await receiver.close();
    }
  });

  it('is not disturbed by a receiver that says it closes after each answer', async () => {
    const url = stack.answering(
      new Reply(200, '{"success":true}', { 'content-type': 'application/json', connection: 'close' }),
    );
    await stack.withHook(hook(url), async () => {
      for (let n = 0; n < 20; n++) expect((await save(n)).status).toBe(201);
      const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => save(n)));
      expect(answers.map(answer => answer.status)).toEqual(answers.map(() => 201));
    });
  });

  it('is not disturbed by a receiver that closes after each answer without a word', async () => {
    await stack.withHook(hook(stack.misbehaving.url('closes-after-reply')), async () => {
      for (let n = 0; n < 20; n++) expect((await save(n)).status).toBe(201);
    });
  });

  it.each(['end', 'resetAndDestroy'] as const)(
    'is not disturbed by a receiver that closes its idle connections (%s) right before the next call',
    async way => {
      const receiver = await startRawReceiver((_body, response) => response.end('{"success":true}'));
      try {
        await stack.withHook(hook(receiver.url), async () => {
          for (let n = 0; n < 20; n++) {
            expect((await save(n)).status).toBe(201);
            const open = [...receiver.sockets].filter(socket => !socket.closed);
            await Promise.all(
              open.map(socket => {
                const closed = once(socket, 'close');
                socket[way]();
                return closed;
              }),
            );
          }
          expect(receiver.sockets.size).toBe(20);
        });
      } finally {
        await receiver.close();
      }
    },
  );

  it('makes a save fail, not hang, when the receiver drops a reused connection with the request on it', async () => {
    const served = new WeakSet<Socket>();
    const receiver = await startRawReceiver((_body, response, { socket }) => {
      if (served.has(socket)) socket.resetAndDestroy();
      else response.end('{"success":true}');
      served.add(socket);
    });
    try {
      await stack.withHook(hook(receiver.url), async () => {
        expect((await save(1)).status).toBe(201);
        // It may have acted on the request: no second try behind the back of the client.
        expectRefusal(await save(2), {
          code: 141,
          error: 'webhook beforeSave Load failed: connection was cut',
        });
        expect((await save(3)).status).toBe(201);
        expect(receiver.sockets.size).toBe(2);
      });
    } finally {
      await receiver.close();
    }
  });
});
