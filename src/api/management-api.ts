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
  /** Adds a key of the kind; `revokeOthers` drops those there were at once. */
  readonly rotateKey: (key: RotatableKey, how: { readonly revokeOthers: boolean }) => Promise<void>;
}

interface Rotation {
  readonly key: RotatableKey;
  readonly revokeOthers: boolean;
}

function parseRotation(body: unknown): Rotation {
  const { key: given, revokeOthers = false, ...others } = isJsonObject(body) ? body : {};
  const key = rotatableKeys.find(each => each === given);
  if (!key) throw invalid(`key must be one of ${rotatableKeys.join(', ')}, got ${describe(given)}`);
  if (typeof revokeOthers !== 'boolean') {
    throw invalid(`revokeOthers must be true or false, got ${describe(revokeOthers)}`);
  }
  // A misspelt revokeOthers must not pass for a rotation that revokes nothing.
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) {
    throw invalid(`the body must have no field ${describe(unknown)}`);
  }
  return { key, revokeOthers };
}

function invalid(message: string): WebhookError {
  return new WebhookError('INVALID_HOOK', message);
}

/** A handler that answers /webhooks/... and passes on everything else. */
export function createManagementApi(parts: ManagementApiParts): RequestHandler {
  const router = Router({ caseSensitive: true });
  const keys = Router();
  keys.post('/keys/rotate', async (request, response) => {
    const { key, revokeOthers } = parseRotation(request.body);
    await parts.rotateKey(key, { revokeOthers });
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
