// What each trigger's Parse request becomes on the wire, before a hook's own settings choose from it.
// The named list itself is in wire/call-fields.ts; docs/wire-format.md is its table.
import type { InstalledHook } from '../hooks/installed-hook';
import type { JsonObject, JsonValue } from '../shared/json';
import { isJsonObject } from '../shared/json';
import type { CallFields } from '../wire/call-fields';
import { isRestEqual } from '../shared/rest-equality';
import type { RestEncoder } from './encode-value';
import type { ParseObject, ParseQuery, ParseRequest, ParseSdk } from './internals';

export class TriggerFields {
  readonly #sdk: ParseSdk;
  readonly #encoder: RestEncoder;

  constructor(sdk: ParseSdk, encoder: RestEncoder) {
    this.#sdk = sdk;
    this.#encoder = encoder;
  }

  ofFunction(hook: InstalledHook, functionName: string, request: ParseRequest): CallFields {
    return {
      ...this.#common(hook, request),
      functionName,
      params: withoutCredentials(this.#encoder.value(request.params)),
    };
  }

  /** beforeSave: `object` is what is to be saved, `save` the pending change with its operations. */
  ofBeforeSave(
    hook: InstalledHook,
    request: ParseRequest,
    object: ParseObject,
    save: JsonObject,
  ): CallFields {
    const original = this.#objectOf(request.original);
    return {
      ...this.#trigger(hook, request),
      // The SDK shows no relation of an object that has no objectId yet, only the operation on it.
      object: { ...(!original && relations(save)), ...this.#encoder.object(object) },
      ...(original && { original, update: save }),
    };
  }

  /** Triggers about one object. */
  ofObject(hook: InstalledHook, request: ParseRequest): CallFields {
    const object = this.#objectOf(request.object);
    const original = this.#objectOf(request.original);
    return {
      ...this.#trigger(hook, request),
      ...(object && { object }),
      ...(original && { original }),
      ...(object &&
        original &&
        hookTriggerName(hook) === 'afterSave' && { update: changes(original, object) }),
      ...liveQueryFields(request),
    };
  }

  /** afterSave and afterDelete of an object that was encoded before. */
  ofWritten(
    hook: InstalledHook,
    request: ParseRequest,
    written: {
      readonly object: JsonObject;
      readonly original: JsonObject | undefined;
      readonly update: JsonObject | undefined;
    },
  ): CallFields {
    const { object, original, update } = written;
    return {
      ...this.#trigger(hook, request),
      object,
      ...(original && { original }),
      ...(update && { update }),
    };
  }

  /** Who did it: of the user the pointer alone, as many hear of a change who have no business with the person. */
  actor(request: ParseRequest): {
    readonly master: boolean;
    readonly user: JsonObject | undefined;
    readonly installationId: string | undefined;
  } {
    const { user, installationId } = request;
    return {
      master: request.master === true || request.useMasterKey === true,
      user:
        this.#encoder.isObject(user) && user.id !== undefined
          ? { __type: 'Pointer', className: '_User', objectId: user.id }
          : undefined,
      installationId: typeof installationId === 'string' ? installationId : undefined,
    };
  }

  ofBeforeFind(hook: InstalledHook, request: ParseRequest, query: ParseQuery): CallFields {
    return {
      ...this.#classTrigger(hook, request),
      ...this.#find(request),
      query: this.#json(query.toJSON()),
    };
  }

  ofAfterFind(hook: InstalledHook, request: ParseRequest, objects: readonly unknown[]): CallFields {
    const query = request.query instanceof this.#sdk.Query ? this.#json(request.query.toJSON()) : undefined;
    return {
      ...this.#classTrigger(hook, request),
      ...this.#find(request),
      ...(query && { query }),
      objects: objects.map(object => this.#objectOf(object) ?? {}),
    };
  }

  ofFile(hook: InstalledHook, request: ParseRequest): CallFields {
    const { file, fileSize } = request;
    return {
      ...this.#classTrigger(hook, request),
      ...(file instanceof this.#sdk.File && { file: this.#encoder.file(file) }),
      ...(typeof fileSize === 'number' && { fileSize }),
    };
  }

  /** beforeConnect and beforeSubscribe, which run in the LiveQuery server and have no object. */
  ofLiveQuery(hook: InstalledHook, request: ParseRequest): CallFields {
    const query = request.query instanceof this.#sdk.Query ? this.#json(request.query.toJSON()) : undefined;
    return { ...this.#classTrigger(hook, request), ...(query && { query }), ...liveQueryFields(request) };
  }

  /** Of triggers without an object, which would name the class. */
  #classTrigger(hook: InstalledHook, request: ParseRequest): CallFields {
    const { target } = hook.hook;
    return {
      ...this.#trigger(hook, request),
      ...(target.kind === 'trigger' && { className: target.className }),
    };
  }

  #trigger(hook: InstalledHook, request: ParseRequest): CallFields {
    return { ...this.#common(hook, request), triggerName: hookTriggerName(hook) };
  }

  #common(hook: InstalledHook, request: ParseRequest): CallFields {
    const { user, installationId, context } = request;
    const encodedContext = this.#encoder.value(context);
    const headers = forwarded(hook.settings.forwardHeaders, request.headers);
    return {
      master: request.master === true || request.useMasterKey === true,
      ...(this.#encoder.isObject(user) && { user: this.#user(hook, user) }),
      ...(typeof installationId === 'string' && { installationId }),
      ...(isJsonObject(encodedContext) &&
        Object.keys(encodedContext).length > 0 && { context: encodedContext }),
      ...(headers && { headers }),
    };
  }

  #user(hook: InstalledHook, user: ParseObject): JsonObject {
    const encoded = this.#encoder.user(user);
    if (!hook.settings.includeSessionToken || !(user instanceof this.#sdk.User)) return encoded;
    const sessionToken = user.getSessionToken();
    return typeof sessionToken === 'string' ? { ...encoded, sessionToken } : encoded;
  }

  #find(request: ParseRequest): Partial<CallFields> {
    return {
      ...(typeof request.count === 'boolean' && { count: request.count }),
      ...(typeof request.isGet === 'boolean' && { isGet: request.isGet }),
    };
  }

  #objectOf(value: unknown): JsonObject | undefined {
    if (this.#encoder.isObject(value)) return this.#encoder.object(value);
    if (value instanceof this.#sdk.Config)
      return { className: '@Config', params: this.#json(value.attributes) };
    return undefined;
  }

  #json(value: unknown): JsonObject {
    const encoded: JsonValue | undefined = this.#encoder.value(value);
    return isJsonObject(encoded) ? encoded : {};
  }
}

/**
 * What SDKs write into a body in place of headers. Parse Server takes it out (lib/middlewares.js handleParseHeaders)
 * unless the application id came in a header: then it is left among the parameters.
 */
const bodyCredentials: readonly string[] = [
  '_ApplicationId',
  '_ClientVersion',
  '_ContentType',
  '_InstallationId',
  '_JavaScriptKey',
  '_MaintenanceKey',
  '_MasterKey',
  '_RevocableSession',
  '_SessionToken',
  '_context',
  '_method',
  '_noBody',
];

function withoutCredentials(params: JsonValue | undefined): JsonObject {
  if (!isJsonObject(params)) return {};
  return Object.fromEntries(Object.entries(params).filter(([name]) => !bodyCredentials.includes(name)));
}

function hookTriggerName(hook: InstalledHook): string {
  const { target } = hook.hook;
  return target.kind === 'trigger' ? target.triggerName : '';
}

function liveQueryFields(request: ParseRequest): Partial<CallFields> {
  const { event, clients, subscriptions } = request;
  return {
    ...(typeof event === 'string' && { event }),
    ...(typeof clients === 'number' && { clients }),
    ...(typeof subscriptions === 'number' && { subscriptions }),
  };
}

function relations(save: JsonObject): JsonObject {
  const found: Record<string, JsonValue> = {};
  for (const [key, op] of Object.entries(save)) {
    if (!isJsonObject(op) || op.__op !== 'AddRelation' || !Array.isArray(op.objects)) continue;
    const [first] = op.objects as readonly JsonValue[];
    if (isJsonObject(first) && typeof first.className === 'string')
      found[key] = { __type: 'Relation', className: first.className };
  }
  return found;
}

/** After a save the client's operations are gone: what changed is what differs, with its new value. */
export function changes(original: JsonObject, object: JsonObject): JsonObject {
  const changed: Record<string, JsonValue> = {};
  for (const key of new Set([...Object.keys(original), ...Object.keys(object)])) {
    if (key === 'updatedAt' || key === 'createdAt' || key === 'objectId' || key === 'className') continue;
    const value = object[key];
    if (value === undefined) changed[key] = { __op: 'Delete' };
    else if (!isRestEqual(value, original[key])) changed[key] = value;
  }
  return changed;
}

function forwarded(
  names: readonly string[],
  headers: Readonly<Record<string, unknown>> | undefined,
): JsonObject | undefined {
  if (names.length === 0 || !headers) return undefined;
  const found = names.flatMap(name => {
    const value = headers[name];
    return typeof value === 'string' ? [[name, value] as const] : [];
  });
  return found.length > 0 ? Object.fromEntries(found) : undefined;
}
