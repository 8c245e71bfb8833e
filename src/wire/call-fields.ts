// The named list of what a hook's request may carry, and how it becomes the bytes that are sent.
// Nothing outside this list leaves: the built-in copied Parse's whole request, keys and cookies included.
import type { JsonObject, JsonValue } from '../shared/json';

/** One call's fields, in REST format. Which ones a trigger has: docs/wire-format.md. */
export interface CallFields {
  readonly triggerName?: string;
  /** Of triggers without one object to name it: finds, files, LiveQuery. */
  readonly className?: string;
  readonly functionName?: string;
  readonly params?: JsonValue;
  readonly object?: JsonObject;
  readonly original?: JsonObject;
  /** The changed keys, with Parse's `__op` where the client sent one. */
  readonly update?: JsonObject;
  readonly objects?: readonly JsonObject[];
  readonly query?: JsonObject;
  readonly count?: boolean;
  readonly isGet?: boolean;
  readonly file?: JsonObject;
  /** Bytes. */
  readonly fileSize?: number;
  /** LiveQuery: `connect`, `create`, `update`, `delete`, `enter`, `leave`. */
  readonly event?: string;
  readonly clients?: number;
  readonly subscriptions?: number;
  readonly master: boolean;
  readonly user?: JsonObject;
  readonly installationId?: string;
  readonly context?: JsonObject;
  /** Client headers that the hook's `forwardHeaders` names. */
  readonly headers?: JsonObject;
}

const sentFields: readonly (keyof CallFields)[] = [
  'triggerName',
  'className',
  'functionName',
  'params',
  'object',
  'original',
  'update',
  'objects',
  'query',
  'count',
  'isGet',
  'file',
  'fileSize',
  'event',
  'clients',
  'subscriptions',
  'master',
  'user',
  'installationId',
  'context',
  'headers',
];

export interface KeySelection {
  readonly keys?: readonly string[] | undefined;
  readonly excludeKeys?: readonly string[] | undefined;
}

const alwaysSent: readonly string[] = ['objectId', 'className', 'createdAt', 'updatedAt', '__type'];

/** Leaves out the keys of objects that the hook does not want. Returns the same fields when it wants all. */
export function selectKeys(fields: CallFields, selection: KeySelection): CallFields {
  const { keys, excludeKeys } = selection;
  if (!keys && !excludeKeys) return fields;
  const wanted = (key: string): boolean => {
    const root = key.split('.', 1)[0] ?? key;
    if (alwaysSent.includes(root)) return true;
    return keys ? keys.includes(root) : !excludeKeys?.includes(root);
  };
  const select = (object: JsonObject): JsonObject =>
    Object.fromEntries(Object.entries(object).filter(([key]) => wanted(key)));
  return {
    ...fields,
    ...(fields.object && { object: select(fields.object) }),
    ...(fields.original && { original: select(fields.original) }),
    ...(fields.update && { update: select(fields.update) }),
    ...(fields.objects && { objects: fields.objects.map(select) }),
  };
}

/** The request body: the listed fields that are there, in the list's order, as UTF-8 JSON. */
export function encodeBody(fields: CallFields): Buffer {
  return Buffer.from(encodeBodyText(fields));
}

/** The same as text. */
export function encodeBodyText(fields: CallFields): string {
  const body: Record<string, unknown> = {};
  for (const name of sentFields) {
    const value = fields[name];
    if (value !== undefined) body[name] = value;
  }
  return JSON.stringify(body);
}
