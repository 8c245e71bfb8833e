// Middleware for express, connect and node:http that lets only verified webhooks through.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createReceive, type ReceivedWebhook, type ReceiveOptions } from './receive';
import type { RawRequest } from './read-raw-body';
import { send } from './receiver-reply';

// Without `body`: express would take its type over for the handlers that follow, and they would lose their own.
export type WebhookRequest = IncomingMessage & { webhook?: ReceivedWebhook };

declare global {
  // The way express documents for what middleware adds to a request; without express the namespace is just empty.
  // eslint-disable-next-line @typescript-eslint/no-namespace
  namespace Express {
    interface Request {
      webhook?: ReceivedWebhook;
    }
  }
}

/**
 * Verifies the request and sets `request.body` (the parsed JSON) and `request.webhook` (id, timestamp, depth, raw bytes)
 * before `next()`. Anything else is answered here: 401, 400 (not JSON), 405, 413.
 *
 * Mount it before anything that reads the body, such as express.json().
 */
export function webhookMiddleware(
  options: ReceiveOptions,
): (request: WebhookRequest, response: ServerResponse, next: (error?: unknown) => void) => void {
  const receive = createReceive(options);
  return (request, response, next) => {
    const raw: RawRequest = request;
    receive.fromRequest(raw).then(received => {
      switch (received.kind) {
        case 'webhook':
          raw.body = received.webhook.body;
          request.webhook = received.webhook;
          next();
          return;
        case 'refused':
          send(response, received.reply);
          return;
        case 'gone':
          return;
      }
    }, next);
  };
}
