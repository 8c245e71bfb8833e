// The body of a request: exactly the listed fields, in the list's order, and every one of them documented.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeBody, selectKeys, type CallFields } from '../../src/wire/call-fields';
import { depthHeader, requestHeaders } from '../../src/wire/request-headers';

/** Every field once; the compiler refuses a forgotten one. */
const every: Required<CallFields> = {
  triggerName: 'beforeSave',
  className: 'A',
  functionName: 'f',
  params: { a: 1 },
  object: { className: 'A', objectId: 'x', a: 1, b: 2 },
  original: { className: 'A', objectId: 'x', a: 0, b: 2 },
  update: { a: 1, 'b.c': 2 },
  objects: [{ className: 'A', objectId: 'x', a: 1, b: 2 }],
  query: { where: {} },
  count: true,
  isGet: false,
  file: { __type: 'File', name: 'a' },
  fileSize: 5,
  event: 'create',
  clients: 1,
  subscriptions: 1,
  master: false,
  user: { __type: 'Object', className: '_User', objectId: 'u' },
  installationId: 'i',
  context: { a: 1 },
  headers: { 'x-a': 'b' },
};

describe('encodeBody', () => {
  it('sends every field that is there, and nothing else', () => {
    const withMore = { ...every, log: 'secret', config: {}, ip: '1.2.3.4' };
    expect(JSON.parse(encodeBody(withMore).toString())).toEqual(every);
  });

  it('leaves out what is not there', () => {
    expect(encodeBody({ master: true, triggerName: 'beforeSave' }).toString()).toBe(
      '{"triggerName":"beforeSave","master":true}',
    );
  });

  it('writes UTF-8', () => {
    expect(JSON.parse(encodeBody({ master: false, params: { a: 'ö😀' } }).toString('utf8'))).toEqual({
      params: { a: 'ö😀' },
      master: false,
    });
  });
});

describe('selectKeys', () => {
  it('keeps all without a selection', () => {
    expect(selectKeys(every, {})).toBe(every);
  });

  it('keeps only the named keys of objects, beside those that say which object it is', () => {
    const { object, original, update, objects, params, query } = selectKeys(every, { keys: ['a'] });
    expect(object).toEqual({ className: 'A', objectId: 'x', a: 1 });
    expect(original).toEqual({ className: 'A', objectId: 'x', a: 0 });
    expect(update).toEqual({ a: 1 });
    expect(objects).toEqual([{ className: 'A', objectId: 'x', a: 1 }]);
    expect({ params, query }).toEqual({ params: every.params, query: every.query });
  });

  it('takes the named keys out, dotted ones with them', () => {
    const { object, update } = selectKeys(every, { excludeKeys: ['b', 'objectId'] });
    expect(object).toEqual({ className: 'A', objectId: 'x', a: 1 });
    expect(update).toEqual({ a: 1 });
  });
});

describe('requestHeaders', () => {
  it('cannot be overridden by the headers of a hook, except User-Agent', () => {
    const headers = requestHeaders({
      webhookId: 'msg_1',
      depth: 2,
      webhookKey: 'key',
      extra: {
        'user-agent': 'mine',
        'x-a': 'b',
        'webhook-id': 'forged',
        [depthHeader]: '0',
        'x-parse-webhook-key': 'forged',
      },
    });
    expect(headers).toEqual({
      'user-agent': 'mine',
      'x-a': 'b',
      'content-type': 'application/json',
      'webhook-id': 'msg_1',
      [depthHeader]: '2',
      'x-parse-webhook-key': 'key',
    });
  });

  it('carry no webhook key when Parse Server has none', () => {
    const headers = requestHeaders({ webhookId: 'msg_1', depth: 1, webhookKey: undefined, extra: {} });
    expect(headers).not.toHaveProperty('x-parse-webhook-key');
    expect(headers['user-agent']).toMatch(/^parse-server-webhooks\/\d/);
  });
});

describe('docs/wire-format.md', () => {
  const text = readFileSync(join(__dirname, '../../docs/wire-format.md'), 'utf8');

  it.each(Object.keys(every))('has a row for the field %s', name => {
    expect(text).toMatch(new RegExp(`^\\| \`${name}\` \\|`, 'm'));
  });

  it('has a row for every header', () => {
    const headers = requestHeaders({ webhookId: 'm', depth: 1, webhookKey: 'k', extra: {} });
    for (const name of Object.keys(headers)) expect(text.toLowerCase()).toContain(`| \`${name}\` |`);
  });

  it('names no field that is not sent', () => {
    const table = /<!-- fields -->([^]*?)<!-- \/fields -->/.exec(text)?.[1] ?? '';
    const named = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(match => match[1]);
    expect(named.sort()).toEqual(Object.keys(every).sort());
  });
});
