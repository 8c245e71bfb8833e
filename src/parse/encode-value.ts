// From the parse SDK's values to REST JSON, for what leaves the server: resolved values, Parse types kept, secrets out.
// The SDK's own encode() throws on unsaved files and knows no secrets.
import type { JsonObject, JsonValue } from '../shared/json';
import type { ParseFile, ParseObject, ParseSdk } from './internals';

/** Keys that never leave, by class; for every class also all keys that begin with an underscore. */
const secretKeys: ReadonlyMap<string, readonly string[]> = new Map([
  ['_User', ['password', 'sessionToken', 'authData', 'hashed_password']],
  ['_Session', ['sessionToken']],
  ['_Installation', ['deviceToken']],
]);

/** Deeper values are not sent: JSON of such depth breaks receivers, and recursion here. */
export const maxDepth = 200;

export class RestEncoder {
  readonly #sdk: ParseSdk;

  constructor(sdk: ParseSdk) {
    this.#sdk = sdk;
  }

  /** An object with `className` and its values as they would be saved. Throws RangeError above 200 levels. */
  object(object: ParseObject): JsonObject {
    return this.#object(object, 0, [object]);
  }

  /** Any value in REST form. Throws RangeError above 200 levels. */
  value(value: unknown): JsonValue | undefined {
    return this.#value(value, 0, []);
  }

  /** The pending changes of an object as REST with `__op`s, secrets out. */
  update(object: ParseObject, save: Readonly<Record<string, unknown>>): JsonObject {
    return this.#record(withoutSecrets(object.className, save), 0, []);
  }

  /** A user as receivers see one: REST format with className and `__type`, without secrets. */
  user(user: ParseObject): JsonObject {
    return { __type: 'Object', ...this.object(user) };
  }

  isObject(value: unknown): value is ParseObject {
    return value instanceof this.#sdk.Object;
  }

  file(file: ParseFile): JsonObject {
    const url = file.url();
    const metadata = this.#value(file.metadata(), 0, []);
    const tags = this.#value(file.tags(), 0, []);
    return {
      __type: 'File',
      name: file.name(),
      ...(url !== undefined && { url }),
      ...(hasKeys(metadata) && { metadata }),
      ...(hasKeys(tags) && { tags }),
    };
  }

  #object(object: ParseObject, depth: number, seen: readonly ParseObject[]): JsonObject {
    const json: Record<string, JsonValue> = { className: object.className };
    if (object.id !== undefined) json.objectId = object.id;
    for (const [key, value] of Object.entries(withoutSecrets(object.className, object.attributes))) {
      // createdAt and updatedAt are plain ISO strings in REST.
      const encoded =
        value instanceof Date && (key === 'createdAt' || key === 'updatedAt')
          ? value.toJSON()
          : this.#value(value, depth + 1, seen);
      if (encoded !== undefined) json[key] = encoded;
    }
    return json;
  }

  #value(value: unknown, depth: number, seen: readonly ParseObject[]): JsonValue | undefined {
    if (depth > maxDepth) throw new RangeError(`a value is nested deeper than ${maxDepth} levels`);
    switch (typeof value) {
      case 'string':
      case 'boolean':
        return value;
      case 'number':
        return Number.isFinite(value) ? value : null;
      case 'object':
        return value === null ? null : this.#structure(value, depth, seen);
      default:
        return undefined;
    }
  }

  #structure(value: object, depth: number, seen: readonly ParseObject[]): JsonValue {
    if (Array.isArray(value)) return value.map(item => this.#value(item, depth + 1, seen) ?? null);
    if (value instanceof Date) {
      return Number.isNaN(value.getTime()) ? null : { __type: 'Date', iso: value.toISOString() };
    }
    if (this.isObject(value)) return this.#nested(value, depth, seen);
    const { ACL, GeoPoint, Polygon, Relation, File } = this.#sdk;
    if (value instanceof File) return this.file(value);
    if (
      value instanceof ACL ||
      value instanceof GeoPoint ||
      value instanceof Polygon ||
      value instanceof Relation
    ) {
      return this.#value(value.toJSON(), depth, seen) ?? null;
    }
    if (Buffer.isBuffer(value)) return { __type: 'Bytes', base64: value.toString('base64') };
    return this.#plain(value, depth, seen);
  }

  /** A plain object may be an embedded object in REST form, whose secrets must stay here too. */
  #plain(value: object, depth: number, seen: readonly ParseObject[]): JsonObject {
    const { className } = value as { className?: unknown };
    return this.#record(
      typeof className === 'string' && secretKeys.has(className) ? withoutSecrets(className, value) : value,
      depth,
      seen,
    );
  }

  #nested(object: ParseObject, depth: number, seen: readonly ParseObject[]): JsonValue {
    const loops = seen.some(
      other => other === object || (object.id !== undefined && sameObject(other, object)),
    );
    if (loops || Object.keys(object.attributes).length === 0) {
      return { __type: 'Pointer', className: object.className, objectId: object.id ?? null };
    }
    return { __type: 'Object', ...this.#object(object, depth, [...seen, object]) };
  }

  #record(value: object, depth: number, seen: readonly ParseObject[]): JsonObject {
    const json: Record<string, JsonValue> = {};
    for (const [key, item] of Object.entries(value)) {
      if (key === '__proto__') continue;
      const encoded = this.#value(item, depth + 1, seen);
      if (encoded !== undefined) json[key] = encoded;
    }
    return json;
  }
}

function withoutSecrets(className: string, values: object): Record<string, unknown> {
  const secrets = secretKeys.get(className);
  return Object.fromEntries(
    Object.entries(values).filter(([key]) =>
      key.startsWith('_') ? key === '__type' || key === '__op' : !secrets?.includes(key),
    ),
  );
}

function sameObject(a: ParseObject, b: ParseObject): boolean {
  return a.id === b.id && a.className === b.className;
}

function hasKeys(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}
