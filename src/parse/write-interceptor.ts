// Stands where Parse Server has just written or deleted an object, once for all applications of a process, and tells the
// application's listener. No trigger is registered for it: that would change what clients get and be logged for each save.
import type { ChangeKind } from '../events/object-change';
import type {
  CloudHandler,
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
  /** Decides whether a write is prepared at all, and whether Parse Server reads the original before it. */
  concerns(className: string, kind: ChangeKind): boolean;
  /** Runs after the application's own trigger. What it throws is what the client gets. */
  written(write: ObjectWrite): Promise<void>;
}

type Parts = Pick<ParseInternals, 'triggers' | 'restWrite' | 'rest' | 'readObject' | 'sdk'>;
type Replaced = Pick<TriggersModule, 'getTrigger' | 'maybeRunTrigger'>;
type Native = Replaced & Pick<RestWritePrototype, 'runAfterSaveTrigger'> & Pick<RestModule, 'del'>;

const installed = new WeakMap<TriggersModule, WriteInterceptor>();

/**
 * What lib/rest.js takes for a registered trigger when it asks whether to read the original (checkTriggers). It is never
 * run: lib/triggers.js finds triggers by a function of its own.
 */
export const originalReader: CloudHandler = () => undefined;

export class WriteInterceptor {
  readonly #parts: Parts;
  readonly #triggers: TriggersModule;
  readonly #restWrite: RestWritePrototype;
  readonly #native: Native;
  readonly #ours: Native;
  readonly #listeners = new Map<string, WriteListener>();

  /** The interceptor of these modules. There is one as long as an application is in it, as two could not be undone in any order. */
  static of(internals: Parts): WriteInterceptor {
    return installed.get(internals.triggers) ?? new WriteInterceptor(internals);
  }

  private constructor(parts: Parts) {
    const { triggers, restWrite, rest } = parts;
    this.#parts = parts;
    this.#triggers = triggers;
    this.#restWrite = restWrite;
    const { getTrigger, maybeRunTrigger } = triggers;
    // Called on the RestWrite at hand.
    // eslint-disable-next-line @typescript-eslint/unbound-method
    const { runAfterSaveTrigger } = restWrite;
    this.#native = { getTrigger, maybeRunTrigger, runAfterSaveTrigger, del: rest.del };
    this.#ours = this.#replacements();
    const { runAfterSaveTrigger: ourStep, del, ...ourTriggers } = this.#ours;
    Object.assign(triggers, ourTriggers);
    rest.del = del;
    restWrite.runAfterSaveTrigger = ourStep;
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
    const { runAfterSaveTrigger, del, ...triggers } = this.#native;
    const { rest } = this.#parts;
    // Who has wrapped ours since keeps the wrapper; below it ours passes everything through.
    for (const name of ['getTrigger', 'maybeRunTrigger'] as const) {
      if (this.#triggers[name] === this.#ours[name])
        Object.assign(this.#triggers, { [name]: triggers[name] });
    }
    if (this.#restWrite.runAfterSaveTrigger === this.#ours.runAfterSaveTrigger)
      this.#restWrite.runAfterSaveTrigger = runAfterSaveTrigger;
    if (rest.del === this.#ours.del) rest.del = del;
  }

  #replacements(): Native {
    const native = this.#native;
    const listenerOf = (config: ParseServerConfig): WriteListener | undefined =>
      this.#listeners.get(config.applicationId);
    return {
      getTrigger: (className, type, applicationId) =>
        native.getTrigger(className, type, applicationId) ??
        (this.#readsOriginal(className, type, applicationId) ? originalReader : undefined),
      maybeRunTrigger: (type, auth, object, original, config, context) => {
        const run = (): Promise<unknown> =>
          native.maybeRunTrigger(type, auth, object, original, config, context);
        if (type !== 'afterDelete' || !object) return run();
        const listener = listenerOf(config);
        if (!listener?.concerns(object.className, 'delete')) return run();
        const request = requestOf('afterDelete', { auth, config, context }, { object });
        return tell(listener, run, { kind: 'delete', className: object.className, request, data: {} });
      },
      del: async (config, auth, className, objectId, context) => {
        const run = (): Promise<unknown> => native.del(config, auth, className, objectId, context);
        const listener = listenerOf(config);
        if (typeof objectId !== 'string' || !listener?.concerns(className, 'delete')) return run();
        // Parse Server reads it itself, and maybeRunTrigger tells.
        if (this.#isReadForDelete(config, className)) return run();
        const { readObject, sdk } = this.#parts;
        // As nobody: with the client's rights and find triggers, as Parse Server reads, a delete would be refused to who
        // may write and not read.
        const found = await readObject(config, className, objectId);
        const left = await run();
        if (found) {
          const object = sdk.Object.fromJSON({ ...found, className });
          const request = requestOf('afterDelete', { auth, config, context }, { object });
          await listener.written({ kind: 'delete', className, request, data: {} });
        }
        return left;
      },
      runAfterSaveTrigger: function (this: RestWrite) {
        const kind = this.query ? 'update' : 'create';
        const listener = listenerOf(this.config);
        const run = (): Promise<unknown> => Promise.resolve(native.runAfterSaveTrigger.call(this));
        // The same conditions as Parse Server's own.
        if (!this.response?.response || this.runOptions.many || !listener?.concerns(this.className, kind))
          return run();
        // Now: the application's trigger may change the response.
        return tell(listener, run, writeOf(this, kind));
      },
    };
  }

  #readsOriginal(className: string, type: string, applicationId: string): boolean {
    return type === 'afterSave' && this.#listeners.get(applicationId)?.concerns(className, 'update') === true;
  }

  /** As lib/rest.js del decides it. */
  #isReadForDelete({ applicationId, liveQueryController }: ParseServerConfig, className: string): boolean {
    const hasTrigger = (type: string): boolean =>
      this.#native.getTrigger(className, type, applicationId) !== undefined;
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

function writeOf(write: RestWrite, kind: 'create' | 'update'): ObjectWrite {
  const { className, data, response } = write;
  const { updatedObject: object, originalObject: original } = write.buildParseObjects();
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
