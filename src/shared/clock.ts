// Time and randomness. The only file that touches Date.now, timers and random bytes, so that tests can replace them.
import { randomBytes } from 'node:crypto';

export interface Clock {
  /** Milliseconds since 1970, wall clock: for what is stored or shown. */
  now(): number;
  /** Milliseconds of a clock that never steps: for durations and deadlines. */
  monotonicMs(): number;
  /** Runs `task` once after `delayMs`; the answer cancels it. The timer does not keep the process alive. */
  schedule(delayMs: number, task: () => void): () => void;
  /** `size` random bytes, fit for keys. */
  randomBytes(size: number): Buffer;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  schedule: (delayMs, task) => {
    const timer = setTimeout(task, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
  randomBytes: size => randomBytes(size),
};
