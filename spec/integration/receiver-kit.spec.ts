// The receiver kit on real sockets: what a server sends, judged on the bytes received by the official library and by us.
import express from 'express';
import fc from 'fast-check';
import { once } from 'node:events';
import { createServer, request as startRequest, type RequestListener, type Server } from 'node:http';
import { connect } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';
import { Senders } from '../../src/blocking/sender';
import { settingDefaults } from '../../src/hooks/hook-settings';
import { activeSecrets, rotate, type SecretSet } from '../../src/hooks/secret-rotation';
import { createExchangeClient } from '../../src/http/undici-client';
import {
  createSigner,
  generateEd25519Key,
  parseEd25519Key,
  parseSecret,
  publicKeyOf,
} from '../../src/http/webhook-signature';
import {
  createReceiver,
  createVerifier,
  depthHeader,
  RejectError,
  VerificationError,
  verify,
  webhookMiddleware,
  type Refusal,
} from '../../src/receiver';
import { systemClock } from '../../src/shared/clock';
import { createMessageId } from '../../src/shared/ids';
import { parseNetworkOptions } from '../../src/shared/network-options';
import { generateSecret } from '../../src/shared/secret-format';

const secret = generateSecret(systemClock);
const signer = createSigner({ secrets: [parseSecret(secret)] });
const servers: Server[] = [];

async function listen(listener: RequestListener): Promise<{ origin: string; port: number }> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return { origin: `http://127.0.0.1:${address.port}`, port: address.port };
}

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}

function signedHeaders(
  body: Buffer,
  options: { timestamp?: number; by?: typeof signer } = {},
): Record<string, string> {
  const { timestamp = nowSeconds(), by = signer } = options;
  const id = createMessageId(systemClock);
  return {
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': by.sign(id, timestamp, body),
  };
}

async function post(
  origin: string,
  body: Buffer | string,
  headers: Record<string, string> = signedHeaders(Buffer.from(body)),
  method = 'POST',
): Promise<{ status: number; body: unknown }> {
  const request = startRequest(origin, { method, headers, agent: false });
  request.end(body);
  const [response] = await once(request, 'response');
  const text = await readText(response);
  return { status: response.statusCode, body: text === '' ? undefined : JSON.parse(text) };
}

/** 1,000 payloads: 997 of generated JSON with any Unicode in it, an empty one, one without any ASCII, one of 1 MB. */
function payloads(): readonly Buffer[] {
  const generated = fc.sample(fc.json({ stringUnit: 'binary', maxDepth: 4 }), { numRuns: 997, seed: 20 });
  const special = [
    '',
    '"ünïcødé — 中文 – العربية – 🐶👩‍👩‍👧‍👦 – \u2028\\u0000"',
    JSON.stringify({ big: 'ä€🐶x'.repeat(105_000) }),
  ];
  return [...generated, ...special].map(text => Buffer.from(text));
}

interface ReceivedRequest {
  readonly raw: Buffer;
  readonly headers: Record<string, string>;
}

