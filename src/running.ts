// Everything that works between Parse Server's start and stop(): built together, put in force, taken down together.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { RequestHandler } from 'express';
import { createManagementApi } from './api/management-api';
import { createMetrics } from './api/metrics';
import { createPublicRouter } from './api/public-router';
import { HookCaller } from './blocking/hook-caller';
import { Notifier } from './blocking/notifier';
import { OperationDeadline } from './blocking/operation-deadline';
import { Senders, whyUnreachable } from './blocking/sender';
import { ServerKeys } from './blocking/server-keys';
import { WebhookError } from './errors';
import { announceMs, ChangePoller } from './hooks/change-poller';
import type { HookSettings } from './hooks/hook-settings';
import type { InstalledHook } from './hooks/installed-hook';
import { HookRegistry } from './hooks/registry';
import { createSecretBox, SecretBoxes } from './hooks/secret-box';
import type { ExchangeClient } from './http/exchange';
import { laneDefaults } from './http/lane';
import { jwks, jwksMaxAgeSeconds } from './http/signing-keys';
import { createExchangeClient } from './http/undici-client';
import { publicKeyOf } from './http/webhook-signature';
import type { ResolvedOptions } from './options';
import type { CallDepth } from './parse/call-depth';
import { DatabaseHookStore } from './parse/database-hook-store';
import { RestEncoder } from './parse/encode-value';
import { HookDispatcher } from './parse/hook-dispatcher';
import { answerDeletes, createHooksController } from './parse/hooks-controller';
import type { ParseInternals, ParseServerConfig } from './parse/internals';
import { TriggerFields } from './parse/trigger-fields';
import type { TriggerSeats } from './parse/trigger-seats';
import type { Clock } from './shared/clock';
import type { Logger } from './shared/logger';

export interface RunningParts {
  readonly options: ResolvedOptions;
  readonly internals: ParseInternals;
  /** Of the Parse Server that starts. */
  readonly config: ParseServerConfig;
  readonly seats: TriggerSeats;
  readonly depth: CallDepth;
  readonly clock: Clock;
}

interface Registered {
  readonly registry: HookRegistry;
  readonly store: DatabaseHookStore;
  readonly keys: ServerKeys;
}

export class Running {
  readonly dispatcher: HookDispatcher;
  readonly api: RequestHandler;
  readonly publicRouter: RequestHandler;
  readonly #parts: RunningParts;
  readonly #registry: HookRegistry;
  readonly #store: DatabaseHookStore;
  readonly #notifier: Notifier;
  readonly #client: ExchangeClient;
  readonly #poller: ChangePoller;
  /** Gives Parse Server its own hooks controller back. */
  readonly #restore: () => void;
  #isOver = false;

  /** Builds the parts and takes the place of Parse Server's hooks controller; no hook is in force yet. */
  static async open(parts: RunningParts): Promise<Running> {
    const { options, config, clock } = parts;
    const logger = config.loggerController;
    const store = new DatabaseHookStore({ database: config.database, clock, logger });
    const boxes = new SecretBoxes(
      createSecretBox(await findKeyMaterial(options.encryptionKey, config.masterKey), clock),
      options.previousEncryptionKeys.map(former => createSecretBox(former, clock)),
    );
    const keys = new ServerKeys(clock);
    const registry = new HookRegistry({
      store,
      boxes,
      clock,
      logger,
      keys,
      defaults: options.defaults as HookSettings,
      whyUnreachable: (url, settings) => whyUnreachable(url, options.network, settings.network),
    });
    return new Running(parts, { registry, store, keys });
  }

