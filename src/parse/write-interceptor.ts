// Stands where Parse Server has just written or deleted an object, once for all applications of a process, and tells the
// application's listener. No trigger is registered for it: that would change what clients get and be logged for each save.
// What an object was before is read here as nobody: with a client's rights it would lack protected fields, or be missing.
import { AsyncLocalStorage } from 'node:async_hooks';
import type { ChangeKind } from '../events/object-change';
import type {
  ParseInternals,
  ParseRequest,
  ParseServerConfig,
  RestModule,
  RestWrite,
  RestWritePrototype,
  TriggersModule,
} from './internals';

/** An object that has just been written or deleted. */
export interface ObjectWrite {
  readonly kind: ChangeKind;
  readonly className: string;
  /** What an `after*` trigger would get: object, original, who did it. */
  readonly request: ParseRequest;
  /** The client's change, as REST with `__op`s; empty for a delete. */
  readonly data: Readonly<Record<string, unknown>>;
}

/** Who wants to hear of an application's writes. */
export interface WriteListener {
  /** Decides whether a write is prepared at all, and whether the original is read before it. */
  concerns(className: string, kind: ChangeKind): boolean;
  /** Runs after the application's own trigger. What it throws is what the client gets. */
  written(write: ObjectWrite): Promise<void>;
}

type Parts = Pick<ParseInternals, 'triggers' | 'restWrite' | 'rest' | 'readObject' | 'sdk'>;
type Native = Pick<TriggersModule, 'maybeRunTrigger'> &
  Pick<RestWritePrototype, 'runAfterSaveTrigger'> &
  Pick<RestModule, 'del' | 'update'>;

/** What was in the database before the update or delete that is going on. */
interface Before {
  readonly className: string;
  readonly objectId: string;
  /** As REST, whoever may see it; undefined when there was none. */
  readonly found: Readonly<Record<string, unknown>> | undefined;
}

const installed = new WeakMap<TriggersModule, WriteInterceptor>();

export class WriteInterceptor {
  readonly #parts: Parts;
  readonly #triggers: TriggersModule;
  readonly #restWrite: RestWritePrototype;
  readonly #native: Native;
  readonly #ours: Native;
  readonly #listeners = new Map<string, WriteListener>();
  // By call and not by the request's context: the parts of a batch share that, two updates of one object among them.
  readonly #before = new AsyncLocalStorage<Before>();

  /** The interceptor of these modules. There is one as long as an application is in it, as two could not be undone in any order. */
  static of(internals: Parts): WriteInterceptor {
    return installed.get(internals.triggers) ?? new WriteInterceptor(internals);
  }

  private constructor(parts: Parts) {
    const { triggers, restWrite, rest } = parts;
    this.#parts = parts;
    this.#triggers = triggers;
    this.#restWrite = restWrite;
    // Called on the RestWrite at hand.
    // eslint-disable-next-line @typescript-eslint/unbound-method
    const { runAfterSaveTrigger } = restWrite;
    const { del, update } = rest;
    this.#native = { maybeRunTrigger: triggers.maybeRunTrigger, runAfterSaveTrigger, del, update };
    this.#ours = this.#replacements();
    triggers.maybeRunTrigger = this.#ours.maybeRunTrigger;
    rest.del = this.#ours.del;
    rest.update = this.#ours.update;
    restWrite.runAfterSaveTrigger = this.#ours.runAfterSaveTrigger;
    installed.set(triggers, this);
  }

  /** From now on the application's writes are told to `listener`, in the place of whom it had before. */
  join(applicationId: string, listener: WriteListener): void {
    this.#listeners.set(applicationId, listener);
  }

