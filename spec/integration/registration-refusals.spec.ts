// What cannot be registered: each refusal is a 143 that names the field and the value, and leaves nothing behind.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { readRawRows } from '../support/hook-rows';
import { startParseApplication, type ParseApplication } from '../support/parse-application';

const url = 'https://example.com/hook';
const beforeSave = { className: 'Puppy', triggerName: 'beforeSave', url };

/** What is sent, and what the message must name. */
type Case = readonly [body: unknown, ...named: string[]];

const urls: readonly Case[] = [
  [{ ...beforeSave, url: 5 }, 'url', '5'],
  [{ ...beforeSave, url: true }, 'url', 'true'],
  [{ ...beforeSave, url: { a: 1 } }, 'url', '{"a":1}'],
  [{ ...beforeSave, url: ['https://example.com'] }, 'url', '["https://example.com"]'],
  [{ ...beforeSave, url: 'ftp://example.com/x' }, 'url', 'ftp:'],
  [{ ...beforeSave, url: 'file:///etc/passwd' }, 'url', 'file:'],
  [{ ...beforeSave, url: 'javascript:alert(1)' }, 'url', 'javascript:'],
  [{ ...beforeSave, url: 'not-a-url' }, 'url', '"not-a-url"'],
  [{ ...beforeSave, url: 'not a url' }, 'url', '"not a url"'],
  [{ ...beforeSave, url: '/relative' }, 'url', '"/relative"'],
  [{ ...beforeSave, url: 'https://' }, 'url', '"https://"'],
  [{ ...beforeSave, url: 'https://example.com/\r\nX-Evil: 1' }, 'url', '"https://example.com/'],
  [{ ...beforeSave, url: 'https://example.com:99999/' }, 'url', '"https://example.com:99999/"'],
  [{ ...beforeSave, url: 'https://user@example.com/' }, 'url', 'credentials'],
  [{ ...beforeSave, url: 'https://:secret@example.com/' }, 'url', 'credentials'],
  [{ ...beforeSave, url: `https://example.com/${'x'.repeat(2048)}` }, 'url', '2068'],
];

const names: readonly Case[] = [
  [{ ...beforeSave, className: '@Connect' }, 'className', '@Connect'],
  [{ ...beforeSave, className: '@Other' }, 'className', '@Other'],
  [{ ...beforeSave, className: "Fo'o" }, 'className', "Fo'o"],
  [{ ...beforeSave, className: 'Foo.bar' }, 'className', 'Foo.bar'],
  [{ ...beforeSave, className: 'nonexist class!' }, 'className', 'nonexist class!'],
  [{ ...beforeSave, className: '_Join:users:_Role' }, 'className', '_Join:users:_Role'],
  [{ ...beforeSave, className: '_Hooks' }, 'className', '_Hooks'],
  [{ ...beforeSave, className: '_SCHEMA' }, 'className', '_SCHEMA'],
  [{ ...beforeSave, className: '__proto__' }, 'className', '__proto__'],
  [{ ...beforeSave, className: 'constructor' }, 'className', 'constructor'],
  [{ ...beforeSave, className: 5 }, 'className', '5'],
  [{ ...beforeSave, className: { $exists: true } }, 'className', '{"$exists":true}'],
  [{ ...beforeSave, className: ['Puppy'] }, 'className', '["Puppy"]'],
  [{ ...beforeSave, className: 'X'.repeat(129) }, 'className', 'XXXX'],
  [{ ...beforeSave, triggerName: 'constructor' }, 'triggerName', 'constructor'],
  [{ ...beforeSave, triggerName: '__proto__' }, 'triggerName', '__proto__'],
  [{ ...beforeSave, triggerName: 'toString' }, 'triggerName', 'toString'],
  [{ ...beforeSave, triggerName: 'beforesave' }, 'triggerName', 'beforesave'],
  [{ ...beforeSave, triggerName: 5 }, 'triggerName', '5'],
  [{ ...beforeSave, triggerName: { $ne: null } }, 'triggerName', '{"$ne":null}'],
  [{ functionName: 5, url }, 'functionName', '5'],
  [{ functionName: true, url }, 'functionName', 'true'],
  [{ functionName: { $exists: true }, url }, 'functionName', '{"$exists":true}'],
  [{ functionName: ['a'], url }, 'functionName', '["a"]'],
  [{ functionName: 'a.b', url }, 'functionName', 'a.b'],
  [{ functionName: "a'b", url }, 'functionName', "a'b"],
  [{ functionName: 'a"b', url }, 'functionName', 'a\\"b'],
  [{ functionName: 'a/b', url }, 'functionName', 'a/b'],
  [{ functionName: 'a b', url }, 'functionName', 'a b'],
  [{ functionName: '__proto__', url }, 'functionName', '__proto__'],
  [{ functionName: 'constructor', url }, 'functionName', 'constructor'],
  [{ functionName: 'beforeSave', url }, 'functionName', 'beforeSave'],
  [{ functionName: 'afterLogout', url }, 'functionName', 'afterLogout'],
  [{ functionName: 'x'.repeat(129), url }, 'functionName', 'xxxx'],
];

