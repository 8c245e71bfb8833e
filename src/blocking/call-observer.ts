// What is told about every call that was made, for metrics. Knows no metrics library.
import type { InstalledHook } from '../hooks/installed-hook';
import type { FailureKind } from './failure-message';

export interface EndedCall {
  readonly hook: InstalledHook;
  readonly outcome: 'changed' | 'unchanged' | 'rejected' | 'failed';
  readonly failure?: FailureKind;
  /** True when a failure was let pass by `failurePolicy: allow`. */
  readonly failedOpen: boolean;
  readonly durationMs: number;
}

export interface CallObserver {
  callEnded(call: EndedCall): void;
}
