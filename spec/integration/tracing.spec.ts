// Traces from a client through a real Parse Server to a real receiver, with and without a tracer provider.
import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
} from '@opentelemetry/sdk-trace-base';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { Reply, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;
const tracestate = 'vendor=1';

describeOnEachDatabase('traces', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
    const url = (path: string) => receiver.on(path, () => ({ success: {} }));
    for (const triggerName of ['beforeSave', 'afterSave', 'beforeFind', 'afterFind', 'beforeDelete']) {
      await parse.registerHook({ className: 'Traced', triggerName, url: url(`/${triggerName}`) });
    }
    await parse.registerHook({ functionName: 'traced', url: url('/function') });
  });

  afterEach(() => receiver.forget());

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  /** One of each call, all with these headers; gives what the receiver got, by path. */
  async function operate(headers: Readonly<Record<string, string>>) {
    const { body } = await parse.client('POST', '/classes/Traced', { body: { a: 1 }, headers });
    const { objectId } = body as { objectId: string };
    await parse.client('GET', '/classes/Traced', { headers });
    await parse.client('DELETE', `/classes/Traced/${objectId}`, { headers });
    await parse.client('POST', '/functions/traced', { body: {}, headers });
    await receiver.received('/afterSave', 1);
    const paths = ['/beforeSave', '/afterSave', '/beforeFind', '/afterFind', '/beforeDelete', '/function'];
    return paths.map(path => {
      const call = receiver.calls.find(each => each.path === path);
      if (call === undefined) throw new Error(`${path} was not called`);
      return { path, headers: call.headers };
    });
  }

  it("passes a client's traceparent on in every call, without a provider", async () => {
    for (const { path, headers } of await operate({ traceparent, tracestate })) {
      // A delivery keeps the traceparent alone.
      const state = path === '/afterSave' ? undefined : tracestate;
      expect([path, headers.traceparent, headers.tracestate]).toEqual([path, traceparent, state]);
    }
  });

  it('keeps the traceparent with a delivery, for every attempt', async () => {
    const url = receiver.on('/told', () => new Reply(receiver.calls.length < 3 ? 500 : 204, ''));
    const fields = { name: 'told', url, events: ['object.create'], classes: ['Told'] };
    const retry = { scheduleMs: [10, 10], jitter: 0 };
    const { status } = await parse.master('POST', '/webhooks/subscriptions', { body: { ...fields, retry } });
    expect(status).toBe(201);
    await parse.client('POST', '/classes/Told', { body: { a: 1 }, headers: { traceparent } });
    const calls = await receiver.received('/told', 3);
    expect(calls.map(({ headers }) => headers.traceparent)).toEqual(Array<string>(3).fill(traceparent));
  });

  it('sends none when the client sent none, or one that is not valid', async () => {
    for (const sent of [{}, { traceparent: `${traceparent}-evil`, tracestate }]) {
      for (const { headers } of await operate(sent)) {
        expect(headers).not.toHaveProperty('traceparent');
        expect(headers).not.toHaveProperty('tracestate');
      }
      receiver.forget();
    }
  });

  it("tells every receiver the span of its call, in the client's trace, with a provider", async () => {
    const exporter = new InMemorySpanExporter();
    let tellNotified = (): void => undefined;
    const notified = new Promise<void>(resolve => (tellNotified = resolve));
    class Recorder extends SimpleSpanProcessor {
      override onEnd(span: ReadableSpan): void {
        super.onEnd(span);
        if (span.name === 'delivery webhook afterSave Traced') tellNotified();
      }
    }
    const provider = new BasicTracerProvider({ spanProcessors: [new Recorder(exporter)] });
    trace.setGlobalTracerProvider(provider);
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
    try {
      const received = await operate({ traceparent, tracestate });
      // The span of a notification ends after its answer, which a client does not wait for.
      await notified;
      await provider.forceFlush();
      const spans = exporter.getFinishedSpans();
      for (const { path, headers } of received) {
        const span = spans.find(
          each => headers.traceparent === `00-${traceId}-${each.spanContext().spanId}-01`,
        );
        const trigger = path.slice(1);
        const name = `webhook ${trigger === 'function' ? 'function traced' : `${trigger} Traced`}`;
        expect(span?.name).toBe(trigger === 'afterSave' ? `delivery ${name}` : name);
        expect(span?.attributes).toMatchObject({
          'http.response.status_code': 200,
          'server.address': '127.0.0.1',
          'server.port': receiver.port,
        });
        expect(headers.tracestate).toBe(trigger === 'afterSave' ? undefined : tracestate);
      }
    } finally {
      trace.disable();
      context.disable();
      propagation.disable();
      await provider.shutdown();
    }
  });
});
