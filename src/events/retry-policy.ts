// When the next attempt of a delivery is due: a pure function of the policy, what has been tried and what came of it.
import { z } from 'zod';

/** The schedule of Standard Webhooks 1.0.0: about 75 hours in all. Delays after the 1st, 2nd, … failed attempt. */
export const standardScheduleMs: readonly number[] = [
  5_000,
  5 * 60_000,
  30 * 60_000,
  2 * 3_600_000,
  5 * 3_600_000,
  10 * 3_600_000,
  14 * 3_600_000,
  20 * 3_600_000,
  24 * 3_600_000,
];

/** 30 days: a receiver that is away for longer is gone. */
const maxDelayMs = 30 * 24 * 3_600_000;
const maxAttempts = 100;

const delay = z.int().min(0).max(maxDelayMs);
const jitter = z.number().min(0).max(1).default(0.2);

/** As an operator writes it: a list of delays, or a curve. */
export const retryShape = z.union([
  z.strictObject({
    /** Delay after the 1st, 2nd, … failed attempt, in milliseconds; one attempt more than entries. */
    scheduleMs: z.array(delay).max(maxAttempts),
    /** Each delay is drawn from ± this share of it. 0..1, default 0.2. */
    jitter,
  }),
  z.strictObject({
    /** All attempts, the first one included. 1..100. */
    maxAttempts: z.int().min(1).max(maxAttempts),
    minDelayMs: delay.default(5000),
    maxDelayMs: delay.default(24 * 3_600_000),
    /** Each delay is this many times the one before, up to maxDelayMs. 1..10, default 3. */
    factor: z.number().min(1).max(10).default(3),
    jitter,
  }),
]);

export interface RetryPolicy {
  /** Delay after the 1st, 2nd, … failed attempt, in milliseconds. */
  readonly scheduleMs: readonly number[];
  readonly jitter: number;
}

export const standardRetryPolicy: RetryPolicy = { scheduleMs: standardScheduleMs, jitter: 0.2 };

/** Both ways of writing a policy come down to a list of delays. */
export function compileRetryPolicy(written: z.output<typeof retryShape>): RetryPolicy {
  if ('scheduleMs' in written) return written;
  const { minDelayMs, factor, jitter: share } = written;
  const scheduleMs = Array.from({ length: written.maxAttempts - 1 }, (_, retry) =>
    Math.min(written.maxDelayMs, Math.round(minDelayMs * factor ** retry)),
  );
  return { scheduleMs, jitter: share };
}

export interface FailedTry {
  /** Attempts made so far since the first, or since the last replay; 1 or more. */
  readonly attempts: number;
  /** What the receiver asked for with Retry-After, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** The receiver is overloaded or does not answer: the next attempt comes a minute later at the earliest. */
  readonly throttled: boolean;
  /** A uniform random number in 0..1. */
  readonly random: number;
}

/** Overloaded receivers get a rest (Svix waits as long after 429 and time-outs). */
const throttleMs = 60_000;

/**
 * The delay until the next attempt in milliseconds, or undefined when there is none. Retry-After moves it, but not
 * beyond the longest delay of the schedule: a receiver cannot put a delivery off for ever.
 */
export function nextDelayMs(policy: RetryPolicy, failed: FailedTry): number | undefined {
  const planned = policy.scheduleMs[failed.attempts - 1];
  if (planned === undefined) return undefined;
  const jittered = planned * (1 + policy.jitter * (2 * failed.random - 1));
  const longest = Math.max(...policy.scheduleMs);
  const asked = Math.min(failed.retryAfterMs ?? 0, longest);
  const rest = failed.throttled ? Math.min(throttleMs, longest) : 0;
  return Math.round(Math.max(jittered, asked, rest));
}
