// after* hooks: the client never waits for them, and nothing they answer changes anything.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { Reply, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

/** A receiver's answer that waits for the test. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>(resolve => (open = resolve));
  return { opened, open };
}

describeOnEachDatabase('an after* hook', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let className = '';
  let count = 0;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => {
    className = `Note${++count}`;
    receiver.forget();
  });

  async function hook(triggerName: string, answer: () => unknown, settings: object = {}): Promise<string> {
    const path = `/${className}/${triggerName}`;
    await parse.registerHook({ className, triggerName, url: receiver.on(path, answer), ...settings });
    return path;
  }

  /** Lines of the log that name the hook. */
  const logged = (triggerName: string): string[] =>
    parse.logs.filter(line => line.includes(`webhook ${triggerName} ${className} `));

  async function untilLogged(triggerName: string): Promise<void> {
    while (logged(triggerName).length === 0) await new Promise(resolve => setImmediate(resolve));
  }

  it('lets the client go before the receiver answers', async () => {
    const { opened, open } = gate();
    const saved = await hook('afterSave', () => opened.then(() => ({ success: true })));
    const deleted = await hook('afterDelete', () => opened.then(() => ({ success: true })));
    const { status, body } = await parse.client('POST', `/classes/${className}`, { body: { a: 1 } });
    expect(status).toBe(201);
    expect(
      (await parse.client('PUT', `/classes/${className}/${body.objectId}`, { body: { a: 2 } })).status,
    ).toBe(200);
    expect((await parse.client('DELETE', `/classes/${className}/${body.objectId}`)).status).toBe(200);
    await receiver.received(saved, 2);
    await receiver.received(deleted, 1);
    open();
  });

  it.each([
    [{ success: {} }],
    [{ success: { objectId: 'changed', a: 'changed' } }],
    [{ success: [] }],
    [{ success: true }],
    [{ error: 'too late' }],
    [new Reply(500, '<html>', { 'content-type': 'text/html' })],
  ])('cannot change what the client gets: %j', async answer => {
    const path = await hook('afterSave', () => answer);
    const { status, body } = await parse.client('POST', `/classes/${className}`, { body: { a: 1 } });
    expect(status).toBe(201);
    expect(Object.keys(body as object).sort()).toEqual(['createdAt', 'objectId']);
    await receiver.received(path, 1);
    expect((await parse.client('GET', `/classes/${className}/${body.objectId}`)).body).toMatchObject({
      objectId: body.objectId,
      a: 1,
    });
  });

  it.each([
    ['a status', new Reply(503, ''), /failed: answer has an error status/],
    ['an error', { error: 'I object' }, /answered with an error; the operation had already happened/],
    ['HTML', new Reply(200, '<html>'), /failed: answer is not JSON/],
  ])('is sent once, and %s is logged once', async (_what, answer, line) => {
    const path = await hook('afterSave', () => answer);
    await parse.client('POST', `/classes/${className}`, { body: { a: 1 } });
    await untilLogged('afterSave');
    expect(logged('afterSave')).toEqual([expect.stringMatching(line)]);
    // What the receiver says is its own: it may be about a user.
    expect(logged('afterSave').join()).not.toContain('I object');
    expect(await receiver.received(path, 1)).toHaveLength(1);
  });

  it('is sent with the settings of the hook', async () => {
    const path = await hook('afterSave', () => ({ success: true }), {
      where: { n: { $gt: 1 } },
      changed: ['n'],
      keys: ['n'],
      headers: { 'X-Extra': 'yes' },
    });
    const { body } = await parse.client('POST', `/classes/${className}`, { body: { n: 1, other: 1 } });
    await parse.client('PUT', `/classes/${className}/${body.objectId}`, { body: { other: 2 } });
    await parse.client('PUT', `/classes/${className}/${body.objectId}`, { body: { n: 2, other: 3 } });
    const [call] = await receiver.received(path, 1);
    expect(call?.headers['x-extra']).toBe('yes');
    expect(call?.body).toMatchObject({ object: { n: 2 }, original: { n: 1 }, update: { n: 2 } });
    expect(call?.body.object).not.toHaveProperty('other');
    expect(call?.body.update).toEqual({ n: 2 });
  });

  it('is sent for every object of a batch', async () => {
    const path = await hook('afterSave', () => ({ success: true }));
    const requests = Array.from({ length: 20 }, (_, n) => ({
      method: 'POST',
      path: `/parse/classes/${className}`,
      body: { n },
    }));
    expect((await parse.client('POST', '/batch', { body: { requests } })).status).toBe(200);
    const calls = await receiver.received(path, 20);
    expect(new Set(calls.map(call => call.body.object.n))).toEqual(
      new Set(requests.map(({ body }) => body.n)),
    );
    expect(new Set(calls.map(call => call.headers['webhook-id'])).size).toBe(20);
  });

  it('is not sent when the save is refused', async () => {
    const path = await hook('afterSave', () => ({ success: true }));
    await hook('beforeSave', () => ({ error: 'no' }));
    expect((await parse.client('POST', `/classes/${className}`, { body: { a: 1 } })).status).toBe(400);
    await parse.removeHook({ className, triggerName: 'beforeSave' });
    await parse.client('POST', `/classes/${className}`, { body: { a: 2 } });
    expect((await receiver.received(path, 1)).map(call => call.body.object.a)).toEqual([2]);
  });
});

describeOnEachDatabase('stop()', database => {
  it('waits for the notifications under way', async () => {
    const fresh = await database.create();
    const receiver = await startWebhookReceiver();
    const parse = await startParseApplication({ database: fresh });
    const { opened, open } = gate();
    const url = receiver.on('/after', () => opened.then(() => ({ success: true })));
    await parse.registerHook({ className: 'Last', triggerName: 'afterSave', url });
    for (let n = 0; n < 3; n++) await parse.client('POST', '/classes/Last', { body: { n } });
    let stopped = false;
    const stopping = parse.webhooks.stop().then(() => (stopped = true));
    await receiver.received('/after', 3);
    expect(stopped).toBe(false);
    open();
    await stopping;
    expect(parse.logs.filter(line => line.includes('webhook afterSave Last'))).toEqual([]);
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  it('gives up on them after drainTimeoutMs', async () => {
    const fresh = await database.create();
    const receiver = await startWebhookReceiver();
    const parse = await startParseApplication({ database: fresh, webhooks: { drainTimeoutMs: 0 } });
    const { opened, open } = gate();
    const url = receiver.on('/after', () => opened);
    await parse.registerHook({ className: 'Last', triggerName: 'afterSave', url });
    await parse.client('POST', '/classes/Last', { body: { n: 1 } });
    await receiver.received('/after', 1);
    await parse.webhooks.stop();
    open();
    expect(parse.logs.filter(line => /webhook afterSave Last|webhooks stop/.test(line))).toEqual([
      expect.stringContaining('webhooks stop: 0 notifications were not sent, 1 under way are cut off'),
    ]);
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });
});
