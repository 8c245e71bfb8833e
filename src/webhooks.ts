// The composition root: the only file that knows every part, and the life of them all.
import { createManagementApi } from './api/management-api';
import { createMetrics } from './api/metrics';
import { createPublicRouter } from './api/public-router';
import { HookCaller } from './blocking/hook-caller';
import { Notifier } from './blocking/notifier';
import { OperationDeadline } from './blocking/operation-deadline';
import { Senders, whyUnreachable } from './blocking/sender';
import { ServerKeys } from './blocking/server-keys';
import { parseCodes, WebhookError } from './errors';
import { ChangePoller } from './hooks/change-poller';
import type { HookSettings } from './hooks/hook-settings';
import type { InstalledHook } from './hooks/installed-hook';
import { HookRegistry } from './hooks/registry';
import { createSecretBox } from './hooks/secret-box';
import type { ExchangeClient } from './http/exchange';
import { laneDefaults } from './http/lane';
import { jwks, jwksMaxAgeSeconds } from './http/signing-keys';
import { publicKeyOf } from './http/webhook-signature';
import { createExchangeClient } from './http/undici-client';
import { parseOptions, type ResolvedOptions, type WebhooksOptions } from './options';
import { CallDepth } from './parse/call-depth';
import { DatabaseHookStore } from './parse/database-hook-store';
import { RestEncoder } from './parse/encode-value';
import { HookDispatcher } from './parse/hook-dispatcher';
import { answerDeletes, createHooksController } from './parse/hooks-controller';
import { assertUsableRouter } from './parse/install-check';
import { loadInternals, type ParseInternals } from './parse/internals';
import { chain, runCloudCode, type WrappedOptions } from './parse/parse-options';
import { TriggerFields } from './parse/trigger-fields';
import { TriggerSeats } from './parse/trigger-seats';
import { systemClock } from './shared/clock';
import type { Logger } from './shared/logger';
import type { RequestHandler } from 'express';

/** What lives from configure() to stop(). */
interface Configured {
  readonly internals: ParseInternals;
  readonly seats: TriggerSeats;
  readonly depth: CallDepth;
}

/** What lives from Parse Server's start to stop(). */
interface Running {
  readonly registry: HookRegistry;
  readonly poller: ChangePoller;
  readonly notifier: Notifier;
  readonly client: ExchangeClient;
  readonly dispatcher: HookDispatcher;
  readonly api: RequestHandler;
  readonly publicRouter: RequestHandler;
  /** Gives Parse Server its own hooks controller back. */
  readonly restore: () => void;
}

interface Registered {
  readonly registry: HookRegistry;
  readonly store: DatabaseHookStore;
  readonly keys: ServerKeys;
}

/**
 * Webhooks for one Parse Server. Give Parse Server's options to `configure` before you create it, and call `stop`
 * at shutdown.
 *
 * @example
 * const webhooks = new Webhooks();
 * const server = new ParseServer(webhooks.configure({ databaseURI, appId, masterKey, serverURL }));
 */
export class Webhooks {
  readonly #options: ResolvedOptions;
  readonly #clock = systemClock;
  #configured: Configured | undefined;
  #running: Running | undefined;
  /** True once the hooks and keys of the database are in force. */
  #inForce = false;

  /** Throws a WebhookError (INVALID_OPTION) that names field and value. */
  constructor(options: WebhooksOptions = {}) {
    this.#options = parseOptions(options);
  }

