// Prometheus metrics of one Webhooks, in a registry of its own: nothing global is touched. docs/metrics.md is its table.
import { Counter, Registry } from 'prom-client';
import type { CallObserver, EndedCall } from '../blocking/call-observer';
import { failureKinds } from '../blocking/failure-message';
import type { HookTarget } from '../hooks/hook';
import type { InstalledHook } from '../hooks/installed-hook';
import { triggerNames } from '../hooks/trigger-rules';
import type { AttemptObserver } from '../events/dispatching';
import { createDeliveryMetrics, type EventsReading } from './delivery-metrics';
import { HookLabels, maxLabels, otherHooks } from './hook-labels';
import { createLaneGauges, type LaneReading } from './lane-gauges';
import { CounterFamily, HistogramFamily, type HistogramSeries } from './series';

export interface MetricsParts {
  readonly listHooks: () => readonly InstalledHook[];
  readonly readLane: (hook: InstalledHook) => LaneReading;
  /** Those in force, oldest first. */
  readonly readSubscriptions: () => readonly ({ readonly name: string } & LaneReading)[];
  readonly readEvents: () => EventsReading | Promise<EventsReading>;
}

export interface Metrics extends CallObserver, AttemptObserver {
  readonly contentType: string;
  /** Prometheus text format. */
  render(): Promise<string>;
  /** Removes the series of hooks that are no longer registered. */
  keepOnly(keys: ReadonlySet<string>): void;
}

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
  const durations = new HistogramFamily(
    'parse_webhooks_call_duration_seconds',
    'How long calls took, by hook, trigger and outcome (changed, unchanged, rejected, failed).',
    buckets,
  );
  /** By label of the hook, for `other` by trigger, too. */
  const durationsOf = new Map<string, Map<string, HistogramSeries>>();
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
  const connections = new CounterFamily(
    'parse_webhooks_connections_total',
    'Requests sent, by whether their connection was new or reused.',
  );
  const connectionsOf = {
    new: connections.of({ state: 'new' }),
    reused: connections.of({ state: 'reused' }),
  };
  const deliveries = createDeliveryMetrics(registry, parts.readEvents);

  const labels = new HookLabels(hook => {
    durationsOf.delete(hook);
    // Every value there can be: taking away a series that is not there does nothing.
    for (const trigger of triggerLabels) {
      for (const outcome of outcomes) durations.remove({ hook, trigger, outcome });
    }
    for (const code of rejectionCodes) rejections.remove({ hook, code });
    for (const kind of failureKinds) failures.remove({ hook, kind });
    failedOpen.remove({ hook });
    budgetExceeded.remove({ hook });
  });

  function durationOf(hook: string, trigger: string, outcome: EndedCall['outcome']): HistogramSeries {
    const key = hook === otherHooks ? `${otherHooks} ${trigger}` : hook;
    const known = durationsOf.get(key) ?? new Map<string, HistogramSeries>();
    durationsOf.set(key, known);
    const series = known.get(outcome) ?? durations.of({ hook, trigger, outcome });
    known.set(outcome, series);
    return series;
  }

  createLaneGauges(registry, {
    label: 'hook',
    breaker: {
      name: 'parse_webhooks_breaker_state',
      help: 'Breaker of a hook on this node: 0 closed, 1 half-open, 2 open.',
    },
    inFlight: { name: 'parse_webhooks_calls_in_flight', help: 'Calls of a hook under way on this node.' },
    read: () => parts.listHooks().map(hook => ({ label: labels.of(hook), ...parts.readLane(hook) })),
  });
  createLaneGauges(registry, {
    label: 'subscription',
    breaker: {
      name: 'parse_webhooks_endpoint_breaker_state',
      help: 'Breaker of a subscription on this node: 0 closed, 1 half-open, 2 open.',
    },
    inFlight: {
      name: 'parse_webhooks_endpoint_attempts_in_flight',
      help: 'Attempts to a subscription under way on this node.',
    },
    read: () =>
      parts
        .readSubscriptions()
        .map(({ name, ...lane }, at) => ({ label: at < maxLabels ? name : otherHooks, ...lane })),
  });
  return {
    contentType: registry.contentType,
    render: async () =>
      [durations.render(), connections.render(), deliveries.render(), await registry.metrics()].join('\n'),
    keepOnly: keys => labels.keepOnly(keys),
    connectionUsed: state => connectionsOf[state].add(),
    attemptEnded: ended => deliveries.attemptEnded(ended),
    callEnded: ({ hook: called, outcome, failure, rejectionCode, ...call }) => {
      const hook = labels.of(called);
      durationOf(hook, triggerOf(called.hook.target), outcome).observe(call.durationMs / 1000);
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
