// One constraint of a Parse query (`{"$gt": 5}`, a plain value, …) as testers of one value. Owns what each operator
// means for a value; walking to the value, arrays and the logic between constraints are object-filter's.
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';
import { instantOf, isReference, isRestEqual } from '../shared/rest-equality';
import { compileRegex } from './filter-regex';

/** Judges the value at a path; `owner` is what holds it. */
export type Tester = (value: JsonValue | undefined, key?: unknown, owner?: unknown) => boolean;

/** The operators of one path with their operands as sift takes them. */
export type Constraint = Record<string, Tester | readonly Tester[] | boolean>;

/** A where that cannot be compiled. Never leaves compileWhere. */
export class InvalidWhere extends Error {}

const needsDatabase = new Set(['$inQuery', '$notInQuery', '$select', '$dontSelect', '$relatedTo']);
const needsIndex = new Set([
  '$nearSphere',
  '$maxDistance',
  '$maxDistanceInRadians',
  '$maxDistanceInMiles',
  '$maxDistanceInKilometers',
  '$within',
  '$geoWithin',
  '$geoIntersects',
  '$text',
]);

/** The refusal of an operator that no filter can have, or not at this place. */
export function refuseOperator(operator: string, place: string): InvalidWhere {
  const name = operator.length > 60 ? `${operator.slice(0, 60)}…` : operator;
  if (needsDatabase.has(operator)) {
    return new InvalidWhere(`${place}: ${name} needs the database and cannot be part of a filter`);
  }
  if (needsIndex.has(operator)) return new InvalidWhere(`${place}: ${name} is not supported in a filter`);
  return new InvalidWhere(`${place}: ${name} is not an operator of Parse queries here`);
}

/** @throws InvalidWhere, naming the operator and the path. */
export function translateConstraint(value: JsonValue, path: string): Tester | Constraint {
  if (!isOperatorObject(value)) return equalityTester(value, path);
  const constraint: Constraint = {};
  for (const operator of Object.keys(value)) {
    const operand = value[operator] ?? null;
    switch (operator) {
      case '$eq':
      case '$ne':
        constraint[operator] = equalityTester(operand, path);
        break;
      case '$in':
      case '$nin':
        constraint[operator] = listOf(operand, operator, path).map(item => equalityTester(item, path));
        break;
      case '$all':
        constraint.$all = translateAll(listOf(operand, operator, path), path);
        break;
      case '$containedBy':
        constraint.$containedBy = containedByTester(listOf(operand, operator, path), path);
        break;
      case '$lt':
      case '$lte':
      case '$gt':
      case '$gte':
        constraint[operator] = orderTester(operator, operand, path);
        break;
      case '$exists':
        if (typeof operand !== 'boolean') throw new InvalidWhere(`${path}: $exists must be true or false`);
        constraint.$exists = operand;
        break;
      case '$regex':
        constraint.$regex = regexTester(value, path);
        break;
      case '$options':
        if (value.$regex === undefined) throw new InvalidWhere(`${path}: $options without $regex`);
        break;
      default:
        if (operator.startsWith('$')) throw refuseOperator(operator, path);
        throw new InvalidWhere(`${path}: operators and plain keys cannot be mixed`);
    }
  }
  return constraint;
}

function isOperatorObject(value: JsonValue): value is JsonObject {
  return isJsonObject(value) && Object.keys(value).some(key => key.startsWith('$'));
}

function listOf(operand: JsonValue, operator: string, path: string): readonly JsonValue[] {
  if (typeof operand === 'object' && operand !== null && !isJsonObject(operand)) return operand;
  throw new InvalidWhere(`${path}: ${operator} must be an array`);
}

function equalityTester(raw: JsonValue, path: string): Tester {
  const operator = findOperator(raw);
  // A nested {"a": {"b": {"$gt": 1}}} would be compared as a value and never match.
  if (operator !== undefined) {
    throw new InvalidWhere(`${path}: ${operator} inside a value; name the path with dots instead`);
  }
  const wanted = toTyped(raw, path);
  if (wanted === null) return value => value === null || value === undefined;
  if (typeof wanted === 'string') {
    // Parse takes an objectId for a pointer (MongoTransform.transformTopLevelAtom).
    return value =>
      value === wanted || (typeof value === 'object' && isReference(value) && value.objectId === wanted);
  }
  if (typeof wanted !== 'object') return value => value === wanted;
  return value => isRestEqual(wanted, value);
}

