// The public API of `parse-server-webhooks/receiver`. Needs node only: neither parse-server nor any other package.
export { createReceiver, type Changes, type QueryChanges, type Receiver } from './create-receiver';
export type {
  AfterFindCall,
  Call,
  EventCall,
  FindCall,
  FunctionCall,
  ObjectCall,
  ObjectOf,
  ParseCall,
  ParseFields,
  ParseObject,
} from './handler-calls';
export { depthHeader, type ReceivedWebhook, type ReceiveOptions, type Refusal } from './receive';
export type { ReceiverReply } from './receiver-reply';
export type { ExpectedTarget } from './expected-target';
export { RejectError } from './reject-error';
export { VerificationError, type VerificationErrorCode } from './verification-error';
export {
  createVerifier,
  verify,
  type VerifiedWebhook,
  type Verifier,
  type VerifyOptions,
  type WebhookHeaders,
} from './verify';
export { webhookMiddleware, type WebhookRequest } from './webhook-middleware';
