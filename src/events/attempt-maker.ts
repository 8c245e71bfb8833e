// Makes one attempt of one delivery, and says what it means for the delivery. Knows no store and no queue.
import type { ExchangeClient, ExchangeRequest, ExchangeResult } from '../http/exchange';
import type { Finding } from '../http/lane';
import type { Clock } from '../shared/clock';
import type { JsonObject } from '../shared/json';
import { maxDepth } from '../wire/request-headers';
import { judgeAttempt, type AttemptOutcome } from './attempt-outcome';
import type { AttemptTracer } from './attempt-tracer';
import type { Attempt, Delivery, DeliveryProgress } from './delivery';
import type { Endpoint, EndpointSender } from './endpoint';
import { canBePaused } from './hook-endpoints';
import { excerptOf, maxExcerptBytes } from './reply-excerpt';
import { nextDelayMs } from './retry-policy';

export interface AttemptMakerParts {
  readonly client: Pick<ExchangeClient, 'exchange'>;
  readonly clock: Clock;
  /** Name of this node in the log of attempts. */
  readonly node: string;
  /** Ends all attempts under way. */
  readonly signal: AbortSignal;
  readonly tracer?: AttemptTracer;
}

export interface MadeAttempt {
  readonly kind: 'made';
  readonly endpoint: Endpoint;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly result: ExchangeResult | undefined;
  /** The headers of the request. */
  readonly sent: Readonly<Record<string, string>>;
  readonly outcome: AttemptOutcome;
  /** What it tells about the receiver. */
  readonly finding: Finding;
}

/** `cut-off`: ended by this node's stop, or before it began; it says nothing and counts as no attempt. */
export type AttemptEnd = MadeAttempt | { readonly kind: 'cut-off' };

export class AttemptMaker {
  readonly #parts: AttemptMakerParts;

  constructor(parts: AttemptMakerParts) {
    this.#parts = parts;
  }

