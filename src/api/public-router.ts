// What is mounted beside Parse, because gateways and scrapers cannot send Parse's headers.
import { createHash, timingSafeEqual } from 'node:crypto';
import { Router, type RequestHandler } from 'express';
import { WebhookError } from '../errors';
import type { Logger } from '../shared/logger';
import { answerError, createInternalErrorAnswer, notFound } from './http-errors';
import { createKeyRoutes, createStatusRoutes, type ServerRoutesParts } from './server-routes';

export interface PublicRouterParts extends ServerRoutesParts {
  /** What scrapers send as a bearer token; without one metrics and health are closed. */
  readonly metricsToken: string | undefined;
  readonly logger: Logger;
}

/** Public keys for everybody; metrics and health for who has the token. */
export function createPublicRouter(parts: PublicRouterParts): RequestHandler {
  const router = Router();
  router.use(createKeyRoutes(parts));
  router.use(createStatusRoutes(parts, requireToken(parts.metricsToken)));
  router.use(
    refuseUndecodable,
    notFound,
    answerError,
    createInternalErrorAnswer(parts.logger, 'public router'),
  );
  return router;
}

/** No route of ours has a parameter, so express decodes no path: it would be a 404. */
const refuseUndecodable: RequestHandler = (request, _response, next) => {
  decodeURIComponent(request.path);
  next();
};

function requireToken(token: string | undefined): RequestHandler {
  const expected = token === undefined ? undefined : digest(token);
  return (request, _response, next) => {
    const given = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    // Digests have one length: the comparison tells nothing of the token's.
    if (expected && given !== undefined && timingSafeEqual(digest(given), expected)) next();
    else next(new WebhookError('READ_ONLY', 'unauthorized: metricsToken is required'));
  };
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