const allTriggers = [
  'beforeSave',
  'afterSave',
  'beforeDelete',
  'afterDelete',
  'beforeFind',
  'afterFind',
  'beforeLogin',
  'afterLogin',
  'afterLogout',
  'beforePasswordResetRequest',
  'beforeConnect',
  'beforeSubscribe',
  'afterEvent',
];

const refused: readonly Case[] = [
  ...['_User', '_Installation', 'WebhookSetting', 'WebhookState'].flatMap(className =>
    allTriggers.map(triggerName => [{ className, triggerName, url }, 'className', className] as const),
  ),
  [{ className: '_Session', triggerName: 'beforeSave', url }, '_Session', 'beforeSave'],
  [{ className: '_Session', triggerName: 'afterFind', url }, '_Session', 'afterFind'],
  [{ className: 'Puppy', triggerName: 'afterLogout', url }, 'Puppy', 'afterLogout'],
  [{ className: '_PushStatus', triggerName: 'beforeSave', url }, '_PushStatus', 'beforeSave'],
  [{ className: 'Puppy', triggerName: 'beforeLogin', url }, 'triggerName', 'beforeLogin'],
  [{ className: 'Puppy', triggerName: 'afterLogin', url }, 'triggerName', 'afterLogin'],
  [
    { className: 'Puppy', triggerName: 'beforePasswordResetRequest', url },
    'triggerName',
    'beforePasswordResetRequest',
  ],
  [{ className: 'Puppy', triggerName: 'beforeConnect', url }, 'className', 'Puppy'],
  [{ className: '@Config', triggerName: 'beforeDelete', url }, '@Config', 'beforeDelete'],
  [{ className: '@File', triggerName: 'afterEvent', url }, '@File', 'afterEvent'],
];

const settings: readonly Case[] = [
  ...(
    [
      ['timeoutMs', '5s', '"5s"'],
      ['timeoutMs', 0, '0'],
      ['timeoutMs', 30_001, '30001'],
      ['timeoutMs', 1.5, '1.5'],
      ['failurePolicy', 'ignore', '"ignore"'],
      ['failurePolicy', ['allow'], '["allow"]'],
      ['responseMode', 5, '5'],
      ['mode', 'dry', '"dry"'],
      ['where', 'a=1', '"a=1"'],
      ['where', ['a'], '["a"]'],
      ['changed', 'name', '"name"'],
      ['changed', [], '[]'],
      ['changed', [5], '5'],
      ['changed', ['$where'], '"$where"'],
      ['keys', { name: 1 }, '{"name":1}'],
      ['excludeKeys', [''], '""'],
      ['forwardHeaders', ['a b'], '"a b"'],
      ['includeSessionToken', 'yes', '"yes"'],
      ['maxReplyBytes', -1, '-1'],
      ['active', 1, '1'],
    ] as const
  ).map(([name, value, shown]) => [{ ...beforeSave, [name]: value }, name, shown] as const),
  [{ ...beforeSave, where: { name: { $where: 'sleep(1)' } } }, 'where', '$where'],
  [{ ...beforeSave, headers: 'a: b' }, 'headers'],
  [{ ...beforeSave, headers: { 'X-Key': 5 } }, 'headers.x-key'],
  [{ ...beforeSave, headers: { 'X Key': 'a' } }, 'headers'],
  [{ ...beforeSave, headers: { 'X-Key': 'a\r\nX-Evil: 1' } }, 'headers.x-key'],
  [{ ...beforeSave, headers: { Host: 'example.com' } }, 'headers.host'],
  [{ ...beforeSave, headers: { 'X-Parse-Webhook-Key': 'forged' } }, 'headers.x-parse-webhook-key'],
  [{ ...beforeSave, forwardHeaders: ['Cookie'] }, 'forwardHeaders', 'cookie'],
  [{ ...beforeSave, forwardHeaders: ['X-Parse-Master-Key'] }, 'forwardHeaders', 'x-parse-master-key'],
  [{ ...beforeSave, keys: ['a'], excludeKeys: ['b'] }, 'keys', 'excludeKeys'],
  [{ ...beforeSave, keys: ['a'], responseMode: 'replace' }, 'keys', 'replace'],
  [{ functionName: 'f', url, where: { a: 1 } }, 'where', 'function f'],
  [{ className: 'Puppy', triggerName: 'beforeFind', url, changed: ['a'] }, 'changed', 'beforeFind Puppy'],
];

