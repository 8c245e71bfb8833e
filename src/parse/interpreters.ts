// What the value under `success` means for each trigger. Pure readings of a receiver's JSON; they may throw, the
// caller makes that a failure of the receiver.
import type { Interpretation, Interpreter } from '../blocking/hook-caller';
import { computeOverrides, mergeIntoSave, nestDottedKeys } from '../blocking/apply-before-save';
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';
import { isRestEqual } from '../shared/rest-equality';
import type { ParseObject, ParseSdk } from './internals';

const unchanged = { kind: 'unchanged' } as const;

/** For triggers that can only be stopped. */
export const onlyVeto: Interpreter<never> = () => unchanged;

/** Functions: the value is the result. */
export const asResult: Interpreter<JsonValue> = value => ({ kind: 'use', value });

/** beforeSave: the object overrides. The value is the whole change to save, as REST with the client's operations kept. */
export function asSave(save: JsonObject, mode: 'merge' | 'replace'): Interpreter<JsonObject> {
  return (value, sent): Interpretation<JsonObject> => {
    if (!isJsonObject(value)) return unchanged;
    const overrides = computeOverrides({ reply: value, sent: sent.object ?? {}, mode });
    if (overrides.kind === 'invalid') return overrides;
    if (mode === 'merge' && Object.keys(overrides.values).length === 0) return unchanged;
    const change =
      mode === 'replace' ? overrides.values : mergeIntoSave({ save, overrides: overrides.values });
    return { kind: 'use', value: sent.original === undefined ? nestDottedKeys(change) : change };
  };
}

/**
 * beforeFind: the named parts of the query are replaced. What equals the query that was sent is no change, so that a
 * receiver may answer with the whole query.
 */
export const asQuery: Interpreter<JsonObject> = (value, sent) =>
  queryChange(value, sent.query ?? {}, ['where', 'limit', 'skip', 'order', 'keys', 'excludeKeys', 'include']);

/** beforeSubscribe: a subscription has no other parts. */
export const asSubscription: Interpreter<JsonObject> = (value, sent) =>
  queryChange(value, sent.query ?? {}, ['where', 'keys']);

function queryChange(
  value: JsonValue,
  before: JsonObject,
  changeable: readonly string[],
): Interpretation<JsonObject> {
  if (!isJsonObject(value)) return unchanged;
  const change: Record<string, JsonValue> = {};
  for (const [name, wanted] of Object.entries(value)) {
    if (wanted === undefined || wanted === null || isRestEqual(wanted, before[name])) continue;
    if (!changeable.includes(name)) return invalid('a query cannot be changed by the key', name);
    if (before[name] === undefined && (wanted === '' || (wanted === 0 && name === 'skip'))) continue;
    const problem = whyNoQueryPart(name, wanted);
    if (problem !== undefined) return { kind: 'invalid', detail: problem };
    change[name] = wanted;
  }
  return Object.keys(change).length === 0 ? unchanged : { kind: 'use', value: change };
}

/** Parse Server takes a part of a changed query only when it is truthy: 0 and "" would leave the client's in force. */
function whyNoQueryPart(name: string, value: JsonValue): string | undefined {
  switch (name) {
    case 'where':
      return isJsonObject(value) ? undefined : 'where is not an object';
    case 'limit':
    case 'skip':
      return Number.isInteger(value) && Number(value) > 0
        ? undefined
        : `${name} is not a whole number above 0`;
    default:
      return typeof value === 'string' && value !== ''
        ? undefined
        : `${name} is not a comma-separated string`;
  }
}

export interface AfterFindInput {
  readonly sdk: ParseSdk;
  readonly className: string;
  /** The results as the hook's settings found them, before `keys` and `excludeKeys` chose what to send. */
  readonly all: readonly JsonObject[];
}

/**
 * afterFind: an array replaces the results. Parse Server needs instances of its own Parse.Object. A result that was
 * sent in part gets back what was not sent.
 */
export function asObjects({ sdk, className, all }: AfterFindInput): Interpreter<readonly ParseObject[]> {
  return (value, sent) => {
    if (!Array.isArray(value)) return unchanged;
    const unsent = unsentParts(all, sent.objects ?? []);
    const objects: ParseObject[] = [];
    for (const item of value as readonly JsonValue[]) {
      if (!isJsonObject(item)) return { kind: 'invalid', detail: 'a result is not an object' };
      const bad = Object.keys(item).find(key => !/^([A-Za-z][0-9A-Za-z_]*|__type)$/.test(key));
      if (bad !== undefined) return invalid('a result has the key', bad);
      const { className: named = className, objectId } = item;
      if (typeof named !== 'string') return { kind: 'invalid', detail: 'className is not a string' };
      const rest = typeof objectId === 'string' ? unsent.get(`${named} ${objectId}`) : undefined;
      const object = sdk.Object.fromJSON({ ...rest, ...item, className: named });
      // Parse Server does the same where nobody catches: a file without url or a pointer without objectId makes it
      // throw, the client would never be answered and the process end.
      object.toJSON();
      objects.push(object);
    }
    return { kind: 'use', value: objects };
  };
}

function unsentParts(
  all: readonly JsonObject[],
  sent: readonly JsonObject[],
): ReadonlyMap<string, JsonObject> {
  const parts = new Map<string, JsonObject>();
  if (all === sent) return parts;
  all.forEach((object, at) => {
    const { className, objectId } = object;
    if (typeof className !== 'string' || typeof objectId !== 'string') return;
    const missing = Object.entries(object).filter(([key]) => !Object.hasOwn(sent[at] ?? {}, key));
    if (missing.length > 0) parts.set(`${className} ${objectId}`, Object.fromEntries(missing));
  });
  return parts;
}

export interface FileChange {
  readonly metadata?: JsonObject;
  readonly tags?: JsonObject;
}

/** beforeSave of a file: `metadata` and `tags` are replaced. */
export const asFileChange: Interpreter<FileChange> = value => {
  if (!isJsonObject(value)) return unchanged;
  const { metadata, tags } = value;
  if (metadata === undefined && tags === undefined) return unchanged;
  if (metadata !== undefined && !isJsonObject(metadata))
    return { kind: 'invalid', detail: 'metadata is not an object' };
  if (tags !== undefined && !isJsonObject(tags)) return { kind: 'invalid', detail: 'tags is not an object' };
  return { kind: 'use', value: { ...(metadata && { metadata }), ...(tags && { tags }) } };
};

function invalid(what: string, key: string): { kind: 'invalid'; detail: string } {
  return { kind: 'invalid', detail: `${what} ${JSON.stringify(key.slice(0, 60))}` };
}
