// What the routes of deliveries take and answer, and the filter that lists and replays have in common.
import { z } from 'zod';
import { deliveryStates } from '../events/delivery';
import { isBlockingTrigger, triggerNames } from '../hooks/trigger-rules';
import { idText, instant, pageParameters } from './api-parameters';
import { countAnswer, isoTime, nextCursor, type Operation } from './operation';

const notifyingTriggers = triggerNames.filter(name => !isBlockingTrigger(name));
const hookForm = new RegExp(`^(${notifyingTriggers.join('|')})/[@A-Za-z_][A-Za-z0-9_]{0,127}$`);

const stateNames = `must be a list of ${deliveryStates.join(', ')}`;
const states = z.array(z.enum(deliveryStates, stateNames), stateNames).min(1, stateNames);
const stateList = z.preprocess(given => (typeof given === 'string' ? given.split(',') : given), states);

/** Whom deliveries go to. At most one of both can be given. */
export const endpointParameters = {
  subscription: idText.exactOptional().meta({ description: 'objectId of a subscription.' }),
  hook: z
    .string('must be a trigger and a class, such as afterSave/Puppy')
    .regex(hookForm, 'must be a trigger that notifies and a class, such as afterSave/Puppy')
    .exactOptional()
    .meta({ description: 'An `after*` hook, such as `afterSave/Puppy`.' }),
};

export const filterParameters = {
  ...endpointParameters,
  className: idText.exactOptional().meta({ description: 'Of the object that the event is about.' }),
  objectId: idText.exactOptional().meta({ description: 'Of the object that the event is about.' }),
  type: idText.exactOptional().meta({ description: 'Event type, or name of the trigger.' }),
  state: stateList.exactOptional().meta({ description: 'One of these.' }),
  since: instant.exactOptional().meta({ description: 'Created at this time or later.' }),
  until: instant.exactOptional().meta({ description: 'Created before this time.' }),
};

const deliveryFields = {
  objectId: z.string().meta({ description: 'Of the delivery.' }),
  webhookId: z.string().meta({ description: 'The `webhook-id` header: the same over retries and replays.' }),
  type: z.string(),
  state: z.enum(deliveryStates),
  attemptCount: z.int().min(0),
  nextAttemptAt: isoTime.optional(),
  lastStatus: z.int().optional(),
  lastError: z.string().optional(),
  subscription: z.string().optional().meta({ description: 'objectId of the subscription it goes to.' }),
  hook: z.string().optional().meta({ description: 'The `after*` hook it goes to.' }),
  className: z.string().optional(),
  object: z
    .strictObject({ __type: z.literal('Pointer'), className: z.string(), objectId: z.string() })
    .optional()
    .meta({ description: 'The object that the event is about.' }),
  createdAt: isoTime,
  finishedAt: isoTime.optional(),
  isTest: z.literal(true).optional(),
};

const delivery = z.strictObject(deliveryFields).meta({ id: 'Delivery' });

const attempt = z
  .strictObject({
    number: z.int().min(1),
    startedAt: isoTime,
    durationMs: z.number().min(0),
    status: z.int().optional(),
    error: z.string().optional().meta({ description: 'Why it failed; absent when it succeeded.' }),
    phase: z.string().optional().meta({ description: 'Where in its life the exchange ended.' }),
    phases: z
      .strictObject({
        connectMs: z.number(),
        firstByteMs: z.number().optional(),
        bodyMs: z.number().optional(),
      })
      .optional()
      .meta({ description: 'How long each part took, in milliseconds: connection, first byte, rest.' }),
    reply: z
      .looseObject({})
      .optional()
      .meta({ description: 'Headers, redacted, and the begin of the body.' }),
    node: z.string(),
  })
  .meta({ id: 'Attempt' });

const deliveryDetails = z
  .strictObject({
    ...deliveryFields,
    request: z.strictObject({
      headers: z.record(z.string(), z.string()).meta({ description: 'Those that are no secret.' }),
      body: z.string().meta({ description: 'As it is signed and sent; `{}` once it was expunged.' }),
    }),
    attempts: z.array(attempt).meta({ description: 'Oldest first.' }),
  })
  .meta({ id: 'DeliveryDetails' });

export const listDeliveries = {
  method: 'get',
  path: '/deliveries',
  operationId: 'listDeliveries',
  summary: 'Deliveries, newest first',
  query: z.strictObject({ ...filterParameters, ...pageParameters }),
  answers: {
    200: {
      description: 'A page of deliveries, without bodies',
      schema: z.strictObject({ results: z.array(delivery), next: nextCursor }).meta({ id: 'DeliveryPage' }),
    },
  },
} satisfies Operation;

export const getDelivery = {
  method: 'get',
  path: '/deliveries/:objectId',
  operationId: 'getDelivery',
  summary: 'One delivery with its request and attempts',
  answers: { 200: { description: 'The delivery', schema: deliveryDetails } },
} satisfies Operation;

export const replayDelivery = {
  method: 'post',
  path: '/deliveries/:objectId/replay',
  operationId: 'replayDelivery',
  summary: 'Sends a finished delivery again, with the same webhook-id',
  answers: { 201: { description: 'The delivery, pending again', schema: delivery } },
} satisfies Operation;

const rate = 'must be an integer in 1..1000';

export const replayDeliveries = {
  method: 'post',
  path: '/deliveries/replay',
  operationId: 'replayDeliveries',
  summary: 'Sends all finished deliveries that a filter names again, oldest first',
  body: z
    .strictObject({
      ...filterParameters,
      all: z
        .boolean('must be true or false')
        .default(false)
        .meta({ description: 'Must be true when nothing else limits what is replayed.' }),
      dryRun: z.boolean('must be true or false').default(false).meta({
        description: 'Only counts what would be replayed.',
      }),
      perSecond: z.int(rate).min(1, rate).max(1000, rate).default(50),
    })
    .meta({ id: 'ReplayRequest' }),
  answers: {
    200: {
      description: 'Of a dry run',
      schema: countAnswer.extend({ dryRun: z.literal(true) }).meta({ id: 'DryRunCount' }),
    },
    201: { description: 'They are pending again', schema: countAnswer },
  },
} satisfies Operation;

export const expungePayloads = {
  method: 'delete',
  path: '/objects/:className/:objectId/payloads',
  operationId: 'expungePayloads',
  summary: 'Removes what deliveries hold of one object; those still pending are cancelled',
  answers: { 200: { description: 'Bodies and replies are gone', schema: countAnswer } },
} satisfies Operation;

export const deliveryOperations: readonly Operation[] = [
  listDeliveries,
  getDelivery,
  replayDelivery,
  replayDeliveries,
  expungePayloads,
];
