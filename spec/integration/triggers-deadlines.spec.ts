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

const totalDeadlineMs = 300;
/** Two of them pass the deadline, one does not. */
const slowMs = 200;

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
      webhooks: { totalDeadlineMs },
      parse: { cloud: (given: CloudSdk) => void (sdk = given) },
    });
    receiver.on('/slow', () => new Promise(resolve => setTimeout(resolve, slowMs, { success: true })));
    for (const className of ['Inner', 'Outer', 'Found', 'Deleted', 'Single', 'Background']) {
      await parse.master('POST', `/schemas/${className}`, {
        body: { className, fields: { n: { type: 'Number' } } },
      });
    }
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => receiver.forget());

  const slow = (target: object) =>
    parse.registerHook({ ...target, url: `http://127.0.0.1:${receiver.port}/slow`, timeoutMs: 10_000 });
  const timedOut = (label: string): unknown => ({
    status: 400,
    body: { code: 124, error: expect.stringContaining(`webhook ${label} failed: timed out`) },
  });

  it('is shared by a save and by what its cloud code saves meanwhile', async () => {
    await slow({ className: 'Inner', triggerName: 'beforeSave' });
    await slow({ className: 'Outer', triggerName: 'beforeSave' });
    sdk.Cloud.beforeSave('Outer', () => new sdk.Object('Inner').save({ n: 1 }));
    expect((await parse.client('POST', '/classes/Inner', { body: { n: 1 } })).status).toBe(201);
    expect(await parse.client('POST', '/classes/Outer', { body: { n: 1 } })).toMatchObject(
      timedOut('beforeSave Outer'),
    );
  });

  it('is shared by beforeFind and afterFind of one find', async () => {
    await slow({ className: 'Found', triggerName: 'beforeFind' });
    expect((await parse.client('GET', '/classes/Found')).status).toBe(200);
    await slow({ className: 'Found', triggerName: 'afterFind' });
    expect(await parse.client('GET', '/classes/Found')).toMatchObject(timedOut('afterFind Found'));
  });

  it('is shared by the find and the trigger of one delete', async () => {
    const { body } = await parse.client('POST', '/classes/Deleted', { body: { n: 1 } });
    await slow({ className: 'Deleted', triggerName: 'afterFind' });
    await slow({ className: 'Deleted', triggerName: 'beforeDelete' });
    expect(await parse.client('DELETE', `/classes/Deleted/${body.objectId}`)).toMatchObject(
      timedOut('beforeDelete Deleted'),
    );
  });

  it('does not fail a cloud function that saves for longer, one object after the other', async () => {
    await slow({ className: 'Single', triggerName: 'beforeSave' });
    sdk.Cloud.define('manySaves', async () => {
      for (let n = 0; n < 3; n++) await new sdk.Object('Single').save({ n });
      return 'done';
    });
    expect(await parse.client('POST', '/functions/manySaves')).toMatchObject({
      status: 200,
      body: { result: 'done' },
    });
    expect(receiver.calls).toHaveLength(3);
    // Also when a hook stands on its name and lets it answer.
    const failing = `http://127.0.0.1:${receiver.port}/failing`;
    receiver.on('/failing', () => ({}));
    await parse.registerHook({ functionName: 'manySaves', url: failing, failurePolicy: 'allow' });
    expect(await parse.client('POST', '/functions/manySaves')).toMatchObject({
      status: 200,
      body: { result: 'done' },
    });
  });

  it('does not hold work that cloud code leaves running in the background', async () => {
    await slow({ className: 'Background', triggerName: 'beforeSave' });
    let saved: Promise<unknown> = Promise.resolve();
    await parse.registerHook({
      className: 'Starter',
      triggerName: 'beforeSave',
      url: receiver.on('/fast', () => ({ success: true })),
    });
    sdk.Cloud.beforeSave('Starter', async () => {
      saved = (async () => {
        for (let n = 0; n < 3; n++) await new sdk.Object('Background').save({ n });
      })();
      saved.catch(() => undefined);
    });
    expect((await parse.client('POST', '/classes/Starter', { body: { n: 1 } })).status).toBe(201);
    await expect(saved).resolves.toBeUndefined();
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
      await parse.client('POST', '/classes/After', { headers: { 'X-Parse-Webhook-Depth': depth }, body: {} });
      return { success: true };
    });
    await parse.registerHook({ className: 'After', triggerName: 'afterSave', url });
    await parse.client('POST', '/classes/After', { body: {} });
    await receiver.received('/after', 5);
    while (
      !parse.logs.some(line =>
        line.includes('webhook afterSave After failed: webhooks call each other in a loop'),
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
