// Starts and stops the sample receiver as a child process.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { extname, join } from 'node:path';
import { z } from 'zod';
import { StartError } from './start-error';

const firstMessage = z.union([
  z.object({ port: z.number() }),
  z.object({ error: z.string(), code: z.string().optional() }),
]);

export interface ReceiverProcess {
  readonly url: string;
  readonly pid: number;
  /** Resolves when the process has ended; `expected` is true if `stop` asked for it. */
  readonly ended: Promise<{ readonly expected: boolean }>;
  stop(): Promise<void>;
}

/** Starts the receiver on 127.0.0.1 and resolves when it listens. */
export async function startReceiverProcess(options: {
  readonly port: number;
  /** `whsec_…` of the hooks that call it; at least one. */
  readonly secrets: readonly string[];
}): Promise<ReceiverProcess> {
  // Beside this file, in the same language: TypeScript under tsx, JavaScript in dist/.
  const child = fork(join(__dirname, `sample-receiver${extname(__filename)}`), [], {
    env: {
      ...process.env,
      RECEIVER_HOST: '127.0.0.1',
      RECEIVER_PORT: String(options.port),
      RECEIVER_SECRET: options.secrets.join(' '),
    },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // Ctrl-C in the terminal must not end it before the calls that are under way.
    detached: true,
  });
  const state = { stopping: false };
  const ended = new Promise<{ expected: boolean }>(settle => {
    child.once('error', () => settle({ expected: state.stopping }));
    child.once('exit', () => settle({ expected: state.stopping }));
  });
  const message: unknown[] | undefined = await Promise.race([
    once(child, 'message'),
    ended.then(() => undefined),
  ]);
  const parsed = firstMessage.safeParse(message?.[0]);
  if (!parsed.success || child.pid === undefined) throw new StartError('the sample receiver does not start');
  if ('error' in parsed.data) {
    await ended;
    throw new StartError(
      parsed.data.code === 'EADDRINUSE'
        ? `RECEIVER_PORT ${options.port} on 127.0.0.1 is in use`
        : `the sample receiver does not start: ${parsed.data.error}`,
    );
  }
  return {
    url: `http://127.0.0.1:${parsed.data.port}`,
    pid: child.pid,
    ended,
    stop: async () => {
      state.stopping = true;
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      const impatience = setTimeout(() => child.kill('SIGKILL'), 2000);
      await ended;
      clearTimeout(impatience);
    },
  };
}
