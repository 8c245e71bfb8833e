// What the handlers of a receiver get and may give back. Types, and the reading of a verified body into them.
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';
import type { ReceivedWebhook } from './receive';

/** The fields that every Parse object has, in REST format. New objects have no id and no dates yet. */
export interface ParseFields {
  className: string;
  objectId?: string;
  createdAt?: string;
  updatedAt?: string;
}

/** An object of a class that the receiver does not describe. */
export interface ParseObject extends ParseFields {
  [key: string]: JsonValue | undefined;
}

/** `Classes` maps class names to the fields of their objects; other classes are ParseObject. */
export type ObjectOf<Classes, Name extends string> = Name extends keyof Classes
  ? ParseFields & Classes[Name]
  : ParseObject;

export interface Call {
  /** `webhook-id`: the same on every retry. */
  readonly id: string;
  /** When this attempt was sent, in seconds since 1970. */
  readonly timestamp: number;
  /** Send it as `X-Parse-Webhook-Depth` with your own calls to Parse. */
  readonly depth: number;
  /** The whole body, for fields that are not named here. */
  readonly body: JsonObject;
}

export interface ParseCall extends Call {
  /** True when the client used the master key. */
  readonly master: boolean;
  /** The user of the session, without its token. */
  readonly user: ParseObject | undefined;
  readonly installationId: string | undefined;
  /** The client's `context`; {} when there is none. */
  readonly context: JsonObject;
  /** Client headers that the hook forwards; {} when there are none. */
  readonly headers: JsonObject;
}

export interface ObjectCall<T> extends ParseCall {
  /** As it would be saved, or as it is. A change made here has no effect unless it is returned. */
  readonly object: T;
  /** As it was before; undefined for a new object. */
  readonly original: T | undefined;
  /** The changed keys, with Parse's `__op` where the client sent one; {} for a new object. */
  readonly update: JsonObject;
}

export interface FindCall extends ParseCall {
  readonly query: JsonObject;
  readonly count: boolean;
  readonly isGet: boolean;
}

export interface AfterFindCall<T> extends FindCall {
  readonly objects: readonly T[];
}

export interface FunctionCall extends ParseCall {
  readonly functionName: string;
  readonly params: JsonObject;
}

export interface EventCall extends Call {
  /** Such as `object.create`. */
  readonly type: string;
  /** When it happened, ISO 8601. */
  readonly occurredAt: string | undefined;
  readonly data: JsonValue | undefined;
}

export function readCall(webhook: ReceivedWebhook, body: JsonObject): Call {
  return { id: webhook.id, timestamp: webhook.timestamp, depth: webhook.depth, body };
}

/** Every field that any trigger or function has. The handler's type says which of them its call has. */
export function readParseCall(webhook: ReceivedWebhook, body: JsonObject): ParseCall {
  const { installationId, query, params, update, objects } = body;
  const call = {
    ...readCall(webhook, body),
    master: body.master === true,
    user: body.user,
    installationId: typeof installationId === 'string' ? installationId : undefined,
    context: objectOrEmpty(body.context),
    headers: objectOrEmpty(body.headers),
    object: body.object,
    original: body.original,
    update: objectOrEmpty(update),
    query: objectOrEmpty(query),
    count: body.count === true,
    isGet: body.isGet === true,
    objects: Array.isArray(objects) ? (objects as readonly JsonValue[]) : [],
    functionName: body.functionName,
    params: objectOrEmpty(params),
  };
  // The one unchecked step: the sender is authentic, and docs/wire-format.md says what it sends.
  return call as ParseCall;
}

export function readEventCall(webhook: ReceivedWebhook, body: JsonObject): EventCall {
  const { type, timestamp, data } = body;
  return {
    ...readCall(webhook, body),
    type: typeof type === 'string' ? type : '',
    occurredAt: typeof timestamp === 'string' ? timestamp : undefined,
    data,
  };
}

function objectOrEmpty(value: JsonValue | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}