  /** Never fails: what goes wrong is the outcome. */
  async make(endpoint: Endpoint, delivery: Delivery): Promise<AttemptEnd> {
    const { clock, client, signal } = this.#parts;
    const startedAt = clock.now();
    const unsent = (error: string): MadeAttempt => ({
      kind: 'made',
      endpoint,
      startedAt,
      endedAt: clock.now(),
      result: undefined,
      sent: {},
      outcome: { kind: 'failed', error, throttled: false, retryAfterMs: undefined, pauses: false },
      finding: 'nothing',
    });
    if (delivery.depth > maxDepth) return unsent('loop');
    const body = Buffer.from(delivery.body);
    let sender: EndpointSender;
    let headers: Record<string, string>;
    try {
      sender = endpoint.sender();
      headers = sender.headers({ webhookId: delivery.webhookId, depth: delivery.depth, body });
    } catch {
      // Whose settings cannot be read is told by who reads them.
      return unsent('settings');
    }
    const trace = this.#parts.tracer?.({
      label: endpoint.label,
      url: endpoint.url,
      deliveryId: delivery.id,
      number: delivery.attemptCount + 1,
      traceparent: delivery.traceparent,
    });
    // The endpoint's own header comes first, and a tracestate belongs to its traceparent.
    if (trace && headers.traceparent === undefined) Object.assign(headers, trace.headers);
    const { firstByteTimeoutMs } = endpoint;
    const request: ExchangeRequest = {
      url: endpoint.url,
      route: sender.route,
      lane: endpoint.key,
      headers,
      body,
      timeoutMs: endpoint.timeoutMs,
      ...(firstByteTimeoutMs !== undefined && { firstByteTimeoutMs }),
      maxReplyBytes: maxExcerptBytes,
      oversize: 'truncate',
      signal,
    };
    const result = await (trace ? trace.run(() => client.exchange(request)) : client.exchange(request));
    if (result.kind === 'failure' && result.failure === 'aborted') {
      trace?.end({ outcome: 'cut-off', status: undefined, error: undefined });
      return { kind: 'cut-off' };
    }
    const endedAt = clock.now();
    const outcome = judgeAttempt(result, endedAt);
    trace?.end({
      outcome: outcome.kind,
      status: result.kind === 'reply' ? result.status : undefined,
      error: errorOf(outcome),
    });
    return {
      kind: 'made',
      endpoint,
      startedAt,
      endedAt,
      result,
      sent: headers,
      outcome,
      finding: findingOf(result, outcome),
    };
  }

  /** The row of the log that an attempt becomes. */
  describe(made: MadeAttempt, delivery: Delivery): Attempt {
    const { result, outcome } = made;
    const reply = result?.kind === 'reply' ? result : undefined;
    return {
      deliveryId: delivery.id,
      number: delivery.attemptCount + 1,
      startedAt: made.startedAt,
      durationMs: result?.durationMs ?? 0,
      status: reply?.status,
      error: errorOf(outcome),
      phase: result?.kind === 'failure' ? result.phase : reply && 'done',
      reply: { ...(reply && excerptOf(reply, made.sent)), ...timesOf(result) },
      node: this.#parts.node,
    };
  }

  /** How the delivery stands after it. */
  progressOf(made: MadeAttempt, delivery: Delivery): DeliveryProgress {
    const { outcome, endedAt, result } = made;
    const attemptCount = delivery.attemptCount + 1;
    const said = {
      attemptCount,
      lastStatus: result?.kind === 'reply' ? result.status : undefined,
      lastError: errorOf(outcome),
    };
    const ended = { ...said, nextAttemptAt: undefined, finishedAt: endedAt };
    switch (outcome.kind) {
      case 'succeeded':
        return { ...ended, state: 'succeeded' };
      case 'aborted':
        return { ...ended, state: 'cancelled' };
      case 'failed': {
        if (outcome.error === 'loop') return { ...ended, state: 'cancelled' };
        // It waits with the others, also when that was its last attempt: once resumed it has one more.
        if (outcome.pauses && canBePaused(delivery.endpoint))
          return { ...said, state: 'pending', nextAttemptAt: endedAt, finishedAt: undefined };
        const delayMs = nextDelayMs(made.endpoint.retry, {
          attempts: attemptCount - delivery.attemptsBeforeReplay,
          retryAfterMs: outcome.retryAfterMs,
          throttled: outcome.throttled,
          random: this.#parts.clock.randomBytes(4).readUInt32BE() / 2 ** 32,
        });
        return delayMs === undefined
          ? { ...ended, state: 'exhausted' }
          : { ...said, state: 'pending', nextAttemptAt: endedAt + delayMs, finishedAt: undefined };
      }
    }
  }
}

/** The error of a delivery whose receiver said abort-message. */
const abortedError = 'abort-message';

function errorOf(outcome: AttemptOutcome): string | undefined {
  switch (outcome.kind) {
    case 'succeeded':
      return undefined;
    case 'aborted':
      return abortedError;
    case 'failed':
      return outcome.error;
  }
}

/** A receiver that refuses one delivery with 4xx may take the next one: only what tells of all of them opens a breaker. */
function findingOf(result: ExchangeResult, outcome: AttemptOutcome): Finding {
  if (result.kind === 'failure') {
    if (result.failure === 'address' || result.queued === true) return 'nothing';
    return 'unwell';
  }
  if (outcome.kind !== 'failed') return 'well';
  return outcome.throttled || result.status >= 500 ? 'unwell' : 'well';
}

/** To the hundredth of a millisecond: the log is kept for months. */
function timesOf(result: ExchangeResult | undefined): JsonObject {
  if (result?.times === undefined) return {};
  const times = Object.entries(result.times).map(([name, ms]: [string, number]) => [
    name,
    Math.round(ms * 100) / 100,
  ]);
  return { times: Object.fromEntries(times) as JsonObject };
}
