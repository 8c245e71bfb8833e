// The lanes of all hooks on this node, one per hook and origin: a hook that moves to another receiver starts afresh.
import { Lane, type LaneOptions, type LaneState } from '../http/lane';
import type { InstalledHook } from '../hooks/installed-hook';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';

export interface LanesParts<R> {
  readonly options: Omit<LaneOptions, 'maxInFlight'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly isFailure: (result: R) => boolean;
}

interface OwnedLane<R> {
  readonly origin: string;
  readonly maxInFlight: number;
  readonly lane: Lane<R>;
}

export class Lanes<R> {
  readonly #parts: LanesParts<R>;
  readonly #byHook = new Map<string, OwnedLane<R>>();

  constructor(parts: LanesParts<R>) {
    this.#parts = parts;
  }

  /** The lane of a hook, made at its first call. */
  of(hook: InstalledHook): Lane<R> {
    const known = this.#byHook.get(hook.key);
    const { maxInFlight } = hook.settings;
    if (known?.origin === hook.origin && known.maxInFlight === maxInFlight) return known.lane;
    const { options, clock, logger, isFailure } = this.#parts;
    const lane = new Lane<R>({
      options: { ...options, maxInFlight },
      clock,
      isFailure,
      onStateChange: state => logger.warn(`webhook ${hook.label}: breaker is ${state}`),
    });
    this.#byHook.set(hook.key, { origin: hook.origin, maxInFlight, lane });
    return lane;
  }

  /** What is known of a hook's receiver on this node. */
  stateOf(hook: InstalledHook): { readonly breaker: LaneState; readonly inFlight: number } {
    const known = this.#byHook.get(hook.key);
    if (known?.origin !== hook.origin) return { breaker: 'closed', inFlight: 0 };
    return { breaker: known.lane.state, inFlight: known.lane.inFlight };
  }

  /** Drops the lanes of hooks that are no longer registered. */
  keepOnly(keys: ReadonlySet<string>): void {
    for (const key of this.#byHook.keys()) if (!keys.has(key)) this.#byHook.delete(key);
  }
}
