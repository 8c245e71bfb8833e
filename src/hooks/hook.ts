// What a hook is: a row of `_Hooks`, either a cloud function or a (class, trigger), sent to one URL.
import { createHash } from 'node:crypto';
import { isBlockingTrigger, type TriggerName } from './trigger-rules';

export interface FunctionTarget {
  readonly kind: 'function';
  readonly functionName: string;
}

export interface TriggerTarget {
  readonly kind: 'trigger';
  readonly className: string;
  readonly triggerName: TriggerName;
}

/** What a hook stands on. At most one hook stands on a target. */
export type HookTarget = FunctionTarget | TriggerTarget;

/** The name of a row of `_Hooks`, which may be one that no hook can have today. */
export type RowName =
  FunctionTarget | { readonly kind: 'trigger'; readonly className: string; readonly triggerName: string };

export interface Hook {
  readonly target: HookTarget;
  /** http or https, without credentials, at most 2048 characters. */
  readonly url: string;
}

/** The four columns of `_Hooks`, as the REST API shows them. */
export type HookFields =
  | { readonly functionName: string; readonly url: string }
  | { readonly className: string; readonly triggerName: string; readonly url: string };

/** One string per target, for maps and for the settings row: `function/hello`, `trigger/Puppy/beforeSave`. */
export function hookKey(target: RowName): string {
  return target.kind === 'function'
    ? `function/${target.functionName}`
    : `trigger/${target.className}/${target.triggerName}`;
}

/** The name that hookKey was given; undefined for any other text. */
export function parseHookKey(key: string): RowName | undefined {
  const [kind, first, second, ...more] = key.split('/');
  if (!first || more.length > 0) return undefined;
  if (kind === 'function' && second === undefined) return { kind, functionName: first };
  return kind === 'trigger' && second ? { kind, className: first, triggerName: second } : undefined;
}

/** How messages name a hook: `beforeSave Puppy`, `function hello`. */
export function hookLabel(target: RowName): string {
  return target.kind === 'function'
    ? `function ${target.functionName}`
    : `${target.triggerName} ${target.className}`;
}

/** The same 24 hexadecimal digits on every node: what makes the settings row of a target unique on both databases. */
export function hookObjectId(target: RowName): string {
  return createHash('sha256').update(hookKey(target)).digest('hex').slice(0, 24);
}

export function hookFields(hook: Hook): HookFields {
  const { target, url } = hook;
  return target.kind === 'function'
    ? { functionName: target.functionName, url }
    : { className: target.className, triggerName: target.triggerName, url };
}

/** True when the client waits for the answer. */
export function isBlocking(target: HookTarget): boolean {
  return target.kind === 'function' || isBlockingTrigger(target.triggerName);
}

/** What a row of `_Hooks` stands on, whatever else it holds; undefined when it names nothing. `functionName` wins. */
export function parseRowName(row: unknown): RowName | undefined {
  if (typeof row !== 'object' || row === null) return undefined;
  const { functionName, className, triggerName } = row as Record<string, unknown>;
  if (functionName) return typeof functionName === 'string' ? { kind: 'function', functionName } : undefined;
  if (typeof className !== 'string' || typeof triggerName !== 'string') return undefined;
  return className && triggerName ? { kind: 'trigger', className, triggerName } : undefined;
}

export function isRowOf(target: RowName, row: unknown): boolean {
  const name = parseRowName(row);
  return name !== undefined && hookKey(name) === hookKey(target);
}
