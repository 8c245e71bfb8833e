// The JavaScript SDK as an app has it: in a process of its own, over HTTP, without the master key. (In the server's
// process the SDK calls Parse Server's routes directly.)
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type ParseSdk from 'parse/node';

export type Sdk = typeof ParseSdk;

export interface SdkClient {
  /**
   * Runs `program` in the client's process, one call at a time, and gives what it answers, as JSON. As with a browser's
   * `evaluate`, only the text of the function goes there: it sees its parameters and nothing of the file around it.
   */
  run<Answer, Given = undefined>(
    program: (Parse: Sdk, given: Given) => Promise<Answer> | Answer,
    given?: Given,
  ): Promise<Answer>;
  stop(): Promise<void>;
}

export type Reply = { readonly answer: unknown } | { readonly error: string };

export async function startSdkClient(app: {
  readonly appId: string;
  readonly serverURL: string;
}): Promise<SdkClient> {
  const child = fork(join(__dirname, 'sdk-client-main.ts'), [app.appId, app.serverURL], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const gone = once(child, 'exit').then(() => [{ error: 'the client ended' }]);
  const nextMessage = async (): Promise<Reply> => {
    const [reply] = await Promise.race([once(child, 'message'), gone]);
    return reply as Reply;
  };
  const started = await nextMessage();
  if ('error' in started) throw new Error(started.error);
  return {
    run: async <Answer>(program: unknown, given: unknown) => {
      const reply = nextMessage();
      child.send({ program: String(program), given });
      const result = await reply;
      if ('error' in result) throw new Error(result.error);
      return result.answer as Answer;
    },
    stop: async () => {
      if (child.connected) child.disconnect();
      await gone;
    },
  };
}
