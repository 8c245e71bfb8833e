// The program of receiver-process.ts: a webhook receiver whose rules are its code, chosen by the first part of the path.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { ReceiverCall } from './receiver-process';

interface Answer {
  readonly status?: number;
  readonly body?: unknown;
}

type Rule = (call: ReceiverCall, rest: string) => Answer;

const say = (value: unknown): Answer => ({ body: { success: value } });
const refuse = (code: number, message: string): Answer => ({ body: { error: { code, message } } });

/** A point in time, a place, references and a file as REST writes them, at the top, nested, and in a list. */
function typedValues(): Readonly<Record<string, unknown>> {
  const date = { __type: 'Date', iso: '2021-03-04T05:06:07.089Z' };
  const pointer = { __type: 'Pointer', className: 'Puppy', objectId: 'abc1234567' };
  return {
    date,
    pointer,
    place: { __type: 'GeoPoint', latitude: 12.5, longitude: -7.25 },
    file: { __type: 'File', name: 'bone.txt', url: 'http://files.example/bone.txt' },
    nested: { list: [date, pointer, null, 1, 'x', { deep: { date } }] },
  };
}

const rules: Readonly<Record<string, Rule>> = {
  accept: () => say(true),
  // beforeSave: one field is changed, one added, one taken from the client; without a name there is no save.
  shout: ({ body }) => {
    const { name } = body.object;
    return typeof name === 'string'
      ? say({ name: name.toUpperCase(), seen: true, secretWish: { __op: 'Delete' } })
      : refuse(4711, 'a puppy needs a name');
  },
  // beforeSave: which address the call came to.
  stamp: (_call, rest) => say({ stamp: rest }),
  // beforeDelete
  'keep-locked': ({ body }) =>
    body.object.locked === true ? refuse(4712, `${body.object.name} is locked`) : say(true),
  // functions
  echo: ({ body }) => say(body.params),
  word: (_call, rest) => say(rest),
  types: () => say(typedValues()),
  list: () => say([1, null, { __type: 'Date', iso: '2021-03-04T05:06:07.089Z' }]),
  null: () => say(null),
  zero: () => say(0),
  silent: () => ({ status: 204 }),
  refuse: () => refuse(4713, 'not today'),
  'refuse-in-words': () => ({ body: { error: 'not in these words' } }),
};

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const path = request.url ?? '';
  const [, name = '', rest = ''] = path.split('/');
  const call: ReceiverCall = {
    path,
    headers: request.headers,
    body: JSON.parse(Buffer.concat(chunks).toString('utf8')),
  };
  process.send?.({ call });
  const { status = 200, body } = rules[name]?.(call, rest) ?? { status: 404 };
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

const server = createServer((request, response) => {
  answer(request, response).catch(() => response.destroy());
}).listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object') process.send?.({ port: address?.port });
});

// Asked to, or the test is gone.
process.once('disconnect', () => {
  server.close();
  server.closeAllConnections();
});
