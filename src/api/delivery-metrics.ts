// Metrics of deliveries and subscriptions: every attempt of this node, and how things stand.
import { Gauge, type Registry } from 'prom-client';
import { failureKinds } from '../blocking/failure-message';
import type { Attempt, Delivery, DeliveryState } from '../events/delivery';
import type { AttemptEnded } from '../events/dispatching';
import type { AttemptOutcome } from '../events/attempt-outcome';
import { hookKeyOfEndpoint } from '../events/hook-endpoints';
import { CounterFamily, HistogramFamily, type CounterSeries } from './series';

/** How the asynchronous half stands on this node. */
export interface EventsReading {
  /** Deliveries that wait in memory because the store fails. */
  readonly spooled: number;
  /** How many subscriptions are in each state. */
  readonly subscriptions: Readonly<Record<SubscriptionState, number>>;
}

export const subscriptionStates = ['healthy', 'failing', 'paused', 'broken'] as const;
export type SubscriptionState = (typeof subscriptionStates)[number];

/** Values of the label `kind`. */
export const endpointKinds = ['subscription', 'hook'] as const;
type EndpointKind = (typeof endpointKinds)[number];

/** Values of the label `error`. */
export const deliveryErrors: readonly string[] = ['none', ...failureKinds, 'other'];

/** Seconds. An attempt takes up to 30 s. */
const durationBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Seconds. From the change to the first attempt: milliseconds, and the length of a pause. */
const delayBuckets = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600,
];

export interface DeliveryMetrics {
  attemptEnded(ended: AttemptEnded): void;
  /** Prometheus text of what `registry` has not. */
  render(): string;
}

/** What of an attempt is counted. */
export interface CountedAttempt {
  readonly endpoint: { readonly key: string };
  readonly delivery: Pick<Delivery, 'createdAt'>;
  readonly attempt: Pick<Attempt, 'number' | 'startedAt' | 'durationMs'>;
  readonly outcome: AttemptOutcome;
  readonly state: DeliveryState;
}

export function createDeliveryMetrics(
  registry: Registry,
  read: () => EventsReading | Promise<EventsReading>,
): DeliveryMetrics {
  const attempts = new CounterFamily(
    'parse_webhooks_delivery_attempts_total',
    'Attempts of deliveries, by kind of endpoint (subscription, hook), outcome (succeeded, failed, aborted) and error.',
  );
  const durations = new HistogramFamily(
    'parse_webhooks_delivery_attempt_duration_seconds',
    'How long attempts of deliveries took, by kind of endpoint.',
    durationBuckets,
  );
  const ended = new CounterFamily(
    'parse_webhooks_deliveries_ended_total',
    'Deliveries that an attempt ended, by kind of endpoint and state (succeeded, exhausted, cancelled).',
  );
  const delays = new HistogramFamily(
    'parse_webhooks_delivery_delay_seconds',
    'From the change to the first attempt.',
    delayBuckets,
  );
  const registers = [registry];
  new Gauge({
    name: 'parse_webhooks_deliveries_spooled',
    help: 'Deliveries that wait in the memory of this node because their store fails.',
    registers,
    async collect() {
      this.set((await read()).spooled);
    },
  });
  new Gauge({
    name: 'parse_webhooks_subscriptions',
    help: 'Subscriptions, by state (healthy, failing, paused, broken).',
    labelNames: ['state'],
    registers,
    async collect() {
      const counts = (await read()).subscriptions;
      for (const state of subscriptionStates) this.set({ state }, counts[state]);
    },
  });
  const delay = delays.of({});
  const durationOf = {
    subscription: durations.of({ kind: 'subscription' }),
    hook: durations.of({ kind: 'hook' }),
  };
  const endedIn = new Map<string, CounterSeries>();
  const attemptsOf = new Map<string, CounterSeries>();
  return {
    attemptEnded: ({ endpoint, delivery, attempt, outcome, state }: CountedAttempt) => {
      const kind: EndpointKind = hookKeyOfEndpoint(endpoint.key) === undefined ? 'subscription' : 'hook';
      const error = outcome.kind === 'failed' ? errorLabel(outcome.error) : 'none';
      seriesOf(attemptsOf, `${kind} ${outcome.kind} ${error}`, () =>
        attempts.of({ kind, outcome: outcome.kind, error }),
      ).add();
      durationOf[kind].observe(attempt.durationMs / 1000);
      if (attempt.number === 1) delay.observe(Math.max(0, attempt.startedAt - delivery.createdAt) / 1000);
      if (state !== 'pending') seriesOf(endedIn, `${kind} ${state}`, () => ended.of({ kind, state })).add();
    },
    render: () => [attempts, durations, ended, delays].map(family => family.render()).join('\n'),
  };
}

function seriesOf(
  known: Map<string, CounterSeries>,
  key: string,
  create: () => CounterSeries,
): CounterSeries {
  const series = known.get(key) ?? create();
  known.set(key, series);
  return series;
}

function errorLabel(error: string): string {
  return deliveryErrors.includes(error) ? error : 'other';
}