  /** Ends it, unless another one has taken the place since. The last to leave puts Parse Server's own functions back. */
  leave(applicationId: string, listener: WriteListener): void {
    if (this.#listeners.get(applicationId) === listener) this.#listeners.delete(applicationId);
    if (this.#listeners.size > 0 || installed.get(this.#triggers) !== this) return;
    installed.delete(this.#triggers);
    const { runAfterSaveTrigger, maybeRunTrigger, del, update } = this.#native;
    const { rest } = this.#parts;
    // Who has wrapped ours since keeps the wrapper; below it ours passes everything through.
    if (this.#triggers.maybeRunTrigger === this.#ours.maybeRunTrigger)
      this.#triggers.maybeRunTrigger = maybeRunTrigger;
    if (this.#restWrite.runAfterSaveTrigger === this.#ours.runAfterSaveTrigger)
      this.#restWrite.runAfterSaveTrigger = runAfterSaveTrigger;
    if (rest.del === this.#ours.del) rest.del = del;
    if (rest.update === this.#ours.update) rest.update = update;
  }

  #replacements(): Native {
    const native = this.#native;
    const before = this.#before;
    const { readObject, sdk } = this.#parts;
    const listenerOf = (config: ParseServerConfig): WriteListener | undefined =>
      this.#listeners.get(config.applicationId);
    return {
      maybeRunTrigger: (type, auth, object, original, config, context) => {
        const run = (): Promise<unknown> =>
          native.maybeRunTrigger(type, auth, object, original, config, context);
        if (type !== 'afterDelete' || !object) return run();
        const listener = listenerOf(config);
        if (!listener?.concerns(object.className, 'delete')) return run();
        const { className, id } = object;
        const found = foundIn(before.getStore(), className, id);
        const whole = found ? sdk.Object.fromJSON({ ...found, className }) : object;
        const request = requestOf('afterDelete', { auth, config, context }, { object: whole });
        return tell(listener, run, { kind: 'delete', className, request, data: {} });
      },
      del: async (config, auth, className, objectId, context) => {
        const run = (): Promise<unknown> => native.del(config, auth, className, objectId, context);
        const listener = listenerOf(config);
        if (typeof objectId !== 'string' || !listener?.concerns(className, 'delete')) return run();
        const found = await readObject(config, className, objectId);
        // Parse Server reads it itself, with the client's rights, and maybeRunTrigger tells.
        if (this.#isReadForDelete(config, className)) return before.run({ className, objectId, found }, run);
        const left = await run();
        if (found) {
          const object = sdk.Object.fromJSON({ ...found, className });
          const request = requestOf('afterDelete', { auth, config, context }, { object });
          await listener.written({ kind: 'delete', className, request, data: {} });
        }
        return left;
      },
      update: async (config, auth, className, restWhere, restObject, context) => {
        const run = (): Promise<unknown> =>
          native.update(config, auth, className, restWhere, restObject, context);
        const { objectId } = restWhere;
        if (typeof objectId !== 'string' || !listenerOf(config)?.concerns(className, 'update')) return run();
        const found = await readObject(config, className, objectId);
        return before.run({ className, objectId, found }, run);
      },
      runAfterSaveTrigger: function (this: RestWrite) {
        const kind = this.query ? 'update' : 'create';
        const listener = listenerOf(this.config);
        const run = (): Promise<unknown> => Promise.resolve(native.runAfterSaveTrigger.call(this));
        // The same conditions as Parse Server's own.
        if (!this.response?.response || this.runOptions.many || !listener?.concerns(this.className, kind))
          return run();
        // Now: the application's trigger may change the response.
        const found = foundIn(before.getStore(), this.className, this.query?.objectId);
        return tell(listener, run, writeOf(this, kind, found));
      },
    };
  }

  /** As lib/rest.js del decides it. */
  #isReadForDelete({ applicationId, liveQueryController }: ParseServerConfig, className: string): boolean {
    const hasTrigger = (type: string): boolean =>
      this.#triggers.getTrigger(className, type, applicationId) !== undefined;
    return (
      className === '_Session' ||
      hasTrigger('beforeDelete') ||
      hasTrigger('afterDelete') ||
      liveQueryController?.hasLiveQuery(className) === true
    );
  }
}

/** It has happened, whatever the application's own trigger thinks of it. */
async function tell(
  listener: WriteListener,
  run: () => Promise<unknown>,
  write: ObjectWrite,
): Promise<unknown> {
  let left: unknown;
  try {
    left = await run();
  } finally {
    await listener.written(write);
  }
  return left;
}

function foundIn(before: Before | undefined, className: string, objectId: unknown): Before['found'] {
  return before?.className === className && before.objectId === objectId ? before.found : undefined;
}

function writeOf(write: RestWrite, kind: 'create' | 'update', found: Before['found']): ObjectWrite {
  const { className, data, response } = write;
  // buildParseObjects only reads: below the write stands what Parse Server goes on with, and the client gets.
  const seen = found ? (Object.create(write, { originalData: { value: found } }) as RestWrite) : write;
  const { updatedObject: object, originalObject: original } = seen.buildParseObjects();
  object._handleSaveResponse({ ...response?.response }, response?.status ?? 200);
  const request = requestOf('afterSave', write, { object, ...(original && { original }) });
  return { kind, className, request, data };
}

/** As lib/triggers.js getRequestObject makes it. */
function requestOf(
  triggerName: string,
  { auth, config, context }: Pick<RestWrite, 'auth' | 'config' | 'context'>,
  objects: Pick<ParseRequest, 'object' | 'original'>,
): ParseRequest {
  const { headers } = config;
  return {
    triggerName,
    ...objects,
    master: auth?.isMaster === true,
    ...(auth?.user !== undefined && auth.user !== null && { user: auth.user }),
    ...(typeof auth?.installationId === 'string' && { installationId: auth.installationId }),
    ...(headers && { headers }),
    context: { ...context },
    config,
  };
}
