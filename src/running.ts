// Everything that works between Parse Server's start and stop(): built together, put in force, taken down together.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { RequestHandler } from 'express';
import { createManagementApi } from './api/management-api';
import type { LaneReading } from './api/lane-gauges';
import { createMetrics, type Metrics } from './api/metrics';
import { createPublicRouter } from './api/public-router';
import { HookCaller } from './blocking/hook-caller';
import { OperationDeadline } from './blocking/operation-deadline';
import { Senders, whyUnreachable } from './blocking/sender';
import { ServerKeys } from './blocking/server-keys';
import { WebhookError } from './errors';
import { failureKinds, type FailureKind } from './blocking/failure-message';
import type { AttemptEnded } from './events/dispatching';
import type { PublishOptions, PublishedEvent } from './events/event-publisher';
import { announceMs, ChangePoller } from './hooks/change-poller';
import { deriveKey } from './hooks/derive-key';
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
import { ChangeCapture, isCaptured } from './parse/change-capture';
import { DatabaseHookStore } from './parse/database-hook-store';
import { serverDatabase } from './parse/delivery-database';
import { RestEncoder } from './parse/encode-value';
import { HookDispatcher } from './parse/hook-dispatcher';
import { answerDeletes, createHooksController } from './parse/hooks-controller';
import type { ParseInternals, ParseServerConfig } from './parse/internals';
import { TriggerFields } from './parse/trigger-fields';
import type { TriggerSeats } from './parse/trigger-seats';
import { WriteInterceptor } from './parse/write-interceptor';
import { RunningEvents } from './running-events';
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

/** What must be there before the rest can be put together. */
interface Foundation {
  readonly registry: HookRegistry;
  readonly store: DatabaseHookStore;
  readonly keys: ServerKeys;
  readonly client: ExchangeClient;
  readonly senders: Senders;
  readonly metrics: Metrics;
  readonly caller: HookCaller;
  readonly events: RunningEvents;
  readonly node: string;
}

export class Running {
  readonly dispatcher: HookDispatcher;
  readonly api: RequestHandler;
  readonly publicRouter: RequestHandler;
  readonly #parts: RunningParts;
  readonly #registry: HookRegistry;
  readonly #store: DatabaseHookStore;
  readonly #capture: ChangeCapture;
  readonly #events: RunningEvents;
  readonly #client: ExchangeClient;
  readonly #poller: ChangePoller;
  readonly #writes: WriteInterceptor;
  /** Gives Parse Server its own hooks controller back. */
  readonly #restore: () => void;
  #isOver = false;

  /** Builds the parts and takes the place of Parse Server's hooks controller; no hook is in force yet. */
  static async open(parts: RunningParts): Promise<Running> {
    const { options, config, clock } = parts;
    const logger = config.loggerController;
    const store = new DatabaseHookStore({ database: config.database, clock, logger });
    const boxes = new SecretBoxes(
      createSecretBox(await deriveKey(await findKeyMaterial(options.encryptionKey, config.masterKey)), clock),
      (await Promise.all(options.previousEncryptionKeys.map(deriveKey))).map(key =>
        createSecretBox(key, clock),
      ),
    );
    const keys = new ServerKeys(clock);
    const registry = new HookRegistry({
      store,
      boxes,
      clock,
      logger,
      keys,
      defaults: options.defaults as HookSettings,
      whyUnreachable: (url, settings) => whyUnreachable(url, options, settings.network),
    });
    const client = createExchangeClient({
      connectTimeoutMs: options.connectTimeoutMs,
      dnsTimeoutMs: options.dnsTimeoutMs,
      tcpTimeoutMs: options.tcpTimeoutMs,
      tlsTimeoutMs: options.tlsTimeoutMs,
      maxConnectionsPerOrigin: options.maxConnectionsPerOrigin,
      proxy: options.proxy,
    });
    const { webhookKey, serverURL } = config;
    const senders = new Senders({
      clock,
      issuer: options.issuer ?? serverURL,
      webhookKey: typeof webhookKey === 'string' && webhookKey !== '' ? webhookKey : undefined,
      network: options.network,
      proxy: options.proxy,
      dnsTimeoutMs: Math.min(options.dnsTimeoutMs, options.connectTimeoutMs),
      keyRing: () => keys.ring,
    });
    const readLane = (hook: InstalledHook): LaneReading =>
      hook.blocking ? caller.laneOf(hook) : events.laneOf(hook);
    const metrics = createMetrics({
      listHooks: () => registry.list(),
      readLane,
      readSubscriptions: () => events.subscriptionLanes(),
      readEvents: () => events.reading,
    });
    const { breakerFailures, breakerFailurePercent, breakerOpenMs } = options;
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
    const node = `${hostname()}/${process.pid}/${randomUUID().slice(0, 8)}`;
    const events: RunningEvents = await RunningEvents.open({
      options,
      applicationId: config.applicationId,
      database: config.database,
      serverDatabase: serverDatabase(config.database),
      hooks: registry,
      hookStore: store,
      boxes,
      keys,
      depth: parts.depth,
      senders,
      client: countConnections(client, metrics),
      clock,
      logger,
      node,
      onAttempt: ended => metrics.attemptEnded(ended),
      onHookAttempt: (hook, ended) => countAttempt(hook, ended, { metrics, clock }),
    });
    return new Running(parts, { registry, store, keys, client, senders, metrics, caller, events, node });
  }