describe('1,000 payloads on a real socket', () => {
  const ed25519Text = generateEd25519Key(systemClock);
  const ed25519 = parseEd25519Key(ed25519Text);
  const official = new Webhook(secret);
  const kit = [createVerifier(secret), createVerifier(publicKeyOf(ed25519))];
  const sent = new Map<string, Buffer>();
  const received: ReceivedRequest[] = [];

  /** Sends them as a server does: its senders make the headers, its client the exchanges. */
  beforeAll(async () => {
    const senders = new Senders({
      clock: systemClock,
      issuer: 'https://parse.example.com/parse',
      webhookKey: undefined,
      network: parseNetworkOptions({}),
      keyRing: () => ({ ed25519: [{ text: ed25519Text, key: ed25519 }], bearer: { keys: [] } }),
    });
    const { origin } = await listen((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const names = ['webhook-id', 'webhook-timestamp', 'webhook-signature'];
        const headers = Object.fromEntries(names.map(name => [name, String(request.headers[name])]));
        received.push({ raw: Buffer.concat(chunks), headers });
        response.end();
      });
    });
    const sender = senders.of({
      label: 'function payloads',
      origin,
      settings: { ...settingDefaults, signatures: ['v1', 'v1a'] },
      secrets: { current: secret, old: [] },
    });
    const client = createExchangeClient({ maxConnectionsPerOrigin: 8 });
    const send = async (body: Buffer): Promise<number | string> => {
      const webhookId = createMessageId(systemClock);
      sent.set(webhookId, body);
      const result = await client.exchange({
        url: origin,
        route: sender.route,
        headers: sender.headers({ webhookId, depth: 1, body }),
        body,
        timeoutMs: 30_000,
        maxReplyBytes: 1000,
      });
      return result.kind === 'reply' ? result.status : result.detail;
    };
    const statuses = await Promise.all(payloads().map(send));
    await client.close();
    expect(statuses).toEqual(Array.from({ length: 1000 }, () => 200));
  });

  it('are believed by the official library and by the kit, on the bytes received', () => {
    for (const { raw, headers } of received) {
      const body = sent.get(headers['webhook-id'] ?? '');
      expect(body?.equals(raw)).toBe(true);
      const expected = raw.length === 0 ? undefined : JSON.parse(raw.toString());
      expect(official.verify(raw, headers)).toEqual(expected);
      for (const judge of kit) expect(judge(raw, headers).body).toEqual(expected);
    }
    expect([sent.size, received.length]).toEqual([1000, 1000]);
    const sizes = received.map(({ raw }) => raw.length);
    expect([Math.min(...sizes), Math.max(...sizes) > 1024 * 1024]).toEqual([0, true]);
    expect(received.filter(({ raw }) => raw.some(byte => byte > 0x7f)).length).toBeGreaterThan(100);
  });

  it('are refused by both with one byte of them changed on the way', () => {
    const refusals = { official: 0, kit: 0 };
    for (const [index, { raw, headers }] of received.entries()) {
      // An empty one gets a byte.
      const changed = raw.length === 0 ? Buffer.from(' ') : Buffer.from(raw);
      const at = (index * 7919) % changed.length;
      if (raw.length > 0) changed[at] = (changed[at] ?? 0) ^ 1;
      try {
        official.verify(changed, headers);
      } catch (error) {
        // Not for the broken JSON: it looks at the signature first.
        if (error instanceof WebhookVerificationError) refusals.official++;
      }
      for (const judge of kit) {
        try {
          judge(changed, headers);
        } catch (error) {
          if (error instanceof VerificationError && error.code === 'no-signature-matched') refusals.kit++;
        }
      }
    }
    expect(refusals).toEqual({ official: 1000, kit: 2000 });
  });
});

describe('secrets that rotate', () => {
  it('leave no moment at which a receiver with either of two neighbours refuses', () => {
    const hour = 60 * 60 * 1000;
    const start = Date.now();
    const texts = Array.from({ length: 4 }, () => generateSecret(systemClock));
    let set: SecretSet = { current: texts[0] ?? '', old: [] };
    const body = Buffer.from('{}');
    const believedBy = (receiverSecret: string, nowMs: number): boolean => {
      const by = createSigner({ secrets: activeSecrets(set, nowMs).map(parseSecret) });
      const headers = signedHeaders(body, { by, timestamp: Math.floor(nowMs / 1000) });
      try {
        verify(body, headers, receiverSecret, { now: () => nowMs });
        return true;
      } catch {
        return false;
      }
    };
    for (let n = 1; n < texts.length; n++) {
      const rotatedAt = start + n * 48 * hour;
      set = rotate(set, { newSecret: texts[n] ?? '', nowMs: rotatedAt });
      expect(believedBy(texts[n - 1] ?? '', rotatedAt)).toBe(true);
      expect(believedBy(texts[n] ?? '', rotatedAt)).toBe(true);
      expect(believedBy(texts[n - 1] ?? '', rotatedAt + 24 * hour - 1)).toBe(true);
      expect(believedBy(texts[n - 1] ?? '', rotatedAt + 24 * hour)).toBe(false);
      expect(believedBy(texts[n] ?? '', rotatedAt + 24 * hour)).toBe(true);
    }
  });

  it('are all in one header, which the official library reads with any of them', () => {
    const [current, former, gone] = [0, 1, 2].map(() => generateSecret(systemClock));
    const body = Buffer.from('{"a":"ä"}');
    const by = createSigner({ secrets: [current, former].map(parseSecret) });
    const headers = signedHeaders(body, { by });
    for (const receivers of [current, former]) {
      expect(new Webhook(receivers ?? '').verify(body, headers)).toEqual({ a: 'ä' });
    }
    expect(() => new Webhook(gone ?? '').verify(body, headers)).toThrow('No matching signature found');
  });
});

