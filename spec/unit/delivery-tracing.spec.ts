// Traces of deliveries: what is kept with one, and the spans of its attempts.
import { context, propagation, ROOT_CONTEXT, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { isTracingSuppressed, W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { readTraceparent, startAttemptTrace, type TracedAttempt } from '../../src/blocking/delivery-tracing';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;
const attempt: TracedAttempt = {
  label: 'subscription orders',
  url: 'https://hooks.example.com/canary-path?key=canary-query',
  deliveryId: 'dlv_1',
  number: 1,
  traceparent,
};

describe('a delivery without a tracer provider', () => {
  it("keeps a client's valid traceparent", () => {
    expect(readTraceparent({ traceparent, tracestate: 'a=1' })).toBe(traceparent);
    expect(readTraceparent({ traceparent: `${traceparent}\n` })).toBeUndefined();
    expect(readTraceparent({})).toBeUndefined();
    expect(readTraceparent()).toBeUndefined();
  });

  it('sends it as it was kept', () => {
    const sent = startAttemptTrace(attempt);
    expect(sent?.headers).toEqual({ traceparent });
    expect(sent?.run(() => 5)).toBe(5);
    expect(startAttemptTrace({ ...attempt, traceparent: undefined })).toBeUndefined();
    expect(startAttemptTrace({ ...attempt, traceparent: 'a\r\nx-evil: 1' })).toBeUndefined();
  });
});

describe('a delivery with a tracer provider', () => {
  let exporter: InMemorySpanExporter;
  let provider: BasicTracerProvider;

  beforeEach(() => {
    exporter = new InMemorySpanExporter();
    provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
    trace.setGlobalTracerProvider(provider);
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  });

  afterEach(async () => {
    trace.disable();
    context.disable();
    propagation.disable();
    await provider.shutdown();
  });

  it('keeps the active span rather than what the client sent', () => {
    const span = provider.getTracer('test').startSpan('request');
    const { traceId: own, spanId } = span.spanContext();
    context.with(trace.setSpan(ROOT_CONTEXT, span), () => {
      expect(readTraceparent({ traceparent })).toBe(`00-${own}-${spanId}-01`);
      expect(readTraceparent()).toBe(`00-${own}-${spanId}-01`);
    });
    expect(readTraceparent({ traceparent })).toBe(traceparent);
  });

  it('has a client span of its own for every attempt, in the trace that was kept', () => {
    // What is active where an attempt happens to run is somebody else's.
    const other = trace.setSpan(ROOT_CONTEXT, provider.getTracer('test').startSpan('other'));
    const headers = context.with(other, () => {
      const first = startAttemptTrace(attempt);
      first?.end({ outcome: 'failed', status: undefined, error: 'timeout' });
      const second = startAttemptTrace({ ...attempt, number: 2 });
      expect(second?.run(() => isTracingSuppressed(context.active()))).toBe(true);
      second?.end({ outcome: 'succeeded', status: 204, error: undefined });
      return [first?.headers, second?.headers];
    });
    const [failed, succeeded] = exporter.getFinishedSpans();
    expect(headers).toEqual(
      [failed, succeeded].map(span => ({ traceparent: `00-${traceId}-${span?.spanContext().spanId}-01` })),
    );
    expect(failed).toMatchObject({
      name: 'delivery subscription orders',
      parentSpanContext: { traceId, spanId: '00f067aa0ba902b7' },
      status: { code: SpanStatusCode.ERROR, message: 'timeout' },
    });
    expect(failed?.attributes).toEqual({
      'http.request.method': 'POST',
      'server.address': 'hooks.example.com',
      'server.port': 443,
      'parse.webhook.endpoint': 'subscription orders',
      'parse.webhook.delivery': 'dlv_1',
      'parse.webhook.outcome': 'failed',
      'error.type': 'timeout',
    });
    expect(succeeded).toMatchObject({ status: { code: SpanStatusCode.UNSET } });
    expect(succeeded?.attributes).toMatchObject({
      'http.request.resend_count': 1,
      'http.response.status_code': 204,
      'parse.webhook.outcome': 'succeeded',
    });
  });

  it('begins a trace where none was kept', () => {
    startAttemptTrace({ ...attempt, traceparent: undefined })?.end({
      outcome: 'aborted',
      status: 200,
      error: 'abort-message',
    });
    const [span] = exporter.getFinishedSpans();
    expect(span?.parentSpanContext).toBeUndefined();
    expect(span?.status.code).toBe(SpanStatusCode.UNSET);
  });
});
