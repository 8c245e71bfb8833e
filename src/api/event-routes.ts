// Custom events, published by an operator or another service.
import { Router } from 'express';
import type { EventPublisher } from '../events/event-publisher';
import { readBody, readHeaders } from './api-parameters';
import { publishEvent } from './event-operations';
import { mountOperation } from './operation';

export interface EventRoutesParts {
  readonly publisher: Pick<EventPublisher, 'publish'>;
}

export function createEventRoutes({ publisher }: EventRoutesParts): Router {
  const router = Router();
  mountOperation(router, publishEvent, async request => {
    const { 'idempotency-key': idempotencyKey } = readHeaders(publishEvent.headers, request);
    const { type, data } = readBody(publishEvent.body, request);
    const { eventId, deliveries, repeated } = await publisher.publish(type, data, {
      ...(idempotencyKey !== undefined && { idempotencyKey }),
    });
    return { status: repeated ? 200 : 201, body: { eventId, deliveries } };
  });
  return router;
}
