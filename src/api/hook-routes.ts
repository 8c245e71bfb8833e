// GET, PATCH and DELETE of hooks with their settings, below the Parse mount path: /webhooks/hooks/...
// Registration itself stays where Parse has it: POST /hooks/functions and /hooks/triggers.
import { Router, type Request } from 'express';
import { WebhookError } from '../errors';
import {
  hookFields,
  hookKey,
  hookObjectId,
  isRowOf,
  parseRowName,
  type HookTarget,
  type RowName,
} from '../hooks/hook';
import type { LaneReading } from './metrics';
import { showSettings } from '../hooks/stored-settings';
import type { InstalledHook } from '../hooks/installed-hook';
import { unknownHook, type HookRegistry } from '../hooks/registry';
import type { UnusableRow } from '../hooks/stored-hooks';
import { describe } from '../hooks/hook-settings';
import { parseFunctionTarget, parseTriggerTarget } from '../hooks/validate-hook';
import { isJsonObject, type JsonObject } from '../shared/json';

const defaultLimit = 100;
const maxLimit = 1000;

export interface HookRoutesParts {
  readonly registry: HookRegistry;
  /** Breaker and calls in flight of a hook on this node. */
  readonly laneOf: (hook: InstalledHook) => LaneReading;
}

export function createHookRoutes({ registry, laneOf }: HookRoutesParts): Router {
  const router = Router();
  const show = (hook: InstalledHook): JsonObject =>
    showHook(hook, laneOf(hook), registry.oldSecretEnds(hook));

  router.get('/hooks', async (request, response) => {
    await registry.refresh();
    response.json(page(request, listEntries(registry, show)));
  });

  for (const { path, targetOf } of [
    { path: '/hooks/functions/:functionName', targetOf: functionTarget },
    { path: '/hooks/triggers/:className/:triggerName', targetOf: triggerTarget },
  ]) {
    router.get(path, async (request, response) => {
      await registry.refresh();
      const name = rowNameOf(request);
      const hook = registry.find(hookKey(name));
      const unusable = registry.unusableRows().findLast(({ row }) => isRowOf(name, row));
      if (hook) response.json(show(hook));
      else if (unusable) response.json(showUnusable(unusable));
      else throw unknownHook(name);
    });
    router.patch(path, async (request, response) => {
      const target = targetOf(request);
      const { url, ...settings } = bodyOf(request);
      response.json(show(await registry.update(target, { ...(url !== undefined && { url }), settings })));
    });
    router.post(`${path}/secret/rotate`, async (request, response) => {
      const { hook, secret } = await registry.rotateSecret(targetOf(request), rotationOf(request));
      response.status(201).json({ ...show(hook), secret });
    });
    router.delete(path, async (request, response) => {
      await registry.remove(rowNameOf(request));
      response.json({});
    });
  }
  return router;
}

function showHook(hook: InstalledHook, lane: LaneReading, oldSecretEnds: readonly number[]): JsonObject {
  const { createdAt, updatedAt, broken, health, settings } = hook;
  return {
    objectId: hookObjectId(hook.hook.target),
    ...(createdAt !== undefined && { createdAt }),
    ...(updatedAt !== undefined && { updatedAt }),
    ...hookFields(hook.hook),
    ...(showSettings(settings) as Readonly<Record<string, unknown>> as JsonObject),
    // When each former secret stops signing beside the current one.
    oldSecretsExpireAt: oldSecretEnds.map(endsAt => new Date(endsAt).toISOString()),
    health: {
      state: broken === undefined ? 'installed' : 'broken',
      ...(broken !== undefined && { reason: broken.reason }),
      breaker: lane.breaker,
      inFlight: lane.inFlight,
      calls: health.calls,
      rejections: health.rejections,
      failures: health.failures,
      failedOpen: health.failedOpen,
      ...(health.lastSuccessAt !== undefined && {
        lastSuccessAt: new Date(health.lastSuccessAt).toISOString(),
      }),
      ...(health.lastFailureAt !== undefined && {
        lastFailureAt: new Date(health.lastFailureAt).toISOString(),
      }),
      ...(health.lastFailure !== undefined && { lastFailure: health.lastFailure }),
    },
  };
}

