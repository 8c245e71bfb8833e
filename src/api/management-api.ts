// Everything under /webhooks below the Parse mount path: master key in, JSON out.
import { Router, type RequestHandler } from 'express';
import { WebhookError } from '../errors';
import { describe } from '../hooks/hook-settings';
import { isJsonObject } from '../shared/json';
import { answerError, notFound, requireMasterKey } from './http-errors';
import { createHookRoutes, type HookRoutesParts } from './hook-routes';
import { createKeyRoutes, createStatusRoutes, type ServerRoutesParts } from './server-routes';

const rotatableKeys = ['ed25519', 'RS256', 'ES256'] as const;
export type RotatableKey = (typeof rotatableKeys)[number];

export interface ManagementApiParts extends HookRoutesParts, ServerRoutesParts {
  readonly rotateKey: (key: RotatableKey) => Promise<void>;
}

/** A handler that answers /webhooks/... and passes on everything else. */
export function createManagementApi(parts: ManagementApiParts): RequestHandler {
  const router = Router({ caseSensitive: true });
  const keys = Router();
  keys.post('/keys/rotate', async (request, response) => {
    const body: unknown = request.body;
    const given = isJsonObject(body) ? body.key : undefined;
    const key = rotatableKeys.find(each => each === given);
    if (!key) {
      throw new WebhookError(
        'INVALID_HOOK',
        `key must be one of ${rotatableKeys.join(', ')}, got ${describe(given)}`,
      );
    }
    await parts.rotateKey(key);
    response.status(201).json({});
  });
  router.use(
    '/webhooks',
    requireMasterKey,
    createHookRoutes(parts),
    createKeyRoutes(parts),
    createStatusRoutes(parts, requireMasterKey),
    keys,
    notFound,
    answerError,
  );
  return router;
}
