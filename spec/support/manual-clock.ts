// A clock that moves when a test says so. Wall clock and monotonic clock move together.
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../src/shared/clock';

export class ManualClock implements Clock {
  #nowMs: number;
  readonly #startMs: number;
  readonly #tasks = new Set<{ readonly dueMs: number; readonly run: () => void }>();

  constructor(startMs = Date.UTC(2030, 0, 1)) {
    this.#nowMs = startMs;
    this.#startMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs - this.#startMs;
  }

  schedule(delayMs: number, run: () => void): () => void {
    const task = { dueMs: this.#nowMs + delayMs, run };
    this.#tasks.add(task);
    return () => this.#tasks.delete(task);
  }

  randomBytes(size: number): Buffer {
    return randomBytes(size);
  }

  /** Moves the time and runs what is due by then. */
  advance(byMs: number): void {
    this.#nowMs += byMs;
    for (const task of [...this.#tasks].filter(({ dueMs }) => dueMs <= this.#nowMs)) {
      this.#tasks.delete(task);
      task.run();
    }
  }
}
