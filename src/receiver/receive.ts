// From a node request to a verified webhook or the refusal to answer with. Shared by the middleware and the receiver.
import { createHash, timingSafeEqual } from 'node:crypto';
import {
  createVerifier,
  headerValues,
  type VerifiedWebhook,
  type VerifyOptions,
  type WebhookHeaders,
} from './verify';
import { readRawBody, type RawRequest } from './read-raw-body';
import { failureReply, type ReceiverReply } from './receiver-reply';
import { VerificationError } from './verification-error';

export interface ReceiveOptions extends VerifyOptions {
  /** The hook's `whsec_…`, a `whpk_…` public key, or several of them during a rotation. */
  readonly secret: string | readonly string[];
  /** Parse Server's `webhookKey`: when given, `X-Parse-Webhook-Key` must be equal, beside the signature. */
  readonly webhookKey?: string;
  /** Bound on the request body. Default 10 MiB, as at the sender. */
  readonly maxBodyBytes?: number;
  /** Told of exceptions in handlers, of which the sender hears nothing. Default: the stack on stderr. */
  readonly onError?: (error: Error) => void;
  /** Told of each request that is refused: strangers can make any number of them. Default: nobody. */
  readonly onRefused?: (refusal: Refusal) => void;
}

export interface Refusal {
  /** The HTTP status of the answer. */
  readonly status: number;
  /** A VerificationErrorCode, `wrong-webhook-key`, `method-not-allowed` or `too-large`. */
  readonly code: string;
  readonly message: string;
}

export interface ReceivedWebhook extends VerifiedWebhook {
  /** The bytes that were verified. */
  readonly rawBody: Buffer;
  /**
   * How many webhooks deep this call is, 1 for one caused by a client. Send it as `X-Parse-Webhook-Depth` with your own
   * calls to Parse: the server stops loops by it.
   */
  readonly depth: number;
}

export const depthHeader = 'X-Parse-Webhook-Depth';

export const defaultMaxBodyBytes = 10 * 1024 * 1024;

export type Received =
  | { readonly kind: 'webhook'; readonly webhook: ReceivedWebhook }
  | { readonly kind: 'refused'; readonly reply: ReceiverReply }
  /** The sender went away. */
  | { readonly kind: 'gone' };

export interface Receive {
  fromRequest(request: RawRequest): Promise<Received>;
  fromBytes(rawBody: Buffer | string, headers: WebhookHeaders): Received;
  readonly onError: (error: Error) => void;
}

/** Throws VerificationError `malformed-secret` and RangeError for bad numbers: at start, not at the first call. */
export function createReceive(options: ReceiveOptions): Receive {
  const { secret, webhookKey, maxBodyBytes = defaultMaxBodyBytes, onError = printError, onRefused } = options;
  if (!(maxBodyBytes >= 0))
    throw new RangeError(`maxBodyBytes must be a number of at least 0, got ${maxBodyBytes}`);
  const verify = createVerifier(secret, options);
  const keyDigest = webhookKey === undefined ? undefined : digest(webhookKey);

  const refuse = (
    status: number,
    code: string,
    message: string,
    more: Readonly<Record<string, string>> = {},
  ): Received => {
    onRefused?.({ status, code, message });
    const reply = failureReply(status, code, message);
    return { kind: 'refused', reply: { ...reply, headers: { ...reply.headers, ...more } } };
  };

  const fromBytes = (rawBody: Buffer | string, headers: WebhookHeaders): Received => {
    try {
      const verified = verify(rawBody, headers);
      if (keyDigest && !timingSafeEqual(keyDigest, digest(firstHeader(headers, 'x-parse-webhook-key')))) {
        return refuse(401, 'wrong-webhook-key', 'X-Parse-Webhook-Key is not the one of this receiver');
      }
      const bytes = typeof rawBody === 'string' ? Buffer.from(rawBody) : rawBody;
      return { kind: 'webhook', webhook: { ...verified, rawBody: bytes, depth: readDepth(headers) } };
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error;
      return refuse(statusOf(error), error.code, error.message);
    }
  };

  return {
    onError,
    fromBytes,
    async fromRequest(request) {
      if (request.method !== 'POST') {
        request.resume();
        return refuse(405, 'method-not-allowed', 'webhooks are sent with POST', { allow: 'POST' });
      }
      const raw = await readRawBody(request, maxBodyBytes);
      switch (raw.kind) {
        case 'body':
          return fromBytes(raw.body, request.headers);
        case 'too-large':
          // The rest of the body is still coming: this connection is of no more use.
          return refuse(413, 'too-large', `the body is over ${maxBodyBytes} bytes`, { connection: 'close' });
        case 'already-read':
          return refuse(
            500,
            'raw-body-required',
            'the body was parsed before it could be verified: mount the webhook middleware before express.json()',
          );
        case 'aborted':
          return { kind: 'gone' };
      }
    },
  };
}

function statusOf(error: VerificationError): number {
  switch (error.code) {
    case 'not-json':
      return 400;
    case 'unexpected-target':
      return 403;
    case 'raw-body-required':
    case 'malformed-secret':
      return 500;
    case 'missing-header':
    case 'malformed-header':
    case 'bad-timestamp':
    case 'too-old':
    case 'too-new':
    case 'no-signature-matched':
      return 401;
    default:
      throw new TypeError(`unknown code ${String(error.code satisfies never)}`);
  }
}

/** Digests have one length, so that comparing them in constant time tells nothing of the key's. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function readDepth(headers: WebhookHeaders): number {
  const value = firstHeader(headers, depthHeader.toLowerCase());
  return /^\d{1,4}$/.test(value) ? Number(value) : 0;
}

function firstHeader(headers: WebhookHeaders, name: string): string {
  return headerValues(headers, name)[0] ?? '';
}

function printError(error: Error): void {
  process.stderr.write(`${error.stack ?? error.message}\n`);
}
