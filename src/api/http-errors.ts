// How our own routes answer: Parse's manners, `{code, error}` with 4xx, and never a 5xx for what a caller did.
import type { ErrorRequestHandler, Request, RequestHandler } from 'express';
import { parseCodes, WebhookError, type ErrorCode } from '../errors';

const statusOf: Partial<Record<ErrorCode, number>> = {
  UNKNOWN_HOOK: 404,
  HOOK_NOT_FOUND: 404,
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
export const answerError: ErrorRequestHandler = (error: unknown, _request, response, next) => {
  if (response.headersSent) {
    next(error);
  } else if (error instanceof WebhookError) {
    response.status(statusOf[error.code] ?? 400).json({ code: error.parseCode, error: error.message });
  } else if (isUndecodablePath(error)) {
    const message = 'the path is not valid percent-encoding';
    response.status(400).json({ code: parseCodes.webhookError, error: message });
  } else {
    next(error);
  }
};

/** The end of a router that has no Parse Server behind it: nothing of the error gets out, and no page of express's. */
export const answerInternalError: ErrorRequestHandler = (error: unknown, _request, response, next) => {
  // Express then closes the connection: half an answer must not look whole.
  if (response.headersSent) next(error);
  else response.status(500).json({ code: parseCodes.scriptFailed, error: 'internal error' });
};

/** What decodeURIComponent throws; express gives it to error handlers when a parameter cannot be decoded. */
function isUndecodablePath(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'name' in error && error.name === 'URIError';
}
