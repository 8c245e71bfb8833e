// Prometheus metrics of one Webhooks, in a registry of its own: nothing global is touched. docs/metrics.md is its table.
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { CallObserver, EndedCall } from '../blocking/call-observer';
import { failureKinds } from '../blocking/failure-message';
import type { HookTarget } from '../hooks/hook';
import type { InstalledHook } from '../hooks/installed-hook';
import { triggerNames } from '../hooks/trigger-rules';
import { HookLabels } from './hook-labels';

export interface LaneReading {
  readonly breaker: 'closed' | 'open' | 'half-open';
  readonly inFlight: number;
}

export interface MetricsParts {
  readonly listHooks: () => readonly InstalledHook[];
  readonly readLane: (hook: InstalledHook) => LaneReading;
}

export interface Metrics extends CallObserver {
  readonly contentType: string;
  /** Prometheus text format. */
  render(): Promise<string>;
  /** Removes the series of hooks that are no longer registered. */
  keepOnly(keys: ReadonlySet<string>): void;
}

const breakerValues = { closed: 0, 'half-open': 1, open: 2 } as const;

/** Seconds. Blocking calls are meant to take milliseconds and cannot take more than 30 s. */
const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

const outcomes = ['changed', 'unchanged', 'rejected', 'failed'] as const satisfies EndedCall['outcome'][];

/** Values of the label `trigger`. */
export const triggerLabels: readonly string[] = ['function', ...triggerNames];

/**
 * Values of the label `code`: Parse's codes that receivers have reason to use, each by its own name. A receiver may
 * send any of millions, and each would be a series.
 */
export const rejectionCodes: readonly string[] = [
  '101', // object not found
  '102', // invalid query
  '107', // invalid JSON
  '111', // incorrect type
  '119', // operation forbidden
  '124', // timeout
  '137', // duplicate value
  '141', // script failed: an `error` without a code
  '142', // validation error
  '155', // request limit exceeded
  '209', // invalid session token
  'other',
];

export function createMetrics(parts: MetricsParts): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const duration = new Histogram({
    name: 'parse_webhooks_call_duration_seconds',
    help: 'How long calls took, by hook, trigger and outcome (changed, unchanged, rejected, failed).',
    labelNames: ['hook', 'trigger', 'outcome'],
    buckets,
    registers,
  });
  const rejections = new Counter({
    name: 'parse_webhooks_rejections_total',
    help: "Calls that the receiver answered with an error, by hook and Parse's error code.",
    labelNames: ['hook', 'code'],
    registers,
  });
  const failures = new Counter({
    name: 'parse_webhooks_call_failures_total',
    help: 'Calls without a usable answer, by hook and kind.',
    labelNames: ['hook', 'kind'],
    registers,
  });
  const failedOpen = new Counter({
    name: 'parse_webhooks_failed_open_total',
    help: 'Failures that failurePolicy "allow" let pass, by hook.',
    labelNames: ['hook'],
    registers,
  });
  const budgetExceeded = new Counter({
    name: 'parse_webhooks_budget_exceeded_total',
    help: "Calls that ran out of time because totalDeadlineMs of the client's operation had passed, by hook.",
    labelNames: ['hook'],
    registers,
  });
  const connections = new Counter({
    name: 'parse_webhooks_connections_total',
    help: 'Requests sent, by whether their connection was new or reused.',
    labelNames: ['state'],
    registers,
  });
  connections.inc({ state: 'new' }, 0);
  connections.inc({ state: 'reused' }, 0);

  const labels = new HookLabels(hook => {
    // Every value there can be: taking away a series that is not there does nothing.
    for (const trigger of triggerLabels) {
      for (const outcome of outcomes) duration.remove({ hook, trigger, outcome });
    }
    for (const code of rejectionCodes) rejections.remove({ hook, code });
    for (const kind of failureKinds) failures.remove({ hook, kind });
    failedOpen.remove({ hook });
    budgetExceeded.remove({ hook });
  });

  /** One value for each label; hooks that share one are put together. */
  function gather(read: (lane: LaneReading) => number, join: (a: number, b: number) => number) {
    const values = new Map<string, number>();
    for (const hook of parts.listHooks()) {
      const label = labels.of(hook);
      const value = read(parts.readLane(hook));
      const former = values.get(label);
      values.set(label, former === undefined ? value : join(former, value));
    }
    return values;
  }

  new Gauge({
    name: 'parse_webhooks_breaker_state',
    help: 'Breaker of a hook on this node: 0 closed, 1 half-open, 2 open.',
    labelNames: ['hook'],
    registers,
    collect() {
      this.reset();
      const states = gather(({ breaker }) => breakerValues[breaker], Math.max);
      for (const [hook, state] of states) this.set({ hook }, state);
    },
  });
  new Gauge({
    name: 'parse_webhooks_calls_in_flight',
    help: 'Calls of a hook under way on this node.',
    labelNames: ['hook'],
    registers,
    collect() {
      this.reset();
      const counts = gather(
        ({ inFlight }) => inFlight,
        (a, b) => a + b,
      );
      for (const [hook, count] of counts) this.set({ hook }, count);
    },
  });
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    keepOnly: keys => labels.keepOnly(keys),
    connectionUsed: state => connections.inc({ state }),
    callEnded: ({ hook: called, outcome, failure, rejectionCode, ...call }) => {
      const hook = labels.of(called);
      duration.observe({ hook, trigger: triggerOf(called.hook.target), outcome }, call.durationMs / 1000);
      if (rejectionCode !== undefined) rejections.inc({ hook, code: codeLabel(rejectionCode) });
      if (failure !== undefined) failures.inc({ hook, kind: failure });
      if (call.failedOpen) failedOpen.inc({ hook });
      if (call.overBudget) budgetExceeded.inc({ hook });
    },
  };
}

function triggerOf(target: HookTarget): string {
  return target.kind === 'trigger' ? target.triggerName : 'function';
}

function codeLabel(code: number): string {
  const label = String(code);
  return rejectionCodes.includes(label) ? label : 'other';
}
