// A second Parse Server with this plugin in a process of its own, and REST calls to it with the master key.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { masterKey, type ApplicationOptions } from './parse-application';

export interface ParseProcess {
  readonly serverURL: string;
  master(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ readonly status: number; readonly body: unknown }>;
  /** Stops it in order and waits until it is gone. */
  stop(): Promise<void>;
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>;
}

/** `options` cross a process border: no functions among them. */
export async function startParseProcess(options: ApplicationOptions): Promise<ParseProcess> {
  const child = fork(join(__dirname, 'parse-process-main.ts'), [JSON.stringify(options)], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const gone = once(child, 'exit');
  const [message] = (await Promise.race([
    once(child, 'message'),
    gone.then(() => [{ error: 'it ended' }]),
  ])) as [{ serverURL: string } | { error: string }];
  if ('error' in message) {
    await gone;
    throw new Error(`the second Parse Server did not start: ${message.error}`);
  }
  const { serverURL } = message;
  return {
    serverURL,
    master: async (method, path, body) => {
      const response = await fetch(`${serverURL}${path}`, {
        method,
        headers: {
          'X-Parse-Application-Id': options.appId ?? 'test-app',
          'X-Parse-Master-Key': masterKey,
          'Content-Type': 'application/json',
          Connection: 'close',
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      return { status: response.status, body: await response.json() };
    },
    stop: async () => {
      if (child.connected) child.send('stop');
      await gone;
    },
    kill: async () => {
      child.kill('SIGKILL');
      await gone;
    },
  };
}
