// The API below /webhooks on a port of its own, without Parse Server: real registries and stores, in memory unless given. A header
// says with which key a request came, as Parse Server would have found out.
import { once } from 'node:events';
import { createServer } from 'node:http';
import express, { type RequestHandler } from 'express';
import { createManagementApi } from '../../src/api/management-api';
import type { LaneReading } from '../../src/api/lane-gauges';
import { createMetrics } from '../../src/api/metrics';
import type { DeliveryStore } from '../../src/events/delivery-store';
import type { DeliveryIntake } from '../../src/events/dispatching';
import { EventPublisher } from '../../src/events/event-publisher';
import { MemoryDeliveryStore } from '../../src/events/memory-delivery-store';
import { CompiledMatcher } from '../../src/events/subscription-matcher';
import { SubscriptionRegistry } from '../../src/events/subscription-registry';
import { HookRegistry } from '../../src/hooks/registry';
import { SecretBoxes } from '../../src/hooks/secret-box';
import { ManualClock } from './manual-clock';
import { MemoryEventKeyStore } from './memory-event-key-store';
import { MemoryHookStore } from './memory-hook-store';
import { MemorySubscriptionStore } from './memory-subscription-store';
import type { Answer } from './parse-application';
import { boxOf } from './secret-boxes';
import { silentLogger } from './silent-logger';

export type Key = 'master' | 'read-only' | 'none';

export interface EventsApi {
  readonly clock: ManualClock;
  readonly store: DeliveryStore;
  readonly subscriptions: SubscriptionRegistry;
  readonly registry: HookRegistry;
  readonly handler: RequestHandler;
  /** How often the API said that deliveries are due. */
  wakes(): number;
  /** Paths begin with /webhooks. */
  call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Answer>;
  /** The same with another key than the master key. */
  callAs(key: Key, method: string, path: string, body?: unknown): Promise<Answer>;
  stop(): Promise<void>;
}

const closedLane: LaneReading = { breaker: 'closed', inFlight: 0 };

/** `store` is migrated, and stays its owner's to close. Default one in memory. */
export async function startEventsApi(store: DeliveryStore = new MemoryDeliveryStore()): Promise<EventsApi> {
  const clock = new ManualClock();
  const boxes = new SecretBoxes(boxOf('some key', clock), []);
  const hookStore = new MemoryHookStore(clock);
  const registry = new HookRegistry({
    store: hookStore,
    boxes,
    logger: silentLogger,
    clock,
    keys: { complete: async () => undefined, use: () => undefined, isNeededBy: () => false },
    whyUnreachable: () => undefined,
    defaults: {},
  });
  const subscriptions = new SubscriptionRegistry({
    store: new MemorySubscriptionStore(clock),
    lock: hookStore,
    boxes,
    logger: silentLogger,
    clock,
    whyUnreachable: () => undefined,
    completeKeys: async () => undefined,
    cancelDeliveries: (endpoint, removedAt) => store.cancel(endpoint, clock.now(), removedAt),
    senderOf: () => {
      throw new Error('the API sends nothing');
    },
  });
  const matcher = new CompiledMatcher({ registry: subscriptions, clock, logger: silentLogger });
  const intake: DeliveryIntake = { add: deliveries => store.insert(deliveries, undefined) };
  let wakes = 0;
  const handler = createManagementApi({
    registry,
    laneOf: () => closedLane,
    listHooks: () => registry.list(),
    registryVersion: () => registry.version,
    areKeysReadable: () => true,
    metrics: createMetrics({
      listHooks: () => registry.list(),
      readLane: () => closedLane,
      readSubscriptions: () => [],
      readEvents: () => ({ spooled: 0, subscriptions: { healthy: 0, failing: 0, paused: 0, broken: 0 } }),
    }),
    readEvents: async () => ({
      isStoreReachable: true,
      spooled: 0,
      subscriptions: subscriptions.list().length,
      paused: [],
      failing: [],
      queue: undefined,
    }),
    publicKeys: () => ({ jwks: { keys: [] }, maxAgeSeconds: 60, ed25519: [] }),
    readDatabase: async () => ({ nodes: [{ node: 'this', seenAt: clock.now() }] }),
    rotateKey: async () => undefined,
    logger: silentLogger,
    events: {
      subscriptions,
      matcher,
      deliveries: store,
      expunge: (className, objectId) => store.expunge(className, objectId, clock.now()),
      intake,
      publisher: new EventPublisher({ matcher, intake, keys: new MemoryEventKeyStore(), clock }),
      wake: () => {
        wakes++;
      },
      clock,
    },
  });

  const app = express();
  app.use(express.json({ limit: '20mb' }), setAuth, handler);
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const origin = `http://127.0.0.1:${address.port}`;

  async function call(
    method: string,
    path: string,
    { body, headers }: { readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> },
  ): Promise<Answer> {
    const response = await fetch(`${origin}${path}`, {
      method,
      headers: { 'Content-Type': 'application/json', Connection: 'close', ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '');
    return { status: response.status, body: isJson ? JSON.parse(text) : text, headers: response.headers };
  }

  return {
    clock,
    store,
    subscriptions,
    registry,
    handler,
    wakes: () => wakes,
    call: (method, path, body, headers = {}) => call(method, path, { body, headers }),
    callAs: (key, method, path, body) => call(method, path, { body, headers: { 'x-test-key': key } }),
    stop: async () => {
      server.close();
      server.closeAllConnections();
      if (server.listening) await once(server, 'close');
    },
  };
}

/** What Parse Server's middlewares leave on a request. */
const setAuth: RequestHandler = (request, _response, next) => {
  const key = request.headers['x-test-key'] ?? 'master';
  Object.assign(request, { auth: { isMaster: key !== 'none', isReadOnly: key === 'read-only' } });
  next();
};
