// A webhook receiver as a user would write one, in a process of its own: `npm start` and docker/compose.yaml run it.
// POST /puppy  beforeSave of Puppy: the name in capitals, an error without a name
// POST /hello  cloud function: a greeting for params.name
// POST /events events and after* hooks: taken, whatever they tell
// It believes who knows Parse Server's webhook key and, when it was told the hooks' secret, signs with that.
import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createVerifier, VerificationError, type Verifier } from '../receiver/index';

const maxBodyBytes = 1024 * 1024;

type Answer = { readonly status: number; readonly body: Readonly<Record<string, unknown>> };

function answerPuppy(body: Readonly<Record<string, unknown>>): Answer {
  const name = property(body['object'], 'name');
  if (typeof name !== 'string' || name === '')
    return { status: 200, body: { error: 'a puppy needs a name' } };
  return { status: 200, body: { success: { name: name.toUpperCase() } } };
}

function answerHello(body: Readonly<Record<string, unknown>>): Answer {
  const name = property(body['params'], 'name');
  return { status: 200, body: { success: `Hello, ${typeof name === 'string' ? name : 'stranger'}!` } };
}

/** A receiver of events answers 2xx as soon as it has noted them, and works on them afterwards. */
function takeEvent({ type, triggerName, data, object }: Readonly<Record<string, unknown>>): Answer {
  const objectId = property(data, 'objectId') ?? property(object, 'objectId');
  return { status: 200, body: { taken: type ?? triggerName, objectId } };
}

/**
 * The receiver, not yet listening; `log` gets one line for each call. `secret` is the `whsec_…` of the hooks that call
 * it, or several; without one the webhook key alone is asked for.
 */
export function createSampleReceiver(
  webhookKey: string,
  log: (line: string) => void,
  secret?: string | readonly string[],
): Server {
  const verify = secret === undefined ? undefined : createVerifier(secret);
  return createServer((request, response) => {
    void answer(request, webhookKey, verify)
      .catch((error: unknown): Answer => ({
        status: error instanceof VerificationError ? 401 : 400,
        body: { error: String(error) },
      }))
      .then(({ status, body }) => {
        const text = JSON.stringify(body);
        log(`${request.method ?? ''} ${request.url ?? ''} -> ${status} ${text}`);
        response.writeHead(status, { 'Content-Type': 'application/json' }).end(text);
      });
  });
}

async function answer(
  request: IncomingMessage,
  webhookKey: string,
  verify: Verifier | undefined,
): Promise<Answer> {
  if (request.method === 'GET' && request.url === '/health') return { status: 200, body: { status: 'ok' } };
  if (!isSameKey(request.headers['x-parse-webhook-key'], webhookKey))
    return { status: 401, body: { error: 'wrong webhook key' } };
  const raw = await readBytes(request);
  const body: unknown = verify ? verify(raw, request.headers).body : JSON.parse(raw.toString('utf8'));
  if (!isRecord(body)) throw new TypeError('the body is not a JSON object');
  if (request.method === 'POST' && request.url === '/puppy') return answerPuppy(body);
  if (request.method === 'POST' && request.url === '/hello') return answerHello(body);
  if (request.method === 'POST' && request.url === '/events') return takeEvent(body);
  return { status: 404, body: { error: `no hook at ${request.url ?? ''}` } };
}

/** Compares in constant time, so that the answer's delay tells nothing of the key. */
function isSameKey(received: string | string[] | undefined, expected: string): boolean {
  if (typeof received !== 'string') return false;
  const [a, b] = [Buffer.from(received), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** The bytes as they came: signatures are over them, not over what JSON.parse makes of them. */
async function readBytes(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError('the body is not binary');
    bytes += chunk.length;
    if (bytes > maxBodyBytes) throw new RangeError(`the body is over ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function property(value: unknown, name: string): unknown {
  return isRecord(value) ? value[name] : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function main(): void {
  const { RECEIVER_HOST = '127.0.0.1', RECEIVER_PORT = '3001', RECEIVER_SECRET } = process.env;
  const { PARSE_SERVER_WEBHOOK_KEY } = process.env;
  if (PARSE_SERVER_WEBHOOK_KEY === undefined || PARSE_SERVER_WEBHOOK_KEY === '') {
    process.stderr.write('receiver: PARSE_SERVER_WEBHOOK_KEY is not set\n');
    process.exit(1);
  }
  const receiver = createSampleReceiver(
    PARSE_SERVER_WEBHOOK_KEY,
    line => {
      process.stdout.write(`receiver: ${line}\n`);
    },
    RECEIVER_SECRET?.split(' '),
  );
  const stop = () => {
    receiver.close();
    receiver.closeAllConnections();
  };
  receiver.once('error', error => {
    if (process.send === undefined) process.stderr.write(`receiver: ${error.message}\n`);
    else process.send({ error: error.message, code: 'code' in error ? error.code : undefined });
    process.exitCode = 1;
    if (process.connected) process.disconnect();
  });
  receiver.listen(Number(RECEIVER_PORT), RECEIVER_HOST, () => {
    const address = receiver.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    if (process.send === undefined) process.stdout.write(`receiver: listening on port ${port ?? ''}\n`);
    else process.send({ port });
  });
  process.once('SIGTERM', () => {
    stop();
    if (process.connected) process.disconnect();
  });
  // The stack that started us is gone, however it went.
  process.once('disconnect', stop);
}

if (require.main === module) main();
