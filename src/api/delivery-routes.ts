// The log of deliveries, replay, and the removal of what they hold of one object.
import { Router, type Request } from 'express';
import type { z } from 'zod';
import { WebhookError } from '../errors';
import { deliveryStates, type Attempt, type DeliverySummary, type EndpointKey } from '../events/delivery';
import type { DeliveryFilter, DeliveryStore } from '../events/delivery-store';
import { hookKey, parseHookKey } from '../hooks/hook';
import type { Clock } from '../shared/clock';
import type { JsonObject } from '../shared/json';
import { depthHeader } from '../wire/request-headers';
import { invalidRequest, readBody, readPathText, readQuery } from './api-parameters';
import {
  expungePayloads,
  getDelivery,
  listDeliveries,
  replayDeliveries,
  replayDelivery,
  type endpointParameters,
  type filterParameters,
} from './delivery-operations';
import { mountOperation, toIso } from './operation';

export interface DeliveryRoutesParts {
  readonly deliveries: DeliveryStore;
  readonly clock: Pick<Clock, 'now'>;
  /** Removes what the store, and the memory of this node, hold of an object. Answers how many deliveries were about it. */
  readonly expunge: (className: string, objectId: string) => Promise<number>;
  /** Deliveries are due that nobody was handed. */
  readonly wake: () => void;
}

type GivenFilter = z.output<z.ZodObject<typeof filterParameters>>;

const finishedStates = deliveryStates.filter(state => state !== 'pending');
/** Of one delivery there is nothing to spread. */
const atOnce = 1000;

export function createDeliveryRoutes({ deliveries, expunge, clock, wake }: DeliveryRoutesParts): Router {
  const router = Router();

  const find = async (request: Request) => {
    const id = readPathText(request, 'objectId');
    const found = await deliveries.get(id);
    if (found) return found;
    throw new WebhookError('DELIVERY_NOT_FOUND', `no delivery with objectId ${id}`);
  };

  mountOperation(router, listDeliveries, async request => {
    const { limit, cursor, ...filter } = readQuery(listDeliveries.query, request);
    const page = await deliveries.list(toFilter(filter), { limit, ...(cursor !== undefined && { cursor }) });
    return {
      body: {
        results: page.deliveries.map(showDelivery),
        ...(page.next !== undefined && { next: page.next }),
      },
    };
  });

  mountOperation(router, getDelivery, async request => {
    const { delivery, attempts } = await find(request);
    return {
      body: {
        ...showDelivery(delivery),
        request: {
          headers: {
            'content-type': 'application/json',
            'webhook-id': delivery.webhookId,
            [depthHeader]: String(delivery.depth),
          },
          body: delivery.body,
        },
        attempts: attempts.map(showAttempt),
      },
    };
  });

  mountOperation(router, replayDeliveries, async request => {
    const { all, dryRun, perSecond, ...given } = readBody(replayDeliveries.body, request);
    if (Object.keys(given).length === 0 && !all) {
      throw invalidRequest('a replay needs a filter, or "all": true');
    }
    if (given.state?.includes('pending'))
      throw invalidRequest('state must not name pending: it is on its way');
    const filter = { ...toFilter(given), states: given.state ?? finishedStates };
    if (dryRun) {
      return { body: { count: await deliveries.countReplayable(filter), dryRun: true } };
    }
    const count = await deliveries.replay(filter, { dueAt: clock.now(), perSecond });
    if (count > 0) wake();
    return { status: 201, body: { count } };
  });

  mountOperation(router, replayDelivery, async request => {
    const id = readPathText(request, 'objectId');
    const count = await deliveries.replay({ id }, { dueAt: clock.now(), perSecond: atOnce });
    const { delivery } = await find(request);
    if (count === 0) {
      const reason =
        delivery.state === 'pending' ? 'is pending already' : 'was expunged: nothing is left to send';
      throw invalidRequest(`delivery ${id} ${reason}`);
    }
    wake();
    return { status: 201, body: showDelivery(delivery) };
  });

  mountOperation(router, expungePayloads, async request => {
    const className = readPathText(request, 'className');
    const objectId = readPathText(request, 'objectId');
    return { body: { count: await expunge(className, objectId) } };
  });
  return router;
}

/** Throws INVALID_REQUEST when both are given. */
export function toEndpointKey({
  subscription,
  hook,
}: z.output<z.ZodObject<typeof endpointParameters>>): EndpointKey | undefined {
  if (subscription !== undefined && hook !== undefined) {
    throw invalidRequest('subscription and hook cannot both be given');
  }
  if (subscription !== undefined) return `subscription/${subscription}`;
  const [triggerName, className] = hook?.split('/') ?? [];
  if (triggerName === undefined || className === undefined) return undefined;
  return `hook/${hookKey({ kind: 'trigger', className, triggerName })}`;
}

function toFilter({ subscription, hook, state, ...others }: GivenFilter): DeliveryFilter {
  const endpoint = toEndpointKey({
    ...(subscription !== undefined && { subscription }),
    ...(hook !== undefined && { hook }),
  });
  return {
    ...others,
    ...(endpoint !== undefined && { endpoint }),
    ...(state !== undefined && { states: state }),
  };
}

function showDelivery(delivery: DeliverySummary): JsonObject {
  const { id, webhookId, type, state, attemptCount, lastStatus, lastError, className, objectId } = delivery;
  const { nextAttemptAt, createdAt, finishedAt } = delivery;
  return {
    objectId: id,
    webhookId,
    type,
    state,
    attemptCount,
    ...(nextAttemptAt !== undefined && { nextAttemptAt: toIso(nextAttemptAt) }),
    ...(lastStatus !== undefined && { lastStatus }),
    ...(lastError !== undefined && { lastError }),
    ...showEndpoint(delivery.endpoint),
    ...(className !== undefined && { className }),
    ...(className !== undefined &&
      objectId !== undefined && { object: { __type: 'Pointer', className, objectId } }),
    createdAt: toIso(createdAt),
    ...(finishedAt !== undefined && { finishedAt: toIso(finishedAt) }),
    ...(delivery.isTest && { isTest: true }),
  };
}

/** The forms in which a filter takes it back. */
function showEndpoint(key: EndpointKey): JsonObject {
  const [, kind, rest = ''] = /^(subscription|hook)\/(.*)$/s.exec(key) ?? [];
  if (kind === 'subscription') return { subscription: rest };
  const name = parseHookKey(rest);
  return name?.kind === 'trigger' ? { hook: `${name.triggerName}/${name.className}` } : {};
}

function showAttempt({ deliveryId: _deliveryId, startedAt, ...attempt }: Attempt): JsonObject {
  const { number, durationMs, status, error, phase, node } = attempt;
  const { times, ...reply } = attempt.reply ?? {};
  return {
    number,
    startedAt: toIso(startedAt),
    durationMs,
    ...(status !== undefined && { status }),
    ...(error !== undefined && { error }),
    ...(phase !== undefined && { phase }),
    ...(times !== undefined && { phases: times }),
    ...(Object.keys(reply).length > 0 && { reply }),
    node,
  };
}
