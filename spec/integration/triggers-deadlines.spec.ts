// What one operation of a client waits for in all, and how deep webhooks may cause webhooks.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

interface CloudSdk {
  readonly Cloud: {
    beforeSave(className: string, handler: () => Promise<unknown>): void;
    afterSave(className: string, handler: () => Promise<unknown>): void;
    define(name: string, handler: () => Promise<unknown>): void;
  };
  readonly Object: new (className: string) => { save(attributes: object): Promise<{ id: string }> };
}

describeOnEachDatabase('totalDeadlineMs', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let sdk: CloudSdk;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({
      database: fresh,
      // No breaker: every call is to be seen.
      webhooks: { totalDeadlineMs: 150, breakerFailures: 1000 },
      parse: { cloud: (given: CloudSdk) => void (sdk = given) },
    });
    receiver.on('/silent', () => new Promise(() => undefined));
    receiver.on('/prompt', () => ({ success: true }));
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => receiver.forget());

  /** Uses up the whole deadline of its operation, and lets that go on. */
  const silent = (className: string, triggerName: string) =>
    parse.registerHook({
      className,
      triggerName,
      url: `http://127.0.0.1:${receiver.port}/silent`,
      timeoutMs: 30_000,
      failurePolicy: 'allow',
    });
  const prompt = (className: string, triggerName: string, settings: object = {}) =>
    parse.registerHook({
      className,
      triggerName,
      url: `http://127.0.0.1:${receiver.port}/prompt`,
      ...settings,
    });
  const paths = () => receiver.calls.map(call => call.path);
  const timedOut = (label: string) => ({
    status: 400,
    body: { code: 124, error: `webhook ${label} failed: timed out` },
  });

  it('bounds a call whose own timeout is longer', async () => {
    await silent('Alone', 'beforeSave');
    expect((await parse.client('POST', '/classes/Alone', { body: {} })).status).toBe(201);
    expect(parse.logs).toContainEqual(
      expect.stringMatching(/beforeSave Alone failed: timed out after (1\d\d|\d\d) ms/),
    );
  });

  it('is shared by a save and by what its cloud code saves meanwhile', async () => {
    await silent('Inner', 'beforeSave');
    await prompt('Outer', 'beforeSave');
    sdk.Cloud.beforeSave('Outer', () => new sdk.Object('Inner').save({ n: 1 }));
    expect(await parse.client('POST', '/classes/Outer', { body: {} })).toMatchObject(
      timedOut('beforeSave Outer'),
    );
    expect(paths()).toEqual(['/silent']);
  });

  it('is shared by beforeFind and afterFind of one find', async () => {
    await silent('Found', 'beforeFind');
    await prompt('Found', 'afterFind');
    expect(await parse.client('GET', '/classes/Found')).toMatchObject(timedOut('afterFind Found'));
    expect(paths()).toEqual(['/silent']);
  });

  it('is shared by the find and the trigger of one delete', async () => {
    const { body } = await parse.client('POST', '/classes/Deleted', { body: {} });
    await silent('Deleted', 'afterFind');
    await prompt('Deleted', 'beforeDelete');
    const deleted = await parse.client('DELETE', `/classes/Deleted/${body.objectId}`);
    expect(deleted).toMatchObject(timedOut('beforeDelete Deleted'));
    expect(paths()).toEqual(['/silent']);
  });

  it('begins anew for every operation of a batch', async () => {
    await silent('InBatch', 'beforeSave');
    const requests = [1, 2, 3].map(n => ({ method: 'POST', path: '/parse/classes/InBatch', body: { n } }));
    expect((await parse.client('POST', '/batch', { body: { requests } })).status).toBe(200);
    expect(paths()).toEqual(['/silent', '/silent', '/silent']);
  });

  it('begins anew for every save of a cloud function, hooked or not', async () => {
    await silent('Single', 'beforeSave');
    sdk.Cloud.define('manySaves', async () => {
      for (let n = 0; n < 3; n++) await new sdk.Object('Single').save({ n });
      return 'done';
    });
    const run = () => parse.client('POST', '/functions/manySaves');
    expect(await run()).toMatchObject({ status: 200, body: { result: 'done' } });
    expect(paths()).toEqual(['/silent', '/silent', '/silent']);
    receiver.forget();
    const url = receiver.on('/failing', () => ({}));
    await parse.registerHook({ functionName: 'manySaves', url, failurePolicy: 'allow' });
    expect(await run()).toMatchObject({ status: 200, body: { result: 'done' } });
    expect(paths()).toEqual(['/failing', '/silent', '/silent', '/silent']);
  });

  it('does not hold work that cloud code leaves running in the background', async () => {
    await silent('Background', 'beforeSave');
    await prompt('Starter', 'beforeSave', { failurePolicy: 'allow' });
    let saves: Promise<unknown> = Promise.resolve();
    sdk.Cloud.beforeSave('Starter', async () => {
      saves = (async () => {
        for (let n = 0; n < 3; n++) await new sdk.Object('Background').save({ n });
      })();
    });
    expect((await parse.client('POST', '/classes/Starter', { body: {} })).status).toBe(201);
    await saves;
    expect(paths().filter(path => path === '/silent')).toHaveLength(3);
  });
});

