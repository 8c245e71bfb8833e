// A program under test in a process of its own: its output as lines to wait for, its end as a promise.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

export interface ProgramExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ChildProgram {
  readonly pid: number;
  /** Everything printed so far. */
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  readonly exited: Promise<ProgramExit>;
  /** The first line of standard output that matches, past or to come. Throws, with all output, if the program ends first. */
  waitForLine(pattern: RegExp): Promise<RegExpExecArray>;
  kill(signal: NodeJS.Signals): void;
  /** Ends it, politely at first, if it still runs. */
  dispose(): Promise<void>;
}

const politeMs = 15_000;

/** Starts `command` with `environment` and only the few variables of ours that any program needs. */
export function startChildProgram(options: {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
}): ChildProgram {
  const { PATH = '', HOME = '', TMPDIR } = process.env;
  const child = spawn(options.command, options.args, {
    cwd: options.cwd,
    env: { PATH, HOME, ...(TMPDIR === undefined ? {} : { TMPDIR }), ...options.environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (child.pid === undefined) throw new Error(`cannot start ${options.command}`);
  const stdout: string[] = [];
  const stderr: string[] = [];
  const checks = new Set<() => void>();
  createInterface({ input: child.stdout }).on('line', line => {
    stdout.push(line);
    for (const check of [...checks]) check();
  });
  createInterface({ input: child.stderr }).on('line', line => stderr.push(line));
  let ended = false;
  const exited = new Promise<ProgramExit>(settle => {
    child.once('close', (code, signal) => {
      ended = true;
      settle({ code, signal });
      for (const check of [...checks]) check();
    });
  });
  return {
    pid: child.pid,
    stdout,
    stderr,
    exited,
    waitForLine: pattern =>
      new Promise((settle, fail) => {
        const check = () => {
          const match = stdout.map(line => pattern.exec(line)).find(found => found !== null);
          if (match === undefined && !ended) return;
          checks.delete(check);
          if (match !== undefined) settle(match);
          else fail(new Error(`no line ${String(pattern)} in:\n${[...stdout, ...stderr].join('\n')}`));
        };
        checks.add(check);
        check();
      }),
    kill: signal => child.kill(signal),
    dispose: async () => {
      if (!ended) child.kill('SIGTERM');
      const impatience = setTimeout(() => child.kill('SIGKILL'), politeMs);
      await exited;
      clearTimeout(impatience);
    },
  };
}

/** A port of 127.0.0.1 that was free a moment ago, for programs that have to be told one. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
