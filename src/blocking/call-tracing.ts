// The trace of one call: a client span when the application has a tracer provider, else a client's own traceparent
// passed on.
import { context, propagation, trace, type Context } from '@opentelemetry/api';
import type { InstalledHook } from '../hooks/installed-hook';
import type { EndedCall } from './call-observer';
import {
  hasProvider,
  readTraceHeaders,
  startClientSpan,
  type ClientSpan,
  type TraceHeaders,
} from './trace-context';

/** Where a call comes from, taken while the client's operation is the active context. */
export type TraceOrigin =
  | { readonly kind: 'context'; readonly context: Context }
  | { readonly kind: 'forwarded'; readonly headers: TraceHeaders };

export interface CallTrace extends Pick<ClientSpan, 'headers' | 'run'> {
  /** The receiver's HTTP status. */
  answered(status: number): void;
  end(call: Omit<EndedCall, 'hook' | 'durationMs'>): void;
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
  const { target } = hook.hook;
  const attributes = {
    'parse.webhook.hook': hook.label,
    'parse.webhook.trigger': target.kind === 'trigger' ? target.triggerName : 'function',
  };
  const span = startClientSpan({ name: `webhook ${hook.label}`, url: hook.origin, attributes }, parent);
  return {
    headers: span.headers,
    run: work => span.run(work),
    answered: status => span.set({ 'http.response.status_code': status }),
    end: call => endSpan(span, call),
  };
}

function endSpan(span: ClientSpan, call: Parameters<CallTrace['end']>[0]): void {
  const { outcome, failure, rejectionCode, failedOpen, overBudget } = call;
  span.set({
    'parse.webhook.outcome': outcome,
    ...(rejectionCode !== undefined && { 'parse.webhook.rejection_code': rejectionCode }),
    ...(failure !== undefined && failedOpen && { 'parse.webhook.failed_open': true }),
    ...(failure !== undefined && overBudget && { 'parse.webhook.over_budget': true }),
  });
  span.end(failure);
}

function ignore(): void {
  // Nothing is recorded.
}
