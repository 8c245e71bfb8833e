// What the routes about the server itself take and answer.
import { z } from 'zod';
import { maxHealthNames } from './server-routes';
import { emptyAnswer, isoTime, type Operation } from './operation';

const rotatableKeys = ['ed25519', 'RS256', 'ES256'] as const;
export type RotatableKey = (typeof rotatableKeys)[number];

export const rotateServerKey = {
  method: 'post',
  path: '/keys/rotate',
  operationId: 'rotateServerKey',
  summary: 'Adds a signing key of the server',
  body: z
    .strictObject({
      key: z.enum(rotatableKeys, `must be one of ${rotatableKeys.join(', ')}`),
      revokeOthers: z
        .boolean('must be true or false')
        .default(false)
        .meta({ description: 'Drops all other keys of this kind at once, as after a leak.' }),
    })
    .meta({ id: 'KeyRotation' }),
  answers: { 201: { description: 'The key is stored', schema: emptyAnswer } },
} satisfies Operation;

const health = z
  .strictObject({
    status: z.enum(['ok', 'unhealthy']),
    version: z.string(),
    database: z.enum(['reachable', 'unreachable']),
    registryVersion: z.string().nullable(),
    keys: z.enum(['readable', 'unreadable']),
    hooks: z.int().min(0),
    broken: z.array(z.string()),
    openBreakers: z.array(z.string()),
    deliveryStore: z.enum(['reachable', 'unreachable']),
    spooled: z.int().min(0),
    queue: z.enum(['connected', 'disconnected']).optional(),
    subscriptions: z.int().min(0),
    pausedSubscriptions: z.array(z.string()).max(maxHealthNames),
    failingSubscriptions: z.array(z.string()).max(maxHealthNames),
    nodes: z.array(z.strictObject({ node: z.string(), lastSeenAt: isoTime })),
  })
  .meta({ id: 'Health' });

export const serverOperations: readonly Operation[] = [
  rotateServerKey,
  {
    method: 'get',
    path: '/jwks.json',
    operationId: 'getJwks',
    summary: 'Public keys of bearer tokens',
    answers: {
      200: {
        description: 'A JSON Web Key Set',
        mediaType: 'application/jwk-set+json',
        schema: z
          .strictObject({ keys: z.array(z.looseObject({ kty: z.string() })) })
          .meta({ id: 'JsonWebKeySet' }),
      },
    },
  },
  {
    method: 'get',
    path: '/ed25519.json',
    operationId: 'getEd25519Keys',
    summary: 'Public keys of `v1a` signatures',
    answers: {
      200: {
        description: 'Newest first',
        schema: z
          .strictObject({ publicKeys: z.array(z.string().regex(/^whpk_/)) })
          .meta({ id: 'Ed25519Keys' }),
      },
    },
  },
  {
    method: 'get',
    path: '/metrics',
    operationId: 'getMetrics',
    summary: 'Prometheus metrics of this node',
    answers: { 200: { description: 'Prometheus text format', mediaType: 'text/plain', schema: z.string() } },
  },
  {
    method: 'get',
    path: '/health',
    operationId: 'getHealth',
    summary: 'Health of this node and its database',
    answers: {
      200: { description: 'The database and the store of deliveries answer', schema: health },
      503: {
        description:
          'The database or the store of deliveries does not answer, or the signing keys cannot be decrypted',
        schema: health,
      },
    },
  },
];
