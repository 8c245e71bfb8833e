// Everything under /webhooks below the Parse mount path: master key in, JSON out.
import { Router, type RequestHandler } from 'express';
import type { HookRegistry } from '../hooks/registry';
import { answerError, notFound, requireMasterKey } from './http-errors';
import { createHookRoutes } from './hook-routes';

/** A handler that answers /webhooks/... and passes on everything else. */
export function createManagementApi(registry: HookRegistry): RequestHandler {
  const router = Router({ caseSensitive: true });
  router.use('/webhooks', requireMasterKey, createHookRoutes(registry), notFound, answerError);
  return router;
}
