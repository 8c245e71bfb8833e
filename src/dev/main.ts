// `npm start`: the local stack until Ctrl-C, SIGTERM or the closing of the terminal. One `ready:` line; one line on an error.
import { parseDevOptions } from './dev-options';
import { startStack } from './stack';
import { StartError } from './start-error';

async function main(): Promise<number> {
  const stopping = new AbortController();
  const stopRequested = new Promise<undefined>(settle => {
    // `on`: a second Ctrl-C, or npm's copy of the first, must not end the process half-way.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        stopping.abort();
        settle(undefined);
      });
  });
  const options = parseDevOptions(process.env);
  try {
    const stack = await startStack(options, stopping.signal);
    process.stdout.write(
      `ready: parse=${stack.parseUrl} dashboard=${stack.dashboardUrl} receiver=${stack.receiverUrl} ` +
        `appId=${options.appId} masterKey=${stack.masterKey} webhookKey=${stack.webhookKey}\n`,
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

// process.exit: what the Dashboard and the SDK leave behind (timers, sockets) would keep the process alive.
main().then(
  code => process.exit(code),
  (error: unknown) => {
    const unexpected = error instanceof Error ? error.stack : String(error);
    process.stderr.write(`${error instanceof StartError ? `error: ${error.message}` : unexpected}\n`);
    process.exit(1);
  },
);
