// How a handler says no.

/** Thrown by a handler to reject the operation: the client gets `message`, and `code` (default 141, script failed). */
export class RejectError extends Error {
  readonly code: number | undefined;

  constructor(message: string, code?: number) {
    super(message);
    this.name = 'RejectError';
    this.code = code;
  }
}
