// What the routes of subscriptions take and answer.
import { z } from 'zod';
import { subscriptionShapes } from '../events/subscription-settings';
import { pageParameters } from './api-parameters';
import { emptyAnswer, isoTime, nextCursor, secretRotation, type Operation } from './operation';

const health = z
  .strictObject({
    state: z.enum(['healthy', 'failing', 'paused']),
    consecutiveFailures: z.int().min(0),
    lastSuccessAt: isoTime.optional(),
    lastFailureAt: isoTime.optional(),
    lastError: z.string().optional(),
    failingSince: isoTime.optional().meta({ description: 'The first failure since the last success.' }),
    pausedAt: isoTime.optional(),
    pauseReason: z.enum(['operator', 'gone', 'disabled', 'failing']).optional(),
  })
  .meta({ id: 'SubscriptionHealth' });

/** Of a broken one they are absent. */
const shownFields = z.object(subscriptionShapes).partial().shape;

const subscription = z
  .strictObject({
    objectId: z.string(),
    createdAt: isoTime,
    updatedAt: isoTime,
    name: z.string(),
    ...shownFields,
    tls: z.record(z.string(), z.string()).optional().meta({ description: 'The key is hidden.' }),
    health,
    oldSecretsExpireAt: z.array(isoTime).meta({ description: 'When each former secret stops signing.' }),
    broken: z.string().optional().meta({
      description: 'Why the stored record cannot be read: it gets nothing until it is written anew.',
    }),
  })
  .meta({ id: 'Subscription', description: 'All its fields with their defaults; secret values are hidden.' });

const withSecret = subscription
  .extend({
    secret: z
      .string()
      .regex(/^whsec_/)
      .meta({ description: 'Shown this once.' }),
  })
  .meta({ id: 'SubscriptionWithSecret', description: 'A subscription and the secret it is signed with.' });

// What is merged with what is stored can only be judged there: Subscriptions does, by the same shapes.
const nullableFields = Object.fromEntries(
  Object.entries(subscriptionShapes).map(([name, shape]) => [name, shape.nullish()]),
);
const { url, events } = subscriptionShapes;
const fields = z
  .strictObject({ name: z.string(), secret: z.string().nullish(), ...nullableFields, url, events })
  .meta({ id: 'SubscriptionFields' });
const secretOfBroken = z.string().meta({ description: 'Only where the stored record cannot be read.' });
const changes = z.strictObject({ ...nullableFields, secret: secretOfBroken.optional() }).meta({
  id: 'SubscriptionChange',
  description: 'What is not named stays; null takes a field back to its default.',
});

const onePath = '/subscriptions/:objectId';

export const listSubscriptions = {
  method: 'get',
  path: '/subscriptions',
  operationId: 'listSubscriptions',
  summary: 'All subscriptions',
  query: z.strictObject(pageParameters),
  answers: {
    200: {
      description: 'A page of subscriptions, oldest first',
      schema: z
        .strictObject({ results: z.array(subscription), next: nextCursor })
        .meta({ id: 'SubscriptionPage' }),
    },
  },
} satisfies Operation;

export const createSubscription = {
  method: 'post',
  path: '/subscriptions',
  operationId: 'createSubscription',
  summary: 'Creates a subscription',
  body: fields,
  answers: { 201: { description: 'The subscription, and its secret for the only time', schema: withSecret } },
} satisfies Operation;

export const getSubscription = {
  method: 'get',
  path: onePath,
  operationId: 'getSubscription',
  summary: 'One subscription',
  answers: { 200: { description: 'The subscription', schema: subscription } },
} satisfies Operation;

const changed = { 200: { description: 'The subscription as it is now', schema: subscription } };

export const replaceSubscription = {
  method: 'put',
  path: onePath,
  operationId: 'putSubscription',
  summary: 'Changes fields of a subscription, as PATCH does',
  body: changes,
  answers: changed,
} satisfies Operation;

export const updateSubscription = {
  ...replaceSubscription,
  method: 'patch',
  operationId: 'updateSubscription',
  summary: 'Changes fields of a subscription',
} satisfies Operation;

export const deleteSubscription = {
  method: 'delete',
  path: onePath,
  operationId: 'deleteSubscription',
  summary: 'Removes a subscription; its pending deliveries are cancelled',
  answers: { 200: { description: 'It is gone', schema: emptyAnswer } },
} satisfies Operation;

export const pauseSubscription = {
  method: 'post',
  path: `${onePath}/pause`,
  operationId: 'pauseSubscription',
  summary: 'Pauses a subscription; its deliveries are kept',
  answers: changed,
} satisfies Operation;

export const resumeSubscription = {
  method: 'post',
  path: `${onePath}/resume`,
  operationId: 'resumeSubscription',
  summary: 'Resumes a paused subscription; kept deliveries go out at a bounded rate',
  answers: changed,
} satisfies Operation;

export const rotateSubscriptionSecret = {
  method: 'post',
  path: `${onePath}/secret/rotate`,
  operationId: 'rotateSubscriptionSecret',
  summary: 'Gives a subscription a new signing secret',
  body: secretRotation,
  answers: { 201: { description: 'The subscription, and its secret for the only time', schema: withSecret } },
} satisfies Operation;

export const testSubscription = {
  method: 'post',
  path: `${onePath}/test`,
  operationId: 'testSubscription',
  summary: 'Sends a sample event, marked as a test, whatever the filters',
  answers: {
    201: {
      description: 'The delivery is stored',
      schema: z
        .strictObject({
          objectId: z.string().meta({ description: 'Of the delivery.' }),
          webhookId: z.string(),
        })
        .meta({ id: 'TestDelivery' }),
    },
  },
} satisfies Operation;

export const subscriptionOperations: readonly Operation[] = [
  listSubscriptions,
  createSubscription,
  getSubscription,
  replaceSubscription,
  updateSubscription,
  deleteSubscription,
  pauseSubscription,
  resumeSubscription,
  rotateSubscriptionSecret,
  testSubscription,
];
