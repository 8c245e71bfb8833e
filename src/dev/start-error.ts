// An error that is for the person who typed `npm start`: its message is one line that names what to change.

export class StartError extends Error {
  override readonly name = 'StartError';

  constructor(message: string, cause?: unknown) {
    super(message.replace(/\s*\n\s*/g, ' ').trim(), cause === undefined ? undefined : { cause });
  }
}

/** What went wrong, in a few words, for the end of a one-line message. */
export function describeError(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return describeError(error.errors[0]);
  if (error instanceof Error) return error.message || error.name;
  return String(error);
}

/** The `code` of a Node.js system error (`EADDRINUSE`), or undefined. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
