// What the publishing of custom events takes and answers.
import { z } from 'zod';
import { isJsonObject } from '../shared/json';
import { depthHeader, maxDepth } from '../wire/request-headers';
import type { Operation } from './operation';

const keyForm = 'must be 1 to 255 characters of printable US-ASCII';

const published = z
  .strictObject({
    eventId: z.string(),
    deliveries: z.int().min(0).meta({ description: 'How many subscriptions it goes to.' }),
  })
  .meta({ id: 'PublishedEvent' });

export const publishEvent = {
  method: 'post',
  path: '/events',
  operationId: 'publishEvent',
  summary: 'Publishes a custom event',
  headers: z.object({
    'idempotency-key': z
      .string(keyForm)
      .regex(/^[\x20-\x7e]{1,255}$/, keyForm)
      .exactOptional()
      .meta({ description: 'Requests with the same key publish once.' }),
    [depthHeader]: z
      .string()
      .exactOptional()
      .meta({
        description: `For receivers: as it came with the webhook that this event follows from. Refused where ${maxDepth} webhooks led to it.`,
      }),
  }),
  body: z
    .strictObject({
      type: z
        .string('must be custom. and a dotted name')
        .max(128, 'must have at most 128 characters')
        .regex(/^custom(\.[A-Za-z0-9_-]+)+$/, 'must be custom. and a dotted name')
        .meta({ description: 'Such as `custom.order.paid`.' }),
      data: z
        .unknown()
        .refine(isJsonObject, 'must be a JSON object')
        .meta({ type: 'object', description: 'The `data` of the event: at most 256 KiB, 100 levels deep.' }),
    })
    .meta({ id: 'CustomEvent' }),
  answers: {
    200: { description: 'The key was used before: what was answered then', schema: published },
    201: { description: 'The deliveries are stored', schema: published },
  },
} satisfies Operation;

export const eventOperations: readonly Operation[] = [publishEvent];