/** A row that is left where it is: its names and url as they are, and why it is not called. */
function showUnusable({ row, reason }: UnusableRow): JsonObject {
  const { functionName, className, triggerName, url } = isJsonObject(row) ? row : {};
  const name = parseRowName(row);
  return {
    ...(name && { objectId: hookObjectId(name) }),
    functionName,
    className,
    triggerName,
    url,
    health: { state: 'refused', reason },
  };
}

interface ListEntry {
  /** Its place in the list: the order of rows in a table changes when one is updated. */
  readonly place: string;
  readonly shown: JsonObject;
}

function listEntries(
  registry: HookRegistry,
  show: (hook: InstalledHook) => JsonObject,
): readonly ListEntry[] {
  const installed = registry.list().map(hook => ({ place: hook.key, shown: show(hook) }));
  // Several may have one name, or none.
  const refused = registry.unusableRows().map((each, at) => ({
    place: `unusable/${String(at).padStart(9, '0')}`,
    shown: showUnusable(each),
  }));
  return [...installed, ...refused].sort((a, b) => (a.place < b.place ? -1 : 1));
}

/** `limit` (1..1000, default 100) and `cursor` (the `next` of the page before). Refuses other parameters by name. */
function page(request: Request, entries: readonly ListEntry[]): JsonObject {
  const { limit: givenLimit, cursor, ...others } = parametersOf(request);
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new WebhookError('INVALID_HOOK', `unknown parameter ${describe(unknown)}`);
  const limit = givenLimit === undefined ? defaultLimit : limitOf(givenLimit);
  const after = cursor === undefined ? '' : placeOf(cursor);
  const rest = entries.filter(({ place }) => place > after);
  const results = rest.slice(0, limit);
  const last = results.at(-1);
  return {
    results: results.map(({ shown }) => shown),
    ...(last && results.length < rest.length && { next: Buffer.from(last.place).toString('base64url') }),
  };
}

function limitOf(given: unknown): number {
  const limit = typeof given === 'string' && /^\d{1,9}$/.test(given) ? Number(given) : given;
  if (typeof limit === 'number' && Number.isInteger(limit) && limit >= 1 && limit <= maxLimit) return limit;
  throw new WebhookError(
    'INVALID_HOOK',
    `limit must be an integer in 1..${maxLimit}, got ${describe(given)}`,
  );
}

function placeOf(cursor: unknown): string {
  const place = typeof cursor === 'string' ? Buffer.from(cursor, 'base64url').toString() : '';
  if (place !== '' && Buffer.from(place).toString('base64url') === cursor) return place;
  throw new WebhookError(
    'INVALID_HOOK',
    `cursor must be the next of an earlier answer, got ${describe(cursor)}`,
  );
}

/** Of the query, or of the body of an SDK, which sends a GET as POST with `_method`. */
function parametersOf(request: Request): Readonly<Record<string, unknown>> {
  const body: unknown = request.body;
  return { ...(isJsonObject(body) && body), ...request.query };
}

function bodyOf(request: Request): Readonly<Record<string, unknown>> {
  const body: unknown = request.body;
  if (!isJsonObject(body)) throw new WebhookError('INVALID_HOOK', 'the body must be a JSON object');
  return body;
}

function rotationOf(request: Request): { readonly secret?: string; readonly graceMs?: number } {
  const { secret, graceMs, ...rest } = isJsonObject(request.body) ? request.body : {};
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined) throw new WebhookError('INVALID_HOOK', `unknown field ${describe(unknown)}`);
  if (secret !== undefined && typeof secret !== 'string') {
    throw new WebhookError('INVALID_HOOK', 'secret must be a string that begins with whsec_');
  }
  if (graceMs !== undefined && typeof graceMs !== 'number') {
    throw new WebhookError('INVALID_HOOK', `graceMs must be a number, got ${describe(graceMs)}`);
  }
  return { ...(secret !== undefined && { secret }), ...(graceMs !== undefined && { graceMs }) };
}

function functionTarget(request: Request): HookTarget {
  return parseFunctionTarget(request.params.functionName);
}

function triggerTarget(request: Request): HookTarget {
  return parseTriggerTarget(request.params.className, request.params.triggerName);
}

/** The row that a path names, also when no hook could have that name today: what is there must be removable. */
function rowNameOf(request: Request): RowName {
  const { functionName, className, triggerName } = request.params;
  return typeof functionName === 'string'
    ? { kind: 'function', functionName }
    : { kind: 'trigger', className: String(className), triggerName: String(triggerName) };
}
