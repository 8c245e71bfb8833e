// Runs what stands on a seat: the application's cloud code first, then the hook on what it left; a function hook
// takes precedence over the cloud function. Applies the hook's answer in Parse's own terms.
import type { HookCall, HookCaller, Interpreter, Verdict } from '../blocking/hook-caller';
import { readTraceOrigin } from '../blocking/call-tracing';
import { readTraceparent } from '../blocking/delivery-tracing';
import type { OperationDeadline } from '../blocking/operation-deadline';
import { parseCodes } from '../errors';
import type { TriggerTarget } from '../hooks/hook';
import type { InstalledHook } from '../hooks/installed-hook';
import type { JsonObject } from '../shared/json';
import { isJsonObject } from '../shared/json';
import type { CallFields } from '../wire/call-fields';
import type { CallDepth } from './call-depth';
import type { ChangeCapture } from './change-capture';
import type { RestEncoder } from './encode-value';
import { guardObject } from './guard-object';
import { asFileChange, asObjects, asQuery, asResult, asSave, asSubscription, onlyVeto } from './interpreters';
import type { CloudHandler, ParseObject, ParseQuery, ParseRequest, ParseSdk } from './internals';
import type { TriggerFields } from './trigger-fields';

export interface DispatcherParts {
  readonly sdk: ParseSdk;
  readonly encoder: RestEncoder;
  readonly fields: TriggerFields;
  readonly caller: HookCaller;
  /** Takes what a notifying hook is to be told; resolves when that is durable. */
  readonly notify: ChangeCapture['notify'];
  readonly deadline: OperationDeadline;
  readonly depth: CallDepth;
  readonly find: (key: string) => InstalledHook | undefined;
}

