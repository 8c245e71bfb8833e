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

interface Delivery {
  readonly objectId: string;
  readonly state: string;
  readonly attemptCount: number;
  readonly nextAttemptAt: string;
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

  /** The newest delivery of the class that is as `isSo` says, waiting until there is one. */
  async function deliveryThat(isSo: (delivery: Delivery) => boolean): Promise<Delivery> {
    for (;;) {
      const { body } = await parse.master('GET', `/webhooks/deliveries?className=${className}`);
      const found = (body.results as Delivery[]).find(isSo);
      if (found) return found;
    }
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
    ['an error', { error: 'I object' }],
    ['HTML', new Reply(200, '<html>')],
    ['nothing', new Reply(204, '')],
  ])('has taken it when it answers 2xx, and be it with %s', async (_what, answer) => {
    const path = await hook('afterSave', () => answer);
    await parse.client('POST', `/classes/${className}`, { body: { a: 1 } });
    expect(await deliveryThat(({ attemptCount }) => attemptCount > 0)).toMatchObject({
      type: 'afterSave',
      hook: `afterSave/${className}`,
      state: 'succeeded',
      attemptCount: 1,
    });
    expect(await receiver.received(path, 1)).toHaveLength(1);
    expect(parse.logs.filter(line => line.includes(className) && /webhook/.test(line))).toEqual([]);
  });

  it.each([
    ['an error status', new Reply(503, 'I object'), { lastError: 'status', lastStatus: 503 }],
    ['a redirect', new Reply(302, '', { location: '/' }), { lastError: 'redirect', lastStatus: 302 }],
  ])('is sent again later after %s, which the log of deliveries has', async (_what, answer, last) => {
    await hook('afterSave', () => answer);
    await parse.client('POST', `/classes/${className}`, { body: { a: 1 } });
    const delivery = await deliveryThat(({ attemptCount }) => attemptCount > 0);
    expect(delivery).toMatchObject({ state: 'pending', attemptCount: 1, ...last });
    expect(Date.parse(delivery.nextAttemptAt)).toBeGreaterThan(Date.now());
    expect(parse.logs.filter(line => line.includes(className) && /webhook/.test(line))).toEqual([]);
  });

  it('is one delivery over all attempts', async () => {
    const path = await hook('afterSave', () => new Reply(receiver.calls.length < 2 ? 500 : 200, ''));
    await parse.client('POST', `/classes/${className}`, { body: { a: 1 } });
    // The first retry of the standard schedule comes after 4 to 6 s.
    const calls = await receiver.received(path, 2);
    await deliveryThat(({ state, attemptCount }) => state === 'succeeded' && attemptCount === 2);
    expect(new Set(calls.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(new Set(calls.map(({ raw }) => raw.toString())).size).toBe(1);
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

  it('leaves what is not done after drainTimeoutMs to the next start', async () => {
    const fresh = await database.create();
    const receiver = await startWebhookReceiver();
    const { opened, open } = gate();
    let isFirst = true;
    const answer = (): unknown => {
      if (!isFirst) return { success: true };
      isFirst = false;
      return opened;
    };
    const url = receiver.on('/after', answer);
    const before = await startParseApplication({ database: fresh, webhooks: { drainTimeoutMs: 0 } });
    await before.registerHook({ className: 'Last', triggerName: 'afterSave', url, maxInFlight: 1 });
    for (let n = 0; n < 3; n++) await before.client('POST', '/classes/Last', { body: { n } });
    await receiver.received('/after', 1);
    await before.webhooks.stop();
    expect(before.logs.filter(line => /webhook afterSave Last|webhooks stop/.test(line))).toEqual([]);
    await before.stop();
    open();
    const after = await startParseApplication({ database: fresh });
    // That which was cut off is attempted again, under the same id.
    const calls = await receiver.received('/after', 4);
    expect(new Set(calls.map(({ headers }) => headers['webhook-id'])).size).toBe(3);
    expect(calls.map(({ body }) => body.object.n as number).sort()).toEqual([0, 0, 1, 2]);
    await after.stop();
    await receiver.close();
    await fresh.drop();
  });
});
