// GET, PATCH and DELETE of hooks with their settings, below the Parse mount path: /webhooks/hooks/...
// Registration itself stays where Parse has it: POST /hooks/functions and /hooks/triggers.
import { Router, type Request } from 'express';
import {
  hookFields,
  hookKey,
  hookObjectId,
  isRowOf,
  parseRowName,
  type HookTarget,
  type RowName,
} from '../hooks/hook';
import type { LaneReading } from './lane-gauges';
import { showSettings } from '../hooks/stored-settings';
import type { InstalledHook } from '../hooks/installed-hook';
import { unknownHook } from '../hooks/change-hook';
import type { HookRegistry } from '../hooks/registry';
import type { UnusableRow } from '../hooks/stored-hooks';
import { parseFunctionTarget, parseTriggerTarget } from '../hooks/validate-hook';
import { isJsonObject, type JsonObject } from '../shared/json';
import { jsonBody, readBody, readQuery } from './api-parameters';
import { functionPath, listHooks, triggerPath } from './hook-operations';
import { cutList, type ListEntry } from './list-page';
import { secretRotation } from './operation';

export interface HookRoutesParts {
  readonly registry: HookRegistry;
  /** Breaker and calls in flight of a hook on this node. */
  readonly laneOf: (hook: InstalledHook) => LaneReading;
}

export function createHookRoutes({ registry, laneOf }: HookRoutesParts): Router {
  const router = Router();
  const show = (hook: InstalledHook): JsonObject =>
    showHook(hook, laneOf(hook), registry.oldSecretEnds(hook));

  router.get(listHooks.path, async (request, response) => {
    const page = readQuery(listHooks.query, request);
    await registry.refresh();
    response.json(cutList(listEntries(registry, show), page));
  });

  for (const { path, targetOf } of [
    { path: functionPath, targetOf: functionTarget },
    { path: triggerPath, targetOf: triggerTarget },
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
      const { url, ...settings } = jsonBody(request);
      response.json(show(await registry.update(target, { ...(url !== undefined && { url }), settings })));
    });
    router.post(`${path}/secret/rotate`, async (request, response) => {
      const { hook, secret } = await registry.rotateSecret(
        targetOf(request),
        readBody(secretRotation, request),
      );
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

function listEntries(
  registry: HookRegistry,
  show: (hook: InstalledHook) => JsonObject,
): readonly ListEntry[] {
  const installed = registry.list().map(hook => ({ place: hook.key, show: () => show(hook) }));
  // Several may have one name, or none.
  const refused = registry.unusableRows().map((each, at) => ({
    place: `unusable/${String(at).padStart(9, '0')}`,
    show: () => showUnusable(each),
  }));
  return [...installed, ...refused];
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