function findOperator(value: JsonValue): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const children: readonly JsonValue[] = isJsonObject(value)
    ? Object.values(value).map(child => child ?? null)
    : value;
  if (isJsonObject(value)) {
    const operator = Object.keys(value).find(key => key.startsWith('$'));
    if (operator !== undefined) return operator.slice(0, 60);
  }
  for (const child of children) {
    const operator = findOperator(child);
    if (operator !== undefined) return operator;
  }
  return undefined;
}

// Parse reads a string for createdAt and updatedAt as a date; the other way round isRestEqual and instantOf do.
function toTyped(value: JsonValue, path: string): JsonValue {
  if (isJsonObject(value) && value.__type === 'Date' && instantOf(value) === undefined) {
    throw new InvalidWhere(`${path}: a Date needs iso, an ISO 8601 date-time with zone`);
  }
  const isTimestamp = /(?:^|\.)(?:createdAt|updatedAt)$/.test(path);
  if (isTimestamp && typeof value === 'string' && instantOf(value) !== undefined)
    return { __type: 'Date', iso: value };
  return value;
}

type OrderOperator = '$lt' | '$lte' | '$gt' | '$gte';

// Values of another type than the operand's, missing ones included, are not in any order: as in MongoDB.
function orderTester(operator: OrderOperator, raw: JsonValue, path: string): Tester {
  const operand = toTyped(raw, path);
  if (isJsonObject(operand)) {
    const instant = instantOf(operand);
    if (instant !== undefined) {
      return value => {
        const other = instantOf(value);
        return other !== undefined && isInOrder(operator, other, instant);
      };
    }
  }
  if (typeof operand === 'number') {
    return value => typeof value === 'number' && isInOrder(operator, value, operand);
  }
  if (typeof operand === 'string') {
    return value => typeof value === 'string' && isInOrder(operator, value, operand);
  }
  throw new InvalidWhere(`${path}: ${operator} must be a number, a string or a Date`);
}

function isInOrder<T extends number | string>(operator: OrderOperator, value: T, operand: T): boolean {
  switch (operator) {
    case '$lt':
      return value < operand;
    case '$lte':
      return value <= operand;
    case '$gt':
      return value > operand;
    case '$gte':
      return value >= operand;
    default:
      return operator satisfies never;
  }
}

function translateAll(items: readonly JsonValue[], path: string): readonly Tester[] {
  if (items.length === 0) throw new InvalidWhere(`${path}: $all needs at least one value`);
  // The SDKs' containsAllStartingWith sends {"$regex": ...} in $all; Parse wants all of them so, or none.
  const regexes = items.filter(item => isOperatorObject(item) && item.$regex !== undefined);
  if (regexes.length === 0) return items.map(item => equalityTester(item, path));
  if (regexes.length < items.length)
    throw new InvalidWhere(`${path}: $all must hold only $regex values or none`);
  return items.map(item => {
    const constraint = translateConstraint(item, path);
    const tester = typeof constraint === 'function' ? undefined : constraint.$regex;
    if (typeof tester !== 'function')
      throw new InvalidWhere(`${path}: $all must hold only $regex values or none`);
    return tester;
  });
}

function containedByTester(items: readonly JsonValue[], path: string): Tester {
  const testers = items.map(item => equalityTester(item, path));
  // sift offers the elements of an array and then the array: only the field's own array is meant.
  return (value, _key, owner) =>
    Array.isArray(value) &&
    !Array.isArray(owner) &&
    value.every((element: JsonValue) => testers.some(test => test(element)));
}

function regexTester(constraint: JsonObject, path: string): Tester {
  const { $regex: pattern, $options: options = '' } = constraint;
  if (typeof pattern !== 'string') throw new InvalidWhere(`${path}: $regex must be a string`);
  if (typeof options !== 'string') throw new InvalidWhere(`${path}: $options must be a string`);
  const compiled = compileRegex(pattern, options);
  if (compiled.kind === 'invalid') throw new InvalidWhere(`${path}: ${compiled.detail}`);
  return value => typeof value === 'string' && compiled.isIn(value);
}
