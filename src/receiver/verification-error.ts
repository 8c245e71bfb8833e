// Why a webhook is not believed, as stable codes. Part of the receiver kit's contract.

export type VerificationErrorCode =
  | 'missing-header' // webhook-id, webhook-timestamp or webhook-signature is absent or empty
  | 'malformed-header' // one of them is there twice, or the id is none
  | 'bad-timestamp' // not whole seconds
  | 'too-old' // sent longer ago than the tolerance: a replay, or this machine's clock is fast
  | 'too-new' // sent in the future: this machine's clock is slow
  | 'no-signature-matched' // another secret, or the body is not the one that was signed
  | 'not-json' // authentic, but the body is not JSON
  | 'unexpected-target' // authentic, but for another receiver
  | 'raw-body-required' // the body was given parsed: the bytes as they came are what is signed
  | 'malformed-secret'; // the receiver's own configuration

/** Thrown by `verify`. `code` is stable; the message names the header or field and never a secret or the body. */
export class VerificationError extends Error {
  readonly code: VerificationErrorCode;

  constructor(code: VerificationErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'VerificationError';
    this.code = code;
  }
}
