// GET, PATCH and DELETE of hooks with their settings, below the Parse mount path: /webhooks/hooks/...
// Registration itself stays where Parse has it: POST /hooks/functions and /hooks/triggers.
import { Router, type Request } from 'express';
import { WebhookError } from '../errors';
import { hookFields, hookObjectId, type HookTarget, type RowName } from '../hooks/hook';
import { hookKey } from '../hooks/hook';
import { showSettings } from '../hooks/stored-settings';
import type { InstalledHook } from '../hooks/installed-hook';
import { unknownHook, type HookRegistry, type UnusableRow } from '../hooks/registry';
import { parseFunctionTarget, parseTriggerTarget } from '../hooks/validate-hook';
import { isJsonObject, type JsonObject } from '../shared/json';

const defaultLimit = 100;
const maxLimit = 1000;

export function createHookRoutes(registry: HookRegistry): Router {
  const router = Router();

  router.get('/hooks', async (request, response) => {
    await registry.refresh();
    response.json(page(request, [...registry.list().map(showHook), ...registry.unusableRows().map(showUnusable)]));
  });

  for (const { path, targetOf } of [
    { path: '/hooks/functions/:functionName', targetOf: functionTarget },
    { path: '/hooks/triggers/:className/:triggerName', targetOf: triggerTarget },
  ]) {
    router.get(path, async (request, response) => {
      await registry.refresh();
      const target = targetOf(request);
      const hook = registry.find(hookKey(target));
      if (!hook) throw unknownHook(target);
      response.json(showHook(hook));
    });
    router.patch(path, async (request, response) => {
      const target = targetOf(request);
      const { url, ...settings } = bodyOf(request);
      response.json(showHook(await registry.update(target, { ...(url !== undefined && { url }), settings })));
    });
    router.delete(path, async (request, response) => {
      await registry.remove(rowNameOf(request));
      response.json({});
    });
  }
  return router;
}

function showHook(hook: InstalledHook): JsonObject {
  const { createdAt, updatedAt, broken, health, settings } = hook;
  return {
    objectId: hookObjectId(hook.hook.target),
    ...(createdAt !== undefined && { createdAt }),
    ...(updatedAt !== undefined && { updatedAt }),
    ...hookFields(hook.hook),
    ...(showSettings(settings) as unknown as JsonObject),
    health: {
      state: broken === undefined ? 'installed' : 'broken',
      ...(broken !== undefined && { reason: broken.reason }),
      calls: health.calls,
      rejections: health.rejections,
      failures: health.failures,
      failedOpen: health.failedOpen,
      ...(health.lastSuccessAt !== undefined && { lastSuccessAt: new Date(health.lastSuccessAt).toISOString() }),
      ...(health.lastFailureAt !== undefined && { lastFailureAt: new Date(health.lastFailureAt).toISOString() }),
      ...(health.lastFailure !== undefined && { lastFailure: health.lastFailure }),
    },
  };
}

function showUnusable({ row, reason }: UnusableRow): JsonObject {
  const { functionName, className, triggerName, url } = (isJsonObject(row) ? row : {}) as JsonObject;
  return { functionName, className, triggerName, url, health: { state: 'refused', reason } };
}

/** `limit` (1..1000, default 100) and `cursor` (the `next` of the page before). Refuses other query parameters. */
function page(request: Request, rows: readonly JsonObject[]): JsonObject {
  for (const name of Object.keys(request.query)) {
    if (name !== 'limit' && name !== 'cursor') throw new WebhookError('INVALID_HOOK', `unknown parameter ${name}`);
  }
  const limit = wholeNumber(request.query.limit, 'limit', defaultLimit);
  const start = wholeNumber(request.query.cursor, 'cursor', 0);
  if (limit < 1 || limit > maxLimit) {
    throw new WebhookError('INVALID_HOOK', `limit must be in 1..${maxLimit}, got ${limit}`);
  }
  const end = start + limit;
  return { results: rows.slice(start, end), ...(end < rows.length && { next: String(end) }) };
}

function wholeNumber(value: unknown, name: string, absent: number): number {
  if (value === undefined) return absent;
  if (typeof value === 'string' && /^\d{1,9}$/.test(value)) return Number(value);
  throw new WebhookError('INVALID_HOOK', `${name} must be a whole number`);
}

function bodyOf(request: Request): Readonly<Record<string, unknown>> {
  const body: unknown = request.body;
  if (!isJsonObject(body)) throw new WebhookError('INVALID_HOOK', 'the body must be a JSON object');
  return body;
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
