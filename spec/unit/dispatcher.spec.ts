// How a dispatcher holds on to its promises while its store fails, and how it shares and paces. A manual clock, a store
// in memory that a test lets fail, and a client that answers when a test says so.
import type { NewDelivery } from '../../src/events/delivery';
import type { FinishedAttempt } from '../../src/events/delivery-store';
import { InProcessDispatcher } from '../../src/events/dispatcher';
import type { DispatcherOptions } from '../../src/events/dispatcher-options';
import { MemoryDeliveryStore } from '../../src/events/memory-delivery-store';
import type { ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
import { createDeliveryId } from '../../src/shared/ids';
import {
  AttemptLedger,
  newDeliveries,
  newDelivery,
  RecordingLogger,
  TestEndpoints,
} from '../support/dispatching';
import { ManualClock } from '../support/manual-clock';

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await new Promise<void>(resolve => setImmediate(resolve));
};

class FailingStore extends MemoryDeliveryStore {
  readonly fails = new Set<'finish' | 'claim' | 'renew' | 'release' | 'nextDueAt'>();
  readonly hangs = new Set<'claim'>();
  claims = 0;
  readonly limits: number[] = [];
  renewals = 0;
  beforeCancel: (() => Promise<void>) | undefined;

  #fail(call: 'finish' | 'claim' | 'renew' | 'release' | 'nextDueAt'): void {
    if (this.fails.has(call)) throw new Error(`${call} is down`);
  }

  override async claim(request: Parameters<MemoryDeliveryStore['claim']>[0]) {
    this.claims += 1;
    this.limits.push(request.limit);
    if (this.hangs.has('claim')) return new Promise<never>(() => undefined);
    this.#fail('claim');
    return super.claim(request);
  }

  override async cancel(endpoint: string, now: number, createdUntil?: number) {
    await this.beforeCancel?.();
    return super.cancel(endpoint, now, createdUntil);
  }

  override async finish(finished: readonly FinishedAttempt[]) {
    this.#fail('finish');
    return super.finish(finished);
  }

  override async renew(owner: string, ids: readonly string[], expiresAt: number) {
    this.renewals += 1;
    this.#fail('renew');
    return super.renew(owner, ids, expiresAt);
  }
}

const ok: ExchangeResult = {
  kind: 'reply',
  status: 200,
  headers: {},
  body: Buffer.alloc(0),
  durationMs: 1,
  tries: 1,
};

const aborted: ExchangeResult = {
  kind: 'failure',
  failure: 'aborted',
  phase: 'first-byte',
  detail: 'stopped',
  durationMs: 1,
  tries: 1,
};

async function open(options: Partial<DispatcherOptions> = {}) {
  const store = new FailingStore();
  // Not behind the clock that names deliveries.
  const clock = new ManualClock(Date.now() + 1000);
  const logger = new RecordingLogger();
  const endpoints = new TestEndpoints();
  const ledger = new AttemptLedger();
  const requests: { readonly request: ExchangeRequest; answer(result: ExchangeResult): Promise<void> }[] = [];
  let answer: ((request: ExchangeRequest) => ExchangeResult) | undefined = () => ok;
  const dispatcher = new InProcessDispatcher({
    store,
    endpoints,
    client: {
      exchange: request => {
        if (answer) {
          requests.push({ request, answer: settle });
          return Promise.resolve(answer(request));
        }
        return new Promise(resolve => {
          request.signal?.addEventListener('abort', () => resolve(aborted));
          requests.push({
            request,
            answer: async result => {
              resolve(result);
              await settle();
            },
          });
        });
      },
    },
    clock,
    logger,
    node: 'node-a',
    observer: ledger,
    options,
  });
  await dispatcher.start();
  await settle();
  const advance = async (ms: number, steps = 1): Promise<void> => {
    for (let step = 0; step < steps; step++) {
      clock.advance(ms);
      await settle();
    }
  };
  const take = async (deliveries: readonly NewDelivery[]): Promise<void> => {
    const lease = dispatcher.createLease();
    await store.insert(deliveries, lease);
    dispatcher.accept(deliveries, lease);
    await settle();
  };
  /** As saves do: what there is no room for is written without a lease. */
  const save = async (deliveries: readonly NewDelivery[]): Promise<void> => {
    const own = deliveries.filter(({ endpoint }) => dispatcher.hasRoom(endpoint));
    if (own.length > 0) await take(own);
    const others = deliveries.filter(delivery => !own.includes(delivery));
    if (others.length > 0) await store.insert(others, undefined);
    dispatcher.wake();
    await settle();
  };
  const stop = async (): Promise<void> => {
    const stopping = dispatcher.stop(100);
    await settle();
    await advance(100);
    await advance(5000, 2);
    await stopping;
  };
  return {
    store,
    clock,
    logger,
    endpoints,
    ledger,
    requests,
    dispatcher,
    advance,
    take,
    save,
    stop,
    answerWith: (next: typeof answer) => (answer = next),
  };
}

