// Prometheus metrics of one Webhooks, in a registry of its own: nothing global is touched.
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { CallObserver, EndedCall } from '../blocking/call-observer';
import type { InstalledHook } from '../hooks/installed-hook';

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
}

const breakerValues = { closed: 0, 'half-open': 1, open: 2 } as const;

/** Seconds. Blocking calls are meant to take milliseconds and cannot take more than 30 s. */
const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export function createMetrics(parts: MetricsParts): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const duration = new Histogram({
    name: 'parse_webhooks_call_duration_seconds',
    help: 'How long calls took, by hook and outcome (changed, unchanged, rejected, failed).',
    labelNames: ['hook', 'outcome'],
    buckets,
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
  new Gauge({
    name: 'parse_webhooks_breaker_state',
    help: 'Breaker of a hook on this node: 0 closed, 1 half-open, 2 open.',
    labelNames: ['hook'],
    registers,
    collect() {
      this.reset();
      for (const hook of parts.listHooks()) {
        this.set({ hook: hook.label }, breakerValues[parts.readLane(hook).breaker]);
      }
    },
  });
  new Gauge({
    name: 'parse_webhooks_calls_in_flight',
    help: 'Calls of a hook under way on this node.',
    labelNames: ['hook'],
    registers,
    collect() {
      this.reset();
      for (const hook of parts.listHooks()) this.set({ hook: hook.label }, parts.readLane(hook).inFlight);
    },
  });
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    callEnded: ({ hook, outcome, failure, failedOpen: open, durationMs }: EndedCall) => {
      duration.observe({ hook: hook.label, outcome }, durationMs / 1000);
      if (failure !== undefined) failures.inc({ hook: hook.label, kind: failure });
      if (open) failedOpen.inc({ hook: hook.label });
    },
  };
}
