// Where a verified body wants to go.
import { isJsonObject, type JsonObject } from '../shared/json';

/** Where a body wants to go: the key of a handler, and its name for people. */
export type Target =
  | { readonly kind: 'function'; readonly functionName: string }
  | { readonly kind: 'trigger'; readonly triggerName: string; readonly className: string }
  | { readonly kind: 'event'; readonly type: string }
  | { readonly kind: 'none' };

export function targetOf(body: JsonObject): Target {
  const { functionName, triggerName, type } = body;
  if (typeof functionName === 'string') return { kind: 'function', functionName };
  if (typeof triggerName === 'string') return { kind: 'trigger', triggerName, className: classNameOf(body) };
  if (typeof type === 'string') return { kind: 'event', type };
  return { kind: 'none' };
}

/** Calls about one object name the class in it; finds can name it only beside or inside the query. */
function classNameOf(body: JsonObject): string {
  const { className, object, objects, query } = body;
  const first: unknown = Array.isArray(objects) ? objects[0] : undefined;
  for (const candidate of [className, property(object, 'className'), property(query, 'className')]) {
    if (typeof candidate === 'string') return candidate;
  }
  const ofFirst = property(first, 'className');
  return typeof ofFirst === 'string' ? ofFirst : '';
}

function property(value: unknown, name: string): unknown {
  return isJsonObject(value) ? value[name] : undefined;
}
