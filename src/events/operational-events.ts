// Events about the deliveries themselves, for subscriptions that name them. Told at best effort: a node that dies between
// what happened and its event tells nothing.
import type { Clock } from '../shared/clock';
import type { JsonObject } from '../shared/json';
import type { Logger } from '../shared/logger';
import type { AttemptEnded, DeliveryIntake } from './dispatching';
import type { EndpointKey, NewDelivery } from './delivery';
import type { OperationalEventType } from './event-types';
import type { OperationalEvent } from './subscription-matcher';
import { subscriptionKey } from './subscription-record';
import type { PauseReason, SubscriptionView } from './subscriptions';

export interface OperationalEventsParts {
  readonly matcher: { ofOperational(event: OperationalEvent): readonly NewDelivery[] };
  readonly intake: DeliveryIntake;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class OperationalEvents {
  readonly #parts: OperationalEventsParts;
  readonly #underWay = new Set<Promise<void>>();

  constructor(parts: OperationalEventsParts) {
    this.#parts = parts;
  }

  failing({ objectId, name, health }: SubscriptionView): void {
    this.#tell('subscription.failing', subscriptionKey(objectId), {
      subscription: { objectId, name },
      consecutiveFailures: health.consecutiveFailures,
      ...isoField('failingSince', health.failingSince),
      ...(health.lastError !== undefined && { lastError: health.lastError }),
    });
  }

  paused({ objectId, name, health }: SubscriptionView, reason: PauseReason): void {
    this.#tell('subscription.paused', subscriptionKey(objectId), {
      subscription: { objectId, name },
      reason,
      consecutiveFailures: health.consecutiveFailures,
      ...isoField('failingSince', health.failingSince),
      ...(health.lastError !== undefined && { lastError: health.lastError }),
    });
  }

  exhausted({ endpoint, delivery }: AttemptEnded): void {
    const { id, webhookId, type, className, objectId, attemptCount, lastStatus, lastError } = delivery;
    this.#tell('delivery.exhausted', endpoint.key, {
      endpoint: endpoint.key,
      label: endpoint.label,
      delivery: {
        objectId: id,
        webhookId,
        type,
        attemptCount,
        ...(lastStatus !== undefined && { lastStatus }),
        ...(lastError !== undefined && { lastError }),
      },
      ...(className !== undefined && { className }),
      ...(objectId !== undefined && { objectId }),
    });
  }

  /** Resolves when all that was told is stored, or has failed and was logged. */
  async drained(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  #tell(type: OperationalEventType, about: EndpointKey, data: JsonObject): void {
    const { matcher, intake, clock, logger } = this.#parts;
    const deliveries = matcher.ofOperational({ type, about, data, at: clock.now() });
    if (deliveries.length === 0) return;
    const added = intake
      .add(deliveries)
      .catch((error: unknown) => logger.error(`webhooks: ${type} of ${about} is not told: ${String(error)}`))
      .finally(() => this.#underWay.delete(added));
    this.#underWay.add(added);
  }
}

function isoField(name: string, at: number | undefined): JsonObject {
  return at === undefined ? {} : { [name]: new Date(at).toISOString() };
}
