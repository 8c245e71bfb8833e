// `after*` hooks until deliveries are durable: sent in the background, at most once, failures logged.
import type { InstalledHook } from '../hooks/installed-hook';
import type { Logger } from '../shared/logger';
import { failureMessage } from './failure-message';
import { tryPrepare, type HookCall, type HookCaller } from './hook-caller';

/** Notifications waiting or under way on this node; beyond it new ones are dropped with a log line, not memory. */
const maxPending = 10_000;
const maxConcurrent = 64;

interface Waiting {
  readonly hook: InstalledHook;
  readonly call: HookCall;
}

export class Notifier {
  readonly #caller: HookCaller;
  readonly #logger: Logger;
  readonly #waiting: Waiting[] = [];
  #running = 0;
  #dropped = 0;
  #idle: (() => void)[] = [];

  constructor(caller: HookCaller, logger: Logger) {
    this.#caller = caller;
    this.#logger = logger;
  }

  /** Takes a notification; the caller goes on at once. `prepare` runs now: the object may change afterwards. */
  send(hook: InstalledHook, prepare: () => HookCall): void {
    const prepared = tryPrepare(prepare);
    if (prepared.kind === 'unprepared') {
      this.#logger.warn(`${failureMessage(hook.label, 'request')} (${prepared.failure.detail})`);
      return;
    }
    const { call } = prepared;
    if (!this.#caller.concerns(hook, call)) return;
    if (this.#waiting.length + this.#running >= maxPending) {
      if (this.#dropped++ % 1000 === 0) {
        this.#logger.error(
          `webhook ${hook.label}: more than ${maxPending} notifications wait; dropped ${this.#dropped} so far`,
        );
      }
      return;
    }
    this.#waiting.push({ hook, call });
    setImmediate(() => this.#fill());
  }

  /** Resolves when nothing waits or runs. */
  async drained(): Promise<void> {
    if (this.#running === 0 && this.#waiting.length === 0) return;
    await new Promise<void>(resolve => this.#idle.push(resolve));
  }

  #fill(): void {
    while (this.#running < maxConcurrent) {
      const next = this.#waiting.shift();
      if (!next) break;
      this.#running += 1;
      void this.#caller.notify(next.hook, next.call).finally(() => {
        this.#running -= 1;
        this.#fill();
      });
    }
    if (this.#running === 0 && this.#waiting.length === 0)
      for (const resolve of this.#idle.splice(0)) resolve();
  }
}
