// Which calls a receiver takes: a signature says who called, and `v1a` of one server is the same key for all receivers.
import { isJsonObject } from '../shared/json';
import { targetOf, type Target } from './target';
import { VerificationError } from './verification-error';

/** A function, a trigger of a class, or a type of events; `*` stands for all types of events. */
export type ExpectedTarget =
  | { readonly functionName: string }
  | { readonly triggerName: string; readonly className: string }
  | { readonly type: string };

/** Throws VerificationError `unexpected-target` unless the body names one of them. */
export function assertExpected(body: unknown, expected: readonly ExpectedTarget[]): void {
  const target = isJsonObject(body) ? targetOf(body) : undefined;
  if (target && expected.some(each => isSame(target, each))) return;
  throw new VerificationError(
    'unexpected-target',
    'the webhook is authentic, but for another receiver: its target is not one that is expected here',
  );
}

function isSame(target: Target, expected: ExpectedTarget): boolean {
  if ('functionName' in expected)
    return target.kind === 'function' && target.functionName === expected.functionName;
  if ('type' in expected)
    return target.kind === 'event' && (expected.type === '*' || target.type === expected.type);
  return (
    target.kind === 'trigger' &&
    target.triggerName === expected.triggerName &&
    target.className === expected.className
  );
}