  /**
   * Returns the options for Parse Server: `cloud` and `requestContextMiddleware` are wrapped, all others are the
   * same. Throws a WebhookError: BROKEN_INSTALL when this Parse Server cannot work, INVALID_OPTION when called twice.
   */
  configure<T extends object>(serverOptions: T): T {
    if (this.#configured) {
      throw new WebhookError(
        'INVALID_OPTION',
        'configure() was called twice: one Webhooks serves one Parse Server',
      );
    }
    const { appId, cloud, requestContextMiddleware } = serverOptions as WrappedOptions;
    if (typeof appId !== 'string' || appId === '') {
      throw new WebhookError('INVALID_OPTION', 'appId must be given to configure()');
    }
    const internals = loadInternals();
    assertUsableRouter(internals);
    const depth = new CallDepth();
    const seats = new TriggerSeats(appId, internals.triggers, async (key, request, own) =>
      this.#running ? this.#running.dispatcher.dispatch(key, request, own) : own?.(request),
    );
    seats.intercept();
    this.#configured = { internals, seats, depth };
    const middleware: RequestHandler = (request, response, next) => {
      depth.runRequest(request.headers, () => {
        if (this.#running) void this.#running.api(request, response, next);
        else next();
      });
    };
    return {
      ...serverOptions,
      cloud: () => this.#start(cloud),
      requestContextMiddleware: chain(middleware, requestContextMiddleware),
    };
  }

  /**
   * An express handler to mount beside Parse, as `app.use('/webhooks', webhooks.router())`: public keys for everybody,
   * metrics and health for who has the `metricsToken`. Answers 503 until Parse Server has started.
   */
  router(): RequestHandler {
    return (request, response, next) => {
      // Earlier there would be no keys in it, and gateways would cache that.
      if (this.#running && this.#inForce) void this.#running.publicRouter(request, response, next);
      else response.status(503).json({ code: parseCodes.scriptFailed, error: 'webhooks are not running' });
    };
  }

  /**
   * Waits for notifications under way (at most `drainTimeoutMs`), takes the hooks out of force and closes all
   * connections. Safe to call twice.
   */
  async stop(): Promise<void> {
    const running = this.#running;
    const configured = this.#configured;
    this.#configured = undefined;
    this.#inForce = false;
    await running?.poller.stop();
    if (running) await this.#drain(running.notifier);
    this.#running = undefined;
    configured?.seats.restore();
    running?.restore();
    await running?.client.close();
  }

  /** Runs inside ParseServer.start(), when the database is ready and before requests are answered. */
  async #start(cloud: unknown): Promise<void> {
    if (!this.#configured) return;
    const { internals, seats } = this.#configured;
    const { sdk } = internals;
    const config = sdk.Server;
    const logger = config.loggerController;
    const store = new DatabaseHookStore({ database: config.database, clock: this.#clock, logger });
    const box = createSecretBox(await this.#keyMaterial(config.masterKey), this.#clock);
    const keys = new ServerKeys(this.#clock);
    const { network } = this.#options;
    const registry = new HookRegistry({
      store,
      box,
      clock: this.#clock,
      logger,
      keys,
      defaults: this.#options.defaults as HookSettings,
      whyUnreachable: (url, settings) => whyUnreachable(url, settings.network ?? network),
    });
    this.#running = this.#assemble(this.#configured, { registry, store, keys });
    seats.beginCloudCode();
    await runCloudCode(cloud, sdk);
    await store.prepare();
    registry.onChange(() => {
      const inForce = registry.list().filter(hook => hook.settings.active);
      seats.setHooked(new Map(inForce.map(hook => [hook.key, hook.hook.target])));
    });
    await this.#reconcile(registry, logger);
    await registry.reload();
    assertReadable(registry);
    this.#inForce = true;
    this.#running.poller.start();
  }

  #assemble({ internals, seats, depth }: Configured, { registry, store, keys }: Registered): Running {
    const { sdk, hooksRouter } = internals;
    const { webhookKey, hooksController, loggerController: logger, serverURL } = sdk.Server;
    const clock = this.#clock;
    const { connectTimeoutMs, maxConnectionsPerOrigin, totalDeadlineMs, pollIntervalMs } = this.#options;
    const client = createExchangeClient({ connectTimeoutMs, maxConnectionsPerOrigin });
    const senders = new Senders({
      clock,
      issuer: this.#options.issuer ?? serverURL,
      webhookKey: typeof webhookKey === 'string' && webhookKey !== '' ? webhookKey : undefined,
      network: this.#options.network,
      keyRing: () => keys.ring,
    });
    const { breakerFailures: failuresToOpen, breakerOpenMs: openMs } = this.#options;
    const metrics = createMetrics({
      listHooks: () => registry.list(),
      readLane: hook => caller.laneOf(hook),
    });
    const caller: HookCaller = new HookCaller({
      client,
      senders,
      clock,
      logger,
      observer: metrics,
      lane: { ...laneDefaults, failuresToOpen, openMs },
    });
    registry.onChange(() => caller.keepOnly(new Set(registry.list().map(hook => hook.key))));
    const serverRoutes = {
      metrics,
      listHooks: () => registry.list(),
      laneOf: (hook: InstalledHook) => caller.laneOf(hook),
      publicKeys: () => ({
        jwks: jwks(keys.ring.bearer, clock.now()),
        maxAgeSeconds: jwksMaxAgeSeconds,
        ed25519: keys.ring.ed25519.map(({ key }) => publicKeyOf(key)),
      }),
    };
    const notifier = new Notifier(caller, logger);
    const encoder = new RestEncoder(sdk);
    const controller = createHooksController({
      registry,
      store,
      sdk,
      hasCloudCode: target => seats.hasCloudCode(target),
    });
    // In place: Parse Server hands this very object to its routers, whatever way it was started.
    Object.assign(hooksController, controller);
    const undoDeletes = answerDeletes(hooksRouter, other => other === hooksController);
    return {
      registry,
      client,
      notifier,
      poller: new ChangePoller({ registry, clock, logger, intervalMs: pollIntervalMs }),
      dispatcher: new HookDispatcher({
        sdk,
        encoder,
        fields: new TriggerFields(sdk, encoder),
        caller,
        notifier,
        deadline: new OperationDeadline(clock, totalDeadlineMs),
        depth,
        find: hookKey => registry.find(hookKey),
      }),
      api: createManagementApi({
        ...serverRoutes,
        registry,
        rotateKey: key => registry.changeKeys(text => keys.rotated(text, key)),
      }),
      publicRouter: createPublicRouter({ ...serverRoutes, metricsToken: this.#options.metricsToken }),
      restore: () => {
        undoDeletes();
        // The built-in's methods are on its prototype: without ours they are back.
        for (const name of Object.keys(controller)) Reflect.deleteProperty(hooksController, name);
      },
    };
  }

  async #reconcile(registry: HookRegistry, logger: Logger): Promise<void> {
    const { hooks, deleteUndeclaredHooks } = this.#options;
    if (hooks.length === 0 && !deleteUndeclaredHooks) return;
    const { created, updated, undeclared, removed } = await registry.reconcile(hooks, deleteUndeclaredHooks);
    const tell = (what: string, labels: readonly string[]): void => {
      if (labels.length > 0) logger.info(`webhooks ${what}: ${labels.join(', ')}`);
    };
    tell('created as declared', created);
    tell('updated as declared', updated);
    tell('removed because not declared', removed);
    const drift = undeclared.filter(label => !removed.includes(label));
    if (drift.length > 0) logger.warn(`webhooks in the database that are not declared: ${drift.join(', ')}`);
  }

  async #keyMaterial(masterKey: unknown): Promise<string> {
    if (this.#options.encryptionKey !== undefined) return this.#options.encryptionKey;
    // Parse Server also takes a function that fetches the master key.
    const value: unknown = typeof masterKey === 'function' ? await (masterKey as () => unknown)() : masterKey;
    if (typeof value === 'string' && value !== '') return value;
    throw new WebhookError('INVALID_OPTION', 'encryptionKey must be given: the master key is not a string');
  }

  async #drain(notifier: Notifier): Promise<void> {
    let cancel = (): void => undefined;
    const timeout = new Promise<void>(resolve => {
      cancel = this.#clock.schedule(this.#options.drainTimeoutMs, resolve);
    });
    await Promise.race([notifier.drained(), timeout]);
    cancel();
  }
}

/** A wrong encryption key must be found at start, not by the first client. */
function assertReadable(registry: HookRegistry): void {
  const broken = registry.undecryptable();
  if (broken.length === 0) return;
  throw new WebhookError(
    'BROKEN_SECRET',
    `secrets of ${broken.map(hook => hook.label).join(', ')} cannot be decrypted: give the encryptionKey (or master key) they were stored with`,
  );
}
