// What attempts make of a subscription's health, when it is paused, and who is told.
import type { AttemptOutcome } from '../../src/events/attempt-outcome';
import type { NewDelivery } from '../../src/events/delivery';
import type { AttemptEnded } from '../../src/events/dispatching';
import type { Endpoint } from '../../src/events/endpoint';
import { HealthRecorder, type HealthRecorderOptions } from '../../src/events/health-recorder';
import { OperationalEvents } from '../../src/events/operational-events';
import { silentLogger } from '../support/silent-logger';
import { openMemoryNode } from '../support/subscription-node';

const hourMs = 3_600_000;
const success: AttemptOutcome = { kind: 'succeeded' };
const failure: AttemptOutcome = {
  kind: 'failed',
  error: 'timeout',
  throttled: false,
  retryAfterMs: undefined,
  pauses: false,
};

async function open(options: Partial<HealthRecorderOptions> = {}) {
  const node = openMemoryNode();
  const { registry, matcher, clock, store } = node;
  const url = 'https://example.com';
  const create = async (name: string, events: readonly string[]): Promise<string> =>
    (await registry.create({ name, url, events })).view.objectId;
  const orders = await create('orders', ['object.*']);
  const monitor = await create('monitor', ['subscription.*', 'delivery.*']);
  const told: NewDelivery[] = [];
  const intake = { add: async (deliveries: readonly NewDelivery[]) => void told.push(...deliveries) };
  const operational = new OperationalEvents({ matcher, intake, clock, logger: silentLogger });
  const ofHooks: string[] = [];
  const warnings: string[] = [];
  const recorder = new HealthRecorder({
    registry,
    store,
    operational,
    clock,
    options,
    logger: { ...silentLogger, warn: line => warnings.push(line) },
    onHookAttempt: ({ endpoint }) => ofHooks.push(endpoint.key),
  });
  const attempt = (
    key: string,
    outcome: AttemptOutcome,
    {
      type = 'object.create',
      status,
      state = 'pending',
      endpoint = registry.endpoints.find(key) ?? {
        key,
        label: key,
        url,
        isPaused: false,
        resumedAt: undefined,
        timeoutMs: 1,
        concurrency: 1,
        retry: { scheduleMs: [], jitter: 0 },
        sender: () => {
          throw new Error('nothing is sent here');
        },
      },
    }: {
      endpoint?: Endpoint;
      type?: string;
      status?: number;
      state?: AttemptEnded['state'];
    } = {},
  ): void => {
    recorder.attemptEnded({
      endpoint,
      outcome,
      state,
      delivery: {
        id: 'dlv_1',
        webhookId: 'msg_1',
        endpoint: key,
        type,
        className: 'Order',
        objectId: 'o1',
        createdAt: clock.now(),
        isTest: false,
        depth: 1,
        traceparent: undefined,
        state,
        attemptCount: 10,
        attemptsBeforeReplay: 0,
        nextAttemptAt: undefined,
        lastStatus: status,
        lastError: 'timeout',
        finishedAt: undefined,
      },
      attempt: {
        deliveryId: 'dlv_1',
        number: 1,
        startedAt: clock.now(),
        durationMs: 0.4,
        status,
        error: undefined,
        phase: 'done',
        reply: undefined,
        node: 'n',
      },
    });
  };
  /** The end of an attempt that begins now and ends when it is called. */
  const begin = (how: { status: number }): ((outcome: AttemptOutcome) => void) => {
    const endpoint = registry.endpoints.find(`subscription/${orders}`);
    return outcome => attempt(`subscription/${orders}`, outcome, { ...how, ...(endpoint && { endpoint }) });
  };
  const health = (objectId = orders) => registry.find(objectId)?.health;
  /** One failed attempt, written and judged. */
  const fail = async (objectId = orders, how = {}): Promise<void> => {
    attempt(`subscription/${objectId}`, failure, how);
    await recorder.flush();
    await operational.drained();
  };
  const tellings = (): string[] => told.map(({ type }) => type);
  return {
    ...node,
    recorder,
    operational,
    orders,
    monitor,
    told,
    tellings,
    attempt,
    begin,
    fail,
    health,
    ofHooks,
    warnings,
  };
}

