// What a beforeSave answer changes: from the object under `success` to the save that goes on. Pure functions on REST
// JSON; turning objects into REST JSON and back is left to parse/.
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';
import { isReference, isRestEqual } from '../shared/rest-equality';
import { ancestorsOf, isFieldPath, valueAtPath } from './field-path';
import { findUnstorable } from './storable-value';

export type Overrides =
  | { readonly kind: 'overrides'; readonly values: Record<string, JsonValue> }
  /** The answer cannot be applied. `detail` is for operators' logs: it names the key, cut to 60 characters. */
  | { readonly kind: 'invalid'; readonly detail: string };

export interface ComputeOverridesInput {
  /** The object under `success`. */
  readonly reply: JsonObject;
  /** The object as the receiver saw it: resolved values in REST format. */
  readonly sent: JsonObject;
  /** `merge`: keys not named stay. `replace`: the built-in's meaning, the reply is the whole save. */
  readonly mode: 'merge' | 'replace';
}

// Parse sets these itself. `objectId` is among them because on a create Parse Server would take it from a trigger even
// with allowCustomObjectId off (RestWrite.js, runBeforeSaveTrigger).
const ignoredKeys = new Set(['className', 'createdAt', 'updatedAt', 'objectId', '__type']);

/**
 * The keys that the receiver changed, with their new values or ops.
 *
 * Merge: a key whose value means the same as what was sent is left out, so the client's own op on it survives and no
 * stored field is written back that someone else changed meanwhile. So is a `Delete` or null for a key that was not
 * sent: serialisers of typed languages write null for every field they do not know. An op in the reply stands for
 * itself, relative to the stored value, and takes the place of the client's op on that key.
 *
 * Replace: all keys of the reply, equal ones too; the caller drops the others.
 */
export function computeOverrides({ reply, sent, mode }: ComputeOverridesInput): Overrides {
  const values: Record<string, JsonValue> = {};
  for (const key of Object.keys(reply)) {
    const value = reply[key];
    if (value === undefined || ignoredKeys.has(key)) continue;
    // Also what keeps `values` an ordinary object: no name of Object.prototype passes.
    if (!isFieldPath(key)) return invalid(`${describeKey(key)} is no valid field name`);
    if (mode === 'merge') {
      const before = valueAtPath(sent, key);
      if (before === undefined && (value === null || isDelete(value))) continue;
      if (isRestEqual(before, value)) continue;
    }
    const fault = findUnstorable(key, value);
    if (fault !== undefined) return invalid(`${describeKey(key)} ${fault}`);
    values[key] = toPointers(value);
  }
  return { kind: 'overrides', values };
}

/**
 * The client's pending change with the overrides set.
 *
 * An override of `a` takes the place of pending `a` and `a.*`. An override of `a.b` is set inside a pending `a` where
 * that is an object, null or being deleted: databases refuse a write of both. Where it is neither (`a` is a pointer,
 * an array, an op), both stay and Parse answers with its own error, rather than we drop one of them in silence.
 *
 * @param input.save REST JSON with ops, as the client sent it. Not changed.
 * @param input.overrides `values` of {@link computeOverrides}, which checked the names.
 */
export function mergeIntoSave(input: {
  readonly save: JsonObject;
  readonly overrides: Readonly<Record<string, JsonValue>>;
}): JsonObject {
  const { save, overrides } = input;
  const merged: Record<string, JsonValue | undefined> = { ...save };
  const hasDottedKeys = Object.keys(save).some(isDotted) || Object.keys(overrides).some(isDotted);
  for (const [key, value] of Object.entries(overrides)) {
    if (hasDottedKeys) {
      for (const pending of Object.keys(merged))
        if (pending.startsWith(`${key}.`)) Reflect.deleteProperty(merged, pending);
      if (setInsideAncestor(merged, key, value)) continue;
    }
    merged[key] = value;
  }
  return merged;
}

/**
 * The change of a new object with its dotted keys as nested objects: there is nothing yet that they could be set in,
 * and MongoDB would store the dot as part of the name.
 */
export function nestDottedKeys(change: JsonObject): JsonObject {
  if (!Object.keys(change).some(isDotted)) return change;
  const nested = Object.fromEntries(Object.entries(change).filter(([key]) => !isDotted(key)));
  for (const [key, value] of Object.entries(change)) {
    if (!isDotted(key) || value === undefined || isDelete(value)) continue;
    const [root = key, ...path] = key.split('.');
    const base = withValueAt(nested[root] ?? null, path, value);
    // Something other than an object is in the way: Parse answers with its own error.
    nested[base === undefined ? key : root] = base ?? value;
  }
  return nested;
}

function isDotted(key: string): boolean {
  return key.includes('.');
}

function setInsideAncestor(
  merged: Record<string, JsonValue | undefined>,
  path: string,
  value: JsonValue,
): boolean {
  const ancestor = ancestorsOf(path).find(name => Object.hasOwn(merged, name));
  if (ancestor === undefined) return false;
  // An op inside a value is no op: only Delete has a meaning there.
  if (isOp(value) && !isDelete(value)) return false;
  const changed = withValueAt(merged[ancestor] ?? null, path.slice(ancestor.length + 1).split('.'), value);
  if (changed === undefined) return false;
  merged[ancestor] = changed;
  return true;
}

/** A copy of `base` with the value set below it; undefined where something other than plain objects is in the way. */
function withValueAt(base: JsonValue, path: readonly string[], value: JsonValue): JsonValue | undefined {
  const [head, ...rest] = path;
  if (head === undefined) return value;
  if (base === null || isDelete(base)) {
    if (isDelete(value)) return base;
    const inner = withValueAt(null, rest, value);
    return inner === undefined ? undefined : { [head]: inner };
  }
  if (!isJsonObject(base) || isOp(base) || typeof base.__type === 'string') return undefined;
  const copy: Record<string, JsonValue | undefined> = { ...base };
  if (isDelete(value) && rest.length === 0) {
    Reflect.deleteProperty(copy, head);
    return copy;
  }
  const inner = withValueAt(Object.hasOwn(base, head) ? (base[head] ?? null) : null, rest, value);
  if (inner === undefined) return undefined;
  // A Delete below something that is not there changes nothing.
  if (inner === null && isDelete(value) && !Object.hasOwn(base, head)) return copy;
  copy[head] = inner;
  return copy;
}

// Receivers echo included objects in full. Parse on MongoDB stores what it is given, so an `__type: 'Object'` would
// land in a pointer column as an embedded copy; the SDKs write pointers, in arrays too.
function toPointers(value: JsonValue): JsonValue {
  if (typeof value !== 'object' || value === null) return value;
  if (!isJsonObject(value)) return value.some(isIncludedObject) ? value.map(toPointer) : value;
  return toPointer(value);
}

function toPointer(value: JsonValue): JsonValue {
  return isIncludedObject(value) && isReference(value)
    ? { __type: 'Pointer', className: value.className, objectId: value.objectId }
    : value;
}

function isIncludedObject(value: JsonValue): boolean {
  return isReference(value) && value.__type === 'Object';
}

function isOp(value: JsonValue): value is JsonObject & { readonly __op: JsonValue } {
  return isJsonObject(value) && Object.hasOwn(value, '__op');
}

function isDelete(value: JsonValue): boolean {
  return isOp(value) && value.__op === 'Delete';
}

function describeKey(key: string): string {
  return JSON.stringify(key.length > 60 ? `${key.slice(0, 60)}…` : key);
}

function invalid(detail: string): Overrides {
  return { kind: 'invalid', detail };
}
