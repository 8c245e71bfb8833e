// Names of fields in a save, dotted ones included: which are allowed, and what stands at them.
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';

// The root as in SchemaController.classAndFieldRegex of Parse Server; below it also array indexes ("scores.0").
const fieldPath = /^[A-Za-z][0-9A-Za-z_]*(?:\.(?:[A-Za-z][0-9A-Za-z_]*|[0-9]+))*$/;

// `length` is SchemaController's invalidColumns. The names of Object.prototype (constructor, toString, …) are found by
// Parse's own look-ups of the kind `schema.fields[name]` although no such column exists.
const reservedNames = new Set([...Object.getOwnPropertyNames(Object.prototype), 'prototype']);

/** True for a name that a save may carry: what Parse accepts, without those that reach into a prototype. */
export function isFieldPath(name: string): boolean {
  if (!fieldPath.test(name)) return false;
  if (!name.includes('.')) return name !== 'length' && !reservedNames.has(name);
  const segments = name.split('.');
  return segments[0] !== 'length' && !segments.some(segment => reservedNames.has(segment));
}

/** The value at a path, through objects and arrays; undefined where nothing of its own stands there. */
export function valueAtPath(object: JsonObject, path: string): JsonValue | undefined {
  if (Object.hasOwn(object, path)) return object[path];
  if (!path.includes('.')) return undefined;
  let value: JsonValue | undefined = object;
  for (const segment of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, segment)) return undefined;
    value = isJsonObject(value) ? value[segment] : value[Number(segment)];
  }
  return value;
}

/** The paths above `path`, nearest first: `a.b`, `a` for `a.b.c`. */
export function ancestorsOf(path: string): string[] {
  const ancestors: string[] = [];
  for (let dot = path.lastIndexOf('.'); dot > 0; dot = path.lastIndexOf('.', dot - 1)) {
    ancestors.push(path.slice(0, dot));
  }
  return ancestors;
}