describe('the health of a subscription', () => {
  it('is written once a second for all attempts in it', async () => {
    const { attempt, clock, store, orders, recorder } = await open();
    for (let count = 0; count < 50; count++) attempt(`subscription/${orders}`, failure);
    expect(store.writes).toBe(0);
    clock.advance(1000);
    await recorder.flush();
    expect(store.writes).toBe(1);
    expect(store.rows.get(orders)?.health).toMatchObject({
      consecutiveFailures: 50,
      failingSince: clock.now() - 1000,
      lastError: 'timeout',
    });
  });

  it('is failing after a failure and healthy after a success', async () => {
    const { attempt, fail, health, recorder, orders } = await open();
    await fail();
    await fail();
    expect(health()).toMatchObject({ state: 'failing', consecutiveFailures: 2 });
    attempt(`subscription/${orders}`, failure);
    attempt(`subscription/${orders}`, success);
    attempt(`subscription/${orders}`, failure);
    await recorder.flush();
    expect(health()).toMatchObject({ state: 'failing', consecutiveFailures: 1 });
    attempt(`subscription/${orders}`, success);
    await recorder.flush();
    expect(health()).toMatchObject({ state: 'healthy', consecutiveFailures: 0, failingSince: undefined });
  });

  it('writes successes of a healthy one every ten seconds only', async () => {
    const { attempt, clock, store, recorder, orders } = await open();
    attempt(`subscription/${orders}`, success);
    await recorder.flush();
    const { writes } = store;
    for (let second = 0; second < 9; second++) {
      attempt(`subscription/${orders}`, success);
      clock.advance(1000);
      // The flush that the clock began ends before the next second.
      await new Promise(setImmediate);
    }
    expect(store.writes).toBe(writes);
    clock.advance(1000);
    attempt(`subscription/${orders}`, success);
    clock.advance(1000);
    await new Promise(setImmediate);
    expect(store.writes).toBe(writes + 1);
  });

  it('keeps what could not be written for the next time', async () => {
    const { attempt, store, recorder, orders, health } = await open();
    const recordHealth = store.recordHealth.bind(store);
    store.recordHealth = () => Promise.reject(new Error('the database is away'));
    attempt(`subscription/${orders}`, failure);
    await recorder.flush();
    store.recordHealth = recordHealth;
    attempt(`subscription/${orders}`, failure);
    await recorder.stop();
    expect(health()).toMatchObject({ consecutiveFailures: 2 });
  });

  it('pauses after a time without success, and warns once before, at a fifth of it', async () => {
    const { fail, clock, health, tellings, told, monitor, orders } = await open({
      pauseAfterMs: 10 * hourMs,
    });
    await fail();
    clock.advance(2 * hourMs - 1);
    await fail();
    expect(tellings()).toEqual([]);
    clock.advance(1);
    await fail();
    await fail();
    expect(tellings()).toEqual(['subscription.failing']);
    expect(told[0]?.endpoint).toBe(`subscription/${monitor}`);
    expect(JSON.parse(told[0]?.body ?? '')).toMatchObject({
      type: 'subscription.failing',
      data: {
        subscription: { objectId: orders, name: 'orders' },
        consecutiveFailures: 3,
        lastError: 'timeout',
      },
    });
    clock.advance(8 * hourMs);
    await fail();
    await new Promise(setImmediate);
    expect(health()).toMatchObject({ state: 'paused', pauseReason: 'failing', pausedAt: clock.now() });
    expect(tellings()).toEqual(['subscription.failing', 'subscription.paused']);
  });

  it('pauses after failures in a row where that is asked for, and warns at half of them', async () => {
    const { fail, health, recorder, tellings } = await open({ pauseAfterMs: 0, pauseAfterFailures: 4 });
    await fail();
    expect(tellings()).toEqual([]);
    await fail();
    await fail();
    expect(tellings()).toEqual(['subscription.failing']);
    await fail();
    await recorder.stop();
    expect(health()).toMatchObject({ state: 'paused', pauseReason: 'failing', consecutiveFailures: 4 });
  });

  it('warns again in the next spell', async () => {
    const { fail, attempt, recorder, orders, tellings } = await open({ pauseAfterFailures: 2 });
    await fail();
    attempt(`subscription/${orders}`, success);
    await recorder.flush();
    await fail();
    expect(tellings()).toEqual(['subscription.failing', 'subscription.failing']);
  });

  it.each([
    [410, 'gone'],
    [200, 'disabled'],
  ])('pauses at once when the receiver asks with %i', async (status, pauseReason) => {
    const { attempt, recorder, health, orders, tellings } = await open();
    for (let count = 0; count < 3; count++)
      attempt(`subscription/${orders}`, { ...failure, pauses: true }, { status });
    await recorder.stop();
    expect(health()).toMatchObject({ state: 'paused', pauseReason });
    expect(tellings()).toEqual(['subscription.paused']);
  });

  it.each([
    [410, true],
    [200, true],
    [500, false],
  ])('takes no notice of a late %i of the address of before', async (status, pauses) => {
    const { begin, recorder, health, orders, registry, tellings, store } = await open({
      pauseAfterFailures: 1,
    });
    const end = begin({ status });
    await registry.update(orders, { url: 'https://example.com/new' });
    end({ ...failure, pauses });
    await recorder.stop();
    expect(health()).toMatchObject({ state: 'healthy', consecutiveFailures: 0 });
    expect(store.writes).toBe(0);
    expect(tellings()).toEqual([]);
  });

  it('tells of a pause by active false', async () => {
    const { registry, orders, operational, tellings, told } = await open();
    await registry.update(orders, { active: false });
    await operational.drained();
    expect(tellings()).toEqual(['subscription.paused']);
    expect(JSON.parse(told[0]?.body ?? '')).toMatchObject({ data: { reason: 'operator' } });
  });

  it('is clear after a resume', async () => {
    const { fail, registry, orders, health, recorder } = await open({ pauseAfterFailures: 1 });
    await fail();
    await recorder.stop();
    expect(health()?.state).toBe('paused');
    await registry.resume(orders);
    expect(health()).toMatchObject({ state: 'healthy', consecutiveFailures: 0, failingSince: undefined });
  });

  it('tells of exhausted deliveries, of hooks too, whose endpoints it leaves alone', async () => {
    const { attempt, operational, told, ofHooks, warnings, store, recorder } = await open({
      pauseAfterFailures: 1,
    });
    attempt('hook/trigger/Order/afterSave', failure, { type: 'afterSave', state: 'exhausted' });
    await operational.drained();
    await recorder.stop();
    expect(ofHooks).toEqual(['hook/trigger/Order/afterSave']);
    expect(warnings).toEqual([
      expect.stringMatching(
        /^hook\/trigger\/Order\/afterSave: a delivery is given up after \d+ attempts: \w+$/,
      ),
    ]);
    expect(store.writes).toBe(0);
    expect(JSON.parse(told[0]?.body ?? '')).toMatchObject({
      type: 'delivery.exhausted',
      data: {
        endpoint: 'hook/trigger/Order/afterSave',
        delivery: { objectId: 'dlv_1', webhookId: 'msg_1', type: 'afterSave', attemptCount: 10 },
        className: 'Order',
        objectId: 'o1',
      },
    });
  });

  it('tells nothing of operational events that fail, and pauses all the same', async () => {
    const { registry, fail, recorder, health, monitor, told } = await open({ pauseAfterFailures: 2 });
    await registry.create({
      name: 'second',
      url: 'https://example.com',
      events: ['subscription.*', 'delivery.*'],
    });
    for (let count = 0; count < 2; count++)
      await fail(monitor, { type: 'subscription.failing', state: 'exhausted' });
    await recorder.stop();
    expect(health(monitor)).toMatchObject({ state: 'paused', pauseReason: 'failing' });
    expect(told).toEqual([]);
  });

  it('takes no notice of a subscription that was removed meanwhile', async () => {
    const { attempt, registry, recorder, orders } = await open();
    attempt(`subscription/${orders}`, failure);
    await registry.remove(orders);
    await recorder.stop();
    expect(registry.find(orders)).toBeUndefined();
  });
});
