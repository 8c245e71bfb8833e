// A Parse query as a filter on one object, compiled once when a hook or subscription is registered. Owns the logic
// between constraints and the bounds; single constraints are filter-constraint's, the walk through paths is sift's.
import {
  $all,
  $and,
  $exists,
  $in,
  $ne,
  $nin,
  $nor,
  $or,
  createEqualsOperation,
  createQueryTester,
} from 'sift';
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';
import { findJsonHazard } from '../shared/json-safety';
import {
  InvalidWhere,
  refuseOperator,
  translateConstraint,
  type Constraint,
  type Tester,
} from './filter-constraint';

export type CompiledWhere =
  | {
      readonly kind: 'filter';
      /**
       * Whether the object (REST JSON) is one that the query would find. Never throws: an object that cannot be judged
       * counts as a match, because a blocking hook that is not called is a validation that did not happen.
       */
      matches(object: JsonObject): boolean;
    }
  /** `detail` names the path and the operator. */
  | { readonly kind: 'invalid'; readonly detail: string };

/** Containers inside one another in a where, itself included. */
export const maxWhereDepth = 20;

/** Bytes of a where as JSON. */
export const maxWhereBytes = 10 * 1024;

// sift gets testers for operands, never JSON, and only these operators: without $where in the table there is no way
// to its `new Function`, and no operator of MongoDB that Parse does not have ($not, $elemMatch, $size, $mod, $type).
const operations = {
  $and,
  $or,
  $nor,
  $eq: createEqualsOperation,
  $ne,
  $in,
  $nin,
  $all,
  $exists,
  $lt: createEqualsOperation,
  $lte: createEqualsOperation,
  $gt: createEqualsOperation,
  $gte: createEqualsOperation,
  $regex: createEqualsOperation,
  $containedBy: createEqualsOperation,
};

/**
 * Compiles a Parse query `where` (REST JSON), with the meaning Parse's queries have on MongoDB: an array field matches
 * when one of its elements does, an absent field equals null and is neither less nor greater than anything.
 *
 * Refused: operators that need the database, geo and text search, anything Parse does not know, invalid regular
 * expressions, more than {@link maxWhereDepth} levels or {@link maxWhereBytes}. An empty where matches every object.
 */
export function compileWhere(where: unknown): CompiledWhere {
  try {
    const query = translateWhere(copyJson(where), 'where');
    const test = createQueryTester<unknown>(query, { operations });
    return {
      kind: 'filter',
      matches: object => {
        try {
          return test(object);
        } catch {
          return true;
        }
      },
    };
  } catch (error) {
    if (error instanceof InvalidWhere) return { kind: 'invalid', detail: error.message };
    throw error;
  }
}

/** A copy that the caller cannot change afterwards, of nothing but JSON. */
function copyJson(where: unknown): JsonObject {
  assertPlainJson(where, 1);
  const text = JSON.stringify(where);
  const bytes = Buffer.byteLength(text);
  if (bytes > maxWhereBytes) {
    throw new InvalidWhere(`where must be at most ${maxWhereBytes} bytes of JSON, got ${bytes}`);
  }
  const copy: unknown = JSON.parse(text);
  if (!isJsonObject(copy)) throw new InvalidWhere('where must be an object');
  if (findJsonHazard(copy, maxWhereDepth) !== undefined)
    throw new InvalidWhere('where holds a forbidden key');
  return copy;
}

// Before JSON.stringify, which recurses, follows toJSON, and drops functions in silence.
function assertPlainJson(value: unknown, depth: number): void {
  if (value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value))
    return;
  if (typeof value !== 'object')
    throw new InvalidWhere(`where must be JSON, got a value of type ${typeof value}`);
  if (depth > maxWhereDepth) throw new InvalidWhere(`where must be at most ${maxWhereDepth} levels deep`);
  if (Array.isArray(value)) {
    for (const child of value) assertPlainJson(child, depth + 1);
    return;
  }
  // By the tag and not by the prototype: JSON may come from another realm (vm contexts, test runners).
  if (Object.prototype.toString.call(value) !== '[object Object]' || 'toJSON' in value) {
    throw new InvalidWhere('where must be JSON; write dates as {"__type": "Date", "iso": ...}');
  }
  for (const child of Object.values(value)) assertPlainJson(child, depth + 1);
}

type Query = Record<string, Tester | Constraint | readonly object[]>;

function translateWhere(where: JsonObject, place: string): Query {
  const query: Query = {};
  for (const key of Object.keys(where)) {
    const value = where[key] ?? null;
    switch (key) {
      case '$and':
      case '$or':
      case '$nor':
        query[key] = translateBranches(value, `${place}.${key}`);
        break;
      default:
        if (key.startsWith('$')) throw refuseOperator(key, place);
        assertQueryKey(key, place);
        query[key] = translateConstraint(value, place === 'where' ? key : `${place}.${key}`);
    }
  }
  return query;
}

function translateBranches(value: JsonValue, place: string): readonly Query[] {
  if (typeof value !== 'object' || value === null || isJsonObject(value) || value.length === 0) {
    throw new InvalidWhere(`${place} must be an array of at least one object`);
  }
  return value.map((branch, index) => {
    if (!isJsonObject(branch)) throw new InvalidWhere(`${place}[${index}] must be an object`);
    return translateWhere(branch, `${place}[${index}]`);
  });
}

// DatabaseController.validateQuery has the same pattern. sift reads properties plainly, so names that every object
// inherits would find functions; a field `toJSON` would make it take the query for a value.
function assertQueryKey(key: string, place: string): void {
  const isValid =
    /^[A-Za-z][0-9A-Za-z_]*(?:\.[0-9A-Za-z_]+)*$/.test(key) &&
    !key.split('.').some(segment => segment in Object.prototype || segment === 'toJSON');
  if (!isValid) throw new InvalidWhere(`${place}: ${JSON.stringify(key.slice(0, 60))} is no valid key`);
  if (key === 'ACL') throw new InvalidWhere(`${place}: ACL cannot be queried`);
}
