// A receiver of hooks and events: typed handlers by target behind one HTTP handler. Verifying is receive.ts's.
import type { ServerResponse } from 'node:http';
import { isJsonObject, type JsonObject } from '../shared/json';
import {
  readEventCall,
  readParseCall,
  type AfterFindCall,
  type EventCall,
  type FindCall,
  type FunctionCall,
  type ObjectCall,
  type ObjectOf,
  type ParseCall,
} from './handler-calls';
import type { RawRequest } from './read-raw-body';
import {
  createReceive,
  type Receive,
  type Received,
  type ReceivedWebhook,
  type ReceiveOptions,
} from './receive';
import { failureReply, rejectionReply, send, successReply, type ReceiverReply } from './receiver-reply';
import { RejectError } from './reject-error';
import { targetOf } from './target';
import type { WebhookHeaders } from './verify';

type Handler<C, R> = (call: C) => R | Promise<R>;

// A handler without `return` has the result void, and no other type says so.
// eslint-disable-next-line @typescript-eslint/no-invalid-void-type
type Nothing = true | null | undefined | void;

/** The keys to change; the others stay as the client sent them. `{ __op: 'Delete' }` deletes; a Date becomes Parse's. */
export type Changes<T> = { readonly [K in keyof T]?: T[K] | Date | Readonly<Record<string, unknown>> } | T;

/** What beforeFind may change of the query. */
export interface QueryChanges {
  readonly where?: JsonObject;
  readonly limit?: number;
  readonly skip?: number;
  readonly order?: string;
  readonly keys?: string;
  readonly excludeKeys?: string;
  readonly include?: string;
}

/**
 * Makes a receiver; register handlers, then serve `handler` or call `handle`.
 *
 * `Classes` may describe the objects: `createReceiver<{ Puppy: { name: string } }>({ secret })`. Throws
 * VerificationError `malformed-secret`.
 */
export function createReceiver<Classes extends object = object>(options: ReceiveOptions): Receiver<Classes> {
  return new Receiver(createReceive(options));
}

export class Receiver<Classes extends object = object> {
  readonly #receive: Receive;
  readonly #functions = new Map<string, (call: ParseCall) => unknown>();
  readonly #triggers = new Map<string, (call: ParseCall) => unknown>();
  readonly #events = new Map<string, (call: EventCall) => unknown>();

  constructor(receive: Receive) {
    this.#receive = receive;
  }

  /** An object returned changes the save; a RejectError stops it. */
  beforeSave<Name extends string>(
    className: Name,
    handler: Handler<ObjectCall<ObjectOf<Classes, Name>>, Changes<ObjectOf<Classes, Name>> | Nothing>,
  ): this {
    return this.trigger('beforeSave', className, handler);
  }

  /** The save has happened; what is returned has no effect. */
  afterSave<Name extends string>(
    className: Name,
    handler: Handler<ObjectCall<ObjectOf<Classes, Name>>, unknown>,
  ): this {
    return this.trigger('afterSave', className, handler);
  }

  /** A RejectError stops the deletion. */
  beforeDelete<Name extends string>(
    className: Name,
    handler: Handler<ObjectCall<ObjectOf<Classes, Name>>, Nothing>,
  ): this {
    return this.trigger('beforeDelete', className, handler);
  }

  /** The deletion has happened; what is returned has no effect. */
  afterDelete<Name extends string>(
    className: Name,
    handler: Handler<ObjectCall<ObjectOf<Classes, Name>>, unknown>,
  ): this {
    return this.trigger('afterDelete', className, handler);
  }

  /** An object returned changes the query; a RejectError stops it. */
  beforeFind(className: string, handler: Handler<FindCall, QueryChanges | Nothing>): this {
    return this.trigger('beforeFind', className, handler);
  }

  /** An array returned replaces the results. */
  afterFind<Name extends string>(
    className: Name,
    handler: Handler<
      AfterFindCall<ObjectOf<Classes, Name>>,
      readonly (ObjectOf<Classes, Name> | Readonly<Record<string, unknown>>)[] | Nothing
    >,
  ): this {
    return this.trigger('afterFind', className, handler);
  }

