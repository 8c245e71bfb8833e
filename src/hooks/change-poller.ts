// Looks for changes of other nodes. One read by primary key per interval; a failing database is reported once.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { HookRegistry } from './registry';

export interface PollerParts {
  readonly registry: HookRegistry;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly intervalMs: number;
}

export class ChangePoller {
  readonly #parts: PollerParts;
  #cancel: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = true;
  #failing = false;

  constructor(parts: PollerParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#stopped = false;
    this.#scheduleNext();
  }

  /** Resolves when no look is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#running;
  }

  #scheduleNext(): void {
    if (this.#stopped) return;
    this.#cancel = this.#parts.clock.schedule(this.#parts.intervalMs, () => {
      this.#running = this.#look().finally(() => this.#scheduleNext());
    });
  }

  async #look(): Promise<void> {
    const { registry, logger } = this.#parts;
    try {
      await registry.refresh();
      if (this.#failing) logger.info('webhooks: changes of other nodes are read again');
      this.#failing = false;
    } catch (error) {
      // The hooks in force stay in force; the next look may succeed.
      if (!this.#failing) logger.warn(`webhooks: changes of other nodes cannot be read: ${String(error)}`);
      this.#failing = true;
    }
  }
}
