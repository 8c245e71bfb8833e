// The traces of deliveries: taken where a change is captured, kept with the delivery, and continued by every attempt, maybe
// hours later and on another node.
import { context, propagation, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import {
  hasProvider,
  injectedHeaders,
  readTraceHeaders,
  startClientSpan,
  type TraceHeaders,
} from './trace-context';

/** An attempt that begins. */
export interface TracedAttempt {
  /** Of the endpoint: `subscription orders`, `webhook afterSave Puppy`. */
  readonly label: string;
  readonly url: string;
  readonly deliveryId: string;
  /** 1, 2, … */
  readonly number: number;
  /** Of the delivery. */
  readonly traceparent: string | undefined;
}

export interface AttemptTrace {
  readonly headers: TraceHeaders;
  /** Runs the exchange. */
  run<T>(work: () => T): T;
  end(ended: {
    readonly outcome: 'succeeded' | 'failed' | 'aborted' | 'cut-off';
    readonly status: number | undefined;
    readonly error: string | undefined;
  }): void;
}

/**
 * The traceparent of what happens now: of the active span, else that of the client's request, `headers`. Undefined when
 * there is neither. The propagator decides whether a span has one.
 */
export function readTraceparent(headers?: Readonly<Record<string, unknown>>): string | undefined {
  const active = hasProvider() ? context.active() : undefined;
  const ofSpan =
    active && trace.getSpan(active) !== undefined ? injectedHeaders(active).traceparent : undefined;
  return ofSpan ?? readTraceHeaders(headers)?.traceparent;
}

/** Begins the trace of an attempt: a span of its own in the delivery's trace, where there is a provider. */
export function startAttemptTrace(attempt: TracedAttempt): AttemptTrace | undefined {
  const { label, url, deliveryId, number, traceparent } = attempt;
  if (!hasProvider()) {
    // Also one that was stored is checked: it becomes a header.
    const headers = readTraceHeaders({ traceparent });
    return headers && { headers, run: work => work(), end: () => undefined };
  }
  const attributes = {
    'parse.webhook.endpoint': label,
    'parse.webhook.delivery': deliveryId,
    ...(number > 1 && { 'http.request.resend_count': number - 1 }),
  };
  const parent = propagation.extract(ROOT_CONTEXT, readTraceHeaders({ traceparent }) ?? {});
  const span = startClientSpan({ name: `delivery ${label}`, url, attributes }, parent);
  return {
    headers: span.headers,
    run: work => span.run(work),
    end: ({ outcome, status, error }) => {
      span.set({
        'parse.webhook.outcome': outcome,
        ...(status !== undefined && { 'http.response.status_code': status }),
      });
      span.end(outcome === 'failed' ? error : undefined);
    },
  };
}
