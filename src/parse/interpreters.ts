// What the value under `success` means for each trigger. Pure readings of a receiver's JSON; they may throw, the
// caller makes that a failure of the receiver.
import type { Interpretation, Interpreter } from '../blocking/hook-caller';
import { computeOverrides, mergeIntoSave } from '../blocking/apply-before-save';
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';
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
    if (mode === 'replace') return { kind: 'use', value: overrides.values };
    if (Object.keys(overrides.values).length === 0) return unchanged;
    return { kind: 'use', value: mergeIntoSave({ save, overrides: overrides.values }) };
  };
}

/** What a beforeFind or beforeSubscribe reply may change of a query. */
const queryKeys = ['where', 'limit', 'skip', 'order', 'keys', 'excludeKeys', 'include'];

export const asQuery: Interpreter<JsonObject> = value => {
  if (!isJsonObject(value)) return unchanged;
  const names = Object.keys(value);
  if (names.length === 0) return unchanged;
  const unknown = names.find(name => !queryKeys.includes(name));
  if (unknown !== undefined) return invalid('a query cannot be changed by the key', unknown);
  if (value.where !== undefined && !isJsonObject(value.where)) return { kind: 'invalid', detail: 'where is not an object' };
  for (const name of ['limit', 'skip']) {
    const number = value[name];
    if (number !== undefined && !(Number.isInteger(number) && Number(number) >= 0)) {
      return { kind: 'invalid', detail: `${name} is not a whole number` };
    }
  }
  for (const name of ['order', 'keys', 'excludeKeys', 'include']) {
    if (value[name] !== undefined && typeof value[name] !== 'string') {
      return { kind: 'invalid', detail: `${name} is not a comma-separated string` };
    }
  }
  return { kind: 'use', value };
};

/** afterFind: an array replaces the results. Parse Server needs instances of its own Parse.Object. */
export function asObjects(sdk: ParseSdk, className: string): Interpreter<readonly ParseObject[]> {
  return value => {
    if (!Array.isArray(value)) return unchanged;
    const objects: ParseObject[] = [];
    for (const item of value as readonly JsonValue[]) {
      if (!isJsonObject(item)) return { kind: 'invalid', detail: 'a result is not an object' };
      const bad = Object.keys(item).find(key => !/^([A-Za-z][0-9A-Za-z_]*|__type)$/.test(key));
      if (bad !== undefined) return invalid('a result has the key', bad);
      const { className: named, ...rest } = item;
      if (named !== undefined && typeof named !== 'string') return { kind: 'invalid', detail: 'className is not a string' };
      objects.push(sdk.Object.fromJSON({ ...rest, className: named ?? className }));
    }
    return { kind: 'use', value: objects };
  };
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
  if (metadata !== undefined && !isJsonObject(metadata)) return { kind: 'invalid', detail: 'metadata is not an object' };
  if (tags !== undefined && !isJsonObject(tags)) return { kind: 'invalid', detail: 'tags is not an object' };
  return { kind: 'use', value: { ...(metadata && { metadata }), ...(tags && { tags }) } };
};

function invalid(what: string, key: string): { kind: 'invalid'; detail: string } {
  return { kind: 'invalid', detail: `${what} ${JSON.stringify(key.slice(0, 60))}` };
}
