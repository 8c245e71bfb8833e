// Subscriptions: how they are made, seen, changed, paused and tried out.
import { Router } from 'express';
import { WebhookError } from '../errors';
import type { DeliveryIntake } from '../events/dispatching';
import type {
  CreatedSubscription,
  SubscriptionHealth,
  SubscriptionMatcher,
  Subscriptions,
  SubscriptionView,
} from '../events/subscriptions';
import type { Clock } from '../shared/clock';
import type { JsonObject } from '../shared/json';
import { jsonBody, readBody, readPathText, readQuery } from './api-parameters';
import { cutList } from './list-page';
import { mountOperation, toIso } from './operation';
import * as operations from './subscription-operations';

export interface SubscriptionRoutesParts {
  readonly subscriptions: Subscriptions;
  readonly matcher: Pick<SubscriptionMatcher, 'ofTest'>;
  readonly intake: DeliveryIntake;
  readonly clock: Pick<Clock, 'now'>;
}

export function createSubscriptionRoutes(parts: SubscriptionRoutesParts): Router {
  const { subscriptions, matcher, intake, clock } = parts;
  const router = Router();

  mountOperation(router, operations.listSubscriptions, async request => {
    const page = readQuery(operations.listSubscriptions.query, request);
    await subscriptions.refresh();
    await subscriptions.refreshHealth();
    const entries = subscriptions
      .list()
      .map(view => ({ place: `${view.createdAt}/${view.objectId}`, show: () => showSubscription(view) }));
    return { body: cutList(entries, page) };
  });

  mountOperation(router, operations.createSubscription, async request => {
    const created = await subscriptions.create(jsonBody(request));
    return { status: 201, body: showWithSecret(created) };
  });

  mountOperation(router, operations.getSubscription, async request => {
    const objectId = readPathText(request, 'objectId');
    await subscriptions.refresh();
    await subscriptions.refreshHealth(objectId);
    const view = subscriptions.find(objectId);
    if (!view) throw subscriptionNotFound(objectId);
    return { body: showSubscription(view) };
  });

  for (const operation of [operations.replaceSubscription, operations.updateSubscription]) {
    mountOperation(router, operation, async request => {
      const objectId = readPathText(request, 'objectId');
      return { body: showSubscription(await subscriptions.update(objectId, jsonBody(request))) };
    });
  }

  mountOperation(router, operations.deleteSubscription, async request => {
    await subscriptions.remove(readPathText(request, 'objectId'));
    return { body: {} };
  });

  mountOperation(router, operations.pauseSubscription, async request => {
    const view = await subscriptions.pause(readPathText(request, 'objectId'), 'operator');
    return { body: showSubscription(view) };
  });

  mountOperation(router, operations.resumeSubscription, async request => {
    return { body: showSubscription(await subscriptions.resume(readPathText(request, 'objectId'))) };
  });

  mountOperation(router, operations.rotateSubscriptionSecret, async request => {
    const change = readBody(operations.rotateSubscriptionSecret.body, request);
    const rotated = await subscriptions.rotateSecret(readPathText(request, 'objectId'), change);
    return { status: 201, body: showWithSecret(rotated) };
  });

  mountOperation(router, operations.testSubscription, async request => {
    const objectId = readPathText(request, 'objectId');
    await subscriptions.refresh();
    const delivery = matcher.ofTest(objectId, clock.now());
    if (!delivery) throw subscriptionNotFound(objectId);
    await intake.add([delivery]);
    return { status: 201, body: { objectId: delivery.id, webhookId: delivery.webhookId } };
  });
  return router;
}

function subscriptionNotFound(objectId: string): WebhookError {
  return new WebhookError('SUBSCRIPTION_NOT_FOUND', `no subscription with objectId ${objectId}`);
}

function showWithSecret({ view, secret }: CreatedSubscription): JsonObject {
  return { ...showSubscription(view), secret };
}

function showSubscription(view: SubscriptionView): JsonObject {
  const { objectId, name, fields, health, createdAt, updatedAt, broken, oldSecretsExpireAt } = view;
  return {
    ...fields,
    objectId,
    createdAt,
    updatedAt,
    name,
    health: showHealth(health),
    oldSecretsExpireAt: oldSecretsExpireAt.map(toIso),
    ...(broken !== undefined && { broken }),
  };
}

function showHealth(health: SubscriptionHealth): JsonObject {
  const { state, consecutiveFailures, lastError, pauseReason } = health;
  const { lastSuccessAt, lastFailureAt, failingSince, pausedAt } = health;
  return {
    state,
    consecutiveFailures,
    ...(lastSuccessAt !== undefined && { lastSuccessAt: toIso(lastSuccessAt) }),
    ...(lastFailureAt !== undefined && { lastFailureAt: toIso(lastFailureAt) }),
    ...(lastError !== undefined && { lastError }),
    ...(failingSince !== undefined && { failingSince: toIso(failingSince) }),
    ...(pausedAt !== undefined && { pausedAt: toIso(pausedAt) }),
    ...(pauseReason !== undefined && { pauseReason }),
  };
}
