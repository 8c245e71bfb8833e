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

/** Bytes for ids, drawn 4 KiB at a time: one draw of 16 costs 8 µs, and each byte is handed out once. Keys are drawn alone. */
const drawnBytes = 4096;
const maxPooledBytes = 16;
let drawn = Buffer.alloc(0);

function drawBytes(size: number): Buffer {
  if (size > maxPooledBytes) return randomBytes(size);
  if (drawn.length < size) drawn = randomBytes(drawnBytes);
  const bytes = drawn.subarray(0, size);
  drawn = drawn.subarray(size);
  return bytes;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  schedule: (delayMs, task) => {
    const timer = setTimeout(task, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
  randomBytes: drawBytes,
};
