// How our own routes answer: Parse's manners, `{code, error}` with 4xx, and never a 5xx for what a caller did.
import type { ErrorRequestHandler, Request, RequestHandler } from 'express';
import { parseCodes, WebhookError, type ErrorCode } from '../errors';
import { DeliveryStoreError } from '../events/delivery-store-error';
import { describe } from '../hooks/hook-settings';
import type { Logger } from '../shared/logger';

const statusOf: Partial<Record<ErrorCode, number>> = {
  UNKNOWN_HOOK: 404,
  HOOK_NOT_FOUND: 404,
  SUBSCRIPTION_NOT_FOUND: 404,
  DELIVERY_NOT_FOUND: 404,
  STORE_FULL: 503,
  STORE_BUSY: 503,
  READ_ONLY: 403,
};

/** What Parse Server's middlewares put on a request (lib/middlewares.js handleParseHeaders). */
interface ParseAuth {
  readonly isMaster?: boolean;
  readonly isReadOnly?: boolean;
}

function authOf(request: Request): ParseAuth {
  return (request as Request & { auth?: ParseAuth }).auth ?? {};
}

/** Lets the master key pass, and the read-only master key for GET. */
export const requireMasterKey: RequestHandler = (request, _response, next) => {
  const { isMaster, isReadOnly } = authOf(request);
  if (isMaster !== true) {
    next(new WebhookError('READ_ONLY', 'unauthorized: master key is required'));
  } else if (isReadOnly === true && request.method !== 'GET') {
    next(new WebhookError('READ_ONLY', 'the read-only master key may not change webhooks'));
  } else {
    next();
  }
};

export const notFound: RequestHandler = (request, response) => {
  response
    .status(404)
    .json({ code: parseCodes.objectNotFound, error: `no route ${request.method} ${request.path}` });
};

/** Answers our own errors and paths that cannot be read; passes on every other error. */
export const answerError: ErrorRequestHandler = (error: unknown, request, response, next) => {
  if (response.headersSent) {
    next(error);
  } else if (error instanceof DeliveryStoreError) {
    answerError(asWebhookError(error), request, response, next);
  } else if (error instanceof WebhookError && error.code === 'STORE_FAILED') {
    // Here no object was saved: what was to be recorded is an event of the caller's, who may repeat it.
    const message = 'the event could not be recorded; try again later';
    response.status(503).json({ code: parseCodes.timeout, error: message });
  } else if (error instanceof WebhookError) {
    response.status(statusOf[error.code] ?? 400).json({ code: error.parseCode, error: error.message });
  } else if (isUndecodablePath(error)) {
    const message = 'the path is not valid percent-encoding';
    response.status(400).json({ code: parseCodes.webhookError, error: message });
  } else {
    next(error);
  }
};

/** What a caller brought about, and what passes by itself; ids of ours that repeat are neither. */
function asWebhookError(error: DeliveryStoreError): Error {
  switch (error.fault) {
    case 'invalid':
    case 'invalid-cursor':
      return new WebhookError('INVALID_REQUEST', error.message, { cause: error });
    case 'full':
      return new WebhookError('STORE_FULL', error.message, { cause: error });
    case 'repeated-id':
      return new Error(error.message, { cause: error });
    default:
      return error.fault satisfies never;
  }
}

/**
 * The end of a router: nothing of the error gets out, and no page of express's. The log gets what it is and where it was
 * thrown, or what the database said. What is no mistake of ours is taken for a database that is away: 503, which clients try again.
 */
export function createInternalErrorAnswer(logger: Logger, router: string): ErrorRequestHandler {
  return (error: unknown, request, response, next) => {
    logger.error(
      `webhooks: ${request.method} ${describe(request.path)} of the ${router} failed: ${isMistake(error) ? describeError(error) : String(error)}`,
    );
    // Express then closes the connection: half an answer must not look whole.
    if (response.headersSent) next(error);
    else if (isMistake(error))
      response.status(500).json({ code: parseCodes.scriptFailed, error: 'internal error' });
    else
      response.status(503).json({
        code: parseCodes.timeout,
        error: 'the database does not answer as it should; try again later',
      });
  };
}

/** What drivers and Parse Server's adapters throw is none of the errors of the language itself. */
function isMistake(error: unknown): boolean {
  return (
    !(error instanceof Error) ||
    [TypeError, RangeError, ReferenceError, SyntaxError].some(mistake => error instanceof mistake) ||
    error.cause instanceof DeliveryStoreError
  );
}

/** Name and first place of the stack. Not the message: JSON.parse, for one, quotes what it read, and that may be keys. */
function describeError(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const place = /^ +(at .*)$/m.exec((error.stack ?? '').replace(error.message, ''))?.[1];
  return place === undefined ? error.name : `${error.name} ${place}`;
}

/** What decodeURIComponent throws; express gives it to error handlers when a parameter cannot be decoded. */
function isUndecodablePath(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'name' in error && error.name === 'URIError';
}
