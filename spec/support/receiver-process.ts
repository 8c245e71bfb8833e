// A webhook receiver in a process of its own, which tells the test what it got. Its rules: receiver-main.ts.
import { fork } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { join } from 'node:path';

export interface ReceiverCall {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  // Tests look into bodies as they please.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly body: any;
}

export interface ReceiverProcess {
  /** The address at which `rule` answers; `rest`, of letters, digits and dashes, keeps one test's calls from another's. */
  url(rule: string, rest: string): string;
  /** The calls to an address, waiting until there are `count` of them. */
  received(url: string, count: number): Promise<readonly ReceiverCall[]>;
  stop(): Promise<void>;
}

type Message = { readonly port: number } | { readonly call: ReceiverCall };

export async function startReceiverProcess(): Promise<ReceiverProcess> {
  const child = fork(join(__dirname, 'receiver-main.ts'), [], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const gone = once(child, 'exit');
  const arrivals = new EventEmitter();
  const calls: ReceiverCall[] = [];
  const listening = new Promise<number>((settle, fail) => {
    void gone.then(() => fail(new Error('the receiver does not start')));
    child.on('message', (message: Message) => {
      if ('port' in message) {
        settle(message.port);
      } else {
        calls.push(message.call);
        arrivals.emit('call');
      }
    });
  });
  const origin = `http://127.0.0.1:${await listening}`;
  return {
    url: (rule, rest) => `${origin}/${rule}/${rest}`,
    received: async (url, count) => {
      for (;;) {
        const found = calls.filter(call => origin + call.path === url);
        if (found.length >= count) return found;
        await once(arrivals, 'call');
      }
    },
    stop: async () => {
      if (child.connected) child.disconnect();
      await gone;
    },
  };
}