describeOnEachDatabase('webhooks that cause webhooks', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let sdk: CloudSdk;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({
      database: fresh,
      parse: { cloud: (given: CloudSdk) => void (sdk = given) },
    });
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => receiver.forget());

  it('are refused at the sixth level, when receivers pass the depth on', async () => {
    const url = receiver.on('/loop', async ({ headers }) => {
      const depth = String(headers['x-parse-webhook-depth']);
      const answer = await parse.client('POST', '/classes/Loop', {
        headers: { 'X-Parse-Webhook-Depth': depth },
        body: { depth },
      });
      return answer.status === 201 ? { success: true } : { error: answer.body.error as string };
    });
    await parse.registerHook({ className: 'Loop', triggerName: 'beforeSave', url });
    expect(await parse.client('POST', '/classes/Loop', { body: {} })).toMatchObject({
      status: 400,
      body: { code: 141, error: 'webhook beforeSave Loop failed: webhooks call each other in a loop' },
    });
    expect(receiver.calls.map(call => call.headers['x-parse-webhook-depth'])).toEqual([
      '1',
      '2',
      '3',
      '4',
      '5',
    ]);
  });

  it('are counted over what cloud code saves, over batches and over functions', async () => {
    sdk.Cloud.beforeSave('Via', () => new sdk.Object('Target').save({ n: 1 }));
    sdk.Cloud.define('via', () => new sdk.Object('Target').save({ n: 2 }));
    await parse.registerHook({
      className: 'Target',
      triggerName: 'beforeSave',
      url: receiver.on('/target', () => ({ success: true })),
    });
    const headers = { 'X-Parse-Webhook-Depth': '4' };
    expect((await parse.client('POST', '/classes/Via', { headers, body: {} })).status).toBe(201);
    expect((await parse.client('POST', '/functions/via', { headers, body: {} })).status).toBe(200);
    const requests = [{ method: 'POST', path: '/parse/classes/Target', body: { n: 3 } }];
    expect((await parse.client('POST', '/batch', { headers, body: { requests } })).body).toMatchObject([
      { success: {} },
    ]);
    expect(receiver.calls.map(call => call.headers['x-parse-webhook-depth'])).toEqual(['5', '5', '5']);
    const deeper = { 'X-Parse-Webhook-Depth': '5' };
    expect(await parse.client('POST', '/classes/Via', { headers: deeper, body: {} })).toMatchObject({
      status: 400,
      body: { code: 141, error: 'webhook beforeSave Target failed: webhooks call each other in a loop' },
    });
    expect(receiver.calls).toHaveLength(3);
  });

  it('end a loop of notifications too', async () => {
    const url = receiver.on('/after', async ({ headers }) => {
      const depth = String(headers['x-parse-webhook-depth']);
      // With the master key: what a client claims must not keep a hook from hearing.
      await parse.master('POST', '/classes/After', { headers: { 'X-Parse-Webhook-Depth': depth }, body: {} });
      return { success: true };
    });
    await parse.registerHook({ className: 'After', triggerName: 'afterSave', url });
    await parse.client('POST', '/classes/After', { body: {} });
    await receiver.received('/after', 5);
    while (
      !parse.logs.some(line =>
        line.includes('webhooks are not told of a change of After: depth 6 is above 5'),
      )
    ) {
      await new Promise(resolve => setImmediate(resolve));
    }
    expect(receiver.calls).toHaveLength(5);
  });

  it.each(['-1', '1e3', 'x', '', '99999999999'])(
    'count a depth that is no number as a client: %j',
    async depth => {
      receiver.on('/odd', () => ({ success: true }));
      const className = `Odd${depth.length}${depth.replace(/\W/g, '')}`;
      await parse.registerHook({
        className,
        triggerName: 'beforeSave',
        url: `http://127.0.0.1:${receiver.port}/odd`,
      });
      await parse.client('POST', `/classes/${className}`, {
        headers: { 'X-Parse-Webhook-Depth': depth },
        body: {},
      });
      expect(receiver.calls.map(call => call.headers['x-parse-webhook-depth'])).toEqual(['1']);
    },
  );
});
