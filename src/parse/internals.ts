// Typed access to what this package uses of Parse Server and of the parse SDK beyond their public API.
// The only file that names modules of parse-server. Every use is checked at start, so that an update of Parse Server
// that moves something fails with one clear message.
import { createRequire } from 'node:module';
import { WebhookError } from '../errors';

export type CloudHandler = (request: ParseRequest, response?: unknown) => unknown;

/** parse-server lib/triggers.js, the exports that this package calls or replaces. */
export interface TriggersModule {
  addFunction: (
    name: string,
    handler: CloudHandler | undefined,
    validator: unknown,
    applicationId: string,
  ) => void;
  addTrigger: (
    type: string,
    className: string,
    handler: CloudHandler | undefined,
    applicationId: string,
    validator?: unknown,
  ) => void;
  addConnectTrigger: (
    type: string,
    handler: CloudHandler | undefined,
    applicationId: string,
    validator?: unknown,
  ) => void;
  readonly removeFunction: (name: string, applicationId: string) => void;
  readonly removeTrigger: (type: string, className: string, applicationId: string) => void;
  readonly getFunction: (name: string, applicationId: string) => CloudHandler | undefined;
  getTrigger: (className: string, type: string, applicationId: string) => CloudHandler | undefined;
  /** `name` is a function's, or `type.className`. */
  readonly getValidator: (name: string, applicationId: string) => unknown;
  _unregisterAll: () => void;
  maybeRunTrigger: RunTrigger;
}

export type RunTrigger = (
  triggerType: string,
  auth: RequestAuth | undefined,
  object: ParseObject | undefined,
  original: ParseObject | null | undefined,
  config: ParseServerConfig,
  context: object | undefined,
) => Promise<unknown>;

/** lib/Auth.js, as far as triggers show it. */
export interface RequestAuth {
  readonly isMaster?: unknown;
  readonly user?: unknown;
  readonly installationId?: unknown;
}

/** lib/RestWrite.js: one create or update. */
export interface RestWrite {
  readonly className: string;
  readonly config: ParseServerConfig;
  readonly auth: RequestAuth | undefined;
  readonly context: object | undefined;
  /** Names the object of an update; null for a create. */
  readonly query: { readonly objectId?: unknown } | null | undefined;
  /** The change, as REST with `__op`s. */
  readonly data: Readonly<Record<string, unknown>>;
  readonly response?: { readonly response?: object; readonly status?: number };
  readonly runOptions: { readonly many?: unknown };
  buildParseObjects(): { readonly updatedObject: ParseObject; readonly originalObject?: ParseObject };
}

/** The step of RestWrite.execute that comes when the object has been written. */
export interface RestWritePrototype {
  runAfterSaveTrigger(this: RestWrite): Promise<unknown> | undefined;
}

/** What triggers get from Parse Server; which fields are there depends on the trigger (lib/triggers.js). */
export interface ParseRequest {
  readonly triggerName?: string;
  readonly functionName?: string;
  readonly params?: unknown;
  readonly object?: unknown;
  readonly original?: unknown;
  readonly objects?: readonly unknown[];
  query?: unknown;
  readonly count?: unknown;
  readonly isGet?: unknown;
  readonly file?: unknown;
  readonly fileSize?: unknown;
  readonly event?: unknown;
  readonly clients?: unknown;
  readonly subscriptions?: unknown;
  readonly master?: unknown;
  readonly useMasterKey?: unknown;
  readonly user?: unknown;
  readonly installationId?: unknown;
  readonly context?: unknown;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly config?: object;
}

export interface ParseObject {
  readonly id?: string;
  readonly className: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  set(key: string, value: unknown): unknown;
  toJSON(...parameters: unknown[]): Record<string, unknown>;
  _getSaveJSON(): Record<string, unknown>;
  /** Takes what the database answered to a write (Parse SDK ParseObject.js). */
  _handleSaveResponse(response: object, status: number): void;
}

export interface ParseQuery {
  readonly className: string;
  toJSON(...parameters: unknown[]): Record<string, unknown>;
  withJSON(json: unknown): ParseQuery;
}

export interface ParseFile {
  /** Where the SDK keeps what url() gives. */
  _url?: string;
  name(): string;
  url(): string | undefined;
  metadata(): Record<string, unknown> | undefined;
  tags(): Record<string, unknown> | undefined;
  setMetadata(metadata: Record<string, unknown>): void;
  setTags(tags: Record<string, unknown>): void;
}

type Constructor<T> = abstract new (...parts: never[]) => T;

