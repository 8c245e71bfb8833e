// Words for errors of Node and undici, fit for operators' logs: code and message, never headers or bodies.

const maxLength = 300;

/** The `code` of an error, or '' when it has none. */
export function errorCode(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string'
    ? error.code
    : '';
}

/** Code and message of an error in at most 300 characters. */
export function describeError(error: unknown): string {
  const code = errorCode(error);
  const message = errorMessage(error);
  const text = code === '' || message.includes(code) ? message : `${code}: ${message}`;
  return text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
}

function errorMessage(error: unknown): string {
  if (typeof error !== 'object' || error === null) return String(error);
  // Node joins the failures of several addresses in an AggregateError whose own message is empty.
  if ('errors' in error && Array.isArray(error.errors) && error.errors.length > 0) {
    return error.errors.map(errorMessage).join('; ');
  }
  return 'message' in error && typeof error.message === 'string' ? error.message : 'unknown error';
}
