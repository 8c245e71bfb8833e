// Whether a value of a reply can be part of a save at all. Only what Parse Server or a database would answer with an
// internal error (HTTP 500, which SDKs retry) or store as nonsense is refused; types against the schema are Parse's.
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';

/** What is wrong with the value for `key`, without quoting it; undefined when nothing is. The depth must be bounded. */
export function findUnstorable(key: string, value: JsonValue): string | undefined {
  if (key === 'ACL') return value === null || isDelete(value) || isAcl(value) ? undefined : 'is no ACL';
  if (isJsonObject(value) && Object.hasOwn(value, '__op'))
    return isOp(value) ? undefined : 'has a malformed __op';
  return findMalformed(value);
}

/**
 * The operations that SchemaController.getObjectType knows. It reads the first object of a relation's, so that an empty
 * list is an internal error; `SetOnInsert` it does not know at all.
 */
function isOp(op: JsonObject): boolean {
  switch (op.__op) {
    case 'Delete':
      return true;
    case 'Increment':
      return Number.isFinite(op.amount);
    case 'Add':
    case 'AddUnique':
    case 'Remove':
      return Array.isArray(op.objects) && findMalformed(op.objects as readonly JsonValue[]) === undefined;
    case 'AddRelation':
    case 'RemoveRelation':
      return isFilledList(op.objects) && op.objects.every(isPointer);
    case 'Batch':
      return isFilledList(op.ops) && op.ops.every(isRelationOp);
    default:
      return false;
  }
}

function isFilledList(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value) && value.length > 0;
}

function isRelationOp(op: JsonValue): boolean {
  return isJsonObject(op) && (op.__op === 'AddRelation' || op.__op === 'RemoveRelation') && isOp(op);
}

function isDelete(value: JsonValue): boolean {
  return isJsonObject(value) && value.__op === 'Delete';
}

/** Parse.ACL's own rule: names with `read` and `write`, each a boolean. */
function isAcl(value: JsonValue): boolean {
  return (
    isJsonObject(value) &&
    Object.values(value).every(
      access =>
        isJsonObject(access) &&
        Object.entries(access).every(
          ([name, allowed]) => (name === 'read' || name === 'write') && typeof allowed === 'boolean',
        ),
    )
  );
}

function findMalformed(value: JsonValue): string | undefined {
  if (typeof value === 'string')
    return isStorableText(value) ? undefined : 'holds text that cannot be stored';
  if (typeof value === 'number')
    return Number.isFinite(value) ? undefined : 'holds a number beyond all numbers';
  if (typeof value !== 'object' || value === null) return undefined;
  if (!isJsonObject(value)) return firstOf(value, findMalformed);
  if (!isWellTyped(value)) return 'holds a malformed __type';
  return firstOf(Object.entries(value), ([key, item]) =>
    isStorableText(key) ? item !== undefined && findMalformed(item) : 'holds text that cannot be stored',
  );
}

function firstOf<T>(items: readonly T[], find: (item: T) => string | false | undefined): string | undefined {
  for (const item of items) {
    const found = find(item);
    if (typeof found === 'string') return found;
  }
  return undefined;
}

// PostgreSQL has neither U+0000 in text and jsonb nor half surrogate pairs in jsonb.
function isStorableText(text: string): boolean {
  return !/[\0\p{Surrogate}]/u.test(text);
}

function isWellTyped(value: JsonObject): boolean {
  switch (value.__type) {
    case 'Date':
      return typeof value.iso === 'string' && isCalendarDate(value.iso);
    case 'Pointer':
      return isPointer(value);
    case 'Relation':
      return isClassName(value.className);
    case 'Bytes':
      return typeof value.base64 === 'string';
    case 'File':
      return typeof value.name === 'string';
    case 'GeoPoint':
      return isPoint(value.latitude, value.longitude);
    case 'Polygon':
      return isPolygon(value.coordinates);
    default:
      return true;
  }
}

/** What JavaScript and PostgreSQL both read: the years 1 to 9999, and no 30th of February, which V8 takes for a March day. */
function isCalendarDate(iso: string): boolean {
  const [, year = 0, month = 0, day = 0] = (/^(\d{4})-(\d{2})-(\d{2})(?:[T ]|$)/.exec(iso) ?? []).map(Number);
  // The days of a month are the last day before the next one; 2000 + year % 400 is leap when the year is.
  const days = new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate();
  return year > 0 && day <= days && !Number.isNaN(Date.parse(iso));
}

function isPointer(value: JsonValue): boolean {
  return (
    isJsonObject(value) &&
    value.__type === 'Pointer' &&
    isClassName(value.className) &&
    typeof value.objectId === 'string'
  );
}

// SchemaController's classAndFieldRegex and the classes of the system.
function isClassName(name: JsonValue | undefined): boolean {
  return typeof name === 'string' && /^_?[A-Za-z][A-Za-z0-9_]*$/.test(name);
}

function isPolygon(coordinates: JsonValue | undefined): boolean {
  if (!Array.isArray(coordinates)) return false;
  const points = coordinates as readonly JsonValue[];
  const distinct = new Set(points.map(point => JSON.stringify(point)));
  return (
    distinct.size >= 3 &&
    points.every(
      point => Array.isArray(point) && point.length === 2 && isPoint(...(point as [JsonValue, JsonValue])),
    )
  );
}

function isPoint(latitude: JsonValue | undefined, longitude: JsonValue | undefined): boolean {
  return isWithin(latitude, 90) && isWithin(longitude, 180);
}

function isWithin(value: JsonValue | undefined, bound: number): boolean {
  return typeof value === 'number' && value >= -bound && value <= bound;
}