  /** Any other trigger, such as `afterLogout` of `_Session` or `beforeSave` of `@File`; `call.body` has its fields. */
  trigger<C extends ParseCall>(triggerName: string, className: string, handler: Handler<C, unknown>): this {
    // Which fields a call has is the sender's contract, see readParseCall.
    return this.#add(
      this.#triggers,
      triggerKey(triggerName, className),
      handler as (call: ParseCall) => unknown,
    );
  }

  /** A cloud function: what is returned is the result. */
  define(functionName: string, handler: Handler<FunctionCall, unknown>): this {
    return this.#add(this.#functions, functionName, handler as (call: ParseCall) => unknown);
  }

  /**
   * An event, such as `object.create`; `*` takes those without a handler of their own. Any return is success; an
   * exception makes the sender try again later.
   */
  on(type: string, handler: Handler<EventCall, unknown>): this {
    return this.#add(this.#events, type, handler);
  }

  /** For `http.createServer(receiver.handler)` and `app.post('/hooks', receiver.handler)`. */
  readonly handler = (request: RawRequest, response: ServerResponse): void => {
    this.#receive
      .fromRequest(request)
      .then(received => this.#answer(received))
      .then(
        reply => {
          if (reply) send(response, reply);
        },
        (error: unknown) => {
          this.#report(error);
          send(response, failureReply(500, 'internal', 'the receiver failed'));
        },
      );
  };

  /** For serverless platforms: the bytes and headers of the request, the answer to send back. Never rejects. */
  readonly handle = async (rawBody: Buffer | string, headers: WebhookHeaders): Promise<ReceiverReply> => {
    const reply = await this.#answer(this.#receive.fromBytes(rawBody, headers));
    return reply ?? failureReply(500, 'internal', 'the receiver failed');
  };

  #add<C>(handlers: Map<string, (call: C) => unknown>, key: string, handler: (call: C) => unknown): this {
    if (handlers.has(key)) throw new Error(`there is a handler for ${key} already`);
    handlers.set(key, handler);
    return this;
  }

  async #answer(received: Received): Promise<ReceiverReply | undefined> {
    switch (received.kind) {
      case 'webhook':
        return this.#dispatch(received.webhook);
      case 'refused':
        return received.reply;
      case 'gone':
        return undefined;
    }
  }

  async #dispatch(webhook: ReceivedWebhook): Promise<ReceiverReply> {
    const { body } = webhook;
    if (!isJsonObject(body)) return failureReply(400, 'not-an-object', 'the body is not a JSON object');
    const target = targetOf(body);
    switch (target.kind) {
      case 'function': {
        const handler = this.#functions.get(target.functionName);
        if (!handler) return unknownTarget(`the function ${target.functionName}`);
        return this.#run(() => handler(readParseCall(webhook, body)), 200);
      }
      case 'trigger': {
        const { triggerName, className } = target;
        const handler = this.#triggers.get(triggerKey(triggerName, className));
        if (!handler)
          return unknownTarget(`${triggerName} of ${className === '' ? 'an unnamed class' : className}`);
        return this.#run(() => handler(readParseCall(webhook, body)), 200);
      }
      case 'event': {
        const handler = this.#events.get(target.type) ?? this.#events.get('*');
        if (!handler) return unknownTarget(`the event ${target.type}`);
        // A delivery is judged by its status: only there a rejection is one too.
        return this.#run(async () => {
          await handler(readEventCall(webhook, body));
        }, 422);
      }
      case 'none':
        return unknownTarget('a body without functionName, triggerName and type');
      default:
        return target satisfies never;
    }
  }

  async #run(work: () => unknown, rejectionStatus: number): Promise<ReceiverReply> {
    try {
      return successReply(await work());
    } catch (error) {
      if (error instanceof RejectError) return rejectionReply(rejectionStatus, error);
      this.#report(error);
      return failureReply(500, 'handler-failed', 'the handler failed');
    }
  }

  #report(error: unknown): void {
    this.#receive.onError(
      error instanceof Error ? error : new Error('a handler threw what is no Error', { cause: error }),
    );
  }
}

function triggerKey(triggerName: string, className: string): string {
  return `${triggerName} of ${className}`;
}

function unknownTarget(what: string): ReceiverReply {
  return failureReply(404, 'unknown-target', `no handler for ${what.slice(0, 200)}`);
}
