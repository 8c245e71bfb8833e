// Runs the examples of docs/api.md, in their order, and holds them against the OpenAPI document: each operation has one.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { listOperations, type ApiDocument } from '../support/api-document';
import { createDelivery, deliver } from '../support/event-deliveries';
import { startEventsApi, type EventsApi } from '../support/events-api';

const page = readFileSync(resolve(__dirname, '../../docs/api.md'), 'utf8');

interface Example {
  readonly line: string;
  readonly method: string;
  /** From /webhooks on, with `$subscription` and `$delivery`. */
  readonly path: string;
  readonly body: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

/** `parse [-X METHOD] URL [-H 'name: value'] [-d 'body']`, as the shell would split it. */
function readExample(line: string): Example {
  const words = [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
    ([, single, double, plain]) => single ?? double ?? plain ?? '',
  );
  let method = 'GET';
  let path = '';
  let body: string | undefined;
  const headers: Record<string, string> = {};
  for (let at = 1; at < words.length; at++) {
    const word = words[at] ?? '';
    const value = words[at + 1] ?? '';
    if (word === '-X') method = value;
    else if (word === '-d') body = value;
    else if (word === '-H') headers[value.split(': ')[0] ?? ''] = value.split(': ')[1] ?? '';
    else path = word.replace('$url', '/webhooks');
    if (word.startsWith('-')) at++;
  }
  return { line, method, path, body, headers };
}

const examples = page
  .split('\n')
  .filter(line => line.startsWith('parse '))
  .map(readExample);

describe('the examples of docs/api.md', () => {
  let api: EventsApi;
  const names = new Map<string, string>();

  beforeAll(async () => {
    api = await startEventsApi();
    const url = 'https://example.com/hook';
    await api.registry.create({ functionName: 'hello', url }, 'refuse-unknown');
    await api.registry.create({ className: 'Puppy', triggerName: 'afterSave', url }, 'refuse-unknown');
    const delivery = createDelivery(1, api.clock.now() - 60_000);
    await deliver(api.store, delivery, { status: 500 });
    names.set('$delivery', delivery.id);
  });

  afterAll(() => api.stop());

  it.each(examples)('work: $line', async ({ method, path, body, headers }) => {
    const named = path.replace(/\$\w+/g, name => names.get(name) ?? name);
    const answer = await api.call(method, named, body === undefined ? undefined : JSON.parse(body), headers);
    expect([answer.body.error, Math.floor(answer.status / 100)]).toEqual([undefined, 2]);
    if (method === 'POST' && path === '/webhooks/subscriptions')
      names.set('$subscription', answer.body.objectId);
  });

  it('show every operation', async () => {
    const document: ApiDocument = (await api.call('GET', '/webhooks/openapi.json')).body;
    const shown = new Set(
      examples.map(({ method, path }) => `${method.toLowerCase()} ${withoutValues(document, path)}`),
    );
    expect(listOperations(document).filter(operation => !shown.has(operation))).toEqual([]);
  });
});

/** The path of the document that an example's path is of; literal parts win over parameters. */
function withoutValues({ paths }: ApiDocument, given: string): string {
  const [path = ''] = given.split('?');
  const fitting = Object.keys(paths).filter(each =>
    new RegExp(`^${each.replace(/\{\w+\}/g, '[^/]+')}$`).test(path),
  );
  return fitting.find(each => !each.includes('{')) ?? fitting[0] ?? path;
}
