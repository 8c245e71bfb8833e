// Watches how subscriptions fare: gathers attempts in memory, writes them once a second, pauses what fails for too long.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { AttemptEnded, AttemptObserver } from './dispatching';
import type { Endpoints } from './endpoint';
import { isOperationalEventType } from './event-types';
import type { OperationalEvents } from './operational-events';
import type { Paused } from './subscription-registry';
import type { HealthChange, StoredHealth, SubscriptionStore } from './subscription-store';
import type { PauseReason, SubscriptionView } from './subscriptions';

export interface HealthRecorderOptions {
  /** Pauses a subscription that has failed for so long without one success, in milliseconds; 0: never. Default 5 days. */
  readonly pauseAfterMs: number;
  /** Pauses a subscription after so many failed attempts in a row; 0: never. Default 0. */
  readonly pauseAfterFailures: number;
  /** How often what was gathered is written, in milliseconds. Default 1000. */
  readonly flushMs: number;
}

export const healthRecorderDefaults: HealthRecorderOptions = {
  pauseAfterMs: 5 * 24 * 3_600_000,
  pauseAfterFailures: 0,
  flushMs: 1000,
};

/** `subscription.failing` is told when this share of the way to the pause is behind. */
const warnAfterShareOfTime = 1 / 5;
const warnAfterShareOfFailures = 1 / 2;

/** A success of a healthy subscription changes nothing but a date: 10,000 busy ones then cost 1000 updates a second. */
const idleWriteMs = 10_000;

/** Updates under way at once: Parse Server needs its connections for requests. */
const maxWrites = 4;

const subscriptionPrefix = 'subscription/';

export interface HealthRecorderParts {
  readonly registry: {
    find(objectId: string): SubscriptionView | undefined;
    useHealth(objectId: string, health: StoredHealth): void;
    pause(objectId: string, reason: PauseReason, url?: string): Promise<unknown>;
    readonly endpoints: Pick<Endpoints, 'find'>;
    onPaused(listener: (paused: Paused) => void): void;
  };
  readonly store: Pick<SubscriptionStore, 'recordHealth' | 'claimWarning'>;
  readonly operational: Pick<OperationalEvents, 'failing' | 'paused' | 'exhausted'>;
  /** Hears of attempts of endpoints that are no subscriptions: `after*` hooks. */
  readonly onHookAttempt: (ended: AttemptEnded) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly options?: Partial<HealthRecorderOptions>;
}

interface Gathered {
  change: HealthChange;
  /** An attempt of another than an operational event failed: only then is the failing told, so that it feeds no loop. */
  isTold: boolean;
}

interface PauseRequest {
  readonly isTold: boolean;
  /** Of the receiver that asked for it: on another node the subscription may have moved already. */
  readonly url?: string;
}

export class HealthRecorder implements AttemptObserver {
  readonly #parts: HealthRecorderParts;
  readonly #options: HealthRecorderOptions;
  #gathered = new Map<string, Gathered>();
  /** Subscriptions whose pause is under way because of an operational event: nobody is told. */
  readonly #untold = new Set<string>();
  readonly #pausing = new Map<string, Promise<void>>();
  #cancelTimer: (() => void) | undefined;
  #lastFlush: Promise<void> = Promise.resolve();
  #isOver = false;

