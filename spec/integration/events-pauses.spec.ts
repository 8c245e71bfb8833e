// Subscriptions that are paused, resumed, edited and deleted while deliveries wait for them or are under way.
import { Webhook } from 'standardwebhooks';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import {
  act,
  eventually,
  finishedDeliveries,
  listDeliveries,
  save,
  subscribe,
  type MadeSubscription,
} from '../support/event-subscriptions';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import {
  Reply,
  startWebhookReceiver,
  type ReceivedCall,
  type WebhookReceiver,
} from '../support/webhook-receiver';

/** A minute's rest after 429, 503 and time-outs is cut to the longest delay of the schedule. */
const soon = { scheduleMs: Array.from({ length: 20 }, () => 100), jitter: 0 };

describeOnEachDatabase('subscriptions that change under way', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let className = '';
  let path = '';
  let count = 0;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({
      database: fresh,
      webhooks: { pauseAfterFailures: 4, breakerFailures: 1000, breakerFailurePercent: 0 },
    });
  });
  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(() => {
    className = `Paused${++count}`;
    path = `/${className}`;
  });

  function listen(
    answer: (call: ReceivedCall) => unknown,
    fields: Readonly<Record<string, unknown>> = {},
  ): Promise<MadeSubscription> {
    const url = receiver.on(path, answer);
    return subscribe(parse, { name: className, url, classes: [className], retry: soon, ...fields });
  }

  const numbers = (calls: readonly ReceivedCall[]): number[] =>
    calls.map(({ body }) => body.data.object.n as number).sort((a, b) => a - b);
  const stateOf = async ({ objectId }: MadeSubscription): Promise<Answer['body']> =>
    (await parse.master('GET', `/webhooks/subscriptions/${objectId}`)).body.health;
  const isPaused = ({ state }: Answer['body']): boolean => state === 'paused';
  const headersOf = (call: ReceivedCall): Record<string, string> =>
    Object.fromEntries(Object.entries(call.headers).map(([name, value]) => [name, String(value)]));

  it('a paused one keeps its backlog and gets it after it is resumed', async () => {
    const made = await listen(() => ({}));
    await act(parse, made, 'pause');
    for (let n = 0; n < 5; n++) await save(parse, className, { n });
    expect(await stateOf(made)).toMatchObject({ state: 'paused', pauseReason: 'operator' });
    expect(await listDeliveries(parse, { subscription: made.objectId, state: 'pending' })).toHaveLength(5);
    expect(receiver.calls.filter(call => call.path === path)).toEqual([]);
    await act(parse, made, 'resume');
    expect(numbers(await receiver.received(path, 5))).toEqual([0, 1, 2, 3, 4]);
    await finishedDeliveries(parse, made, 5);
  });

  it.each([
    ['410', 'gone', new Reply(410, '')],
    ['webhook-delivery: disable', 'disabled', new Reply(200, '', { 'webhook-delivery': 'disable' })],
  ])(
    'one whose receiver answers %s is paused, and what it did not take waits',
    async (_answer, reason, reply) => {
      let isWanted = false;
      const made = await listen(() => (isWanted ? {} : reply));
      await save(parse, className, { n: 1 });
      expect(await eventually(() => stateOf(made), isPaused)).toMatchObject({ pauseReason: reason });
      await save(parse, className, { n: 2 });
      expect(await listDeliveries(parse, { subscription: made.objectId, state: 'pending' })).toHaveLength(2);
      isWanted = true;
      await act(parse, made, 'resume');
      expect(await finishedDeliveries(parse, made, 2)).toMatchObject([
        { state: 'succeeded' },
        { state: 'succeeded' },
      ]);
    },
  );

  it('webhook-delivery: abort-message ends one delivery and nothing else', async () => {
    const made = await listen(({ body }) =>
      body.data.object.n === 1 ? new Reply(500, '', { 'webhook-delivery': 'abort-message' }) : {},
    );
    await save(parse, className, { n: 1 });
    await save(parse, className, { n: 2 });
    const rows = await finishedDeliveries(parse, made, 2);
    expect(rows.map(({ state, attemptCount }) => [state, attemptCount])).toEqual(
      expect.arrayContaining([
        ['succeeded', 1],
        ['cancelled', 1],
      ]),
    );
    expect((await stateOf(made)).state).toBe('healthy');
  });

  it('one that fails too often is paused, and another one is told, of exhausted deliveries too', async () => {
    const watcherPath = `/watcher-${className}`;
    await subscribe(parse, {
      name: `watcher-${className}`,
      url: receiver.on(watcherPath, () => ({})),
      events: ['subscription.*', 'delivery.exhausted'],
    });
    const made = await listen(() => new Reply(500, ''), { retry: { scheduleMs: [0], jitter: 0 } });
    const toldUntil = async (last: string): Promise<readonly Answer['body'][]> => {
      for (let wanted = 1; ; wanted++) {
        const told = (await receiver.received(watcherPath, wanted))
          .map(({ body }) => body)
          .filter(({ data }) => JSON.stringify(data).includes(made.objectId));
        if (told.some(({ type }) => type === last)) return told;
      }
    };
    await save(parse, className, { n: 1 });
    await toldUntil('subscription.failing');
    await save(parse, className, { n: 2 });
    const told = await toldUntil('subscription.paused');
    expect(await stateOf(made)).toMatchObject({ state: 'paused', pauseReason: 'failing' });
    expect(told.map(({ type }) => type as string)).toEqual(
      expect.arrayContaining(['delivery.exhausted', 'subscription.failing', 'subscription.paused']),
    );
    expect(told.find(({ type }) => type === 'subscription.paused').data).toMatchObject({
      subscription: { objectId: made.objectId, name: className },
      reason: 'failing',
    });
  });

  it('a new address and secret hold for the next attempt of what waits', async () => {
    const made = await listen(() => new Reply(500, ''), { retry: { scheduleMs: [1500], jitter: 0 } });
    await save(parse, className, { n: 1 });
    await receiver.received(path, 1);
    const moved = `${path}-moved`;
    const route = `/webhooks/subscriptions/${made.objectId}`;
    const edit = await parse.master('PATCH', route, { body: { url: receiver.on(moved, () => ({})) } });
    expect(edit.status).toBe(200);
    const rotated = await parse.master('POST', `${route}/secret/rotate`, { body: { graceMs: 0 } });
    const [second] = await receiver.received(moved, 1);
    const [first] = await receiver.received(path, 1);
    if (!first || !second) throw new Error('there are two calls');
    expect(second.headers['webhook-id']).toBe(first.headers['webhook-id']);
    expect(second.raw).toEqual(first.raw);
    const verifyWith = (secret: string) => (): unknown =>
      new Webhook(secret).verify(second.raw, headersOf(second));
    expect(verifyWith(rotated.body.secret as string)).not.toThrow();
    expect(verifyWith(made.secret)).toThrow(/signature/i);
    expect(await finishedDeliveries(parse, made, 1)).toMatchObject([{ state: 'succeeded', attemptCount: 2 }]);
  });

  it('a deleted one gets nothing more: what waited is cancelled, an attempt under way changes nothing', async () => {
    let release = (): void => undefined;
    const released = new Promise<void>(resolve => (release = resolve));
    const made = await listen(() => released, { concurrency: 1 });
    for (let n = 0; n < 3; n++) await save(parse, className, { n });
    await receiver.received(path, 1);
    expect((await parse.master('DELETE', `/webhooks/subscriptions/${made.objectId}`)).status).toBe(200);
    release();
    const rows = await finishedDeliveries(parse, made, 3);
    expect(rows.map(({ state }) => state as string)).toEqual(['cancelled', 'cancelled', 'cancelled']);
    await save(parse, className, { n: 4 });
    expect(await listDeliveries(parse, { subscription: made.objectId })).toHaveLength(3);
    expect(receiver.calls.filter(call => call.path === path)).toHaveLength(1);
  });

  it('one paused with an attempt under way finishes that and begins no other', async () => {
    let release = (): void => undefined;
    const released = new Promise<void>(resolve => (release = resolve));
    const made = await listen(() => released, { concurrency: 1 });
    for (let n = 0; n < 3; n++) await save(parse, className, { n });
    await receiver.received(path, 1);
    await act(parse, made, 'pause');
    release();
    await eventually(
      () => listDeliveries(parse, { subscription: made.objectId, state: 'succeeded' }),
      rows => rows.length === 1,
    );
    expect(await listDeliveries(parse, { subscription: made.objectId, state: 'pending' })).toHaveLength(2);
    expect(receiver.calls.filter(call => call.path === path)).toHaveLength(1);
    await act(parse, made, 'resume');
    expect(numbers(await receiver.received(path, 3))).toEqual([0, 1, 2]);
    await finishedDeliveries(parse, made, 3);
  });
});
