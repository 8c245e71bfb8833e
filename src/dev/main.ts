// `npm start`: the local stack until Ctrl-C, SIGTERM or the closing of the terminal. One `ready:` line; one line on an error.
import { systemClock } from '../shared/clock';
import { parseDevOptions } from './dev-options';
import { startStack } from './stack';
import { StartError } from './start-error';

async function main(): Promise<number> {
  const stopping = new AbortController();
  const stopRequested = new Promise<undefined>(settle => {
    const requestStop = () => {
      stopping.abort();
      settle(undefined);
    };
    // `on`: a second Ctrl-C, or npm's copy of the first, must not end the process half-way.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, requestStop);
    if (process.env['npm_lifecycle_event'] !== undefined) watchParent(process.ppid, requestStop);
  });
  const options = parseDevOptions(process.env);
  try {
    const stack = await startStack(options, stopping.signal);
    process.stdout.write(
      `ready: parse=${stack.parseUrl} dashboard=${stack.dashboardUrl} receiver=${stack.receiverUrl} ` +
        `appId=${options.appId} masterKey=${stack.masterKey} webhookKey=${stack.webhookKey} ` +
        `receiverSecret=${stack.receiverSecret}\n`,
    );
    const broken = await Promise.race([stopRequested, stack.broken]);
    await stack.stop();
    if (broken === undefined) return 0;
    throw new StartError(`${broken}; the stack was stopped`);
  } catch (error) {
    if (stopping.signal.aborted) return 0;
    throw error;
  }
}

/**
 * Calls `onEnd` when the process that started this one has ended. npm runs a script through a shell, and passes a
 * SIGTERM to that shell only (seen with npm 11.19 and dash): it ends, we would run on.
 */
function watchParent(parent: number, onEnd: () => void): void {
  systemClock.schedule(500, () => {
    if (process.ppid === parent) watchParent(parent, onEnd);
    else onEnd();
  });
}

// process.exit: what the Dashboard and the SDK leave behind (timers, sockets) would keep the process alive.
main().then(
  code => process.exit(code),
  (error: unknown) => {
    const unexpected = error instanceof Error ? error.stack : String(error);
    process.stderr.write(`${error instanceof StartError ? `error: ${error.message}` : unexpected}\n`);
    process.exit(1);
  },
);
