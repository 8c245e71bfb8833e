// The asynchronous half between start and stop(): subscriptions, deliveries and who brings them out, built together.
import type { EventsReading } from './api/delivery-metrics';
import type { EventsApiParts } from './api/management-api';
import type { EventsHealth } from './api/server-routes';
import type { ServerKeys } from './blocking/server-keys';
import { readTraceparent, startAttemptTrace } from './blocking/delivery-tracing';
import { whyUnreachable, type Senders } from './blocking/sender';
import type { DeliveryQueueConsumer, DeliveryQueueProducer } from './events/delivery-queue';
import type { DeliveryStore } from './events/delivery-store';
import type { AttemptEnded } from './events/dispatching';
import { InProcessDispatcher } from './events/dispatcher';
import { EventPublisher, type PublishOptions, type PublishedEvent } from './events/event-publisher';
import { HealthRecorder } from './events/health-recorder';
import {
  createHookEndpoints,
  hookEndpointKey,
  hookKeyOfEndpoint,
  joinEndpoints,
} from './events/hook-endpoints';
import { openDeliveryStore, type ServerDatabase } from './events/open-delivery-store';
import { OperationalEvents } from './events/operational-events';
import { Outbox } from './events/outbox';
import { Retention } from './events/retention';
import { messageOf, within } from './events/store-retries';
import { CompiledMatcher } from './events/subscription-matcher';
import { SubscriptionRegistry } from './events/subscription-registry';
import type { SubscriptionHealth } from './events/subscriptions';
import type { HookStore } from './hooks/hook-store';
import type { InstalledHook } from './hooks/installed-hook';
import type { HookRegistry } from './hooks/registry';
import type { SecretBoxes } from './hooks/secret-box';
import type { ExchangeClient } from './http/exchange';
import type { LaneState } from './http/lane';
import type { ResolvedOptions } from './options';
import type { CallDepth } from './parse/call-depth';
import { DatabaseEventKeyStore } from './parse/database-event-key-store';
import { DatabaseSubscriptionStore } from './parse/database-subscription-store';
import type { DatabaseController } from './parse/internals';
import { createRedisConsumer, createRedisProducer } from './queue/redis-queue';
import type { Clock } from './shared/clock';
import type { Logger } from './shared/logger';

/** Clocks of nodes differ by less than this, in milliseconds. */
const maxLeaseMarginMs = 10_000;
/** For the end of everything but attempts, in milliseconds. */
const closeGraceMs = 8000;

/** Metrics wait so long for the health of subscriptions, in milliseconds. */
const metricsHealthMs = 1000;

export interface RunningEventsParts {
  readonly options: ResolvedOptions;
  readonly applicationId: string;
  readonly database: DatabaseController;
  readonly serverDatabase: ServerDatabase;
  readonly hooks: HookRegistry;
  readonly hookStore: HookStore;
  readonly boxes: SecretBoxes;
  readonly keys: ServerKeys;
  readonly depth: CallDepth;
  readonly senders: Senders;
  readonly client: ExchangeClient;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Name of this node in the log of attempts. */
  readonly node: string;
  /** Hears of every attempt on this node. Must not throw. */
  readonly onAttempt: (ended: AttemptEnded) => void;
  /** Hears of attempts of `after*` hooks. */
  readonly onHookAttempt: (hook: InstalledHook, ended: AttemptEnded) => void;
}

export class RunningEvents {
  readonly subscriptions: SubscriptionRegistry;
  readonly matcher: CompiledMatcher;
  readonly intake: Outbox;
  readonly #parts: RunningEventsParts;
  readonly #store: DeliveryStore;
  readonly #subscriptionStore: DatabaseSubscriptionStore;
  readonly #keyStore: DatabaseEventKeyStore;
  readonly #dispatcher: InProcessDispatcher;
  readonly #publisher: EventPublisher;
  readonly #recorder: HealthRecorder;
  readonly #operational: OperationalEvents;
  readonly #retention: Retention;
  readonly #producer: DeliveryQueueProducer | undefined;
  readonly #consumer: DeliveryQueueConsumer | undefined;

  /** Opens the store of deliveries; nothing runs yet. */
  static async open(parts: RunningEventsParts): Promise<RunningEvents> {
    return new RunningEvents(
      parts,
      await openDeliveryStore(parts.options.store, parts.serverDatabase, parts),
    );
  }

