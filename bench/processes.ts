// Child processes of a benchmark and the messages they answer; both sides check what they get.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import type { z } from 'zod';

/** What a process says when it is ready, what it is asked and what it answers. */
export interface Protocol<Ready, Request, Answer> {
  readonly ready: z.ZodType<Ready>;
  readonly request: z.ZodType<Request>;
  readonly answer: z.ZodType<Answer>;
}

export interface BenchProcess<Ready, Request, Answer> {
  readonly ready: Ready;
  /** Sends a message and waits for its answer; one at a time. Throws when the process has ended. */
  ask(request: Request): Promise<Answer>;
  /** Waits until it has cleaned up and ended. May be repeated. */
  stop(): Promise<void>;
}

/** Starts a program (`.js`) with a V8 of its own and waits until it is ready. */
export async function startProcess<Ready, Request extends object, Answer>(
  path: string,
  protocol: Protocol<Ready, Request, Answer>,
  settings: object = {},
): Promise<BenchProcess<Ready, Request, Answer>> {
  const child = fork(path, [JSON.stringify(settings)], {
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const ended = once(child, 'exit');
  const failed = ended.then(([code]) => {
    throw new Error(`${basename(path)} ended with ${String(code)}`);
  });
  failed.catch(() => undefined);
  const next = async (): Promise<unknown> => {
    const [message] = (await Promise.race([once(child, 'message'), failed])) as unknown[];
    return message;
  };
  const ready = protocol.ready.parse(await next());
  return {
    ready,
    ask: async request => {
      const answer = next();
      child.send(request);
      return protocol.answer.parse(await answer);
    },
    stop: async () => {
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}

/** In a child: the settings that the parent gave. */
export function readSettings<Settings>(shape: z.ZodType<Settings>): Settings {
  return shape.parse(JSON.parse(process.argv[2] ?? '{}'));
}

/** In a child: says that it is ready, answers one message after the other, and cleans up when the parent is gone. */
export function serve<Ready, Request, Answer>(
  protocol: Protocol<Ready, Request, Answer>,
  ready: Ready,
  child: { answer(request: Request): Answer | Promise<Answer>; stop(): void | Promise<void> },
): void {
  process.on('message', message => {
    void Promise.resolve(child.answer(protocol.request.parse(message))).then(answer =>
      process.send?.(answer),
    );
  });
  process.on('disconnect', () => void Promise.resolve(child.stop()).finally(() => process.exit(0)));
  process.send?.(ready);
}
