// Traces of calls: spans in the application's own provider, and what of a trace goes to receivers.
import {
  baggageEntryMetadataFromString,
  context,
  propagation,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  CompositePropagator,
  isTracingSuppressed,
  W3CBaggagePropagator,
  W3CTraceContextPropagator,
} from '@opentelemetry/core';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
} from '@opentelemetry/sdk-trace-base';
import { readTraceOrigin } from '../../src/blocking/call-tracing';
import { HookCaller, type HookCall } from '../../src/blocking/hook-caller';
import type { HookSettings } from '../../src/hooks/hook-settings';
import { installHook, type InstalledHook } from '../../src/hooks/installed-hook';
import type { ExchangeClient, ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
import { systemClock } from '../../src/shared/clock';
import type { TriggerName } from '../../src/hooks/trigger-rules';
import { requestHeaders } from '../../src/wire/request-headers';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const spanId = '00f067aa0ba902b7';
const traceparent = `00-${traceId}-${spanId}-01`;

/** A client of the exchange's contract that answers at once and remembers what it was asked, and where. */
class RecordingClient implements ExchangeClient {
  readonly requests: ExchangeRequest[] = [];
  readonly suppressed: boolean[] = [];
  result: ExchangeResult = reply(200, { success: true });

  async exchange(request: ExchangeRequest): Promise<ExchangeResult> {
    this.requests.push(request);
    this.suppressed.push(isTracingSuppressed(context.active()));
    return this.result;
  }

  async close(): Promise<void> {
    // Holds nothing open.
  }
}

function reply(status: number, body: object): ExchangeResult {
  return {
    kind: 'reply',
    status,
    headers: {},
    body: Buffer.from(JSON.stringify(body)),
    durationMs: 1,
    tries: 1,
    connection: 'new',
  };
}

function hookWith(settings: HookSettings = {}, triggerName: TriggerName = 'beforeSave'): InstalledHook {
  return installHook({
    hook: {
      target: { kind: 'trigger', className: 'Puppy', triggerName },
      url: 'https://hooks.example.com/canary-path?key=canary-query',
    },
    settings,
    secrets: undefined,
    defaults: {},
  });
}

function setUp() {
  const client = new RecordingClient();
  const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const senders = {
    of: ({ settings }: InstalledHook) => ({
      route: { key: 'plain' },
      headers: () =>
        requestHeaders({ webhookId: 'msg_1', depth: 1, webhookKey: undefined, extra: settings.headers }),
    }),
  };
  const caller = new HookCaller({ client, clock: systemClock, logger: silent, senders });
  return { client, caller };
}

function prepare(headers: Readonly<Record<string, unknown>> = {}): HookCall {
  const fields = { triggerName: 'beforeSave', object: { name: 'canary-value' }, master: false };
  return { fields, depth: 1, trace: readTraceOrigin(headers) };
}

async function call(
  { caller }: ReturnType<typeof setUp>,
  hook: InstalledHook,
  headers?: Readonly<Record<string, unknown>>,
): Promise<void> {
  const deadlineAt = systemClock.monotonicMs() + 8000;
  await caller.call(
    hook,
    () => prepare(headers),
    deadlineAt,
    value => ({ kind: 'use', value }),
  );
}

describe('a call without a tracer provider', () => {
  it("passes a client's traceparent and tracestate on as they came", async () => {
    const scene = setUp();
    await call(scene, hookWith(), { traceparent, tracestate: 'a=1,b=2', baggage: 'c=3' });
    expect(scene.client.requests[0]?.headers).toMatchObject({ traceparent, tracestate: 'a=1,b=2' });
    expect(scene.client.requests[0]?.headers).not.toHaveProperty('baggage');
  });

  it.each([
    ['nothing', undefined],
    ['an array', [traceparent]],
    ['two of them', `${traceparent}, ${traceparent}`],
    ['capitals', traceparent.toUpperCase()],
    ['version ff', `ff${traceparent.slice(2)}`],
    ['a trace id of zeros', `00-${'0'.repeat(32)}-${spanId}-01`],
    ['a span id of zeros', `00-${traceId}-${'0'.repeat(16)}-01`],
    ['more fields', `${traceparent}-00`],
    ['a line break', `${traceparent}\n`],
    ['an end too early', traceparent.slice(0, -1)],
  ])('passes nothing on when traceparent is %s', async (_what, value) => {
    const scene = setUp();
    await call(scene, hookWith(), { traceparent: value, tracestate: 'a=1' });
    expect(scene.client.requests[0]?.headers).not.toHaveProperty('traceparent');
    expect(scene.client.requests[0]?.headers).not.toHaveProperty('tracestate');
  });

  it.each([
    ['longer than 512 characters', 'a='.padEnd(513, 'x')],
    ['with a line break', 'a=1\r\nx-evil: 1'],
    ['that is no string', ['a=1']],
  ])('leaves out a tracestate %s', async (_what, tracestate) => {
    const scene = setUp();
    await call(scene, hookWith(), { traceparent, tracestate });
    expect(scene.client.requests[0]?.headers).toMatchObject({ traceparent });
    expect(scene.client.requests[0]?.headers).not.toHaveProperty('tracestate');
  });

  it("leaves a hook's own traceparent as it is, and mixes no tracestate into it", async () => {
    const scene = setUp();
    const own = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`;
    await call(scene, hookWith({ headers: { traceparent: own } }), { traceparent, tracestate: 'a=1' });
    expect(scene.client.requests[0]?.headers.traceparent).toBe(own);
    expect(scene.client.requests[0]?.headers).not.toHaveProperty('tracestate');
  });
});

describe('a call with a tracer provider', () => {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });

  beforeAll(() => {
    trace.setGlobalTracerProvider(provider);
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    propagation.setGlobalPropagator(
      new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] }),
    );
  });

  afterEach(() => exporter.reset());

  afterAll(async () => {
    trace.disable();
    context.disable();
    propagation.disable();
    await provider.shutdown();
  });

  function onlySpan(): ReadableSpan {
    const [span, ...others] = exporter.getFinishedSpans();
    if (span === undefined || others.length > 0) throw new Error('not exactly one span');
    return span;
  }

  it('is a client span below the active one, and tells the receiver of it', async () => {
    const scene = setUp();
    const tracer = trace.getTracer('application');
    await tracer.startActiveSpan('request', async request => {
      await call(scene, hookWith(), { traceparent });
      const span = onlySpan();
      expect(span.name).toBe('webhook beforeSave Puppy');
      expect(span.kind).toBe(2);
      expect(span.parentSpanContext?.spanId).toBe(request.spanContext().spanId);
      expect(span.attributes).toEqual({
        'http.request.method': 'POST',
        'http.response.status_code': 200,
        'server.address': 'hooks.example.com',
        'server.port': 443,
        'parse.webhook.hook': 'beforeSave Puppy',
        'parse.webhook.trigger': 'beforeSave',
        'parse.webhook.outcome': 'changed',
      });
      expect(span.status.code).toBe(SpanStatusCode.UNSET);
      const own = span.spanContext();
      expect(scene.client.requests[0]?.headers.traceparent).toBe(`00-${own.traceId}-${own.spanId}-01`);
      expect(own.traceId).toBe(request.spanContext().traceId);
      request.end();
    });
  });

  it("continues the client's trace when no span is active", async () => {
    const scene = setUp();
    await call(scene, hookWith(), { traceparent, tracestate: 'a=1' });
    const span = onlySpan();
    expect(span.spanContext().traceId).toBe(traceId);
    expect(span.parentSpanContext?.spanId).toBe(spanId);
    expect(scene.client.requests[0]?.headers).toMatchObject({
      traceparent: `00-${traceId}-${span.spanContext().spanId}-01`,
      tracestate: 'a=1',
    });
  });

  it('says what failed, and names no path, query, header or value', async () => {
    const scene = setUp();
    scene.client.result = {
      kind: 'failure',
      failure: 'timeout',
      phase: 'first-byte',
      detail: 'canary-detail',
      durationMs: 1,
      tries: 1,
    };
    await call(scene, hookWith({ headers: { 'x-key': 'canary-header' }, failurePolicy: 'allow' }));
    const { attributes, events, status } = onlySpan();
    expect(status).toEqual({ code: SpanStatusCode.ERROR, message: 'timeout' });
    expect(attributes).toMatchObject({
      'parse.webhook.outcome': 'failed',
      'parse.webhook.failed_open': true,
      'error.type': 'timeout',
    });
    expect(attributes).not.toHaveProperty('http.response.status_code');
    expect(JSON.stringify([attributes, events, status])).not.toContain('canary');
  });

  it('takes a rejection for an answer and not for an error', async () => {
    const scene = setUp();
    scene.client.result = reply(400, { error: { code: 142, message: 'canary' } });
    await call(scene, hookWith());
    expect(onlySpan().status.code).toBe(SpanStatusCode.UNSET);
    expect(onlySpan().attributes).toMatchObject({
      'http.response.status_code': 400,
      'parse.webhook.outcome': 'rejected',
      'parse.webhook.rejection_code': 142,
    });
  });

  it('sends no baggage, and keeps instrumentation of the client from adding spans and headers', async () => {
    const scene = setUp();
    const baggage = propagation.createBaggage({
      secret: { value: 'canary', metadata: baggageEntryMetadataFromString('') },
    });
    await context.with(propagation.setBaggage(context.active(), baggage), () => call(scene, hookWith()));
    expect(scene.client.requests[0]?.headers).not.toHaveProperty('baggage');
    expect(scene.client.suppressed).toEqual([true]);
  });

  it('has no span when the hook is not concerned', async () => {
    const scene = setUp();
    await call(scene, hookWith({ active: false }));
    expect(exporter.getFinishedSpans()).toEqual([]);
  });

  it('leaves no span open and unsent when the settings cannot be read', async () => {
    const scene = setUp();
    const hook = { ...hookWith(), broken: { code: undefined, reason: 'unreadable' } };
    await call(scene, hook);
    expect(onlySpan().attributes).toMatchObject({ 'error.type': 'settings' });
  });
});
