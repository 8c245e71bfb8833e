// Routes about the server itself: its public keys, metrics and health.
import { Router, type RequestHandler, type Response } from 'express';
import { parseCodes } from '../errors';
import type { InstalledHook } from '../hooks/installed-hook';
import type { SeenNode } from '../hooks/hook-store';
import { version } from '../shared/version';
import type { LaneReading } from './lane-gauges';
import type { Metrics } from './metrics';

export interface PublicKeys {
  /** The body of a JSON Web Key Set. */
  readonly jwks: { readonly keys: readonly object[] };
  /** How long caches may keep it. */
  readonly maxAgeSeconds: number;
  /** `whpk_…`, newest first. */
  readonly ed25519: readonly string[];
}

/** What the shared database says of itself and of the nodes that use it. */
export interface DatabaseHealth {
  /** Nodes that left word within the last minute. */
  readonly nodes: readonly SeenNode[];
}

/** How the asynchronous half stands. */
export interface EventsHealth {
  /** Whether the store of deliveries answers. */
  readonly isStoreReachable: boolean;
  /** Deliveries that wait in the memory of this node because the store fails. */
  readonly spooled: number;
  /** How many there are. */
  readonly subscriptions: number;
  /** Names of subscriptions. */
  readonly paused: readonly string[];
  readonly failing: readonly string[];
  /** This process's way to the queue; undefined where there is none. */
  readonly queue: 'connected' | 'disconnected' | undefined;
}

/** Names in one list of the health. */
export const maxHealthNames = 20;

export interface ServerRoutesParts {
  readonly metrics: Metrics;
  readonly publicKeys: () => PublicKeys;
  /** False while the stored ones cannot be opened; publicKeys then has those of before, if there were any. */
  readonly areKeysReadable: () => boolean;
  /** Throws, within a bounded time, when the database does not answer. */
  readonly readDatabase: () => Promise<DatabaseHealth>;
  /** Of the hooks in force on this node. */
  readonly registryVersion: () => string | undefined;
  readonly listHooks: () => readonly InstalledHook[];
  readonly laneOf: (hook: InstalledHook) => LaneReading;
  /** Never fails, and takes a bounded time. */
  readonly readEvents: () => Promise<EventsHealth>;
}

/** What receivers and gateways verify with: public, cacheable. */
export function createKeyRoutes({
  publicKeys,
  areKeysReadable,
}: Pick<ServerRoutesParts, 'publicKeys' | 'areKeysReadable'>): Router {
  const router = Router();
  router.get('/jwks.json', (_request, response) => {
    const { jwks, maxAgeSeconds } = publicKeys();
    response.set('Cache-Control', cacheControl(jwks.keys, maxAgeSeconds));
    if (jwks.keys.length === 0 && !areKeysReadable()) answerUnreadable(response);
    else response.type('application/jwk-set+json').json(jwks);
  });
  router.get('/ed25519.json', (_request, response) => {
    const { ed25519, maxAgeSeconds } = publicKeys();
    response.set('Cache-Control', cacheControl(ed25519, maxAgeSeconds));
    if (ed25519.length === 0 && !areKeysReadable()) answerUnreadable(response);
    else response.json({ publicKeys: ed25519 });
  });
  return router;
}

/** No empty set: whoever fetched it would refuse what the other nodes sign. */
function answerUnreadable(response: Response): void {
  response
    .status(503)
    .json({ code: parseCodes.webhookError, error: 'the signing keys cannot be decrypted here' });
}

/** An empty set is kept by nobody: the first key of a kind signs at once, and caches would not know it. */
function cacheControl(keys: readonly unknown[], maxAgeSeconds: number): string {
  return keys.length === 0 ? 'no-store' : `public, max-age=${maxAgeSeconds}`;
}

/** What operators watch, for those whom `guard` lets pass. It stands on the routes: no spelling of a path gets by it. */
export function createStatusRoutes(
  {
    metrics,
    listHooks,
    laneOf,
    readDatabase,
    readEvents,
    registryVersion,
    areKeysReadable,
  }: ServerRoutesParts,
  guard: RequestHandler,
): Router {
  const router = Router();
  router.get('/metrics', guard, async (_request, response) => {
    response.type(metrics.contentType).send(await metrics.render());
  });
  router.get('/health', guard, async (_request, response) => {
    const hooks = listHooks();
    const [database, events] = await Promise.all([readDatabase().catch(() => undefined), readEvents()]);
    const isHealthy = database !== undefined && areKeysReadable() && events.isStoreReachable;
    response.status(isHealthy ? 200 : 503).json({
      status: isHealthy ? 'ok' : 'unhealthy',
      version,
      database: database ? 'reachable' : 'unreachable',
      registryVersion: registryVersion() ?? null,
      keys: areKeysReadable() ? 'readable' : 'unreadable',
      hooks: hooks.length,
      broken: hooks.filter(({ broken }) => broken).map(({ label }) => label),
      openBreakers: hooks.filter(hook => laneOf(hook).breaker !== 'closed').map(({ label }) => label),
      deliveryStore: events.isStoreReachable ? 'reachable' : 'unreachable',
      spooled: events.spooled,
      ...(events.queue && { queue: events.queue }),
      subscriptions: events.subscriptions,
      pausedSubscriptions: events.paused.slice(0, maxHealthNames),
      failingSubscriptions: events.failing.slice(0, maxHealthNames),
      nodes: (database?.nodes ?? []).map(({ node, seenAt }) => ({
        node,
        lastSeenAt: new Date(seenAt).toISOString(),
      })),
    });
  });
  return router;
}
