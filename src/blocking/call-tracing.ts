// The trace of one call: a client span when the application has a tracer provider, else a client's own traceparent
// passed on. The only place that knows OpenTelemetry.
import {
  context,
  createContextKey,
  propagation,
  ProxyTracerProvider,
  SpanKind,
  SpanStatusCode,
  trace,
  type Context,
  type Span,
} from '@opentelemetry/api';
import type { InstalledHook } from '../hooks/installed-hook';
import { version } from '../shared/version';
import type { EndedCall } from './call-observer';

/** The W3C headers of a call, lower-case names. */
export type TraceHeaders = Readonly<Partial<Record<'traceparent' | 'tracestate', string>>>;

/** Where a call comes from, taken while the client's operation is the active context. */
export type TraceOrigin =
  | { readonly kind: 'context'; readonly context: Context }
  | { readonly kind: 'forwarded'; readonly headers: TraceHeaders };

export interface CallTrace {
  readonly headers: TraceHeaders;
  /**
   * Runs the exchange with instrumentation of the HTTP client off: @opentelemetry/instrumentation-undici adds a span and a
   * second traceparent header, which makes both invalid (seen with undici 7.30).
   */
  run<T>(work: () => T): T;
  /** The receiver's HTTP status. */
  answered(status: number): void;
  end(call: Omit<EndedCall, 'hook' | 'durationMs'>): void;
}

/** Longer than this a tracestate need not be passed on (W3C Trace Context, section 3.3.1.5). */
const maxTracestateLength = 512;

/** Section 3.2.2: version ff and ids of zeros only are invalid. Fields of later versions behind these are not taken. */
const traceparentPattern = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

// Deprecated because applications have no use for it; the API has no other word on whether a provider is registered.
// eslint-disable-next-line @typescript-eslint/no-deprecated
const ProviderProxy = ProxyTracerProvider;
/** What stands behind the proxy as long as nobody has registered a provider. */
const noProvider = new ProviderProxy().getDelegate();

/** The key of @opentelemetry/core's suppressTracing, which all instrumentations and propagators of the SDK ask. */
const suppressed = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING');

/** Asked at each call, 19 ns (Node 20.20): an application may register its provider after this package was loaded. */
function hasProvider(): boolean {
  const provider = trace.getTracerProvider();
  return !(provider instanceof ProviderProxy && provider.getDelegate() === noProvider);
}

/**
 * The origin of a call made now. `headers` are those of the client's request: they count when no span is active, which
 * is so without instrumentation of the application's HTTP server. Undefined when there is nothing to tell.
 */
export function readTraceOrigin(
  headers: Readonly<Record<string, unknown>> | undefined,
): TraceOrigin | undefined {
  if (!hasProvider()) {
    const forwarded = readTraceHeaders(headers);
    return forwarded && { kind: 'forwarded', headers: forwarded };
  }
  const active = context.active();
  if (trace.getSpan(active) !== undefined) return { kind: 'context', context: active };
  return { kind: 'context', context: propagation.extract(active, readTraceHeaders(headers) ?? {}) };
}

/** Begins the trace of a call; undefined when there is neither a provider nor something to forward. */
export function startTrace(hook: InstalledHook, origin: TraceOrigin | undefined): CallTrace | undefined {
  if (origin === undefined) return undefined;
  switch (origin.kind) {
    case 'forwarded':
      return { headers: origin.headers, run: work => work(), answered: ignore, end: ignore };
    case 'context':
      return traceSpan(hook, origin.context);
    default:
      return origin satisfies never;
  }
}

function traceSpan(hook: InstalledHook, parent: Context): CallTrace {
  const { hostname, port, protocol } = new URL(hook.origin);
  const { target } = hook.hook;
  const span = trace.getTracer('parse-server-webhooks', version).startSpan(
    `webhook ${hook.label}`,
    {
      kind: SpanKind.CLIENT,
      attributes: {
        'http.request.method': 'POST',
        'server.address': hostname,
        'server.port': Number(port) || (protocol === 'https:' ? 443 : 80),
        'parse.webhook.hook': hook.label,
        'parse.webhook.trigger': target.kind === 'trigger' ? target.triggerName : 'function',
      },
    },
    parent,
  );
  const within = trace.setSpan(parent, span);
  const carrier: Record<string, string> = {};
  propagation.inject(within, carrier);
  return {
    // Of all that a propagator may write, baggage among it, receivers get what the documentation names.
    headers: readTraceHeaders(carrier) ?? {},
    run: work => context.with(within.setValue(suppressed, true), work),
    answered: status => span.setAttribute('http.response.status_code', status),
    end: call => endSpan(span, call),
  };
}

function endSpan(span: Span, call: Parameters<CallTrace['end']>[0]): void {
  const { outcome, failure, rejectionCode, failedOpen, overBudget } = call;
  span.setAttribute('parse.webhook.outcome', outcome);
  if (rejectionCode !== undefined) span.setAttribute('parse.webhook.rejection_code', rejectionCode);
  if (failure !== undefined) {
    span.setAttribute('error.type', failure);
    span.setStatus({ code: SpanStatusCode.ERROR, message: failure });
    if (failedOpen) span.setAttribute('parse.webhook.failed_open', true);
    if (overBudget) span.setAttribute('parse.webhook.over_budget', true);
  }
  span.end();
}

/** A valid traceparent and its tracestate. Repeated headers, which node joins, are no valid traceparent. */
function readTraceHeaders(headers: Readonly<Record<string, unknown>> | undefined): TraceHeaders | undefined {
  const traceparent = headers?.traceparent;
  if (typeof traceparent !== 'string' || !traceparentPattern.test(traceparent)) return undefined;
  const tracestate = headers?.tracestate;
  return typeof tracestate === 'string' &&
    tracestate.length <= maxTracestateLength &&
    /^[\x20-\x7e]+$/.test(tracestate)
    ? { traceparent, tracestate }
    : { traceparent };
}

function ignore(): void {
  // Nothing is recorded.
}