const lanesOf = (requests: readonly { readonly request: ExchangeRequest }[], lane: string): number =>
  requests.filter(({ request }) => request.lane === lane).length;

const idsIn = (requests: readonly { readonly request: ExchangeRequest }[]): string[] =>
  requests.map(({ request }) => String(request.headers['webhook-id']));

/** A body of so many characters. */
const thousand = `"${'x'.repeat(998)}"`;

describe('a dispatcher', () => {
  it('attempts once, and keeps the lease, while the store takes no attempts', async () => {
    const { store, endpoints, take, advance, requests, ledger, clock, stop } = await open();
    endpoints.set('one', {});
    store.fails.add('finish');
    const deliveries = newDeliveries(20, 'one');
    await take(deliveries);
    await advance(5000, 40);
    expect(requests.length).toBe(20);
    expect(ledger.ended).toEqual([]);
    // Another node gets nothing, though the first lease is long over.
    const lease = { owner: 'other', expiresAt: clock.now() + 60_000 };
    expect(
      await store.claim({ lease, now: clock.now(), limit: 100, limitPerEndpoint: 100, except: [] }),
    ).toEqual([]);
    store.fails.clear();
    await advance(5000, 3);
    expect(ledger.ended.length).toBe(20);
    expect(requests.length).toBe(20);
    expect((await store.countByState({})).succeeded).toBe(20);
    await stop();
  });

  it('takes in only so much of an endpoint while nothing can be recorded', async () => {
    const { store, endpoints, take, advance, requests, dispatcher, stop } = await open({
      maxRowsPerEndpoint: 64,
    });
    endpoints.set('one', {});
    store.fails.add('finish');
    // Half for what is handed over, half for what is claimed.
    await take(newDeliveries(32, 'one'));
    await store.insert(newDeliveries(500, 'one'), undefined);
    await advance(1000, 20);
    expect(requests.length).toBe(64);
    expect(dispatcher.hasRoom('one')).toBe(false);
    store.fails.clear();
    await advance(1000, 40);
    expect((await store.countByState({})).succeeded).toBe(532);
    expect(requests.length).toBe(532);
    await stop();
  });

  it('sends nothing under a lease that may have ended', async () => {
    const { store, endpoints, take, advance, requests, answerWith, stop } = await open();
    endpoints.set('one', { concurrency: 1, timeoutMs: 5000 });
    answerWith(undefined);
    await take(newDeliveries(3, 'one'));
    expect(requests.length).toBe(1);
    store.fails.add('renew');
    store.fails.add('claim');
    await advance(10_000, 6);
    await requests[0]!.answer(ok);
    await advance(1000, 10);
    expect(requests.length).toBe(1);
    store.fails.clear();
    answerWith(() => ok);
    await advance(5000, 4);
    expect(requests.length).toBe(3);
    await stop();
  });

  it('asks a failing store less and less often, and says so once', async () => {
    const { store, advance, logger, stop } = await open();
    store.fails.add('claim');
    await advance(1000);
    const before = store.claims;
    await advance(1000, 60);
    expect(store.claims - before).toBeLessThanOrEqual(16);
    expect(logger.matching(/^error.*claimed/).length).toBe(1);
    store.fails.clear();
    await advance(1000, 10);
    expect(logger.matching(/^info.*no longer so.*claimed/).length).toBe(1);
    await stop();
  });

  it('goes on with what it is handed while a claim hangs, and claims again later', async () => {
    const { store, endpoints, take, advance, requests, stop } = await open();
    endpoints.set('one', {});
    store.hangs.add('claim');
    await advance(1000);
    await take(newDeliveries(5, 'one'));
    expect(requests.length).toBe(5);
    store.hangs.clear();
    await store.insert(newDeliveries(5, 'one'), undefined);
    await advance(10_000, 4);
    expect(requests.length).toBe(10);
    await stop();
  });

  it('looks into the store no more than a few times a second when nothing is due', async () => {
    const { store, advance, endpoints, take, stop } = await open();
    endpoints.set('one', {});
    await take(newDeliveries(1, 'one'));
    const before = store.claims;
    await advance(100, 100);
    expect(store.claims - before).toBeLessThanOrEqual(12);
    expect(store.renewals).toBe(0);
    await stop();
  });

  it('shares what may be in flight among endpoints when it is scarce', async () => {
    const { endpoints, take, requests, answerWith, stop } = await open({ maxInFlight: 20 });
    for (const name of ['a', 'b', 'c']) endpoints.set(name, {});
    answerWith(undefined);
    await take(newDeliveries(50, 'a'));
    // Alone it may have its own bound of 16.
    expect(lanesOf(requests, 'a')).toBe(16);
    await take([...newDeliveries(50, 'b'), ...newDeliveries(50, 'c')]);
    expect(lanesOf(requests, 'b')).toBe(2);
    expect(lanesOf(requests, 'c')).toBe(2);
    // As places become free the others get them, up to their share.
    for (let answered = 0; answered < 10; answered++) await requests[answered]!.answer(ok);
    expect(lanesOf(requests, 'b')).toBeGreaterThanOrEqual(6);
    expect(lanesOf(requests, 'c')).toBeGreaterThanOrEqual(6);
    await stop();
  });

  it('lets receivers that hang hold up none that has nothing under way', async () => {
    const { endpoints, take, requests, answerWith, stop } = await open({ maxInFlight: 20 });
    const hanging = Array.from({ length: 20 }, (_, number) => `hanging-${number}`);
    for (const name of hanging) endpoints.set(name, {});
    answerWith(undefined);
    await take(newDeliveries(50, 'hanging-0'));
    await take(newDeliveries(50, 'hanging-1'));
    expect(requests.length).toBe(20);
    endpoints.set('good', {});
    await take(newDeliveries(2, 'good'));
    expect(lanesOf(requests, 'good')).toBe(1);
    await requests.at(-1)?.answer(ok);
    expect(lanesOf(requests, 'good')).toBe(2);
    await requests.at(-1)?.answer(ok);
    // Up to twice as many in all.
    for (const name of hanging) await take(newDeliveries(5, name));
    for (let more = 0; more < 10; more++) {
      endpoints.set(`more-${more}`, {});
      await take(newDeliveries(1, `more-${more}`));
    }
    expect(requests.length - 2).toBe(40);
    await stop();
  });

  it('starts no more than connections can be had: a wait for one would look like a slow receiver', async () => {
    const { endpoints, take, requests, answerWith, dispatcher, stop } = await open({ maxConcurrency: 10 });
    endpoints.set('one', { concurrency: 200 });
    answerWith(undefined);
    await take(newDeliveries(50, 'one'));
    expect(requests.length).toBe(10);
    await requests[0]?.answer(ok);
    expect(requests.length).toBe(11);
    expect(dispatcher.stateOf('one')).toMatchObject({ inFlight: 10 });
    await stop();
  });

  it('keeps a high concurrency busy with what it claims, and gives nothing back', async () => {
    const options = { maxConcurrency: 400, maxRowsPerEndpoint: 64 };
    const { store, endpoints, take, advance, requests, answerWith, dispatcher, stop } = await open(options);
    endpoints.set('one', { concurrency: 400 });
    answerWith(undefined);
    // 1.6 times what its lane may have without that concurrency.
    await take(newDeliveries(1000, 'one'));
    expect(dispatcher.stateOf('one')).toMatchObject({ inFlight: 400, held: 1000 });
    endpoints.set('two', { concurrency: 400 });
    await store.insert(newDeliveries(1000, 'two'), undefined);
    await advance(1000, 30);
    expect(lanesOf(requests, 'two')).toBe(400);
    await stop();
  });

  it('sends fresh deliveries before retries, and lets retries have their turn', async () => {
    const { store, endpoints, take, advance, requests, answerWith, clock, stop } = await open();
    endpoints.set('one', { concurrency: 1, retry: { scheduleMs: [1000], jitter: 0 } });
    answerWith(() => ({ ...ok, status: 400 }));
    const retries = newDeliveries(3, 'one');
    await take(retries);
    answerWith(undefined);
    await take(newDeliveries(1, 'one'));
    await advance(2000, 2);
    await take(newDeliveries(40, 'one'));
    const sent = (): string[] =>
      requests.slice(3).map(({ request }) => String(request.headers['webhook-id']));
    for (let answered = 3; answered < 30; answered++) await requests[answered]!.answer(ok);
    const places = retries.map(({ webhookId }) => sent().indexOf(webhookId));
    expect(Math.min(...places)).toBeGreaterThan(1);
    expect(Math.max(...places)).toBeLessThan(27);
    expect(clock.now()).toBeGreaterThan(0);
    await store.close();
    await stop();
  });

  it('lets a retry have its turn while new ones come as fast as others end', async () => {
    const { endpoints, take, save, advance, requests, answerWith, stop } = await open({
      maxRowsPerEndpoint: 8,
    });
    endpoints.set('one', { concurrency: 1, retry: { scheduleMs: [1000], jitter: 0 } });
    answerWith(() => ({ ...ok, status: 400 }));
    const [retried] = newDeliveries(1, 'one');
    await take([retried!]);
    answerWith(undefined);
    for (const delivery of newDeliveries(20, 'one')) await save([delivery]);
    await advance(1000, 2);
    for (let ended = 0; ended < 20; ended++) {
      await requests.at(-1)?.answer(ok);
      await save(newDeliveries(1, 'one'));
      await advance(10);
    }
    expect(idsIn(requests).filter(id => id === retried!.webhookId).length).toBe(2);
    await stop();
  });

  it('lets what it had no room for have its turn while new ones come as fast as others end', async () => {
    const { endpoints, save, advance, requests, answerWith, stop } = await open({ maxRowsPerEndpoint: 8 });
    endpoints.set('one', { concurrency: 1 });
    answerWith(undefined);
    const first = newDeliveries(20, 'one');
    for (const delivery of first) await save([delivery]);
    for (let ended = 0; ended < 80; ended++) {
      await requests.at(-1)?.answer(ok);
      await save(newDeliveries(1, 'one'));
      await advance(10);
    }
    expect(idsIn(requests)).toEqual(expect.arrayContaining(first.map(({ webhookId }) => webhookId)));
    await stop();
  });

  it.each([
    ['deliveries', { maxRows: 1024, maxRowsPerEndpoint: 64 }],
    ['bodies', { maxBodyLength: 1024_000, maxBodyLengthPerEndpoint: 64_000 }],
  ])('keeps a good endpoint busy while slow ones fill memory with %s', async (_name, options) => {
    const { endpoints, save, advance, requests, answerWith, dispatcher, stop } = await open(options);
    answerWith(undefined);
    const slow = Array.from({ length: 16 }, (_, number) => `slow-${number}`);
    for (const name of slow) {
      endpoints.set(name, { concurrency: 2 });
      for (let saved = 0; saved < 80; saved += 8) await save(newDeliveries(8, name, { body: thousand }));
    }
    await advance(100, 60);
    const heldBySlow = (): number => slow.reduce((sum, name) => sum + dispatcher.stateOf(name).held, 0);
    // More than three quarters: from there on each has its fair share only.
    expect(heldBySlow()).toBeGreaterThan(768);
    endpoints.set('good', { concurrency: 16 });
    for (let saved = 0; saved < 40; saved += 8) await save(newDeliveries(8, 'good', { body: thousand }));
    for (let ended = 0; ended < 40; ended++) {
      expect(dispatcher.stateOf('good').inFlight).toBe(16);
      await requests.filter(({ request }) => request.lane === 'good')[ended]!.answer(ok);
      await save(newDeliveries(1, 'good', { body: thousand }));
      // What has ended is recorded.
      await advance(10);
    }
    // What is beyond a fair share has gone back, and does not come again and again.
    await advance(1000, 20);
    const held = heldBySlow();
    expect(held).toBeLessThanOrEqual(1024);
    await advance(100, 60);
    expect(heldBySlow()).toBe(held);
    await stop();
  });

  it('has no more bodies of an endpoint in memory than it may, and claims on as soon as some have gone', async () => {
    const options = { maxBodyLengthPerEndpoint: 8000, pollMs: 60_000 };
    const { store, endpoints, advance, requests, answerWith, dispatcher, stop } = await open(options);
    endpoints.set('one', { concurrency: 1 });
    answerWith(undefined);
    await store.insert(newDeliveries(50, 'one', { body: thousand }), undefined);
    await advance(10, 20);
    for (let ended = 0; ended < 50; ended++) {
      expect(dispatcher.stateOf('one').held).toBeLessThanOrEqual(4);
      expect(requests.length).toBe(ended + 1);
      await requests[ended]!.answer(ok);
      await advance(10, 2);
    }
    expect((await store.countByState({})).succeeded).toBe(50);
    await stop();
  });

  it('takes of what a queue names what there is room for, and claims the rest', async () => {
    const options = { maxRowsPerEndpoint: 8, maxBodyLengthPerEndpoint: 12_000, pollMs: 60_000 };
    const { store, endpoints, clock, advance, requests, answerWith, dispatcher, stop } = await open(options);
    endpoints.set('small', { concurrency: 1 });
    endpoints.set('large', { concurrency: 1 });
    answerWith(undefined);
    const small = newDeliveries(20, 'small');
    const large = newDeliveries(20, 'large', { body: `"${'x'.repeat(7998)}"` });
    // Without a hint that something is due.
    await store.insert([...small, ...large], { owner: 'gone', expiresAt: clock.now() - 1 });
    await dispatcher.acceptIds([...small, ...large].map(({ id, endpoint }) => ({ id, endpoint })));
    await settle();
    for (let ended = 0; ended < 40; ended++) {
      expect(dispatcher.stateOf('small').held).toBeLessThanOrEqual(8);
      expect(dispatcher.stateOf('large').held).toBeLessThanOrEqual(2);
      await requests[ended]!.answer(ok);
      await advance(10, 5);
    }
    expect((await store.countByState({})).succeeded).toBe(40);
    await stop();
  });

  it('asks for less after each claim that fails, and for all again when claims succeed', async () => {
    const { store, advance, stop } = await open();
    store.fails.add('claim');
    await advance(10_000, 6);
    const asked = store.limits.slice(-3);
    expect(asked[0]).toBeLessThan(500);
    expect(asked[1]).toBeLessThan(asked[0]!);
    expect(asked[2]).toBeLessThan(asked[1]!);
    store.fails.clear();
    await advance(10_000, 12);
    expect(store.limits.at(-1)).toBe(500);
    await stop();
  });

  it('sends what a pause left behind at a bounded rate, and what is new at once', async () => {
    const { store, endpoints, take, advance, requests, stop } = await open({ catchUpPerSecond: 10 });
    endpoints.set('one', { isPaused: true });
    await store.insert(newDeliveries(100, 'one'), undefined);
    await advance(1000, 2);
    expect(requests).toEqual([]);
    endpoints.set('one', { isPaused: false });
    await settle();
    await advance(100, 20);
    expect(requests.length).toBeGreaterThanOrEqual(15);
    expect(requests.length).toBeLessThanOrEqual(40);
    const before = requests.length;
    const fresh = newDeliveries(10, 'one', { createdAt: Date.now() + 1_000_000 });
    await take(fresh);
    const ids = requests.slice(before).map(({ request }) => request.headers['webhook-id']);
    expect(ids).toEqual(expect.arrayContaining(fresh.map(({ webhookId }) => webhookId)));
    await advance(100, 120);
    expect((await store.countByState({})).succeeded).toBe(110);
    await stop();
  });

  it('keeps that rate also when it was started after the resumption', async () => {
    const { store, endpoints, clock, take, advance, requests, stop } = await open({ catchUpPerSecond: 10 });
    endpoints.set('one', { resumedAt: clock.now() });
    await store.insert(newDeliveries(300, 'one'), undefined);
    await advance(100, 20);
    expect(requests.length).toBeGreaterThanOrEqual(5);
    expect(requests.length).toBeLessThanOrEqual(40);
    const before = requests.length;
    const fresh = newDeliveries(10, 'one', { createdAt: clock.now() });
    await take(fresh);
    const ids = requests.slice(before).map(({ request }) => request.headers['webhook-id']);
    expect(ids).toEqual(expect.arrayContaining(fresh.map(({ webhookId }) => webhookId)));
    await stop();
  });

  it('has room for what is new while what a pause left behind fills memory', async () => {
    const options = { catchUpPerSecond: 1, maxRowsPerEndpoint: 16 };
    const { store, endpoints, clock, take, advance, requests, dispatcher, stop } = await open(options);
    endpoints.set('one', { concurrency: 1, resumedAt: clock.now() });
    const backlog = newDeliveries(100, 'one');
    await store.insert(backlog, undefined);
    await advance(100, 10);
    const { held } = dispatcher.stateOf('one');
    expect(held).toBeGreaterThan(4);
    expect(held).toBeLessThanOrEqual(8);
    await take(newDeliveries(8, 'one'));
    expect(dispatcher.hasRoom('one')).toBe(true);
    const fresh = Array.from({ length: 5 }, () => {
      const id = createDeliveryId(clock);
      return newDelivery('one', { id, createdAt: clock.now(), nextAttemptAt: clock.now() });
    });
    await store.insert(fresh, undefined);
    const before = requests.length;
    // Neither a claim nor a queue that names old ones brings more of the backlog than there is room for.
    await dispatcher.acceptIds([...backlog, ...fresh].map(({ id, endpoint }) => ({ id, endpoint })));
    await settle();
    expect(dispatcher.stateOf('one').held).toBeLessThanOrEqual(held + 8 + fresh.length);
    const ids = requests.slice(before).map(({ request }) => request.headers['webhook-id']);
    expect(ids).toEqual(expect.arrayContaining(fresh.map(({ webhookId }) => webhookId)));
    await stop();
  });

  it('begins no attempt of what was removed from the store', async () => {
    const { store, endpoints, clock, take, advance, requests, answerWith, dispatcher, stop } = await open();
    endpoints.set('one', { concurrency: 1 });
    answerWith(undefined);
    await take(newDeliveries(3, 'one', { objectId: 'private' }));
    await take(newDeliveries(1, 'one', { objectId: 'other' }));
    await store.expunge('Puppy', 'private', clock.now());
    dispatcher.withdraw('Puppy', 'private');
    await requests[0]?.answer({ ...ok, status: 500 });
    expect(requests.length).toBe(2);
    await requests[1]?.answer(ok);
    await advance(100, 5);
    expect(requests.length).toBe(2);
    expect(await store.countByState({})).toMatchObject({ cancelled: 3, succeeded: 1 });
    expect(dispatcher.stateOf('one').held).toBe(0);
    await stop();
  });

  it('leaves an endpoint that asked for its pause alone, and others not', async () => {
    const { store, endpoints, take, advance, requests, answerWith, dispatcher, ledger, stop } = await open({
      holdMs: 10_000,
    });
    endpoints.set('gone', { concurrency: 1 });
    endpoints.set('good', {});
    answerWith(({ lane }) => (lane === 'gone' ? { ...ok, status: 410 } : ok));
    await take([...newDeliveries(10, 'gone'), ...newDeliveries(10, 'good')]);
    await advance(100, 90);
    expect(lanesOf(requests, 'gone')).toBe(1);
    expect(lanesOf(requests, 'good')).toBe(10);
    expect(dispatcher.hasRoom('gone')).toBe(false);
    expect(ledger.of('gone')[0]?.outcome).toMatchObject({ pauses: true });
    // Nobody paused it: it is asked again.
    await advance(1000, 5);
    expect(lanesOf(requests, 'gone')).toBeGreaterThan(1);
    expect((await store.countByState({ endpoint: 'gone' })).pending).toBeGreaterThan(0);
    await stop();
  });

  it('does not make a new address wait for what the former one asked for', async () => {
    const { endpoints, take, advance, requests, answerWith, dispatcher, stop } = await open({
      holdMs: 10_000,
    });
    endpoints.set('moved', { concurrency: 1 });
    answerWith(() => ({ ...ok, status: 410 }));
    await take(newDeliveries(1, 'moved'));
    await advance(100, 5);
    expect(dispatcher.hasRoom('moved')).toBe(false);
    answerWith(() => ok);
    endpoints.set('moved', { url: 'http://127.0.0.1:10/' });
    expect(dispatcher.hasRoom('moved')).toBe(true);
    const before = requests.length;
    await take(newDeliveries(1, 'moved'));
    await advance(100, 5);
    expect(requests.length).toBeGreaterThan(before);
    await stop();
  });

  it('sends one probe at a time while a breaker is open', async () => {
    const { endpoints, take, advance, requests, answerWith, stop } = await open({
      breaker: { failuresToOpen: 3, failurePercent: 0, openMs: 1000 },
    });
    endpoints.set('one', { concurrency: 1, retry: { scheduleMs: [3_600_000], jitter: 0 } });
    answerWith(() => ({ ...ok, status: 500 }));
    await take(newDeliveries(100, 'one'));
    expect(requests.length).toBe(3);
    await advance(100, 50);
    expect(requests.length).toBeGreaterThanOrEqual(5);
    expect(requests.length).toBeLessThanOrEqual(8);
    answerWith(() => ok);
    await advance(100, 60);
    expect(requests.length).toBe(100);
    await stop();
  });

  it('says what its breaker is: closed, open, and half-open while a probe is under way', async () => {
    const { endpoints, dispatcher, take, advance, requests, answerWith, stop } = await open({
      breaker: { failuresToOpen: 3, failurePercent: 0, openMs: 1000 },
    });
    endpoints.set('one', { concurrency: 1, retry: { scheduleMs: [3_600_000], jitter: 0 } });
    expect(dispatcher.stateOf('one')).toMatchObject({ breaker: 'closed', inFlight: 0 });
    answerWith(() => ({ ...ok, status: 500 }));
    await take(newDeliveries(10, 'one'));
    expect(dispatcher.stateOf('one')).toMatchObject({ breaker: 'open', inFlight: 0 });
    answerWith(undefined);
    await advance(100, 12);
    expect(dispatcher.stateOf('one')).toMatchObject({ breaker: 'half-open', inFlight: 1 });
    await requests.at(-1)?.answer(ok);
    expect(dispatcher.stateOf('one')).toMatchObject({ breaker: 'closed' });
    answerWith(() => ok);
    for (const request of requests) await request.answer(ok);
    await stop();
  });

  it('cancels what was for an endpoint that is gone, and nothing for its successor', async () => {
    const { store, endpoints, clock, take, advance, requests, stop } = await open();
    let made = 0;
    store.beforeCancel = async () => {
      // On another node, while this one is about to cancel.
      if (++made > 1) return;
      clock.advance(1);
      const fields = { createdAt: clock.now(), nextAttemptAt: clock.now() };
      await store.insert(newDeliveries(3, 'one', fields), undefined);
      endpoints.unseen.set('one', {});
    };
    await take(newDeliveries(2, 'one'));
    await advance(1000, 6);
    expect(await store.countByState({})).toMatchObject({ cancelled: 2, succeeded: 3 });
    expect(requests.length).toBe(3);
    await stop();
  });

  it('leaves what is younger than the look for a missing endpoint to the next look', async () => {
    const { store, endpoints, clock, take, advance, stop } = await open();
    await take(newDeliveries(2, 'one', { createdAt: clock.now() + 3000 }));
    expect((await store.countByState({})).pending).toBe(2);
    expect(endpoints.refreshes).toBeLessThan(3);
    await advance(1000, 6);
    expect((await store.countByState({})).cancelled).toBe(2);
    expect(endpoints.refreshes).toBeLessThan(6);
    await stop();
  });

  it('tries an after hook again by its schedule, whatever its receiver says of pauses', async () => {
    const { endpoints, take, advance, requests, answerWith, stop } = await open({ holdMs: 10_000 });
    const key = 'hook/trigger/Puppy/afterSave';
    endpoints.set(key, { retry: { scheduleMs: [1000], jitter: 0 } });
    answerWith(() => ({ ...ok, status: 410 }));
    await take(newDeliveries(2, key));
    await advance(1000, 2);
    expect(requests.length).toBe(4);
    await stop();
  });

  it('does not suffer from an observer that throws', async () => {
    const { endpoints, take, ledger, store, logger, stop } = await open();
    endpoints.set('one', {});
    ledger.attemptEnded = () => {
      throw new Error('observer');
    };
    await take(newDeliveries(3, 'one'));
    await settle();
    expect((await store.countByState({})).succeeded).toBe(3);
    expect(logger.matching(/observer/).length).toBe(3);
    await stop();
  });

  it('takes nothing more once it is stopped, and gives back what comes', async () => {
    const { endpoints, dispatcher, store, clock, stop } = await open();
    endpoints.set('one', {});
    await stop();
    expect(dispatcher.hasRoom('one')).toBe(false);
    const [late] = newDeliveries(1, 'one');
    const lease = dispatcher.createLease();
    await store.insert([late!], lease);
    dispatcher.accept([late!], lease);
    await settle();
    const other = { owner: 'other', expiresAt: clock.now() + 1 };
    const claimed = await store.claim({
      lease: other,
      now: clock.now(),
      limit: 9,
      limitPerEndpoint: 9,
      except: [],
    });
    expect(claimed.map(({ id }) => id)).toEqual([late!.id]);
  });
});