describe.each(['node:http', 'express', 'express below express.json() of other routes'] as const)(
  'a receiver on %s',
  platform => {
    const refusals: Refusal[] = [];
    const errors: Error[] = [];

    async function start(maxBodyBytes?: number): Promise<{ origin: string; port: number }> {
      refusals.length = errors.length = 0;
      const receiver = createReceiver<{ Puppy: { name?: string } }>({
        secret,
        onRefused: refusal => refusals.push(refusal),
        onError: error => errors.push(error),
        ...(maxBodyBytes !== undefined && { maxBodyBytes }),
      })
        .beforeSave('Puppy', ({ object, depth }) => {
          if (object.name === undefined) throw new RejectError('a puppy needs a name');
          return { name: object.name.toUpperCase(), depth };
        })
        .define('size', ({ params }) => (typeof params.text === 'string' ? params.text.length : -1))
        .define('broken', () => {
          throw new Error('canary');
        });
      if (platform === 'node:http') return listen(receiver.handler);
      const app = express();
      if (platform !== 'express') app.use('/api', express.json());
      app.post('/', receiver.handler);
      return listen(app);
    }

    it('answers hooks', async () => {
      const { origin } = await start();
      const body = JSON.stringify({ triggerName: 'beforeSave', object: { className: 'Puppy', name: 'süß' } });
      const headers = { ...signedHeaders(Buffer.from(body)), [depthHeader]: '2' };
      expect(await post(origin, body, headers)).toEqual({
        status: 200,
        body: { success: { name: 'SÜSS', depth: 2 } },
      });
      expect(
        await post(origin, JSON.stringify({ triggerName: 'beforeSave', object: { className: 'Puppy' } })),
      ).toEqual({
        status: 200,
        body: { error: 'a puppy needs a name' },
      });
    });

    it('takes 1 MB and refuses what is above its bound, whether or not it says its length', async () => {
      const { origin } = await start(2_000_000);
      const call = (text: string) => JSON.stringify({ functionName: 'size', params: { text } });
      expect(await post(origin, call('x'.repeat(1_048_576)))).toEqual({
        status: 200,
        body: { success: 1_048_576 },
      });
      const large = call('x'.repeat(2_000_000));
      const tooLarge = {
        status: 413,
        body: { failure: { code: 'too-large', message: 'the body is over 2000000 bytes' } },
      };
      expect(await post(origin, large)).toEqual(tooLarge);
      const chunked = { ...signedHeaders(Buffer.from(large)), 'transfer-encoding': 'chunked' };
      expect(await post(origin, large, chunked)).toEqual(tooLarge);
    });

    it('answers 401 to old, future, unsigned and changed requests', async () => {
      const { origin } = await start();
      const body = Buffer.from(JSON.stringify({ functionName: 'size', params: {} }));
      const attempts: [Buffer, Record<string, string>, string][] = [
        [body, signedHeaders(body, { timestamp: nowSeconds() - 310 }), 'too-old'],
        [body, signedHeaders(body, { timestamp: nowSeconds() + 310 }), 'too-new'],
        [body, {}, 'missing-header'],
        [Buffer.concat([body, Buffer.from(' ')]), signedHeaders(body), 'no-signature-matched'],
        [
          body,
          signedHeaders(body, { by: createSigner({ secrets: [parseSecret(generateSecret(systemClock))] }) }),
          'no-signature-matched',
        ],
      ];
      for (const [raw, headers, code] of attempts) {
        expect(await post(origin, raw, headers)).toMatchObject({ status: 401, body: { failure: { code } } });
      }
      expect(refusals.map(({ code }) => code)).toEqual(attempts.map(([, , code]) => code));
      expect(errors).toEqual([]);
    });

    it('answers 500 without the message of an exception, and goes on', async () => {
      const { origin } = await start();
      expect(await post(origin, '{"functionName":"broken"}')).toEqual({
        status: 500,
        body: { failure: { code: 'handler-failed', message: 'the handler failed' } },
      });
      expect(errors.map(({ message }) => message)).toEqual(['canary']);
      expect(await post(origin, '{"functionName":"size","params":{"text":"abc"}}')).toEqual({
        status: 200,
        body: { success: 3 },
      });
    });

    it('survives a sender that goes away in the middle of the body', async () => {
      const { origin, port } = await start();
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect');
      socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{"function');
      socket.destroy();
      await once(socket, 'close');
      expect(await post(origin, '{"functionName":"size","params":{"text":"abc"}}')).toEqual({
        status: 200,
        body: { success: 3 },
      });
      expect(refusals).toEqual([]);
      expect(errors).toEqual([]);
    });
  },
);

describe('the handler of a receiver on node:http', () => {
  it('takes POST only', async () => {
    const { origin } = await listen(createReceiver({ secret }).handler);
    expect(await post(origin, '', {}, 'GET')).toMatchObject({
      status: 405,
      body: { failure: { code: 'method-not-allowed' } },
    });
  });
});

describe('the middleware', () => {
  const body = '{"object":{"name":"süß"}}';

  it('gives express routes the verified body and what is known of the webhook', async () => {
    const app = express();
    app.post('/', webhookMiddleware({ secret }), (request, response) => {
      const { id, depth, rawBody } = request.webhook ?? {};
      response.json({ id, depth, raw: rawBody?.toString(), name: request.body.object.name });
    });
    const headers: Record<string, string> = { ...signedHeaders(Buffer.from(body)), [depthHeader]: '1' };
    expect(await post((await listen(app)).origin, body, headers)).toEqual({
      status: 200,
      body: { id: headers['webhook-id'], depth: 1, raw: body, name: 'süß' },
    });
  });

  it('lets only pass what is expected: a receiver with the same ed25519 key may have sent it on', async () => {
    const ed25519 = parseEd25519Key(generateEd25519Key(systemClock));
    const by = createSigner({ secrets: [], ed25519: [ed25519] });
    const codes: string[] = [];
    const guard = webhookMiddleware({
      secret: publicKeyOf(ed25519),
      expect: { triggerName: 'beforeSave', className: 'Puppy' },
      onRefused: ({ code }) => codes.push(code),
    });
    const { origin } = await listen((request, response) => {
      guard(request, response, () => response.end('"let in"'));
    });
    const send = (sent: object): Promise<{ status: number; body: unknown }> => {
      const raw = Buffer.from(JSON.stringify(sent));
      return post(origin, raw, signedHeaders(raw, { by }));
    };
    const save = { triggerName: 'beforeSave', object: { className: 'Puppy' } };
    expect(await send(save)).toEqual({ status: 200, body: 'let in' });
    expect(await send({ ...save, object: { className: 'Cat' } })).toMatchObject({ status: 403 });
    expect(await send({ functionName: 'pay' })).toMatchObject({ status: 403 });
    expect(codes).toEqual(['unexpected-target', 'unexpected-target']);
  });

  it('guards plain node:http', async () => {
    const guard = webhookMiddleware({ secret });
    const { origin } = await listen((request, response) => {
      guard(request, response, () => response.end('"let in"'));
    });
    expect(await post(origin, body)).toEqual({ status: 200, body: 'let in' });
    expect(await post(origin, body, {})).toMatchObject({ status: 401 });
    expect(await post(origin, 'no json')).toMatchObject({
      status: 400,
      body: { failure: { code: 'not-json' } },
    });
  });

  test.each([
    ['express.raw()', 200, express.raw({ type: '*/*' })],
    ['express.text()', 200, express.text({ type: '*/*' })],
    ['express.json()', 500, express.json()],
  ])('after %s answers %i', async (_, status, parser) => {
    const app = express();
    app.use(parser);
    app.post('/', webhookMiddleware({ secret }), (request, response) => {
      response.json(request.body);
    });
    const reply = await post((await listen(app)).origin, body);
    expect(reply).toEqual(
      status === 200
        ? { status, body: JSON.parse(body) }
        : {
            status,
            body: {
              failure: {
                code: 'raw-body-required',
                message:
                  'the body was parsed before it could be verified: mount the webhook middleware before express.json()',
              },
            },
          },
    );
  });

  it('hands an exception of the route on to express', async () => {
    const app = express();
    app.post('/', webhookMiddleware({ secret }), () => {
      throw new Error('route');
    });
    const seen: unknown[] = [];
    app.use(((error, _request, response, _next) => {
      seen.push(error);
      response.status(503).json('handled');
    }) as express.ErrorRequestHandler);
    expect(await post((await listen(app)).origin, body)).toEqual({ status: 503, body: 'handled' });
    expect(seen).toEqual([new Error('route')]);
  });
});