/** The parse SDK that Parse Server itself uses: a second copy would lose error codes and object identity. */
export interface ParseSdk {
  readonly Error: new (code: number, message: unknown) => Error;
  readonly Object: Constructor<ParseObject> & { fromJSON(json: unknown): ParseObject };
  readonly User: Constructor<ParseObject & { getSessionToken(): string | null | undefined }>;
  readonly Query: new (className: string) => ParseQuery;
  readonly File: Constructor<ParseFile>;
  readonly Config: Constructor<{ readonly attributes: Readonly<Record<string, unknown>> }>;
  readonly ACL: Constructor<{ toJSON(): unknown }>;
  readonly GeoPoint: Constructor<{ toJSON(): unknown }>;
  readonly Polygon: Constructor<{ toJSON(): unknown }>;
  readonly Relation: Constructor<{ toJSON(): unknown }>;
  readonly applicationId: string;
  _decode(key: string | undefined, value: unknown): unknown;
}

/** lib/Config.js: one object per request, with the controllers of the application. */
export interface ParseServerConfig {
  readonly serverURL: string;
  readonly applicationId: string;
  readonly masterKey: unknown;
  readonly webhookKey?: unknown;
  readonly database: DatabaseController;
  readonly hooksController: HooksController;
  readonly loggerController: { info(m: string): void; warn(m: string): void; error(m: string): void };
  readonly liveQueryController?: { hasLiveQuery(className: string): boolean };
  /** Of the request. */
  readonly headers?: Readonly<Record<string, unknown>>;
}

/** lib/Controllers/DatabaseController.js. Without `acl` an operation runs as master. */
export interface DatabaseController {
  /** lib/Adapters/Storage: see delivery-database.ts. */
  readonly adapter?: unknown;
  find(className: string, query: object, options?: object): Promise<Record<string, unknown>[]>;
  create(className: string, object: object, options?: object): Promise<unknown>;
  update(className: string, query: object, update: object, options?: object): Promise<unknown>;
  destroy(className: string, query: object, options?: object): Promise<unknown>;
  loadSchema(options?: { clearCache: boolean }): Promise<{
    hasClass(className: string): Promise<boolean>;
    addClassIfNotExists(className: string, fields: object, permissions: object): Promise<unknown>;
  }>;
}

/** lib/Controllers/HooksController.js, as lib/Routers/HooksRouter.js calls it. */
export interface HooksController {
  load(): Promise<unknown>;
  createHook(body: unknown): Promise<unknown>;
  updateHook(hook: unknown): Promise<unknown>;
  getFunction(functionName: unknown): Promise<unknown>;
  getFunctions(): Promise<unknown>;
  getTrigger(className: unknown, triggerName: unknown): Promise<unknown>;
  getTriggers(): Promise<unknown>;
  deleteFunction(functionName: unknown): Promise<unknown>;
  deleteTrigger(className: unknown, triggerName: unknown): Promise<unknown>;
}

/** lib/rest.js: where every update and delete by a client passes. */
export interface RestModule {
  update: (
    config: ParseServerConfig,
    auth: RequestAuth,
    className: string,
    restWhere: { readonly objectId?: unknown },
    restObject: object,
    context?: object,
  ) => Promise<unknown>;
  del: (
    config: ParseServerConfig,
    auth: RequestAuth,
    className: string,
    objectId: unknown,
    context?: object,
  ) => Promise<unknown>;
}

/** lib/RestQuery.js: a query as clients get it answered, with their triggers or without. */
interface RestQueryModule {
  (query: object): Promise<{ execute(): Promise<{ readonly results?: readonly unknown[] }> }>;
  readonly Method: { readonly get: unknown };
}

export interface HooksRouterRequest {
  readonly config: ParseServerConfig;
  readonly params: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
}

/** The prototype methods of lib/Routers/HooksRouter.js that drop what the REST guide documents. */
export interface HooksRouterPrototype {
  handleDelete(this: unknown, request: HooksRouterRequest): Promise<{ response: unknown }>;
}

export interface ParseInternals {
  readonly triggers: TriggersModule;
  readonly hooksRouter: HooksRouterPrototype;
  readonly restWrite: RestWritePrototype;
  readonly rest: RestModule;
  /** An object as REST, whoever may see it, without find triggers; undefined when there is none. */
  readonly readObject: (
    config: ParseServerConfig,
    className: string,
    objectId: string,
  ) => Promise<Readonly<Record<string, unknown>> | undefined>;
  readonly sdk: ParseSdk;
  /** The configuration of an application that has been constructed (lib/Config.js). */
  readonly configOf: (applicationId: string) => ParseServerConfig;
  /** `match` of the router package's Layer, which parse-server's PromiseRouter calls. */
  readonly layerMatch: () => unknown;
  readonly routerVersion: string;
  readonly serverVersion: string;
}