export class HookDispatcher {
  readonly #parts: DispatcherParts;

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
  }

  async dispatch(key: string, request: ParseRequest, cloud: CloudHandler | undefined): Promise<unknown> {
    const hook = this.#parts.find(key);
    if (!hook) return cloud?.(request);
    const { target } = hook.hook;
    const { object } = request;
    if (this.#parts.encoder.isObject(object)) guardObject(object, request.config, this.#parts);
    if (!hook.blocking) return this.#notify(hook, request, cloud);
    if (target.kind === 'function') return this.#function(hook, target.functionName, request, cloud);
    const { className, triggerName } = target;
    const operation = { request: request.config, className, triggerName, nests: cloud !== undefined };
    return this.#parts.deadline.run(operation, async deadlineAt =>
      this.#trigger({ hook, target, request, deadlineAt, left: await leftBy(cloud, triggerName, request) }),
    );
  }

  async #function(
    hook: InstalledHook,
    functionName: string,
    request: ParseRequest,
    cloud: CloudHandler | undefined,
  ): Promise<unknown> {
    const fields = (): CallFields => this.#parts.fields.ofFunction(hook, functionName, request);
    const operation = { request: request.config, className: '', triggerName: 'function', nests: false };
    const verdict = await this.#parts.deadline.run(operation, deadlineAt =>
      this.#call({ hook, request, deadlineAt }, fields, asResult),
    );
    if (verdict.kind === 'use') return verdict.value;
    // Not enforced or failed open: the application's own function, if there is one, answers. It runs outside the
    // deadline, as it would without a hook: it may take its time, and what it saves has deadlines of its own.
    return verdict.answered ? undefined : cloud?.(request);
  }

  async #trigger(call: TriggerCall): Promise<unknown> {
    const { className, triggerName } = call.target;
    if (className === '@File') return this.#file(call);
    switch (triggerName) {
      case 'beforeSave':
        return className === '@Config' ? this.#veto(call) : this.#beforeSave(call);
      case 'beforeFind':
        return this.#beforeFind(call);
      case 'afterFind':
        return this.#afterFind(call);
      case 'beforeConnect':
        return this.#veto(call, () => this.#parts.fields.ofLiveQuery(call.hook, call.request));
      case 'beforeSubscribe':
        return this.#beforeSubscribe(call);
      default:
        return this.#veto(call);
    }
  }

  async #veto(call: TriggerCall, fields?: () => CallFields): Promise<unknown> {
    await this.#call(call, fields ?? (() => this.#parts.fields.ofObject(call.hook, call.request)), onlyVeto);
    return call.left;
  }

  async #beforeSave(call: TriggerCall): Promise<unknown> {
    const { hook, request, left } = call;
    const pending = this.#pendingSave(request, left);
    if (!pending) return left;
    const { object, save } = pending;
    const verdict = await this.#call(
      call,
      () => this.#parts.fields.ofBeforeSave(hook, request, object, this.#parts.encoder.update(object, save)),
      asSave(save as JsonObject, hook.settings.responseMode),
      request.original === undefined ? undefined : Object.keys(save),
    );
    if (verdict.kind !== 'use') return left;
    // RestWrite takes `{object}` as the whole change; a client's own objectId on create must survive that.
    return { object: { ...verdict.value, ...(object.id !== undefined && { objectId: object.id }) } };
  }

  /** The object as cloud code left it, and the change that will be saved if nobody interferes. */
  #pendingSave(
    request: ParseRequest,
    left: unknown,
  ): { object: ParseObject; save: Record<string, unknown> } | undefined {
    const { encoder, sdk } = this.#parts;
    const { object } = request;
    if (!encoder.isObject(object)) return undefined;
    const returned: unknown =
      typeof left === 'object' && left !== null ? (left as { object?: unknown }).object : undefined;
    if (!isJsonObject(returned)) return { object, save: this.#saveOf(object) };
    // Cloud code may return `{object: REST}` instead of changing request.object: that is the change then.
    const base = encoder.isObject(request.original)
      ? encoder.object(request.original)
      : { className: object.className };
    const rebuilt = sdk.Object.fromJSON({ ...base, ...(object.id !== undefined && { objectId: object.id }) });
    for (const [key, value] of Object.entries(returned)) rebuilt.set(key, sdk._decode(key, value));
    return { object: rebuilt, save: { ...returned } };
  }

  #saveOf(object: ParseObject): Record<string, unknown> {
    try {
      return object._getSaveJSON();
    } catch (error) {
      // A date that is none, a pointer without objectId: Parse Server itself would trip over it and never answer.
      const detail = error instanceof Error ? error.message : 'unreadable';
      throw new this.#parts.sdk.Error(parseCodes.invalidJson, `object cannot be saved: ${detail}`);
    }
  }

  async #beforeFind(call: TriggerCall): Promise<unknown> {
    const { sdk, fields } = this.#parts;
    const { hook, request, left } = call;
    const query = left instanceof sdk.Query ? left : request.query;
    if (!(query instanceof sdk.Query)) return left;
    const verdict = await this.#call(call, () => fields.ofBeforeFind(hook, request, query), asQuery);
    // Objects that cloud code returned in place of a query stay: the hook could only have stopped them.
    if (verdict.kind !== 'use' || (left !== undefined && left !== null && left !== query)) return left;
    return this.#changedQuery(query, verdict.value);
  }

  async #beforeSubscribe(call: TriggerCall): Promise<unknown> {
    const { sdk, fields } = this.#parts;
    const { hook, request, left } = call;
    const verdict = await this.#call(call, () => fields.ofLiveQuery(hook, request), asSubscription);
    // The LiveQuery server reads request.query afterwards (ParseLiveQueryServer._handleSubscribe).
    if (verdict.kind === 'use' && request.query instanceof sdk.Query) {
      request.query = this.#changedQuery(request.query, verdict.value);
    }
    return left;
  }

  #changedQuery(query: ParseQuery, change: JsonObject): ParseQuery {
    return new this.#parts.sdk.Query(query.className).withJSON({ ...query.toJSON(), ...change });
  }

  async #afterFind(call: TriggerCall): Promise<unknown> {
    const { sdk, fields } = this.#parts;
    const { hook, request, left, target } = call;
    const objects: readonly unknown[] = Array.isArray(left) ? left : (request.objects ?? []);
    let full: CallFields | undefined;
    const verdict = await this.#call(
      call,
      () => (full = fields.ofAfterFind(hook, request, objects)),
      (value, sent) => asObjects({ sdk, className: target.className, all: full?.objects ?? [] })(value, sent),
    );
    return verdict.kind === 'use' ? verdict.value : left;
  }

  async #file(call: TriggerCall): Promise<unknown> {
    const { hook, request, left, target } = call;
    const fields = (): CallFields => this.#parts.fields.ofFile(hook, request);
    if (target.triggerName !== 'beforeSave') return this.#veto(call, fields);
    const verdict = await this.#call(call, fields, asFileChange);
    const file = left instanceof this.#parts.sdk.File ? left : request.file;
    if (verdict.kind === 'use' && file instanceof this.#parts.sdk.File) {
      const { metadata, tags } = verdict.value;
      if (metadata) file.setMetadata({ ...metadata });
      if (tags) file.setTags({ ...tags });
    }
    return left;
  }

  /** Calls the hook; a refusal becomes the Parse.Error that the client gets. */
  async #call<T>(
    call: Pick<TriggerCall, 'hook' | 'request' | 'deadlineAt'>,
    fields: () => CallFields,
    interpret: Interpreter<T>,
    changedKeys?: readonly string[],
  ): Promise<Exclude<Verdict<T>, { kind: 'refused' }>> {
    const { hook, request, deadlineAt } = call;
    const prepare = (): HookCall => this.#prepare(hook, request, fields(), changedKeys);
    const verdict = await this.#parts.caller.call(hook, prepare, deadlineAt, interpret);
    if (verdict.kind === 'refused') throw new this.#parts.sdk.Error(verdict.code, verdict.message);
    return verdict;
  }

  async #notify(
    hook: InstalledHook,
    request: ParseRequest,
    cloud: CloudHandler | undefined,
  ): Promise<unknown> {
    const { fields, notify } = this.#parts;
    try {
      return await cloud?.(request);
    } finally {
      // It has happened, whatever the application's own trigger thinks of it.
      await notify(hook, () => {
        const { target } = hook.hook;
        const onFile = target.kind === 'trigger' && target.className === '@File';
        const built = onFile ? fields.ofFile(hook, request) : fields.ofObject(hook, request);
        return {
          fields: built,
          changedKeys: built.update && Object.keys(built.update),
          depth: this.#depthOf(hook, request),
          traceparent: readTraceparent(request.headers),
        };
      });
    }
  }

  #prepare(
    hook: InstalledHook,
    request: ParseRequest,
    fields: CallFields,
    changedKeys: readonly string[] | undefined,
  ): HookCall {
    const depth = this.#depthOf(hook, request);
    const trace = readTraceOrigin(request.headers);
    return { fields, depth, trace, ...(changedKeys && { changedKeys }) };
  }

  #depthOf(hook: InstalledHook, request: ParseRequest): number {
    return this.#parts.depth.next({
      headers: request.headers,
      isMaster: request.master === true,
      isBlocking: hook.blocking,
    });
  }
}

/** Runs the application's own trigger. Of a beforeSave, Parse Server takes only what comes in a promise (maybeRunTrigger). */
async function leftBy(
  cloud: CloudHandler | undefined,
  triggerName: string,
  request: ParseRequest,
): Promise<unknown> {
  if (!cloud) return undefined;
  const left = cloud(request);
  if (triggerName === 'beforeSave' && !isThenable(left)) return undefined;
  return await left;
}

function isThenable(value: unknown): boolean {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
}

interface TriggerCall {
  readonly hook: InstalledHook;
  readonly target: TriggerTarget;
  readonly request: ParseRequest;
  /** Monotonic milliseconds. */
  readonly deadlineAt: number;
  /** What the application's own trigger returned. */
  readonly left: unknown;
}
