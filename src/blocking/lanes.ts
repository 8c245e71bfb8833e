// The lanes of all hooks on this node, one per hook and URL: a hook that moves to another receiver starts afresh.
import { Lane, type Finding, type LaneEvent, type LaneOptions, type LaneState } from '../http/lane';
import type { InstalledHook } from '../hooks/installed-hook';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';

export interface LanesParts<R> {
  readonly options: Omit<LaneOptions, 'maxInFlight'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly judge: (result: R) => Finding;
}

/** Calls made before a hook moved end at its former URL: its lane and the new one live side by side. */
const maxLanesPerHook = 2;

export class Lanes<R> {
  readonly #parts: LanesParts<R>;
  readonly #byHook = new Map<string, Map<string, Lane<R>>>();

  constructor(parts: LanesParts<R>) {
    this.#parts = parts;
  }

  /** The lane of a hook, made at its first call. */
  of(hook: InstalledHook): Lane<R> {
    const { url } = hook.hook;
    const { maxInFlight } = hook.settings;
    let byUrl = this.#byHook.get(hook.key);
    if (!byUrl) this.#byHook.set(hook.key, (byUrl = new Map<string, Lane<R>>()));
    const known = byUrl.get(url);
    if (known) {
      known.resize(maxInFlight);
      return known;
    }
    const { options, clock, judge } = this.#parts;
    const lane: Lane<R> = new Lane<R>({
      options: { ...options, maxInFlight },
      clock,
      judge,
      onEvent: event => {
        // What becomes of calls to a receiver that is no longer the hook's would be read as news of the one that is.
        if (this.#byHook.get(hook.key)?.get(url) === lane) this.#tell(hook, event);
      },
    });
    byUrl.set(url, lane);
    const [oldest] = byUrl.keys();
    if (byUrl.size > maxLanesPerHook && oldest !== undefined) byUrl.delete(oldest);
    return lane;
  }

  /** What is known of a hook's receiver on this node. */
  stateOf(hook: InstalledHook): { readonly breaker: LaneState; readonly inFlight: number } {
    const lane = this.#byHook.get(hook.key)?.get(hook.hook.url);
    return lane ? { breaker: lane.state, inFlight: lane.inFlight } : { breaker: 'closed', inFlight: 0 };
  }

  /** Drops the lanes of hooks that are no longer registered. */
  keepOnly(keys: ReadonlySet<string>): void {
    for (const key of this.#byHook.keys()) if (!keys.has(key)) this.#byHook.delete(key);
  }

  #tell({ label }: InstalledHook, event: LaneEvent): void {
    const { logger } = this.#parts;
    const effect = 'calls are answered by its failurePolicy';
    switch (event) {
      case 'open':
        logger.warn(`webhook ${label}: breaker is open, ${effect}`);
        break;
      case 'closed':
        logger.info(`webhook ${label}: breaker is closed, the receiver answers again`);
        break;
      case 'busy':
        logger.warn(`webhook ${label}: too many calls are in flight, ${effect}`);
        break;
    }
  }
}
