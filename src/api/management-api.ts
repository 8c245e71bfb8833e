// Everything under /webhooks below the Parse mount path: master key in, JSON out.
import { Router, type RequestHandler } from 'express';
import type { JsonObject } from '../shared/json';
import type { Logger } from '../shared/logger';
import { readBody } from './api-parameters';
import { deliveryOperations } from './delivery-operations';
import { createDeliveryRoutes, type DeliveryRoutesParts } from './delivery-routes';
import { eventOperations } from './event-operations';
import { createEventRoutes, type EventRoutesParts } from './event-routes';
import { hookOperations } from './hook-operations';
import { createHookRoutes, type HookRoutesParts } from './hook-routes';
import { answerError, createInternalErrorAnswer, notFound, requireMasterKey } from './http-errors';
import { describeApi, describeSelf } from './openapi';
import { mountOperation, type Operation } from './operation';
import { rotateServerKey, serverOperations, type RotatableKey } from './server-operations';
import { createKeyRoutes, createStatusRoutes, type ServerRoutesParts } from './server-routes';
import { statsOperations } from './stats-operations';
import { createStatsRoutes } from './stats-routes';
import { subscriptionOperations } from './subscription-operations';
import { createSubscriptionRoutes, type SubscriptionRoutesParts } from './subscription-routes';

/** Subscriptions, deliveries and custom events. */
export interface EventsApiParts extends SubscriptionRoutesParts, DeliveryRoutesParts, EventRoutesParts {}

export interface ManagementApiParts extends HookRoutesParts, ServerRoutesParts {
  /** Adds a key of the kind; `revokeOthers` drops those there were at once. */
  readonly rotateKey: (key: RotatableKey, how: { readonly revokeOthers: boolean }) => Promise<void>;
  readonly logger: Logger;
  /** Without them there are no routes of events. */
  readonly events?: EventsApiParts;
}

/** A handler that answers /webhooks/... and passes on everything else. */
export function createManagementApi(parts: ManagementApiParts): RequestHandler {
  const { events } = parts;
  const router = Router({ caseSensitive: true });
  router.use(
    '/webhooks',
    requireMasterKey,
    createHookRoutes(parts),
    createKeyRoutes(parts),
    createStatusRoutes(parts, requireMasterKey),
    createServerKeyRoutes(parts),
    ...(events ? createEventsApi(events) : []),
    createSelfDescription([
      ...hookOperations,
      ...serverOperations,
      ...(events
        ? [...subscriptionOperations, ...deliveryOperations, ...statsOperations, ...eventOperations]
        : []),
    ]),
    notFound,
    answerError,
    createInternalErrorAnswer(parts.logger, 'API'),
  );
  return router;
}

function createEventsApi(events: EventsApiParts): readonly RequestHandler[] {
  return [
    createSubscriptionRoutes(events),
    createDeliveryRoutes(events),
    createStatsRoutes(events),
    createEventRoutes(events),
  ];
}

function createServerKeyRoutes({ rotateKey }: Pick<ManagementApiParts, 'rotateKey'>): Router {
  const router = Router();
  mountOperation(router, rotateServerKey, async request => {
    const { key, revokeOthers } = readBody(rotateServerKey.body, request);
    await rotateKey(key, { revokeOthers });
    return { status: 201, body: {} };
  });
  return router;
}

function createSelfDescription(operations: readonly Operation[]): Router {
  let document: JsonObject | undefined;
  const router = Router();
  mountOperation(router, describeSelf, async () => {
    document ??= describeApi([...operations, describeSelf]);
    return { body: document };
  });
  return router;
}
