// When two values in Parse's REST format mean the same. Owns no walk of whole objects and no ops: a value is a value.
import { isJsonObject, type JsonObject, type JsonValue } from './json';

// The form Parse itself writes for createdAt, and any other date with time and zone; a bare "2020" is just text.
const isoDateTime = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})$/;

/**
 * The instant of `{__type: 'Date', iso}` or of a plain ISO 8601 date-time with zone, in milliseconds since 1970.
 * REST has both forms: columns of type Date are objects, `createdAt` and `updatedAt` plain strings.
 */
export function instantOf(value: JsonValue | undefined): number | undefined {
  const iso = isJsonObject(value) && value.__type === 'Date' ? value.iso : value;
  if (typeof iso !== 'string' || !isoDateTime.test(iso)) return undefined;
  const instant = Date.parse(iso);
  return Number.isNaN(instant) ? undefined : instant;
}

/** True for a pointer or an included object (`__type: 'Object'`) that names an objectId. */
export function isReference(
  value: JsonValue | undefined,
): value is JsonObject & { readonly className: string; readonly objectId: string } {
  return (
    isJsonObject(value) &&
    (value.__type === 'Pointer' || value.__type === 'Object') &&
    typeof value.className === 'string' &&
    typeof value.objectId === 'string'
  );
}

/**
 * True when both values mean the same to Parse.
 *
 * Dates are compared by instant (also with a plain ISO string: receivers without an SDK echo dates so), pointers and
 * included objects by class and id, files by name, points by their numbers, relations by class; everything else by
 * content, whatever the order of keys. A key that is undefined counts as absent.
 */
export function isRestEqual(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object') return isSameInstant(a, b);
  if (a === null || b === null) return false;
  if (!isJsonObject(a) || !isJsonObject(b)) return !isJsonObject(a) && !isJsonObject(b) && isSameList(a, b);
  switch (a.__type) {
    case undefined:
      return isSameContent(a, b);
    case 'Date':
      return isSameInstant(a, b) || isSameContent(a, b);
    case 'Pointer':
    case 'Object':
      if (!isReference(a) || !isReference(b)) return isSameContent(a, b);
      return a.className === b.className && a.objectId === b.objectId;
    case 'File':
      // The url is computed when an object is read: it differs by server address and by signature.
      return b.__type === 'File' && typeof a.name === 'string' && a.name === b.name;
    case 'GeoPoint':
      return b.__type === 'GeoPoint' && a.latitude === b.latitude && a.longitude === b.longitude;
    case 'Relation':
      return b.__type === 'Relation' && a.className === b.className;
    default:
      return isSameContent(a, b);
  }
}

function isSameInstant(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  // One side at least must be typed: two different strings are different, whatever they spell.
  if (!isJsonObject(a) && !isJsonObject(b)) return false;
  const instant = instantOf(a);
  return instant !== undefined && instant === instantOf(b);
}

function isSameList(a: readonly JsonValue[], b: readonly JsonValue[]): boolean {
  return a.length === b.length && a.every((value, index) => isRestEqual(value, b[index]));
}

function isSameContent(a: JsonObject, b: JsonObject): boolean {
  let count = 0;
  for (const key of Object.keys(a)) {
    if (a[key] === undefined) continue;
    if (!Object.hasOwn(b, key) || !isRestEqual(a[key], b[key])) return false;
    count++;
  }
  for (const key of Object.keys(b)) if (b[key] !== undefined) count--;
  return count === 0;
}
