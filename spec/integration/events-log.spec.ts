// Custom events, the log of deliveries, replay, test events, statistics and the removal of payloads, through a server.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import {
  act,
  finishedDeliveries,
  listDeliveries,
  save,
  subscribe,
  type MadeSubscription,
} from '../support/event-subscriptions';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { Reply, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

interface CloudParse {
  readonly Cloud: { define(name: string, run: () => Promise<unknown>): void };
}

describeOnEachDatabase('the log of deliveries', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let className = '';
  let path = '';
  let count = 0;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    const cloud = (Parse: CloudParse): void =>
      Parse.Cloud.define('publish', () =>
        parse.webhooks.publish('custom.order.paid', { from: 'cloud code' }),
      );
    parse = await startParseApplication({ database: fresh, parse: { cloud } });
  });
  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => {
    className = `Logged${++count}`;
    path = `/${className}`;
  });

  function listen(
    answer: () => unknown = () => ({}),
    fields: Readonly<Record<string, unknown>> = {},
  ): Promise<MadeSubscription> {
    return subscribe(parse, {
      name: className,
      url: receiver.on(path, answer),
      classes: [className],
      ...fields,
    });
  }

  const replay = (body: Readonly<Record<string, unknown>>): Promise<Answer> =>
    parse.master('POST', '/webhooks/deliveries/replay', { body });

  it('cloud code and the API publish custom events, the API once for each key', async () => {
    const made = await listen(undefined, { events: ['custom.order.paid'] });
    await parse.client('POST', '/functions/publish', { body: {} });
    const publish = (): Promise<Answer> =>
      parse.master('POST', '/webhooks/events', {
        body: { type: 'custom.order.paid', data: { from: 'API' } },
        headers: { 'Idempotency-Key': `key-${className}` },
      });
    const first = await publish();
    const second = await publish();
    expect([first.status, second.status]).toEqual([201, 200]);
    expect(second.body).toEqual(first.body);
    expect(await finishedDeliveries(parse, made, 2)).toHaveLength(2);
    const calls = await receiver.received(path, 2);
    expect(calls.map(({ body }) => body.data.from as string).sort()).toEqual(['API', 'cloud code']);
  });

  it('shows every attempt', async () => {
    let answers = 0;
    const made = await listen(
      () => (++answers === 1 ? new Reply(500, 'not yet', { 'set-cookie': 'a=b', 'x-reason': 'busy' }) : {}),
      { retry: { scheduleMs: [0], jitter: 0 } },
    );
    await save(parse, className, { n: 1 });
    const [row] = await finishedDeliveries(parse, made, 1);
    const { body } = await parse.master('GET', `/webhooks/deliveries/${row.objectId}`);
    const [call] = await receiver.received(path, 2);
    expect(body).toMatchObject({
      state: 'succeeded',
      type: 'object.create',
      className,
      webhookId: call?.headers['webhook-id'],
      request: { body: call?.raw.toString('utf8') },
      attempts: [
        {
          number: 1,
          status: 500,
          error: 'status',
          phase: 'done',
          phases: {
            connectMs: expect.any(Number),
            firstByteMs: expect.any(Number),
            bodyMs: expect.any(Number),
          },
          reply: { body: 'not yet' },
        },
        { number: 2, status: 200 },
      ],
    });
    expect(JSON.stringify(body)).not.toContain('a=b');
    expect(body.attempts[0].reply.headers['x-reason']).toBe('busy');
  });

  it('one is replayed with the webhook-id it had', async () => {
    const made = await listen();
    await save(parse, className, { n: 1 });
    const [row] = await finishedDeliveries(parse, made, 1);
    expect((await parse.master('POST', `/webhooks/deliveries/${row.objectId}/replay`)).status).toBe(201);
    const calls = await receiver.received(path, 2);
    expect(new Set(calls.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(calls[1]?.raw).toEqual(calls[0]?.raw);
    expect(await finishedDeliveries(parse, made, 1)).toMatchObject([{ state: 'succeeded', attemptCount: 2 }]);
  });

  it('what a filter names is counted first and replayed then', async () => {
    let isWell = false;
    const made = await listen(() => (isWell ? {} : new Reply(500, '')), {
      retry: { scheduleMs: [], jitter: 0 },
    });
    for (let n = 0; n < 3; n++) await save(parse, className, { n });
    await finishedDeliveries(parse, made, 3);
    isWell = true;
    await save(parse, className, { n: 3 });
    await finishedDeliveries(parse, made, 4);
    const filter = { subscription: made.objectId, state: ['exhausted'] };
    expect((await replay({ ...filter, dryRun: true })).body).toEqual({ count: 3, dryRun: true });
    expect(receiver.calls.filter(call => call.path === path)).toHaveLength(4);
    const replayed = await replay({ ...filter, perSecond: 1000 });
    expect([replayed.status, replayed.body]).toEqual([201, { count: 3 }]);
    expect((await receiver.received(path, 7)).length).toBe(7);
    const rows = await finishedDeliveries(parse, made, 4);
    expect(rows.map(({ state }) => state as string)).toEqual(Array.from({ length: 4 }, () => 'succeeded'));
  });

  it('a test event is sent whatever the filters, and marked', async () => {
    const made = await listen(undefined, { where: { never: true } });
    expect((await act(parse, made, 'test')).status).toBe(201);
    const [call] = await receiver.received(path, 1);
    expect(call?.body.data.className).toBe(className);
    expect(await finishedDeliveries(parse, made, 1)).toMatchObject([{ isTest: true, state: 'succeeded' }]);
  });

  it('statistics count attempts by status, those without a reply too', async () => {
    let answers = 0;
    const made = await listen(
      () => {
        answers += 1;
        if (answers === 1) return new Reply(500, '');
        if (answers === 2) throw new Error('the connection is cut');
        return {};
      },
      { retry: { scheduleMs: [0, 0], jitter: 0 } },
    );
    await save(parse, className, { n: 1 });
    await finishedDeliveries(parse, made, 1);
    const { status, body } = await parse.master('GET', `/webhooks/stats?subscription=${made.objectId}`);
    expect(status).toBe(200);
    const sum = (name: string): number =>
      (body.results as Answer['body'][]).reduce((total: number, bucket) => total + Number(bucket[name]), 0);
    expect([sum('attempts'), sum('succeeded'), sum('failed')]).toEqual([3, 1, 2]);
    expect(JSON.stringify(body.results)).toMatch(/"none":1/);
  });

  it('what deliveries hold of an object is removed, and what waits of it is cancelled', async () => {
    const made = await listen(() => new Reply(500, `I have seen it`), {
      retry: { scheduleMs: [], jitter: 0 },
    });
    const objectId = await save(parse, className, { name: 'a private name' });
    const [row] = await finishedDeliveries(parse, made, 1);
    await act(parse, made, 'pause');
    await parse.client('PUT', `/classes/${className}/${objectId}`, {
      body: { name: 'another private name' },
    });
    const expunged = await parse.master('DELETE', `/webhooks/objects/${className}/${objectId}/payloads`);
    expect(expunged.body).toEqual({ count: 2 });
    const rows = await listDeliveries(parse, { subscription: made.objectId });
    expect(rows.map(({ state }) => state as string).sort()).toEqual(['cancelled', 'exhausted']);
    for (const { objectId: id } of rows) {
      const { body } = await parse.master('GET', `/webhooks/deliveries/${id}`);
      expect(body.request.body).toBe('{}');
      expect(JSON.stringify(body)).not.toMatch(/private name|I have seen it/);
    }
    const again = await parse.master('POST', `/webhooks/deliveries/${row.objectId}/replay`);
    expect(again.status).toBeGreaterThanOrEqual(400);
  });

  it('nothing of an object is sent any more when its removal is answered, also from memory', async () => {
    let release = (): void => undefined;
    const released = new Promise<void>(resolve => (release = resolve));
    const made = await listen(() => released.then(() => ({})), { concurrency: 1 });
    const objectId = await save(parse, className, { name: 'a private name' });
    await receiver.received(path, 1);
    for (const n of [1, 2]) await parse.client('PUT', `/classes/${className}/${objectId}`, { body: { n } });
    const expunged = await parse.master('DELETE', `/webhooks/objects/${className}/${objectId}/payloads`);
    expect(expunged.body).toEqual({ count: 3 });
    release();
    const other = await save(parse, className, { name: 'public' });
    await finishedDeliveries(parse, made, 4);
    const sent = receiver.calls.filter(call => call.path === path).map(({ raw }) => raw.toString());
    expect(sent.filter(body => body.includes(objectId))).toHaveLength(1);
    expect(sent.filter(body => body.includes(other))).toHaveLength(1);
  });
});
