// When a delivery is tried again, and what an exchange means for it.
import fc from 'fast-check';
import { judgeAttempt, parseRetryAfter } from '../../src/events/attempt-outcome';
import {
  compileRetryPolicy,
  nextDelayMs,
  retryShape,
  standardRetryPolicy,
  standardScheduleMs,
} from '../../src/events/retry-policy';
import type { ExchangeResult } from '../../src/http/exchange';

const failed = { attempts: 1, retryAfterMs: undefined, throttled: false, random: 0.5 };

describe('the standard schedule', () => {
  it('takes about 75 hours', () => {
    const hours = standardScheduleMs.reduce((sum, ms) => sum + ms, 0) / 3_600_000;
    expect(hours).toBeGreaterThan(75);
    expect(hours).toBeLessThan(76);
  });

  it('gives each delay in turn and then none', () => {
    const delays = Array.from({ length: 10 }, (_, at) =>
      nextDelayMs(standardRetryPolicy, { ...failed, attempts: at + 1 }),
    );
    expect(delays).toEqual([...standardScheduleMs, undefined]);
  });
});

describe('a delay', () => {
  it('is drawn from a fifth around what is planned', () => {
    expect(nextDelayMs(standardRetryPolicy, { ...failed, random: 0 })).toBe(4000);
    expect(nextDelayMs(standardRetryPolicy, { ...failed, random: 1 })).toBe(6000);
  });

  it('follows Retry-After, but not beyond the longest of the schedule', () => {
    expect(nextDelayMs(standardRetryPolicy, { ...failed, retryAfterMs: 90_000 })).toBe(90_000);
    expect(nextDelayMs(standardRetryPolicy, { ...failed, retryAfterMs: 1e12 })).toBe(24 * 3_600_000);
    expect(nextDelayMs(standardRetryPolicy, { ...failed, retryAfterMs: 1 })).toBe(5000);
  });

  it('gives an overloaded receiver a minute', () => {
    expect(nextDelayMs(standardRetryPolicy, { ...failed, throttled: true })).toBe(60_000);
    expect(nextDelayMs({ scheduleMs: [100], jitter: 0 }, { ...failed, throttled: true })).toBe(100);
  });

  it('never passes the longest by more than the jitter, whatever a receiver asks for', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 1e9 }), { minLength: 1, maxLength: 20 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.option(fc.integer({ min: 0, max: 1e12 }), { nil: undefined }),
        fc.boolean(),
        fc.integer({ min: 1, max: 25 }),
        (scheduleMs, jitter, random, retryAfterMs, throttled, attempts) => {
          const delay = nextDelayMs({ scheduleMs, jitter }, { attempts, retryAfterMs, throttled, random });
          if (attempts > scheduleMs.length) return delay === undefined;
          return (
            delay !== undefined &&
            delay >= 0 &&
            delay <= Math.round(Math.max(...scheduleMs) * (1 + jitter)) + 1
          );
        },
      ),
    );
  });
});

describe('a written policy', () => {
  it('may be a curve', () => {
    const policy = compileRetryPolicy(
      retryShape.parse({ maxAttempts: 5, minDelayMs: 1000, maxDelayMs: 10_000, factor: 4, jitter: 0 }),
    );
    expect(policy).toEqual({ scheduleMs: [1000, 4000, 10_000, 10_000], jitter: 0 });
  });

  it('may be a list, with a fifth of jitter', () => {
    expect(compileRetryPolicy(retryShape.parse({ scheduleMs: [1, 2] }))).toEqual({
      scheduleMs: [1, 2],
      jitter: 0.2,
    });
  });

  it.each([
    { scheduleMs: [-1] },
    { scheduleMs: [1], factor: 2 },
    { maxAttempts: 0 },
    { maxAttempts: 5, jitter: 2 },
    {},
    5,
  ])('is refused as %j', written => {
    expect(retryShape.safeParse(written).success).toBe(false);
  });
});

describe('an attempt', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  const reply = (status: number, headers: Readonly<Record<string, string>> = {}): ExchangeResult => ({
    kind: 'reply',
    status,
    headers,
    body: Buffer.alloc(0),
    durationMs: 1,
    tries: 1,
  });
  const failure = (kind: 'timeout' | 'dns' | 'reset'): ExchangeResult => ({
    kind: 'failure',
    failure: kind,
    phase: 'connect',
    detail: '',
    durationMs: 1,
    tries: 1,
  });

  it.each([200, 201, 204, 299])('succeeds with %i', status => {
    expect(judgeAttempt(reply(status), now)).toEqual({ kind: 'succeeded' });
  });

  it.each([
    [301, 'redirect', false],
    [400, 'status', false],
    [404, 'status', false],
    [429, 'status', true],
    [500, 'status', false],
    [503, 'status', true],
  ])('fails with %i as %s', (status, error, throttled) => {
    expect(judgeAttempt(reply(status), now)).toMatchObject({
      kind: 'failed',
      error,
      throttled,
      pauses: false,
    });
  });

  it('pauses the endpoint with 410 and when the receiver says so', () => {
    expect(judgeAttempt(reply(410), now)).toMatchObject({ kind: 'failed', pauses: true });
    expect(judgeAttempt(reply(200, { 'webhook-delivery': 'disable' }), now)).toMatchObject({ pauses: true });
  });

  it('ends the delivery when the receiver says so', () => {
    expect(judgeAttempt(reply(500, { 'webhook-delivery': 'abort-message' }), now)).toEqual({
      kind: 'aborted',
    });
  });

  it('fails without a reply, and rests after a time-out', () => {
    expect(judgeAttempt(failure('dns'), now)).toMatchObject({ error: 'dns', throttled: false });
    expect(judgeAttempt(failure('timeout'), now)).toMatchObject({ error: 'timeout', throttled: true });
  });

  it.each([
    ['120', 120_000],
    [' 0 ', 0],
    ['Thu, 01 Jan 2026 00:01:00 GMT', 60_000],
    ['Wed, 31 Dec 2025 00:00:00 GMT', 0],
    ['-5', undefined],
    ['soon', undefined],
    ['1.5', undefined],
    ['2026', 2_026_000],
    ['99999999999', undefined],
  ])('reads Retry-After %j', (value, expected) => {
    expect(parseRetryAfter(value, now)).toBe(expected);
  });
});
