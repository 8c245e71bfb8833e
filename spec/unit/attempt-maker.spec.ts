// What one attempt means for its delivery. The exchange is played by a client that answers what a test says.
import { AttemptMaker, type MadeAttempt } from '../../src/events/attempt-maker';
import type { AttemptTracer } from '../../src/events/attempt-tracer';
import type { Delivery } from '../../src/events/delivery';
import type { Endpoint } from '../../src/events/endpoint';
import { asFresh } from '../../src/events/held-delivery';
import type { ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
import { newDelivery, TestEndpoints, type EndpointFields } from '../support/dispatching';
import { ManualClock } from '../support/manual-clock';

const replied = (status: number, headers: Record<string, string> = {}): ExchangeResult => ({
  kind: 'reply',
  status,
  headers,
  body: Buffer.alloc(0),
  durationMs: 5,
  tries: 1,
});
const failed = (failure: 'timeout' | 'connect' | 'aborted' | 'address'): ExchangeResult => ({
  kind: 'failure',
  failure,
  phase: 'connect',
  detail: 'secret address',
  durationMs: 5,
  tries: 1,
});

/** A clock whose random bytes are all the same: 0x80 draws the middle of a jitter. */
class EvenClock extends ManualClock {
  override randomBytes(size: number): Buffer {
    return Buffer.alloc(size, 0x80);
  }
}

async function make(
  result: ExchangeResult,
  {
    fields = {},
    delivery = {},
    tracer,
  }: {
    readonly fields?: EndpointFields;
    readonly delivery?: Partial<Delivery>;
    readonly tracer?: AttemptTracer;
  } = {},
) {
  const clock = new EvenClock();
  const requests: ExchangeRequest[] = [];
  const maker = new AttemptMaker({
    client: {
      exchange: async request => {
        requests.push(request);
        clock.advance(5);
        return result;
      },
    },
    clock,
    node: 'node-a',
    signal: new AbortController().signal,
    ...(tracer && { tracer }),
  });
  const endpoints = new TestEndpoints();
  endpoints.set('one', { retry: { scheduleMs: [1000, 2000], jitter: 0 }, ...fields });
  const whole = { ...asFresh(newDelivery('one')), ...delivery };
  const end = await maker.make(endpoints.find('one') as Endpoint, whole);
  const made = end.kind === 'made' ? end : undefined;
  const about = (attempt: MadeAttempt) => ({
    attempt: maker.describe(attempt, whole),
    progress: maker.progressOf(attempt, whole),
  });
  return { clock, requests, end, made, delivery: whole, ...(made && about(made)) };
}

describe('an attempt', () => {
  it('sends the body as it is, in the lane of its endpoint, within its time', async () => {
    const { requests, delivery } = await make(replied(200), { fields: { timeoutMs: 1234 } });
    expect(requests).toEqual([
      expect.objectContaining({
        body: Buffer.from(delivery.body),
        lane: 'one',
        timeoutMs: 1234,
        maxReplyBytes: 1024,
        oversize: 'truncate',
      }),
    ]);
    expect(requests[0]?.headers['webhook-id']).toBe(delivery.webhookId);
  });

  it('bounds the first byte where its endpoint does', async () => {
    const { requests } = await make(replied(200), { fields: { firstByteTimeoutMs: 123 } });
    expect(requests[0]).toMatchObject({ timeoutMs: 5000, firstByteTimeoutMs: 123 });
    expect((await make(replied(200))).requests[0]).not.toHaveProperty('firstByteTimeoutMs');
  });

  it('is told to tracing, sent under its headers and within it', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    for (const [result, ended] of [
      [replied(200), { outcome: 'succeeded', status: 200, error: undefined }],
      [replied(500), { outcome: 'failed', status: 500, error: 'status' }],
      [failed('timeout'), { outcome: 'failed', status: undefined, error: 'timeout' }],
      [failed('aborted'), { outcome: 'cut-off', status: undefined, error: undefined }],
    ] as const) {
      const told: unknown[] = [];
      const tracer: AttemptTracer = attempt => {
        told.push(attempt);
        return {
          headers: { traceparent: 'of-the-span' },
          run: work => (told.push('sent'), work()),
          end: end => told.push(end),
        };
      };
      const { requests, delivery } = await make(result, {
        tracer,
        delivery: { traceparent, attemptCount: 2 },
      });
      const url = 'http://127.0.0.1:9/';
      expect(told).toEqual([
        { label: 'one', url, deliveryId: delivery.id, number: 3, traceparent },
        'sent',
        ended,
      ]);
      expect(requests[0]?.headers.traceparent).toBe('of-the-span');
    }
  });

  it('that succeeds ends its delivery', async () => {
    const { progress, attempt, clock, made } = await make(replied(204));
    expect(progress).toEqual({
      state: 'succeeded',
      attemptCount: 1,
      nextAttemptAt: undefined,
      lastStatus: 204,
      lastError: undefined,
      finishedAt: clock.now(),
    });
    expect(attempt).toMatchObject({ number: 1, durationMs: 5, status: 204, phase: 'done', node: 'node-a' });
    expect(made?.finding).toBe('well');
  });

  it.each([
    [replied(500), 'status', 'unwell'],
    [replied(404), 'status', 'well'],
    [replied(301), 'redirect', 'well'],
    [replied(429), 'status', 'unwell'],
    [failed('timeout'), 'timeout', 'unwell'],
    [failed('connect'), 'connect', 'unwell'],
    [failed('address'), 'address', 'nothing'],
  ] as const)('that fails is tried again: %#', async (result, error, finding) => {
    const { progress, attempt, made } = await make(result);
    expect(progress).toMatchObject({ state: 'pending', attemptCount: 1, lastError: error });
    expect(attempt?.error).toBe(error);
    expect(JSON.stringify(attempt)).not.toContain('secret address');
    expect(made?.finding).toBe(finding);
  });

  it('that fails comes again when the schedule says, counted from the last replay', async () => {
    const first = await make(replied(400));
    expect(first.progress?.nextAttemptAt).toBe(first.clock.now() + 1000);
    const replayed = await make(replied(400), { delivery: { attemptCount: 5, attemptsBeforeReplay: 4 } });
    expect(replayed.progress).toMatchObject({
      attemptCount: 6,
      nextAttemptAt: replayed.clock.now() + 2000,
    });
    const last = await make(replied(400), { delivery: { attemptCount: 2 } });
    expect(last.progress).toMatchObject({
      state: 'exhausted',
      attemptCount: 3,
      finishedAt: last.clock.now(),
    });
  });

  it('whose receiver asks for a pause leaves its delivery waiting, also when it was the last', async () => {
    for (const answer of [replied(410), replied(500, { 'webhook-delivery': 'disable' })]) {
      for (const attemptCount of [0, 2]) {
        const { progress, clock } = await make(answer, { delivery: { attemptCount } });
        expect(progress).toMatchObject({
          state: 'pending',
          attemptCount: attemptCount + 1,
          nextAttemptAt: clock.now(),
        });
      }
      const endpoint = 'hook/trigger/Puppy/afterSave';
      const ofHook = await make(answer, { delivery: { attemptCount: 2, endpoint } });
      expect(ofHook.progress).toMatchObject({ state: 'exhausted' });
    }
  });

  it('that the receiver wants no more of is cancelled', async () => {
    const { progress, attempt } = await make(replied(200, { 'webhook-delivery': 'abort-message' }));
    expect(progress).toMatchObject({ state: 'cancelled', lastError: 'abort-message', lastStatus: 200 });
    expect(attempt?.error).toBe('abort-message');
  });

  it('deeper than webhooks may lead is not sent, and cancelled', async () => {
    const { progress, requests } = await make(replied(200), { delivery: { depth: 6 } });
    expect(requests).toEqual([]);
    expect(progress).toMatchObject({ state: 'cancelled', lastError: 'loop', attemptCount: 1 });
  });

  it('that cannot be signed is not sent, and counts', async () => {
    const { progress, requests, made } = await make(replied(200), { fields: { secret: 'broken' } });
    expect(requests).toEqual([]);
    expect(progress).toMatchObject({ state: 'pending', lastError: 'settings', attemptCount: 1 });
    expect(made?.finding).toBe('nothing');
  });

  it('that this node cut off is no attempt', async () => {
    expect((await make(failed('aborted'))).end).toEqual({ kind: 'cut-off' });
  });
});
