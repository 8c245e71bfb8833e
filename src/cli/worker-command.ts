// `parse-server-webhooks worker`: a process that delivers and serves no requests.
import { createRequire } from 'node:module';
import { Command } from 'commander';
import { Webhooks } from '../index';
import { loadConfig, type Config } from './config-file';

/** What is used of class ParseServer. */
interface ParseServer {
  start(): Promise<unknown>;
  readonly config: {
    readonly databaseController: { readonly adapter: Closable };
    readonly cacheController: { readonly adapter?: Closable };
  };
}
interface Closable {
  handleShutdown?(): unknown;
}
type ParseServerClass = new (options: object) => ParseServer;

/** The command `worker`; its action ends after the signal. Throws UsageError, WebhookError, and what Parse Server throws. */
export function createWorkerCommand(): Command {
  return new Command('worker')
    .description('deliver webhooks in a process of their own, until SIGTERM or SIGINT')
    .requiredOption(
      '--config <file>',
      'module that exports { parseServer, webhooks }, or a function returning it',
    )
    .addHelpText(
      'after',
      `
The module gives the options of your server: a worker connects to the same database. It listens on no port, and runs
neither cloud code nor schema migrations. On SIGTERM or SIGINT attempts under way end (webhooks.drainTimeoutMs); a
second signal ends it at once.`,
    )
    .action(async ({ config }: { config: string }) => {
      await runWorker(await loadConfig(config));
    });
}

async function runWorker(config: Config): Promise<void> {
  const signal = waitForSignal();
  try {
    const webhooks = new Webhooks({ ...config.webhooks, deliver: true });
    const server = createServer(config, webhooks);
    try {
      await startQuietly(server);
      process.stdout.write(`worker ${process.pid} delivers for ${String(config.parseServer['appId'])}\n`);
      const name = await signal.received;
      process.stdout.write(`worker ${process.pid} stops on ${name}\n`);
    } finally {
      await webhooks.stop();
      await server.config.databaseController.adapter.handleShutdown?.();
      await server.config.cacheController.adapter?.handleShutdown?.();
    }
  } finally {
    signal.forget();
  }
}

function createServer({ parseServer }: Config, webhooks: Webhooks): ParseServer {
  // Without cloud code no trigger runs here; migrations are the servers' business.
  const { cloud: _cloud, schema: _schema, ...options } = parseServer;
  const configured = webhooks.configure(options);
  const { ParseServer } = createRequire(__filename)('parse-server') as { ParseServer: ParseServerClass };
  return new ParseServer(configured);
}

/** ParseServer.start prints what it throws, with its stack: the user gets one line of it. */
async function startQuietly(server: ParseServer): Promise<void> {
  /* eslint-disable no-console -- silenced, not used */
  const { error: print } = console;
  console.error = () => undefined;
  try {
    for (let triesLeft = maxStarts - 1; ; triesLeft--) {
      try {
        await server.start();
        return;
      } catch (error) {
        if (triesLeft === 0 || !isBesideAnotherStart(error)) throw error;
      }
    }
  } finally {
    console.error = print;
  }
  /* eslint-enable no-console */
}

/** Each failure means that another process has come further, so this is for as many as start at once. */
const maxStarts = 20;

/**
 * Parse Server replaces a function of the database at every start, and PostgreSQL lets one of several processes that do
 * so at once have its way.
 */
function isBesideAnotherStart(error: unknown): boolean {
  return error instanceof Error && error.message === 'tuple concurrently updated';
}

/** The first signal is waited for, and keeps the process alive until then; the second ends it. */
function waitForSignal(): { readonly received: Promise<string>; forget(): void } {
  let tell: (name: string) => void = () => undefined;
  const received = new Promise<string>(resolve => {
    tell = resolve;
  });
  // Where nothing is due and no queue is connected, no timer and no socket may do so.
  const alive = setInterval(() => undefined, 2 ** 30);
  let count = 0;
  const listen = (name: NodeJS.Signals): void => {
    if (++count > 1) process.exit(1);
    tell(name);
  };
  process.on('SIGTERM', listen);
  process.on('SIGINT', listen);
  return {
    received,
    forget: () => {
      clearInterval(alive);
      process.off('SIGTERM', listen);
      process.off('SIGINT', listen);
    },
  };
}
