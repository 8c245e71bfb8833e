// The health of a subscription as it is stored, read and shown.
import type { InstalledSubscription } from './installed-subscription';
import type { StoredHealth } from './subscription-store';
import type { PauseReason, SubscriptionHealth } from './subscriptions';

const pauseReasons: readonly PauseReason[] = ['operator', 'gone', 'disabled', 'failing'];

/** Why it gets no attempts; undefined when it does. A reason that this version does not know is an operator's. */
export function pauseReasonOf(
  { settings }: InstalledSubscription,
  { pausedAt, pauseReason }: StoredHealth,
): PauseReason | undefined {
  if (pausedAt === undefined && pauseReason === undefined) return settings.active ? undefined : 'operator';
  return pauseReasons.find(reason => reason === pauseReason) ?? 'operator';
}

export function showHealth(subscription: InstalledSubscription, stored: StoredHealth): SubscriptionHealth {
  const { consecutiveFailures, failingSince, lastSuccessAt, lastFailureAt, lastError, pausedAt } = stored;
  const pauseReason = pauseReasonOf(subscription, stored);
  const awake = consecutiveFailures > 0 ? 'failing' : 'healthy';
  return {
    state: pauseReason === undefined ? awake : 'paused',
    consecutiveFailures,
    lastSuccessAt,
    lastFailureAt,
    lastError,
    failingSince,
    pausedAt,
    pauseReason,
  };
}
