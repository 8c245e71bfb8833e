// What is told about every call that was made, for metrics. Knows no metrics library.
import type { ConnectionUse } from '../http/exchange';
import type { InstalledHook } from '../hooks/installed-hook';
import type { FailureKind } from './failure-message';

export interface EndedCall {
  readonly hook: InstalledHook;
  readonly outcome: 'changed' | 'unchanged' | 'rejected' | 'failed';
  readonly failure?: FailureKind;
  /** Parse's error code that the receiver rejected with. */
  readonly rejectionCode?: number;
  /** True when a failure was let pass by `failurePolicy: allow`. */
  readonly failedOpen: boolean;
  /** True when the call ran out of time because `totalDeadlineMs` of the client's operation had passed. */
  readonly overBudget: boolean;
  readonly durationMs: number;
}

export interface CallObserver {
  callEnded(call: EndedCall): void;
  /** A request went out, on a connection made for it or on one that was open. */
  connectionUsed(use: ConnectionUse): void;
}
