// What calls and deliveries share of tracing: whether there is a provider, the W3C headers, a client span around an exchange.
// With call-tracing.ts and delivery-tracing.ts the only place that knows OpenTelemetry.
import {
  context,
  createContextKey,
  propagation,
  ProxyTracerProvider,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
} from '@opentelemetry/api';
import { version } from '../shared/version';

/** The W3C headers of a call, lower-case names. */
export type TraceHeaders = Readonly<Partial<Record<'traceparent' | 'tracestate', string>>>;

/** A span around one exchange. */
export interface ClientSpan {
  readonly headers: TraceHeaders;
  /**
   * Runs the exchange with instrumentation of the HTTP client off: @opentelemetry/instrumentation-undici adds a span and a
   * second traceparent header, which makes both invalid (seen with undici 7.30).
   */
  run<T>(work: () => T): T;
  set(attributes: Attributes): void;
  /** `failure`: its kind, which makes the span an error. */
  end(failure: string | undefined): void;
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
export function hasProvider(): boolean {
  const provider = trace.getTracerProvider();
  return !(provider instanceof ProviderProxy && provider.getDelegate() === noProvider);
}

/** Begins a span of a POST to `url`, of which no path and no query is told. */
export function startClientSpan(
  { name, url, attributes }: { readonly name: string; readonly url: string; readonly attributes: Attributes },
  parent: Context,
): ClientSpan {
  const { hostname, port, protocol } = new URL(url);
  const span = trace.getTracer('parse-server-webhooks', version).startSpan(
    name,
    {
      kind: SpanKind.CLIENT,
      attributes: {
        'http.request.method': 'POST',
        'server.address': hostname,
        'server.port': Number(port) || (protocol === 'https:' ? 443 : 80),
        ...attributes,
      },
    },
    parent,
  );
  const within = trace.setSpan(parent, span);
  return {
    headers: injectedHeaders(within),
    run: work => context.with(within.setValue(suppressed, true), work),
    set: more => span.setAttributes(more),
    end: failure => {
      if (failure !== undefined) {
        span.setAttribute('error.type', failure);
        span.setStatus({ code: SpanStatusCode.ERROR, message: failure });
      }
      span.end();
    },
  };
}

/** Of all that a propagator may write, baggage among it, receivers get what the documentation names. */
export function injectedHeaders(from: Context): TraceHeaders {
  const carrier: Record<string, string> = {};
  propagation.inject(from, carrier);
  return readTraceHeaders(carrier) ?? {};
}

/** A valid traceparent and its tracestate. Repeated headers, which node joins, are no valid traceparent. */
export function readTraceHeaders(
  headers: Readonly<Record<string, unknown>> | undefined,
): TraceHeaders | undefined {
  const traceparent = headers?.traceparent;
  if (typeof traceparent !== 'string' || !traceparentPattern.test(traceparent)) return undefined;
  const tracestate = headers?.tracestate;
  return typeof tracestate === 'string' &&
    tracestate.length <= maxTracestateLength &&
    /^[\x20-\x7e]+$/.test(tracestate)
    ? { traceparent, tracestate }
    : { traceparent };
}