/** Shown at creation, and never again. */
const secret: unknown = expect.stringMatching(/^whsec_/);

describeOnEachDatabase('the registration of a hook', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;

  beforeAll(async () => {
    fresh = await database.create();
    parse = await startParseApplication({ database: fresh });
  });

  afterAll(async () => {
    try {
      // Asserted once for all: whatever was refused, no row of any kind is there.
      for (const className of ['_Hooks', 'WebhookSetting']) {
        expect(await readRawRows(database.kind, fresh, className)).toEqual([]);
      }
    } finally {
      await parse.stop();
      await fresh.drop();
    }
  });

  const cases = [...urls, ...names, ...refused, ...settings].map(([body, ...named]) => ({ body, named }));
  it.each(cases)('refuses $body and names $named', async ({ body, named }) => {
    const isFunction = typeof body === 'object' && body !== null && 'functionName' in body;
    const answer = await parse.master('POST', isFunction ? '/hooks/functions' : '/hooks/triggers', { body });
    expect(answer).toMatchObject({ status: 400, body: { code: 143, error: expect.any(String) } });
    for (const part of named) expect(answer.body.error).toContain(part);
  });

  it.each([
    '[]',
    '[{"functionName":"a","url":"https://example.com"}]',
    'null',
    '{"__proto__":{"functionName":"a"}}',
  ])('refuses the body %s', async body => {
    const answer = await parse.master('POST', '/hooks/functions', { body });
    expect(answer.status).toBe(400);
    expect(answer.body).not.toHaveProperty('functionName');
  });

  it('refuses a where that is nested ten thousand levels deep', async () => {
    const where = `${'{"$and":['.repeat(10_000)}{"a":1}${']}'.repeat(10_000)}`;
    const body = `{"className":"Puppy","triggerName":"beforeSave","url":"${url}","where":${where}}`;
    const answer = await parse.master('POST', '/hooks/triggers', { body });
    expect(answer).toMatchObject({
      status: 400,
      body: { code: 143, error: expect.stringContaining('where') },
    });
  });

  it('tells no secret of a refused URL or header', async () => {
    for (const body of [
      { ...beforeSave, url: 'https://user:hunter2@example.com/' },
      { ...beforeSave, headers: { 'X-Key': 'hunter2\n' } },
    ]) {
      const answer = await parse.master('POST', '/hooks/triggers', { body });
      expect(JSON.stringify(answer.body)).not.toContain('hunter2');
    }
    expect(parse.logs.join('\n')).not.toContain('hunter2');
  });

  it('refuses the same URLs in an update, and keeps the old one', async () => {
    await parse.registerHook(beforeSave);
    for (const [body] of urls) {
      const answer = await parse.master('PUT', '/hooks/triggers/Puppy/beforeSave', {
        body: { url: (body as { url: unknown }).url },
      });
      expect(answer).toMatchObject({ status: 400, body: { code: 143 } });
    }
    expect((await parse.master('GET', '/hooks/triggers')).body).toEqual([beforeSave]);
    await parse.removeHook(beforeSave);
  });

  it('takes what Parse allows', async () => {
    for (const [className, triggerName] of [
      ['@File', 'beforeSave'],
      ['@Config', 'afterSave'],
      ['@Connect', 'beforeConnect'],
      ['_Session', 'afterLogout'],
      ['_Role', 'beforeSave'],
      ['_PushStatus', 'afterSave'],
      ['Puppy', 'beforeSubscribe'],
      ['Puppy', 'afterEvent'],
    ] as const) {
      const hook = { className, triggerName, url };
      expect((await parse.registerHook(hook)).body).toEqual({ ...hook, secret });
      expect((await parse.removeHook(hook)).status).toBe(200);
    }
    const unicode = { functionName: 'größe_1-ü', url };
    expect((await parse.registerHook(unicode)).body).toEqual({ ...unicode, secret });
    expect((await parse.removeHook(unicode)).status).toBe(200);
  });
});