  private constructor(parts: RunningParts, foundation: Foundation) {
    const { options, internals, config, seats, depth, clock } = parts;
    const { registry, store, keys, client, metrics, caller, events, node } = foundation;
    const { sdk, hooksRouter } = internals;
    const { hooksController, loggerController: logger } = config;
    const { totalDeadlineMs, pollIntervalMs } = options;
    const laneOf = (hook: InstalledHook): LaneReading =>
      hook.blocking ? caller.laneOf(hook) : events.laneOf(hook);
    registry.onChange(() => {
      const keys = new Set(registry.list().map(hook => hook.key));
      caller.keepOnly(keys);
      metrics.keepOnly(keys);
    });
    const serverRoutes = {
      metrics,
      registryVersion: () => registry.version,
      areKeysReadable: () => registry.areKeysReadable,
      readDatabase: async () => {
        const nodes = await within(clock, healthTimeoutMs, store.readNodes(clock.now() - 6 * announceMs));
        return { nodes };
      },
      listHooks: () => registry.list(),
      laneOf,
      readEvents: () => events.readHealth(healthTimeoutMs),
      publicKeys: () => ({
        jwks: jwks(keys.ring.bearer, clock.now()),
        maxAgeSeconds: jwksMaxAgeSeconds,
        ed25519: keys.ring.ed25519.map(({ key }) => publicKeyOf(key)),
      }),
    };
    const encoder = new RestEncoder(sdk);
    const fields = new TriggerFields(sdk, encoder);
    const capture = new ChangeCapture({
      sdk,
      encoder,
      fields,
      depth,
      matcher: events.matcher,
      intake: events.intake,
      onUntold: (hook, failure) => countCall(hook, { failure, durationMs: 0 }, { metrics, clock }),
      clock,
      logger,
    });
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
    this.#events = events;
    this.#capture = capture;
    this.#writes = WriteInterceptor.of(internals);
    this.#poller = new ChangePoller({
      registries: [registry, events.subscriptions],
      store,
      node,
      clock,
      logger,
      intervalMs: pollIntervalMs,
    });
    this.dispatcher = new HookDispatcher({
      sdk,
      encoder,
      fields,
      caller,
      notify: (hook, prepare) => capture.notify(hook, prepare),
      deadline: new OperationDeadline(clock, totalDeadlineMs),
      depth,
      find: hookKey => registry.find(hookKey),
    });
    this.api = createManagementApi({
      ...serverRoutes,
      registry,
      events: events.api,
      logger,
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
    await this.#events.prepare();
    // A wrong encryption key must be found at start, not by the first client, and before it has sealed anything.
    const { hooks: declared, encryptionKeyLost: isLost } = options;
    await registry.establishKey({ declared, isLost, alsoShut: this.#events.subscriptions.undecryptable() });
    registry.onChange(() => {
      // A registration that ends after stop() must not bring its hook back.
      if (this.#isOver) return;
      this.#capture.useHooks(registry.list());
      const inForce = registry.list().filter(hook => hook.settings.active && !isCaptured(hook));
      seats.setHooked(new Map(inForce.map(hook => [hook.key, hook.hook.target])));
    });
    await this.#reconcile(config.loggerController);
    await registry.reload();
    if (!isLost) registry.assertReadable();
    if (this.#isOver) return;
    this.#writes.join(config.applicationId, this.#capture);
    await this.#events.start();
    this.#poller.start();
  }

  /** Resolves when the deliveries of a custom event are durable. */
  async publish(type: string, data: unknown, options?: PublishOptions): Promise<PublishedEvent> {
    return this.#events.publish(type, data, options);
  }

  /** Waits for deliveries under way (at most `drainTimeoutMs`), then takes everything down. */
  async close(): Promise<void> {
    this.#isOver = true;
    const { options, config } = this.#parts;
    await this.#poller.stop();
    this.#writes.leave(config.applicationId, this.#capture);
    await this.#events.close(options.drainTimeoutMs);
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
}

interface CountingParts {
  readonly metrics: Metrics;
  readonly clock: Clock;
}

/** An attempt of an `after*` hook counts as a call of it. */
function countAttempt(hook: InstalledHook, { attempt, outcome }: AttemptEnded, parts: CountingParts): void {
  const failure = outcome.kind === 'failed' ? (asFailureKind(outcome.error) ?? 'status') : undefined;
  countCall(hook, { failure, durationMs: attempt.durationMs }, parts);
  // A receiver that wants no more of a delivery is there, and has not taken it: neither a success nor a failure.
  if (outcome.kind === 'succeeded') hook.health.lastSuccessAt = parts.clock.now();
}

/** Of an `after*` hook, made or not. */
function countCall(
  hook: InstalledHook,
  { failure, durationMs }: { readonly failure: FailureKind | undefined; readonly durationMs: number },
  { metrics, clock }: CountingParts,
): void {
  const { health } = hook;
  health.calls += 1;
  if (failure !== undefined) {
    health.failures += 1;
    health.lastFailureAt = clock.now();
    health.lastFailure = failure;
  }
  metrics.callEnded({
    hook,
    outcome: failure === undefined ? 'unchanged' : 'failed',
    ...(failure !== undefined && { failure }),
    failedOpen: false,
    overBudget: false,
    durationMs,
  });
}

function asFailureKind(error: string): FailureKind | undefined {
  return failureKinds.find(kind => kind === error);
}

function countConnections(client: ExchangeClient, metrics: Metrics): ExchangeClient {
  return {
    exchange: async request => {
      const result = await client.exchange(request);
      if (result.connection !== undefined) metrics.connectionUsed(result.connection);
      return result;
    },
    close: () => client.close(),
  };
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
