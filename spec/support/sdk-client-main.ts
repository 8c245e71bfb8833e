// The program of sdk-client.ts: runs the functions that come over the IPC channel with the SDK, one after the other.
import Parse from 'parse/node';
import { inspect } from 'node:util';
import { runInThisContext } from 'node:vm';
import type { Reply, Sdk } from './sdk-client';

const [appId = '', serverURL = ''] = process.argv.slice(2);
Parse.initialize(appId);
Parse.serverURL = serverURL;
// An app has one user; the SDK for servers keeps none unless it is asked to.
Parse.User.enableUnsafeCurrentUser();
Parse.enableLocalDatastore();

type Program = (sdk: Sdk, given: unknown) => unknown;

function send(reply: Reply): void {
  process.send?.(reply);
}

process.on('message', ({ program, given }: { program: string; given: unknown }) => {
  const run = runInThisContext(`(${program})`) as Program;
  Promise.resolve()
    .then(() => run(Parse, given))
    .then(answer => send({ answer }))
    .catch((error: unknown) => send({ error: inspect(error) }));
});
send({ answer: 'ready' });
