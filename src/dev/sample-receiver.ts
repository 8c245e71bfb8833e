// A webhook receiver as a user would write one with the receiver kit, in a process of its own: `npm start` and
// docker/compose.yaml run it. It believes what is signed with one of its secrets. The body says which hook calls, so one
// URL would do for all; the path only shows in the log.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createReceiver, RejectError, VerificationError } from '../receiver/index';
import { isJsonObject } from '../shared/json';

/**
 * The receiver, not yet listening. `secret`: the `whsec_…` of the hooks and subscriptions that call it, or several;
 * `log` gets one line for each answer, and one for each event. Throws VerificationError `malformed-secret`.
 */
export function createSampleReceiver(
  secret: string | readonly string[],
  log: (line: string) => void,
): Server {
  const receiver = createReceiver<{ Puppy: { name?: unknown } }>({ secret })
    .beforeSave('Puppy', ({ object: { name } }) => {
      if (typeof name !== 'string' || name === '') throw new RejectError('a puppy needs a name');
      return { name: name.toUpperCase() };
    })
    .define('hello', ({ params: { name } }) => `Hello, ${typeof name === 'string' ? name : 'stranger'}!`)
    // What notifies is noted and answered at once, and worked on afterwards: the sender waits for the answer.
    .afterSave('Puppy', ({ object }) => log(`saved ${object.objectId ?? ''}`))
    .afterDelete('Puppy', ({ object }) => log(`deleted ${object.objectId ?? ''}`))
    .on('*', ({ type, data }) => {
      log(`event ${JSON.stringify({ type, objectId: isJsonObject(data) ? data.objectId : undefined })}`);
    });
  return createServer((request, response) => {
    if (request.method === 'GET' && request.url === '/health') {
      response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"status":"ok"}');
      return;
    }
    logAnswer(request, response, log);
    receiver.handler(request, response);
  });
}

/** Logs what is answered, with its text: the kit gives every answer whole, to `end`. */
function logAnswer(request: IncomingMessage, response: ServerResponse, log: (line: string) => void): void {
  const end = response.end.bind(response);
  response.end = (text?: unknown) => {
    const answer = typeof text === 'string' ? text : '';
    log(`${request.method ?? ''} ${request.url ?? ''} -> ${response.statusCode} ${answer}`.trimEnd());
    return end(text);
  };
}

function main(): void {
  const { RECEIVER_HOST = '127.0.0.1', RECEIVER_PORT = '3001', RECEIVER_SECRET = '' } = process.env;
  const receiver = createOrExit(RECEIVER_SECRET.split(' ').filter(secret => secret !== ''));
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

function createOrExit(secrets: readonly string[]): Server {
  try {
    return createSampleReceiver(secrets, line => {
      process.stdout.write(`receiver: ${line}\n`);
    });
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    process.stderr.write(`receiver: RECEIVER_SECRET cannot be used: ${error.message}\n`);
    process.exit(1);
  }
}

if (require.main === module) main();
