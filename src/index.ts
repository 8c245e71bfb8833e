// The public API.
export { Webhooks } from './webhooks';
export { WebhookError, errorCodes, type ErrorCode } from './errors';
export type { WebhooksOptions } from './options';
export type { HookSettings } from './hooks/hook-settings';
export type { PublishedEvent, PublishOptions } from './events/event-publisher';