  private constructor(parts: RunningParts, { registry, store, keys }: Registered) {
    const { options, internals, config, seats, depth, clock } = parts;
    const { sdk, hooksRouter } = internals;
    const { webhookKey, hooksController, loggerController: logger, serverURL } = config;
    const { totalDeadlineMs, pollIntervalMs } = options;
    const client = createExchangeClient({
      connectTimeoutMs: options.connectTimeoutMs,
      dnsTimeoutMs: options.dnsTimeoutMs,
      tcpTimeoutMs: options.tcpTimeoutMs,
      tlsTimeoutMs: options.tlsTimeoutMs,
      maxConnectionsPerOrigin: options.maxConnectionsPerOrigin,
      proxy: options.proxy,
    });
    const senders = new Senders({
      clock,
      issuer: options.issuer ?? serverURL,
      webhookKey: typeof webhookKey === 'string' && webhookKey !== '' ? webhookKey : undefined,
      network: options.network,
      keyRing: () => keys.ring,
    });
    const { breakerFailures, breakerFailurePercent, breakerOpenMs } = options;
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
      lane: {
        ...laneDefaults,
        failuresToOpen: breakerFailures,
        failurePercent: breakerFailurePercent,
        openMs: breakerOpenMs,
      },
    });
    registry.onChange(() => {
      const keys = new Set(registry.list().map(hook => hook.key));
      caller.keepOnly(keys);
      metrics.keepOnly(keys);
    });
    const serverRoutes = {
      metrics,
      registryVersion: () => registry.version,
      readDatabase: async () => {
        const nodes = await within(clock, healthTimeoutMs, store.readNodes(clock.now() - 6 * announceMs));
        return { nodes };
      },
      listHooks: () => registry.list(),
      laneOf: (hook: InstalledHook) => caller.laneOf(hook),
      publicKeys: () => ({
        jwks: jwks(keys.ring.bearer, clock.now()),
        maxAgeSeconds: jwksMaxAgeSeconds,
        ed25519: keys.ring.ed25519.map(({ key }) => publicKeyOf(key)),
      }),
    };
    const notifier = new Notifier({ caller, logger, find: key => registry.find(key) });
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
    this.#parts = parts;
    this.#registry = registry;
    this.#store = store;
    this.#client = client;
    this.#notifier = notifier;
    this.#poller = new ChangePoller({
      registry,
      store,
      node: `${hostname()}/${process.pid}/${randomUUID().slice(0, 8)}`,
      clock,
      logger,
      intervalMs: pollIntervalMs,
    });
    this.dispatcher = new HookDispatcher({
      sdk,
      encoder,
      fields: new TriggerFields(sdk, encoder),
      caller,
      notifier,
      deadline: new OperationDeadline(clock, totalDeadlineMs),
      depth,
      find: hookKey => registry.find(hookKey),
    });
    this.api = createManagementApi({
      ...serverRoutes,
      registry,
      rotateKey: (key, how) => registry.changeKeys(text => keys.rotated(text, key, how)),
    });
    this.publicRouter = createPublicRouter({ ...serverRoutes, metricsToken: options.metricsToken, logger });
    this.#restore = () => {
      undoDeletes();
      // The built-in's methods are on its prototype: without ours they are back.
      for (const name of Object.keys(controller)) Reflect.deleteProperty(hooksController, name);
    };
  }

  /** Reads what is registered, brings declared hooks into force and follows the changes of other nodes. */
  async putInForce(): Promise<void> {
    const { seats, config, options } = this.#parts;
    const registry = this.#registry;
    await this.#store.prepare();
    // A wrong encryption key must be found at start, not by the first client, and before it has sealed anything.
    const { hooks: declared, encryptionKeyLost: isLost } = options;
    await registry.establishKey({ declared, isLost });
    registry.onChange(() => {
      // A registration that ends after stop() must not bring its hook back.
      if (this.#isOver) return;
      const inForce = registry.list().filter(hook => hook.settings.active);
      seats.setHooked(new Map(inForce.map(hook => [hook.key, hook.hook.target])));
    });
    await this.#reconcile(config.loggerController);
    await registry.reload();
    if (!isLost) registry.assertReadable();
    if (!this.#isOver) this.#poller.start();
  }

  /** Waits for notifications under way (at most `drainTimeoutMs`), then takes everything down. */
  async close(): Promise<void> {
    this.#isOver = true;
    await this.#poller.stop();
    await this.#drain();
    this.#restore();
    await this.#client.close();
  }

  async #reconcile(logger: Logger): Promise<void> {
    const { hooks, deleteUndeclaredHooks } = this.#parts.options;
    if (hooks.length === 0 && !deleteUndeclaredHooks) return;
    const { created, updated, undeclared, removed } = await this.#registry.reconcile(
      hooks,
      deleteUndeclaredHooks,
    );
    const tell = (what: string, labels: readonly string[]): void => {
      if (labels.length > 0) logger.info(`webhooks ${what}: ${labels.join(', ')}`);
    };
    tell('created as declared', created);
    tell('updated as declared', updated);
    tell('removed because not declared', removed);
    const drift = undeclared.filter(label => !removed.includes(label));
    if (drift.length > 0) logger.warn(`webhooks in the database that are not declared: ${drift.join(', ')}`);
  }

  async #drain(): Promise<void> {
    let cancel = (): void => undefined;
    const timeout = new Promise<void>(resolve => {
      cancel = this.#parts.clock.schedule(this.#parts.options.drainTimeoutMs, resolve);
    });
    await Promise.race([this.#notifier.drained(), timeout]);
    cancel();
    this.#notifier.close();
  }
}

async function findKeyMaterial(encryptionKey: string | undefined, masterKey: unknown): Promise<string> {
  if (encryptionKey !== undefined) return encryptionKey;
  // Parse Server also takes a function that fetches the master key.
  const value: unknown = typeof masterKey === 'function' ? await (masterKey as () => unknown)() : masterKey;
  if (typeof value === 'string' && value !== '') return value;
  throw new WebhookError('INVALID_OPTION', 'encryptionKey must be given: the master key is not a string');
}

/** How long a health check waits for the database. */
const healthTimeoutMs = 2000;

/** Fails when `work` takes longer; the work itself goes on, its end is nobody's. */
async function within<T>(clock: Clock, timeoutMs: number, work: Promise<T>): Promise<T> {
  let cancel = (): void => undefined;
  const late = new Promise<never>((_resolve, reject) => {
    cancel = clock.schedule(timeoutMs, () => reject(new Error(`no answer within ${timeoutMs} ms`)));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel();
  }
}
