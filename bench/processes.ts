// Child processes of a benchmark and the messages they answer.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

export interface BenchProcess {
  /** What the process said when it was ready. */
  readonly ready: unknown;
  /** Sends a message and waits for its answer; one at a time. */
  ask<T>(message: object): Promise<T>;
  stop(): Promise<void>;
}

/** Starts `file` of this folder with its own V8 and waits until it is ready. */
export async function startProcess(
  file: string,
  environment: Readonly<Record<string, string>>,
): Promise<BenchProcess> {
  const child: ChildProcess = fork(join(__dirname, file), {
    execArgv: ['--import', 'tsx'],
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`${file} ended with ${String(code)}`);
  });
  failed.catch(() => undefined);
  const next = async (): Promise<unknown> => (await Promise.race([once(child, 'message'), failed]))[0];
  const ready = await next();
  return {
    ready,
    ask: async <T>(message: object) => {
      const answer = next();
      child.send(message);
      return (await answer) as T;
    },
    stop: async () => {
      const ended = once(child, 'exit');
      child.disconnect();
      await ended;
    },
  };
}

/** In a child: tells the parent that it is ready, answers its messages, and cleans up when the parent is gone. */
export function serve(ready: object, answer: (message: never) => unknown, stop: () => Promise<void>): void {
  process.on('message', message => {
    void Promise.resolve(answer(message as never)).then(result => process.send?.(result ?? {}));
  });
  process.on('disconnect', () => void stop().finally(() => process.exit(0)));
  process.send?.(ready);
}
