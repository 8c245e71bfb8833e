// Takes the place of Parse Server's hooks controller behind /hooks/functions and /hooks/triggers, in place, so that
// REST, /batch and directAccess all reach the registry with Parse Server's own authentication.
import { WebhookError } from '../errors';
import { hookFields, hookKey, parseRowName, type HookFields, type RowName } from '../hooks/hook';
import type { HookStore } from '../hooks/hook-store';
import type { InstalledHook } from '../hooks/installed-hook';
import { describe } from '../hooks/hook-settings';
import { unknownFields } from '../hooks/declaration';
import type { HookRegistry } from '../hooks/registry';
import { parseTarget } from '../hooks/validate-hook';
import { isJsonObject } from '../shared/json';
import type { HooksController, HooksRouterPrototype, HooksRouterRequest, ParseSdk } from './internals';

export interface ControllerParts {
  readonly registry: HookRegistry;
  readonly store: HookStore;
  readonly sdk: ParseSdk;
  readonly hasCloudCode: (target: RowName) => boolean;
}

/** A hook as the REST API shows it, with the warning that the Parse REST guide documents. */
type ShownHook = HookFields & { readonly warning?: string };

export function createHooksController(parts: ControllerParts): HooksController {
  const { registry, store, sdk } = parts;
  const cloudCodeWarning = ({ hook: { target } }: InstalledHook): string[] => {
    if (!parts.hasCloudCode(target)) return [];
    return target.kind === 'function'
      ? [`a cloudcode function with name: ${target.functionName} already exists`]
      : [`${target.triggerName} trigger already defined for class ${target.className} in cloud code`];
  };
  const shown = (hook: InstalledHook, warnings: readonly string[] = []): ShownHook => {
    const warning = [...cloudCodeWarning(hook), ...warnings].join('; ');
    return { ...hookFields(hook.hook), ...(warning !== '' && { warning }) };
  };
  return {
    // The built-in would install its own senders here; ours come in when cloud code starts.
    load: async () => undefined,
    createHook: body =>
      asParseError(sdk, async () => {
        const fields = fieldsOf(body);
        const { hook, secret } = await registry.create(fields, 'drop-unknown');
        // The built-in drops them without a word, and a misspelt setting with them.
        const ignored = unknownFields(fields).map(name => `unknown field ${describe(name)} ignored`);
        return { ...shown(hook, ignored), secret };
      }),
    updateHook: hook =>
      asParseError(sdk, async () => {
        const { url, ...names } = fieldsOf(hook);
        return shown(await registry.update(parseTarget(names), { url: url ?? '' }));
      }),
    getFunction: functionName =>
      asParseError(sdk, async () =>
        (await listRows(store, 'function')).find(row => row.functionName === functionName),
      ),
    getFunctions: () => asParseError(sdk, () => listRows(store, 'function')),
    getTrigger: (className, triggerName) =>
      asParseError(sdk, async () =>
        (await listRows(store, 'trigger')).find(
          row => row.className === className && row.triggerName === triggerName,
        ),
      ),
    getTriggers: () => asParseError(sdk, () => listRows(store, 'trigger')),
    deleteFunction: functionName =>
      asParseError(sdk, async () => {
        const target = { kind: 'function', functionName: nameOf(functionName) } as const;
        await registry.remove(target);
        return parts.hasCloudCode(target) ? { functionName: target.functionName } : {};
      }),
    deleteTrigger: (className, triggerName) =>
      asParseError(sdk, async () => {
        const target = {
          kind: 'trigger',
          className: nameOf(className),
          triggerName: nameOf(triggerName),
        } as const;
        await registry.remove(target);
        return parts.hasCloudCode(target)
          ? { className: target.className, triggerName: target.triggerName }
          : {};
      }),
  };
}

type HandleDelete = (this: unknown, request: HooksRouterRequest) => Promise<{ response: unknown }>;

/**
 * Lets a delete answer with the cloud code that is in force again: the built-in router drops what the controller
 * answers. Only for applications whose controller is ours. The answer puts the built-in's method back.
 */
export function answerDeletes(
  router: HooksRouterPrototype,
  isOurs: (controller: HooksController) => boolean,
): () => void {
  const current = (): HandleDelete => Reflect.get(router, 'handleDelete');
  const original = current();
  let undone = false;
  const answering: HandleDelete = async function (request) {
    const { hooksController } = request.config;
    if (undone || !isOurs(hooksController)) return original.call(this, request);
    const { functionName, className, triggerName } = request.params;
    if (functionName !== undefined) return { response: await hooksController.deleteFunction(functionName) };
    return { response: await hooksController.deleteTrigger(className, triggerName) };
  };
  router.handleDelete = answering;
  return () => {
    undone = true;
    // Another application of this process may stand on top; ours then just passes on.
    if (current() === answering) router.handleDelete = original;
  };
}

/** Runs `work`; a WebhookError becomes the Parse.Error that Parse Server answers with its code and HTTP 4xx. */
export async function asParseError<T>(sdk: ParseSdk, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof WebhookError) throw new sdk.Error(error.parseCode, error.message);
    throw error;
  }
}

type Row = Readonly<Record<string, unknown>>;

/** One row per name, the last: the one in force where the built-in left several. Rows without a name are left out. */
async function listRows(store: HookStore, kind: RowName['kind']): Promise<readonly Row[]> {
  const rows = new Map<string, Row>();
  for (const row of (await store.readHooks()).filter(isRow)) {
    const name = parseRowName(row);
    if (name?.kind !== kind) continue;
    const { kind: _kind, ...fields } = name;
    rows.set(hookKey(name), { ...fields, url: row.url });
  }
  return [...rows.values()];
}

function isRow(row: unknown): row is Row {
  return isJsonObject(row);
}

function fieldsOf(body: unknown): Row {
  if (!isRow(body)) throw new WebhookError('INVALID_HOOK', 'invalid hook declaration');
  return body;
}

/** A name from a path. Only strings reach the database: an object there would be a query operator. */
function nameOf(value: unknown): string {
  if (typeof value !== 'string') throw new WebhookError('INVALID_HOOK', 'invalid hook declaration');
  return value;
}