  constructor(parts: HealthRecorderParts) {
    this.#parts = parts;
    this.#options = { ...healthRecorderDefaults, ...parts.options };
    parts.registry.onPaused(({ view, reason }) => {
      parts.logger.warn(`webhooks: subscription ${view.name} is paused: ${reason}`);
      if (!this.#untold.has(view.objectId)) parts.operational.paused(view, reason);
    });
  }

  attemptEnded(ended: AttemptEnded): void {
    const { endpoint, delivery, attempt, outcome, state } = ended;
    const isOperational = isOperationalEventType(delivery.type);
    if (state === 'exhausted' && !isOperational) this.#parts.operational.exhausted(ended);
    if (!endpoint.key.startsWith(subscriptionPrefix)) {
      // Nobody is told otherwise: failures before the last one are in the log of deliveries only.
      if (state === 'exhausted') {
        const kind = outcome.kind === 'failed' ? outcome.error : outcome.kind;
        this.#parts.logger.warn(
          `${endpoint.label}: a delivery is given up after ${attempt.number} attempts: ${kind}`,
        );
      }
      this.#parts.onHookAttempt(ended);
      return;
    }
    // It has moved since the attempt began: what the former receiver answers says nothing of the new one.
    const { url = endpoint.url } = this.#parts.registry.endpoints.find(endpoint.key) ?? {};
    if (url !== endpoint.url) return;
    const objectId = endpoint.key.slice(subscriptionPrefix.length);
    const at = Math.round(attempt.startedAt + attempt.durationMs);
    switch (outcome.kind) {
      case 'succeeded':
        this.#gather(objectId, { change: { successAt: at, failures: undefined }, isTold: false });
        return;
      case 'failed': {
        const failures = { count: 1, firstAt: at, lastAt: at, error: outcome.error };
        this.#gather(objectId, { change: { successAt: undefined, failures }, isTold: !isOperational });
        if (outcome.pauses)
          this.#pause(objectId, attempt.status === 410 ? 'gone' : 'disabled', {
            isTold: !isOperational,
            url,
          });
        return;
      }
      case 'aborted':
        // The receiver is there and wants no more of one delivery: neither a success nor a failure.
        return;
      default:
        outcome satisfies never;
    }
  }

  /** Writes what was gathered. Never rejects: what cannot be written waits for the next time. */
  flush(): Promise<void> {
    this.#lastFlush = this.#lastFlush.then(() => this.#flush(true));
    return this.#lastFlush;
  }

  /** Writes what is left and ends what is under way; afterwards nothing more is written. */
  async stop(): Promise<void> {
    this.#isOver = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    await this.flush();
    await Promise.all(this.#pausing.values());
  }

  #gather(objectId: string, next: Gathered): void {
    const before = this.#gathered.get(objectId);
    this.#gathered.set(objectId, before ? merge(before, next) : next);
    this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#isOver || this.#cancelTimer) return;
    this.#cancelTimer = this.#parts.clock.schedule(this.#options.flushMs, () => {
      this.#lastFlush = this.#lastFlush
        .then(() => this.#flush(false))
        .finally(() => {
          this.#cancelTimer = undefined;
          if (this.#gathered.size > 0) this.#scheduleFlush();
        });
    });
  }

  async #flush(isAll: boolean): Promise<void> {
    const due = [...this.#gathered].filter(
      ([objectId, gathered]) => isAll || this.#isDue(objectId, gathered),
    );
    for (const [objectId] of due) this.#gathered.delete(objectId);
    let failure: string | undefined;
    const write = async (): Promise<void> => {
      for (let next = due.pop(); next; next = due.pop()) {
        const [objectId, gathered] = next;
        try {
          await this.#write(objectId, gathered);
        } catch (error) {
          failure = String(error);
          const since = this.#gathered.get(objectId);
          this.#gathered.set(objectId, since ? merge(gathered, since) : gathered);
        }
      }
    };
    await Promise.all(Array.from({ length: maxWrites }, write));
    if (failure !== undefined)
      this.#parts.logger.warn(`webhooks: the health of subscriptions is written later: ${failure}`);
  }

  #isDue(objectId: string, { change }: Gathered): boolean {
    const health = this.#parts.registry.find(objectId)?.health;
    if (change.failures || !health || health.consecutiveFailures > 0) return true;
    return (change.successAt ?? 0) - (health.lastSuccessAt ?? 0) >= idleWriteMs;
  }

  async #write(objectId: string, { change, isTold }: Gathered): Promise<void> {
    const { store, registry, operational } = this.#parts;
    const health = await store.recordHealth(objectId, change);
    if (!health) return;
    registry.useHealth(objectId, health);
    const view = registry.find(objectId);
    if (!view || view.health.state !== 'failing' || change.failures === undefined) return;
    const { pause, warn } = this.#judge(health);
    if (pause) this.#pause(objectId, 'failing', { isTold });
    else if (warn && isTold && (await store.claimWarning(objectId))) {
      this.#parts.logger.warn(
        `webhooks: subscription ${view.name} fails: ${health.consecutiveFailures} attempts in a row, ${String(health.lastError)}`,
      );
      operational.failing(view);
    }
  }

  #judge({ consecutiveFailures, failingSince }: StoredHealth): {
    readonly pause: boolean;
    readonly warn: boolean;
  } {
    const { pauseAfterMs, pauseAfterFailures } = this.#options;
    const failingMs = failingSince === undefined ? 0 : this.#parts.clock.now() - failingSince;
    const isBeyond = (timeShare: number, failureShare: number): boolean =>
      (pauseAfterMs > 0 && failingMs >= pauseAfterMs * timeShare) ||
      (pauseAfterFailures > 0 && consecutiveFailures >= pauseAfterFailures * failureShare);
    return { pause: isBeyond(1, 1), warn: isBeyond(warnAfterShareOfTime, warnAfterShareOfFailures) };
  }

  #pause(objectId: string, reason: PauseReason, { isTold, url }: PauseRequest): void {
    if (this.#pausing.has(objectId)) return;
    if (!isTold) this.#untold.add(objectId);
    const paused = this.#parts.registry
      .pause(objectId, reason, url)
      .then(
        () => undefined,
        // The next failure tries again.
        (error: unknown) =>
          this.#parts.logger.warn(`webhooks: subscription ${objectId} is not paused: ${String(error)}`),
      )
      .finally(() => {
        this.#pausing.delete(objectId);
        this.#untold.delete(objectId);
      });
    this.#pausing.set(objectId, paused);
  }
}

/** What a later change leaves of an earlier one: a success forgets the failures before it. */
function merge(earlier: Gathered, later: Gathered): Gathered {
  const [before, after] = [earlier.change, later.change];
  if (after.successAt !== undefined) return later;
  if (!before.failures || !after.failures)
    return {
      change: { ...before, failures: after.failures ?? before.failures },
      isTold: later.isTold || earlier.isTold,
    };
  const failures = {
    count: before.failures.count + after.failures.count,
    firstAt: before.failures.firstAt,
    lastAt: after.failures.lastAt,
    error: after.failures.error,
  };
  return { change: { successAt: before.successAt, failures }, isTold: earlier.isTold || later.isTold };
}
