// The one table of error codes: stable code, Parse code, message. Everything thrown on purpose is a WebhookError.

/** Parse error codes used by this package (Parse.Error in the JS SDK). */
export const parseCodes = {
  objectNotFound: 101,
  invalidJson: 107,
  operationForbidden: 119,
  timeout: 124,
  duplicateValue: 137,
  scriptFailed: 141,
  webhookError: 143,
} as const;

/** Stable codes of this package; each maps to the Parse code that a client of the REST API sees. */
export const errorCodes = {
  INVALID_OPTION: parseCodes.webhookError,
  INVALID_HOOK: parseCodes.webhookError,
  REFUSED_CLASS: parseCodes.webhookError,
  DUPLICATE_HOOK: parseCodes.webhookError,
  UNKNOWN_HOOK: parseCodes.webhookError,
  HOOK_NOT_FOUND: parseCodes.objectNotFound,
  INVALID_SUBSCRIPTION: parseCodes.webhookError,
  DUPLICATE_SUBSCRIPTION: parseCodes.duplicateValue,
  SUBSCRIPTION_NOT_FOUND: parseCodes.objectNotFound,
  INVALID_EVENT: parseCodes.webhookError,
  INVALID_REQUEST: parseCodes.webhookError,
  DELIVERY_NOT_FOUND: parseCodes.objectNotFound,
  STORE_FULL: parseCodes.timeout,
  READ_ONLY: parseCodes.operationForbidden,
  STORE_BUSY: parseCodes.timeout,
  /** An object was saved or deleted, or an event published, and its deliveries could not be recorded. */
  STORE_FAILED: parseCodes.scriptFailed,
  BROKEN_SECRET: parseCodes.webhookError,
  BROKEN_INSTALL: parseCodes.scriptFailed,
  NOT_RUNNING: parseCodes.scriptFailed,
  HOOK_REJECTED: parseCodes.scriptFailed,
  HOOK_FAILED: parseCodes.scriptFailed,
  HOOK_TIMED_OUT: parseCodes.timeout,
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** Any error that this package throws on purpose. `parseCode` is what a Parse client gets as `code`. */
export class WebhookError extends Error {
  readonly code: ErrorCode;
  readonly parseCode: number;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'WebhookError';
    this.code = code;
    this.parseCode = errorCodes[code];
  }
}