  private constructor(parts: RunningEventsParts, store: DeliveryStore) {
    const { options, database, hooks, hookStore, senders, client, clock, logger, node } = parts;
    this.#parts = parts;
    this.#store = store;
    this.#subscriptionStore = new DatabaseSubscriptionStore({ database, clock });
    this.#keyStore = new DatabaseEventKeyStore(database);
    this.subscriptions = new SubscriptionRegistry({
      store: this.#subscriptionStore,
      lock: hookStore,
      boxes: parts.boxes,
      clock,
      logger,
      whyUnreachable: (url, network) => whyUnreachable(url, options, network),
      completeKeys: settings => hooks.completeKeys(settings),
      senderOf: subscription => senders.of(subscription),
      cancelDeliveries: (endpoint, removedAt) => store.cancel(endpoint, clock.now(), removedAt),
    });
    this.matcher = new CompiledMatcher({ registry: this.subscriptions, clock, logger });
    const endpoints = joinEndpoints(
      createHookEndpoints({ registry: hooks, senderOf: hook => senders.of(hook) }),
      this.subscriptions.endpoints,
    );
    const { breakerFailures, breakerFailurePercent, breakerOpenMs, pauseAfterMs, pauseAfterFailures } =
      options;
    this.#dispatcher = new InProcessDispatcher({
      store,
      endpoints,
      client,
      clock,
      logger,
      node,
      tracer: startAttemptTrace,
      observer: {
        attemptEnded: ended => {
          parts.onAttempt(ended);
          this.#recorder.attemptEnded(ended);
        },
      },
      options: {
        ...options.dispatch,
        maxConcurrency: options.maxConnectionsPerOrigin,
        leaseMarginMs: Math.min(maxLeaseMarginMs, Math.floor(options.dispatch.leaseMs / 6)),
        breaker: {
          failuresToOpen: breakerFailures,
          failurePercent: breakerFailurePercent,
          openMs: breakerOpenMs,
        },
      },
    });
    const { deliver } = options;
    // Applications that share a Redis must not take each other's ids.
    const queue = options.queue && {
      ...options.queue,
      prefix: `${options.queue.prefix}:${encodeURIComponent(parts.applicationId)}`,
    };
    const dispatcher = this.#dispatcher;
    const producer = queue && createRedisProducer({ options: queue, clock, logger });
    this.#producer = producer;
    this.#consumer =
      queue && deliver ? createRedisConsumer({ options: queue, clock, logger, dispatcher }) : undefined;
    this.intake = new Outbox({
      store,
      clock,
      logger,
      ...(deliver && { dispatcher }),
      ...(producer && { onInserted: refs => producer.offer(refs) }),
      options: { onStoreFailure: options.onStoreFailure },
    });
    this.#operational = new OperationalEvents({ matcher: this.matcher, intake: this.intake, clock, logger });
    this.#recorder = new HealthRecorder({
      registry: this.subscriptions,
      store: this.#subscriptionStore,
      operational: this.#operational,
      onHookAttempt: ended => this.#tellHook(ended),
      clock,
      logger,
      options: { pauseAfterMs, pauseAfterFailures },
    });
    this.#publisher = new EventPublisher({
      matcher: this.matcher,
      intake: this.intake,
      keys: this.#keyStore,
      clock,
      currentTraceparent: readTraceparent,
      currentDepth: () => parts.depth.next({ headers: undefined, isMaster: true, isBlocking: false }),
    });
    this.#retention = new Retention({ store, clock, logger, options: options.retention });
    hooks.onRemoved((key, removedAt) => this.#cancelHook(key, removedAt));
  }

  /** Where the management API finds everything. */
  get api(): EventsApiParts {
    const { clock } = this.#parts;
    return {
      subscriptions: this.subscriptions,
      matcher: this.matcher,
      intake: this.intake,
      deliveries: this.#store,
      expunge: (className, objectId) => this.#expunge(className, objectId),
      publisher: this.#publisher,
      wake: () => this.#dispatcher.wake(),
      clock,
    };
  }

  /** Makes tables and classes, and reads the subscriptions. */
  async prepare(): Promise<void> {
    await Promise.all([this.#store.migrate(), this.#subscriptionStore.prepare(), this.#keyStore.prepare()]);
    await this.subscriptions.reload();
  }

  /** Puts secrets under the current key, and begins to deliver. */
  async start(): Promise<void> {
    const resealed = await this.subscriptions.reseal();
    if (resealed > 0)
      this.#parts.logger.info(`webhooks: ${resealed} subscriptions are under the new encryption key`);
    this.#retention.start();
    if (!this.#parts.options.deliver) return;
    await this.#dispatcher.start();
    this.#consumer?.start();
  }

  /** Resolves when the deliveries are durable. As EventPublisher.publish. */
  async publish(type: string, data: unknown, options?: PublishOptions): Promise<PublishedEvent> {
    return this.#publisher.publish(type, data, options);
  }

  /** Breaker and attempts under way of an `after*` hook on this node. */
  laneOf(hook: InstalledHook): { readonly breaker: LaneState; readonly inFlight: number } {
    return this.#dispatcher.stateOf(hookEndpointKey(hook.key));
  }

  /** Breakers and attempts under way of subscriptions on this node, oldest first. */
  subscriptionLanes(): readonly {
    readonly name: string;
    readonly breaker: LaneState;
    readonly inFlight: number;
  }[] {
    return this.subscriptions.installed().map(({ name, key }) => {
      const { breaker, inFlight } = this.#dispatcher.stateOf(key);
      return { name, breaker, inFlight };
    });
  }

  /** For metrics. */
  get reading(): Promise<EventsReading> {
    return this.#refreshHealth(metricsHealthMs).then(() => this.#read());
  }

  #read(): EventsReading {
    const subscriptions = { healthy: 0, failing: 0, paused: 0, broken: 0 };
    for (const { health, broken } of this.subscriptions.list())
      subscriptions[broken === undefined ? health.state : 'broken'] += 1;
    return { spooled: this.intake.spooled, subscriptions };
  }

  /** For the health of this node; asks the store of deliveries for at most `timeoutMs`. */
  async readHealth(timeoutMs: number): Promise<EventsHealth> {
    const [isReachable] = await Promise.all([
      within(this.#parts.clock, timeoutMs, this.#store.nextDueAt([])).then(
        () => true,
        () => false,
      ),
      this.#refreshHealth(timeoutMs),
    ]);
    const views = this.subscriptions.list();
    const named = (state: SubscriptionHealth['state']): readonly string[] =>
      views.filter(({ health }) => health.state === state).map(({ name }) => name);
    return {
      isStoreReachable: isReachable,
      spooled: this.intake.spooled,
      subscriptions: views.length,
      paused: named('paused'),
      failing: named('failing'),
      queue: (this.#producer ?? this.#consumer)?.connection,
    };
  }

  /**
   * Waits at most `drainTimeoutMs` for attempts under way; what is left waits in the store. Never fails, and takes at
   * most 8 s more, however dead the databases are: what is given up is logged.
   */
  async close(drainTimeoutMs: number): Promise<void> {
    const { clock, logger } = this.#parts;
    const drainEndsAt = clock.monotonicMs() + drainTimeoutMs;
    const leftMs = (extraMs: number): number => Math.max(0, drainEndsAt + extraMs - clock.monotonicMs());
    const end = (what: string, ending: Promise<unknown> | undefined): Promise<void> =>
      within(clock, leftMs(closeGraceMs), ending ?? Promise.resolve()).then(
        () => undefined,
        (error: unknown) => logger.warn(`webhooks stop: gave up ${what}: ${messageOf(error)}`),
      );
    const retentionEnded = end('the purge under way', this.#retention.stop());
    await end('the consumer of the queue', this.#consumer?.close());
    await end('what is being written', this.intake.stop(leftMs(0)));
    await end('the producer of the queue', this.#producer?.close());
    await end('attempts under way', this.#dispatcher.stop(leftMs(0)));
    await end('the health of subscriptions', this.#recorder.stop());
    await end('operational events', this.#operational.drained());
    await retentionEnded;
    await end('the connections to the deliveries', this.#store.close());
  }

  /** Never fails: what is known is shown while the database is away. */
  async #refreshHealth(timeoutMs: number): Promise<void> {
    await within(this.#parts.clock, timeoutMs, this.subscriptions.refreshHealth()).catch(() => undefined);
  }

  async #expunge(className: string, objectId: string): Promise<number> {
    this.intake.withdraw(className, objectId);
    const count = await this.#store.expunge(className, objectId, this.#parts.clock.now());
    this.intake.withdraw(className, objectId);
    this.#dispatcher.withdraw(className, objectId);
    return count;
  }

  async #cancelHook(key: string, removedAt: number): Promise<void> {
    const { clock, logger } = this.#parts;
    try {
      await this.#store.cancel(hookEndpointKey(key), clock.now(), removedAt);
    } catch (error) {
      // Who meets such a delivery later cancels it, too.
      logger.warn(`webhooks: deliveries of a removed hook are cancelled later: ${String(error)}`);
    }
  }

  #tellHook(ended: AttemptEnded): void {
    const hook = this.#parts.hooks.find(hookKeyOfEndpoint(ended.endpoint.key) ?? '');
    if (hook) this.#parts.onHookAttempt(hook, ended);
  }
}
