// Looks for changes of other nodes and leaves word that this one lives. One read by primary key per interval; a failing
// database is reported once.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { HookStore } from './hook-store';

/** How often a node leaves word. Nodes silent for six times as long are not listed. */
export const announceMs = 10_000;

export interface PollerParts {
  /** What follows the changes: hooks, subscriptions. */
  readonly registries: readonly { refresh(): Promise<void> }[];
  readonly store: Pick<HookStore, 'announce'>;
  /** The name of this node. */
  readonly node: string;
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
  #announcedAt = -Infinity;

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
    const { registries, logger } = this.#parts;
    try {
      for (const registry of registries) await registry.refresh();
      await this.#announce();
      if (this.#failing) logger.info('webhooks: changes of other nodes are read again');
      this.#failing = false;
    } catch (error) {
      // The hooks in force stay in force; the next look may succeed.
      if (!this.#failing) logger.warn(`webhooks: changes of other nodes cannot be read: ${String(error)}`);
      this.#failing = true;
    }
  }

  async #announce(): Promise<void> {
    const { store, node, clock } = this.#parts;
    const at = clock.monotonicMs();
    if (at - this.#announcedAt < announceMs) return;
    await store.announce({ node, seenAt: clock.now() });
    this.#announcedAt = at;
  }
}