/** Loads the internals from the parse-server that the application itself loads. Throws BROKEN_INSTALL. */
export function loadInternals(): ParseInternals {
  const fromHere = createRequire(__filename);
  const fromServer = createRequire(attempt('parse-server', () => fromHere.resolve('parse-server')));
  const triggers = attempt('parse-server/lib/triggers', () => fromServer('./triggers') as TriggersModule);
  for (const name of [
    'addFunction',
    'addTrigger',
    'addConnectTrigger',
    'removeFunction',
    'removeTrigger',
    'getFunction',
    'getTrigger',
    'getValidator',
    '_unregisterAll',
    'maybeRunTrigger',
  ] as const) {
    if (typeof triggers[name] !== 'function') throw moved(`triggers.${name}`);
  }
  loadLogging(fromServer);
  const router = attempt(
    'parse-server/lib/Routers/HooksRouter',
    () => fromServer('./Routers/HooksRouter') as { HooksRouter?: { prototype?: HooksRouterPrototype } },
  );
  const hooksRouter = router.HooksRouter?.prototype;
  if (typeof hooksRouter?.handleDelete !== 'function') throw moved('HooksRouter.handleDelete');
  const RestWrite = attempt(
    'parse-server/lib/RestWrite',
    () => fromServer('./RestWrite') as { prototype?: RestWritePrototype & { buildParseObjects?: unknown } },
  );
  const restWrite = RestWrite.prototype;
  if (
    typeof restWrite?.runAfterSaveTrigger !== 'function' ||
    typeof restWrite.buildParseObjects !== 'function'
  )
    throw moved('RestWrite.runAfterSaveTrigger');
  const rest = attempt('parse-server/lib/rest', () => fromServer('./rest') as RestModule);
  if (typeof rest.del !== 'function' || typeof rest.update !== 'function')
    throw moved('rest.del or rest.update');
  const RestQuery = attempt('parse-server/lib/RestQuery', () => fromServer('./RestQuery') as RestQueryModule);
  const Auth = attempt(
    'parse-server/lib/Auth',
    () => fromServer('./Auth') as { master(config: ParseServerConfig): RequestAuth },
  );
  if (typeof RestQuery !== 'function' || typeof Auth.master !== 'function') throw moved('RestQuery or Auth');
  const Config = attempt(
    'parse-server/lib/Config',
    () => fromServer('./Config') as { get(applicationId: string): Partial<ParseServerConfig> | undefined },
  );
  const Layer = attempt(
    'router/lib/layer',
    () =>
      fromServer('router/lib/layer') as new (
        path: string,
        options: object,
        handler: () => void,
      ) => {
        match(path: string): unknown;
      },
  );
  return {
    triggers,
    hooksRouter,
    restWrite,
    rest,
    readObject: async (config, className, objectId) => {
      const query = await RestQuery({
        method: RestQuery.Method.get,
        config,
        auth: Auth.master(config),
        className,
        restWhere: { objectId },
        runBeforeFind: false,
        runAfterFind: false,
      });
      const [found] = (await query.execute()).results ?? [];
      return isRecord(found) ? found : undefined;
    },
    configOf: applicationId => {
      const config = Config.get(applicationId);
      if (!config?.hooksController || !config.database || !config.loggerController) throw moved('Config');
      return config as ParseServerConfig;
    },
    sdk: attempt('parse/node', () => fromServer('parse/node') as ParseSdk),
    layerMatch: () => new Layer('/a', {}, () => undefined).match('/a'),
    routerVersion: versionOf(fromServer, 'router'),
    serverVersion: versionOf(fromServer, '..'),
  };
}

/**
 * Runs a registration in lib/triggers.js without its warning "Duplicate cloud functions exist". It cannot be had
 * otherwise: nothing there takes a validator away, and one that is replaced by itself counts as a duplicate.
 */
export function withoutWarnings(register: () => void): void {
  const fromHere = createRequire(__filename);
  const { getLogger, setLogger } = loadLogging(createRequire(fromHere.resolve('parse-server')));
  const logger = getLogger();
  setLogger(Object.create(logger, { warn: { value: () => undefined } }) as object);
  try {
    register();
  } finally {
    setLogger(logger);
  }
}

/** parse-server lib/logger.js. */
interface LoggingModule {
  readonly getLogger: () => object;
  readonly setLogger: (logger: object) => void;
}

function loadLogging(fromServer: NodeJS.Require): LoggingModule {
  const logging = attempt('parse-server/lib/logger', () => fromServer('./logger') as LoggingModule);
  for (const name of ['getLogger', 'setLogger'] as const) {
    if (typeof logging[name] !== 'function') throw moved(`logger.${name}`);
  }
  return logging;
}

function attempt<T>(what: string, load: () => T): T {
  try {
    return load();
  } catch (cause) {
    throw new WebhookError(
      'BROKEN_INSTALL',
      `parse-server-webhooks cannot load ${what}: is parse-server 9 installed?`,
      {
        cause,
      },
    );
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function moved(what: string): WebhookError {
  return new WebhookError(
    'BROKEN_INSTALL',
    `this parse-server has no ${what}: parse-server-webhooks needs >=9.0.0 <10`,
  );
}

function versionOf(from: NodeJS.Require, name: string): string {
  try {
    return (from(`${name}/package.json`) as { version: string }).version;
  } catch {
    return 'unknown';
  }
}
