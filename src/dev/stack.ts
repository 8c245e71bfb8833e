// Composes the local stack: HTTP port, receiver, database, Parse Server; and takes it down in the opposite order.
import { mkdir } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { join } from 'node:path';
import { loadDevKeys } from './dev-keys';
import type { DevOptions } from './dev-options';
import { startEmbeddedPostgres } from './embedded-postgres';
import { assertDatabaseReachable } from './reach-database';
import { startReceiverProcess } from './receiver-process';
import { errorCode, StartError } from './start-error';

export interface Stack {
  readonly parseUrl: string;
  readonly dashboardUrl: string;
  readonly receiverUrl: string;
  readonly masterKey: string;
  readonly webhookKey: string;
  /** With what a hook has to sign so that the receiver takes its calls; the first, if it has several. */
  readonly receiverSecret: string;
  /** Resolves, with a line for the user, if a part of the stack ends by itself. */
  readonly broken: Promise<string>;
  stop(): Promise<void>;
}

type Undo = () => Promise<void>;

/** Starts all parts, or none: a failure, or an abort of `signal`, stops what was started and throws. */
export async function startStack(options: DevOptions, signal: AbortSignal): Promise<Stack> {
  const undo: Undo[] = [];
  const stop = async () => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  };
  try {
    return { ...(await startParts(options, signal, undo)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startParts(
  options: DevOptions,
  signal: AbortSignal,
  undo: Undo[],
): Promise<Omit<Stack, 'stop'>> {
  const keys = await loadDevKeys(options.dataDirectory);
  const masterKey = options.masterKey ?? keys.masterKey;
  const webhookKey = options.webhookKey ?? keys.webhookKey;
  const secrets = options.receiverSecrets ?? [keys.receiverSecret];
  const [receiverSecret = keys.receiverSecret] = secrets;
  const logsDirectory = join(options.dataDirectory, 'logs');
  await mkdir(logsDirectory, { recursive: true });
  signal.throwIfAborted();

  // The port first: Parse Server has to be told its own address, and a port in use is the likeliest failure.
  const front = await listen(options.port);
  undo.push(() => close(front.server));
  signal.throwIfAborted();

  const receiver = await startReceiverProcess({ port: options.receiverPort, secrets });
  undo.push(() => receiver.stop());
  signal.throwIfAborted();

  const brokenParts: Promise<string>[] = [
    receiver.ended.then(({ expected }) => (expected ? never() : 'the sample receiver has ended')),
  ];
  let databaseUri = options.databaseUri;
  if (databaseUri === undefined) {
    const postgres = await startEmbeddedPostgres({ dataDirectory: join(options.dataDirectory, 'postgres') });
    undo.push(() => postgres.stop());
    brokenParts.push(postgres.ended.then(({ expected }) => (expected ? never() : 'PostgreSQL has ended')));
    databaseUri = postgres.uri;
  } else {
    await unlessAborted(signal, assertDatabaseReachable(databaseUri));
  }
  signal.throwIfAborted();

  const parseUrl = `http://127.0.0.1:${front.port}${options.mountPath}`;
  // parse-server makes a `logs` folder in the working directory when it is imported, unless this says otherwise.
  process.env['PARSE_SERVER_LOGS_FOLDER'] ??= logsDirectory;
  const { createParseApp } = await import('./parse-app.js');
  const parseApp = createParseApp({
    databaseUri,
    appId: options.appId,
    masterKey,
    webhookKey,
    serverUrl: parseUrl,
    mountPath: options.mountPath,
    logsDirectory,
  });
  undo.push(() => parseApp.stop());
  front.serve(await unlessAborted(signal, parseApp.start()));
  // Before Parse Server lets go of the database: requests under way are answered first.
  undo.push(() => close(front.server));
  return {
    parseUrl,
    dashboardUrl: `http://127.0.0.1:${front.port}/dashboard`,
    receiverUrl: receiver.url,
    masterKey,
    webhookKey,
    receiverSecret,
    broken: Promise.race(brokenParts),
  };
}

interface Front {
  readonly server: Server;
  readonly port: number;
  /** From now on `app` answers. */
  serve(app: RequestListener): void;
}

async function listen(port: number): Promise<Front> {
  let handle: RequestListener = (_request, response) => {
    response.writeHead(503, { 'Retry-After': '1' }).end('starting\n');
  };
  const server = createServer((request, response) => {
    handle(request, response);
  });
  await new Promise<void>((settle, fail) => {
    server.once('error', error => {
      const reason = errorCode(error) === 'EADDRINUSE' ? 'is in use' : `cannot be used: ${error.message}`;
      fail(new StartError(`PORT ${port} on 127.0.0.1 ${reason}`, error));
    });
    server.listen(port, '127.0.0.1', settle);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new StartError('the server has no port');
  return {
    server,
    port: address.port,
    serve: app => {
      handle = app;
    },
  };
}

/** Lets the requests under way end, for a second, then cuts them off. */
async function close(server: Server): Promise<void> {
  if (!server.listening) return;
  await new Promise<void>(settle => {
    const impatience = setTimeout(() => server.closeAllConnections(), 1000);
    server.close(() => {
      clearTimeout(impatience);
      settle();
    });
    server.closeIdleConnections();
  });
}

/** The result of `task`, or the abort of `signal` if that is first; `task` is then left to fail by itself. */
async function unlessAborted<T>(signal: AbortSignal, task: Promise<T>): Promise<T> {
  return new Promise<T>((settle, fail) => {
    const abort = () => fail(new DOMException('stopped during start-up', 'AbortError'));
    signal.addEventListener('abort', abort, { once: true });
    task.then(settle, fail).finally(() => signal.removeEventListener('abort', abort));
  });
}

async function never(): Promise<never> {
  return new Promise(() => undefined);
}
