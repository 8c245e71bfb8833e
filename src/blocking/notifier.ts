// `after*` hooks until deliveries are durable: sent in the background, at most once, failures logged.
import type { HookHealth, InstalledHook } from '../hooks/installed-hook';
import type { Logger } from '../shared/logger';
import { failureMessage } from './failure-message';
import { tryPrepare, type HookCall, type HookCaller } from './hook-caller';

/** Notifications waiting or under way on this node; beyond it some are dropped with a log line, not memory. */
export const maxPending = 10_000;
/** Of one hook under way at once, or its maxInFlight if that is less: each hook's own, so that none waits for others. */
export const maxConcurrent = 64;

export interface NotifierParts {
  readonly caller: Pick<HookCaller, 'concerns' | 'notify'>;
  readonly logger: Logger;
  /** The hook in force under a key. */
  readonly find: (hookKey: string) => InstalledHook | undefined;
}

/** Holds no hook: it may wait for hours, and what is in force when its turn comes says where it goes and who signs it. */
interface Waiting {
  readonly registration: Registration;
  readonly call: HookCall;
}

/** What a hook keeps through every change, and another of its name has not. */
interface Registration {
  readonly createdAt: string | undefined;
  /** Begun anew when this node saw the hook go and come back, be it within the millisecond of `createdAt`. */
  readonly health: HookHealth;
}

/** The notifications of one hook, oldest first. */
interface Backlog {
  readonly label: string;
  readonly waiting: Waiting[];
  running: number;
}

export class Notifier {
  readonly #parts: NotifierParts;
  readonly #backlogs = new Map<string, Backlog>();
  #pending = 0;
  #dropped = 0;
  #closed = false;
  #idle: (() => void)[] = [];

  constructor(parts: NotifierParts) {
    this.#parts = parts;
  }

  /**
   * Takes a notification; the caller goes on at once. `prepare` runs now: the object may change afterwards. It is sent by
   * the hook as it is when its turn comes, and dropped when that one is gone, inactive or another of its name.
   */
  send(hook: InstalledHook, prepare: () => HookCall): void {
    if (this.#closed) return;
    const { caller, logger } = this.#parts;
    const prepared = tryPrepare(prepare);
    if (prepared.kind === 'unprepared') {
      logger.warn(`${failureMessage(hook.label, 'request')} (${prepared.failure.detail})`);
      return;
    }
    const { call } = prepared;
    if (!caller.concerns(hook, call)) return;
    let backlog = this.#backlogs.get(hook.key);
    if (!backlog) this.#backlogs.set(hook.key, (backlog = { label: hook.label, waiting: [], running: 0 }));
    const isTaken = this.#pending < maxPending || this.#makeRoom(backlog);
    if (!isTaken) this.#countDropped(backlog);
    else {
      this.#pending += 1;
      backlog.waiting.push({ registration: { createdAt: hook.createdAt, health: hook.health }, call });
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
      this.#parts.logger.warn(
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
    if (longest === own || !longest.waiting.pop()) return false;
    this.#pending -= 1;
    this.#countDropped(longest);
    return true;
  }

  #countDropped({ label }: Backlog): void {
    if (this.#dropped++ % 1000 === 0) {
      this.#parts.logger.error(
        `webhook ${label}: more than ${maxPending} notifications wait; dropped ${this.#dropped} so far`,
      );
    }
  }

  #fill(key: string, backlog: Backlog): void {
    const { caller, find } = this.#parts;
    const hook = find(key);
    const isFull = (): boolean =>
      hook !== undefined && backlog.running >= Math.min(maxConcurrent, hook.settings.maxInFlight);
    let dropped = 0;
    for (let next = backlog.waiting[0]; next; next = backlog.waiting[0]) {
      const isMeant = hook !== undefined && isInForce(hook, next.registration);
      if (isMeant && isFull()) break;
      backlog.waiting.shift();
      if (!isMeant || !caller.concerns(hook, next.call)) {
        this.#pending -= 1;
        if (!isMeant) dropped += 1;
        continue;
      }
      backlog.running += 1;
      void caller.notify(hook, next.call).finally(() => {
        backlog.running -= 1;
        this.#pending -= 1;
        this.#fill(key, backlog);
      });
    }
    if (dropped > 0) this.#tellStale(backlog, hook, dropped);
    if (backlog.running === 0 && this.#backlogs.get(key) === backlog) this.#backlogs.delete(key);
    this.#tellIdle();
  }

  /** All that a change of the hook made stale go in the same turn: one log line. */
  #tellStale({ label }: Backlog, hook: InstalledHook | undefined, dropped: number): void {
    let why = 'it is no longer registered';
    if (hook) why = hook.settings.active ? 'it was registered anew' : 'it is inactive';
    this.#parts.logger.warn(`webhook ${label}: dropped ${dropped} waiting notifications, ${why}`);
  }

  #tellIdle(): void {
    if (this.#pending > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

function isInForce(hook: InstalledHook, { createdAt, health }: Registration): boolean {
  return hook.settings.active && hook.createdAt === createdAt && hook.health === health;
}
