// The headers of a hook's request. Header names are lower-case, as on the wire of HTTP/2 and in node.
import { version } from '../shared/version';

export const depthHeader = 'x-parse-webhook-depth';

/** Nothing deeper than this is sent: a receiver's writes would call it for ever. */
export const maxDepth = 5;

const userAgent = `parse-server-webhooks/${version}`;

export interface HeaderInput {
  /** The same over the in-line retry: receivers may de-duplicate by it. */
  readonly webhookId: string;
  /** How many webhooks deep this call is; 1 for a call caused by a client. */
  readonly depth: number;
  /** Parse Server's `webhookKey`, if it has one. */
  readonly webhookKey: string | undefined;
  readonly extra: Readonly<Record<string, string>>;
}

export function requestHeaders(input: HeaderInput): Record<string, string> {
  return {
    ...input.extra,
    'content-type': 'application/json',
    'user-agent': input.extra['user-agent'] ?? userAgent,
    'webhook-id': input.webhookId,
    [depthHeader]: String(input.depth),
    ...(input.webhookKey !== undefined && { 'x-parse-webhook-key': input.webhookKey }),
  };
}
