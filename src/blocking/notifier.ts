// `after*` hooks until deliveries are durable: sent in the background, at most once, failures logged.
import type { InstalledHook } from '../hooks/installed-hook';
import type { Logger } from '../shared/logger';
import { failureMessage } from './failure-message';
import { tryPrepare, type HookCall, type HookCaller } from './hook-caller';

/** Notifications waiting or under way on this node; beyond it some are dropped with a log line, not memory. */
export const maxPending = 10_000;
/** Of one hook under way at once, or its maxInFlight if that is less: each hook's own, so that none waits for others. */
export const maxConcurrent = 64;

interface Waiting {
  readonly hook: InstalledHook;
  readonly call: HookCall;
}

/** The notifications of one hook, oldest first. */
interface Backlog {
  readonly waiting: Waiting[];
  running: number;
}

export class Notifier {
  readonly #caller: Pick<HookCaller, 'concerns' | 'notify'>;
  readonly #logger: Logger;
  readonly #backlogs = new Map<string, Backlog>();
  #pending = 0;
  #dropped = 0;
  #closed = false;
  #idle: (() => void)[] = [];

  constructor(caller: Pick<HookCaller, 'concerns' | 'notify'>, logger: Logger) {
    this.#caller = caller;
    this.#logger = logger;
  }

  /** Takes a notification; the caller goes on at once. `prepare` runs now: the object may change afterwards. */
  send(hook: InstalledHook, prepare: () => HookCall): void {
    if (this.#closed) return;
    const prepared = tryPrepare(prepare);
    if (prepared.kind === 'unprepared') {
      this.#logger.warn(`${failureMessage(hook.label, 'request')} (${prepared.failure.detail})`);
      return;
    }
    const { call } = prepared;
    if (!this.#caller.concerns(hook, call)) return;
    let backlog = this.#backlogs.get(hook.key);
    if (!backlog) this.#backlogs.set(hook.key, (backlog = { waiting: [], running: 0 }));
    const isTaken = this.#pending < maxPending || this.#makeRoom(backlog);
    if (!isTaken) this.#countDropped(hook);
    else {
      this.#pending += 1;
      backlog.waiting.push({ hook, call });
    }
    setImmediate(() => this.#fill(hook.key, backlog));
  }

  /** Resolves when nothing waits or runs. */
  async drained(): Promise<void> {
    if (this.#pending === 0) return;
    await new Promise<void>(resolve => this.#idle.push(resolve));
  }

  /** Drops what waits, and what comes from now on. What is under way is left to the client's end. One log line. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    let dropped = 0;
    for (const { waiting } of this.#backlogs.values()) dropped += waiting.splice(0).length;
    this.#pending -= dropped;
    const cutOff = this.#pending;
    if (dropped + cutOff > 0) {
      this.#logger.warn(
        `webhooks stop: ${dropped} notifications were not sent, ${cutOff} under way are cut off`,
      );
    }
    this.#tellIdle();
  }

  /** When all places are taken, the hook that holds most of them gives one up: a hung receiver costs only its own. */
  #makeRoom(own: Backlog): boolean {
    let longest = own;
    for (const backlog of this.#backlogs.values()) {
      if (backlog.waiting.length > longest.waiting.length) longest = backlog;
    }
    // Its newest: what is left of it stays in order.
    const victim = longest === own ? undefined : longest.waiting.pop();
    if (!victim) return false;
    this.#pending -= 1;
    this.#countDropped(victim.hook);
    return true;
  }

  #countDropped({ label }: InstalledHook): void {
    if (this.#dropped++ % 1000 === 0) {
      this.#logger.error(
        `webhook ${label}: more than ${maxPending} notifications wait; dropped ${this.#dropped} so far`,
      );
    }
  }

  #fill(key: string, backlog: Backlog): void {
    for (let next = backlog.waiting[0]; next; next = backlog.waiting[0]) {
      if (backlog.running >= Math.min(maxConcurrent, next.hook.settings.maxInFlight)) return;
      backlog.waiting.shift();
      backlog.running += 1;
      void this.#caller.notify(next.hook, next.call).finally(() => {
        backlog.running -= 1;
        this.#pending -= 1;
        this.#fill(key, backlog);
      });
    }
    if (backlog.running === 0 && this.#backlogs.get(key) === backlog) this.#backlogs.delete(key);
    this.#tellIdle();
  }

  #tellIdle(): void {
    if (this.#pending > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
