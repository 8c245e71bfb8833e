// One blocking call: match, encode, exchange, decode, interpret, failure policy. The answer is a value, never a throw.
import { parseCodes } from '../errors';
import type { ExchangeClient, ExchangeRequest, ExchangeResult } from '../http/exchange';
import type { InstalledHook } from '../hooks/installed-hook';
import type { Clock } from '../shared/clock';
import { createMessageId } from '../shared/ids';
import type { JsonValue } from '../shared/json';
import type { Logger } from '../shared/logger';
import { encodeBody, selectKeys, type CallFields } from '../wire/call-fields';
import { decodeReply } from '../wire/decode-reply';
import type { ReplyFailureKind } from '../wire/reply';
import { maxDepth } from '../wire/request-headers';
import { changedMatches } from '../hooks/changed-filter';
import type { CallObserver, EndedCall } from './call-observer';
import { startTrace, type CallTrace, type TraceOrigin } from './call-tracing';
import { Lanes } from './lanes';
import type { OutgoingCall, Sender, Senders } from './sender';
import { laneDefaults, type Finding, type LaneOptions, type LaneState } from '../http/lane';
import { failureMessage, isTimeout, type FailureKind } from './failure-message';

/**
 * A timeout after less than this, because others had used up the client's time, says nothing about the receiver; half of
 * a hook's own shorter `timeoutMs` does. Half of the 200 ms that Envoy gives ext_authz in all: a busy process starts a
 * call some milliseconds late, which is no reason to look away.
 */
const fairTimeoutMs = 100;

export interface HookCall {
  readonly fields: CallFields;
  /** Names of the keys that change; undefined when the object is new and all of them do. */
  readonly changedKeys?: readonly string[];
  /** 1 for a call caused by a client. */
  readonly depth: number;
  readonly trace?: TraceOrigin | undefined;
}

/** A call under way. */
interface StartedCall {
  readonly startedAt: number;
  /** Monotonic milliseconds. */
  readonly deadlineAt: number;
  readonly trace: CallTrace | undefined;
}

/** What a trigger makes of the value under `success`. */
export type Interpretation<T> =
  | { readonly kind: 'use'; readonly value: T }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'invalid'; readonly detail: string };

/** `sent` is what the receiver saw of the fields. Must not throw for any JSON; a throw counts as `invalid`. */
export type Interpreter<T> = (value: JsonValue, sent: CallFields) => Interpretation<T>;

export type Verdict<T> =
  | { readonly kind: 'use'; readonly value: T }
  /** The operation goes on as if there were no hook. `answered` tells a real "yes" from a call that was not made or is not enforced. */
  | { readonly kind: 'unchanged'; readonly answered: boolean }
  | { readonly kind: 'refused'; readonly code: number; readonly message: JsonValue };

export interface CallerParts {
  readonly client: ExchangeClient;
  readonly senders: Pick<Senders, 'of'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observer?: CallObserver;
  /** Breaker and bound of calls in flight; the defaults of http/lane.ts. */
  readonly lane?: Omit<LaneOptions, 'maxInFlight'>;
}

export type Answer<T> =
  | { readonly kind: 'use'; readonly value: T }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'rejected'; readonly code: number; readonly message: JsonValue }
  | {
      readonly kind: 'failed';
      readonly failure: FailureKind;
      readonly detail: string;
      readonly timeoutMs?: number;
      /** Set when there was no time, or no connection, to judge the receiver by. */
      readonly unfair?: boolean;
    };

export class HookCaller {
  readonly #parts: CallerParts;
  readonly #lanes: Lanes<Answer<unknown>>;

  constructor(parts: CallerParts) {
    this.#parts = parts;
    this.#lanes = new Lanes({
      options: parts.lane ?? laneDefaults,
      clock: parts.clock,
      logger: parts.logger,
      judge: findingOf,
    });
  }

  /** Breaker and calls in flight of a hook on this node. */
  laneOf(hook: InstalledHook): { readonly breaker: LaneState; readonly inFlight: number } {
    return this.#lanes.stateOf(hook);
  }

  /** Forgets what is known of hooks that are no longer registered. */
  keepOnly(keys: ReadonlySet<string>): void {
    this.#lanes.keepOnly(keys);
  }

  /** False when the hook's `active`, `where` or `changed` says that this operation is none of its business. */
  concerns(hook: InstalledHook, call: HookCall): boolean {
    const { settings } = hook;
    if (!settings.active) return false;
    if (settings.changed && call.changedKeys && !changedMatches(settings.changed, call.changedKeys))
      return false;
    return !hook.matches || !call.fields.object || hook.matches(call.fields.object);
  }

  /**
   * Calls a hook and judges the answer by its mode and failure policy. `prepare` builds the call; when it throws (an
   * object nested too deeply, say) that is a failure of this call. `deadlineAt` is in monotonic milliseconds.
   */
  async call<T>(
    hook: InstalledHook,
    prepare: () => HookCall,
    deadlineAt: number,
    interpret: Interpreter<T>,
  ): Promise<Verdict<T>> {
    const call = tryPrepare(prepare);
    if (call.kind === 'ready' && !this.concerns(hook, call.call))
      return { kind: 'unchanged', answered: false };
    const startedAt = this.#parts.clock.monotonicMs();
    const trace = call.kind === 'ready' ? startTrace(hook, call.call.trace) : undefined;
    const started: StartedCall = { startedAt, deadlineAt, trace };
    const answer: Answer<T> =
      call.kind === 'ready' ? await this.#answer(hook, { ...call.call, started }, interpret) : call.failure;
    this.#count(hook, answer, started);
    if (hook.settings.mode === 'shadow') {
      if (answer.kind !== 'unchanged' && !(answer.kind === 'failed' && isLoggedByOthers(answer.failure))) {
        this.#parts.logger.info(`webhook ${hook.label} in shadow mode would have ${describeAnswer(answer)}`);
      }
      // Also an empty answer is not enforced: a function's would be the result.
      return { kind: 'unchanged', answered: false };
    }
    switch (answer.kind) {
      case 'use':
        return answer;
      case 'unchanged':
        return { kind: 'unchanged', answered: true };
      case 'rejected':
        return { kind: 'refused', code: answer.code, message: answer.message };
      case 'failed':
        return this.#failed(hook, answer);
    }
  }

  async #answer<T>(
    hook: InstalledHook,
    call: HookCall & { readonly started: StartedCall },
    interpret: Interpreter<T>,
  ): Promise<Answer<T>> {
    const { deadlineAt, trace } = call.started;
    if (hook.broken !== undefined) return { kind: 'failed', failure: 'settings', detail: hook.broken.reason };
    if (call.depth > maxDepth) {
      return { kind: 'failed', failure: 'loop', detail: `depth ${call.depth} is above ${maxDepth}` };
    }
    const timeoutMs = Math.min(
      hook.settings.timeoutMs,
      Math.ceil(deadlineAt - this.#parts.clock.monotonicMs()),
    );
    if (timeoutMs < 1) return overdue;
    const sent = selectKeys(call.fields, hook.settings);
    const body = tryEncode(sent);
    if (!Buffer.isBuffer(body)) return { kind: 'failed', failure: 'request', detail: body.detail };
    const { maxRequestBytes } = hook.settings;
    if (body.length > maxRequestBytes) {
      return {
        kind: 'failed',
        failure: 'request-too-large',
        detail: `${body.length} bytes, maxRequestBytes is ${maxRequestBytes}`,
      };
    }
    const outgoing = { webhookId: createMessageId(this.#parts.clock), depth: call.depth, body };
    const { clock } = this.#parts;
    // A turn may be waited for, and the wait is part of the call's time.
    const endsAt = clock.monotonicMs() + timeoutMs;
    const turn = await this.#lanes.of(hook).run(async () => {
      const leftMs = Math.ceil(endsAt - clock.monotonicMs());
      if (leftMs < 1) return overdue;
      const told = await this.#exchange(hook, { outgoing, trace, timeoutMs: leftMs }, value =>
        interpret(value, sent),
      );
      // Who reads that it timed out knows the bound of the call, not what the wait for its turn left of it.
      const given = told.kind === 'failed' && told.timeoutMs === leftMs ? { ...told, timeoutMs } : told;
      const isUnfair = leftMs < Math.min(hook.settings.timeoutMs / 2, fairTimeoutMs);
      return isUnfair && given.kind === 'failed' ? { ...given, unfair: true } : given;
    }, timeoutMs);
    if (turn.kind === 'refused') {
      if (turn.refusal === 'busy' && clock.monotonicMs() >= deadlineAt) return overdue;
      return { kind: 'failed', failure: turn.refusal, detail: 'nothing was sent' };
    }
    // The lane is shared by calls of all kinds; what comes out is what this call put in.
    return turn.result as Answer<T>;
  }

  async #exchange<T>(
    hook: InstalledHook,
    call: {
      readonly outgoing: OutgoingCall;
      readonly trace: CallTrace | undefined;
      readonly timeoutMs: number;
    },
    interpret: (value: JsonValue) => Interpretation<T>,
  ): Promise<Answer<T>> {
    const { outgoing, trace, timeoutMs } = call;
    let sender: Sender;
    let headers: Record<string, string>;
    try {
      sender = this.#parts.senders.of(hook);
      headers = sender.headers(outgoing);
    } catch (error) {
      return {
        kind: 'failed',
        failure: 'settings',
        detail: error instanceof Error ? error.message : 'unreadable',
      };
    }
    // A hook's own header comes first, and a tracestate belongs to its traceparent.
    if (trace && headers.traceparent === undefined) Object.assign(headers, trace.headers);
    const { firstByteTimeoutMs } = hook.settings;
    const request: ExchangeRequest = {
      url: hook.hook.url,
      route: sender.route,
      // Other hooks of its origin cannot take its connections.
      lane: hook.key,
      headers,
      body: outgoing.body,
      timeoutMs,
      ...(firstByteTimeoutMs !== undefined && { firstByteTimeoutMs }),
      maxReplyBytes: hook.settings.maxReplyBytes,
    };
    const { client, observer } = this.#parts;
    const result = await (trace ? trace.run(() => client.exchange(request)) : client.exchange(request));
    if (result.kind === 'reply') trace?.answered(result.status);
    if (result.connection !== undefined) observer?.connectionUsed(result.connection);
    return judge(result, timeoutMs, interpret);
  }

  #failed<T>(hook: InstalledHook, answer: Extract<Answer<T>, { kind: 'failed' }>): Verdict<T> {
    const message = failureMessage(hook.label, answer.failure, answer.timeoutMs);
    if (isFailedOpen(hook, answer.failure)) {
      hook.health.failedOpen += 1;
      if (!isLoggedByOthers(answer.failure))
        this.#parts.logger.warn(`${message} (${answer.detail}); allowed by its failurePolicy`);
      return { kind: 'unchanged', answered: false };
    }
    if (!isLoggedByOthers(answer.failure)) this.#parts.logger.warn(`${message} (${answer.detail})`);
    return {
      kind: 'refused',
      code: isTimeout(answer.failure) ? parseCodes.timeout : parseCodes.scriptFailed,
      message,
    };
  }

  #count<T>(hook: InstalledHook, answer: Answer<T>, { startedAt, deadlineAt, trace }: StartedCall): void {
    const { health } = hook;
    const { clock, observer } = this.#parts;
    health.calls += 1;
    const failed = answer.kind === 'failed';
    if (failed) {
      health.failures += 1;
      health.lastFailureAt = clock.now();
      health.lastFailure = answer.failure;
    } else {
      if (answer.kind === 'rejected') health.rejections += 1;
      health.lastSuccessAt = clock.now();
    }
    const endedAt = clock.monotonicMs();
    const ended: EndedCall = {
      hook,
      outcome: answer.kind === 'use' ? 'changed' : answer.kind,
      ...(failed && { failure: answer.failure }),
      ...(answer.kind === 'rejected' && { rejectionCode: answer.code }),
      failedOpen: failed && isFailedOpen(hook, answer.failure),
      // A timer of a whole number of milliseconds may run up to one early. A notification has no budget but its own.
      overBudget: failed && hook.blocking && isTimeout(answer.failure) && endedAt >= deadlineAt - 1,
      durationMs: endedAt - startedAt,
    };
    observer?.callEnded(ended);
    trace?.end(ended);
  }
}

const overdue = { kind: 'failed', failure: 'deadline', detail: 'totalDeadlineMs had passed' } as const;

/** What an answer tells about the receiver: one that says no is well, and what fails by our doing says nothing. */
function findingOf(answer: Answer<unknown>): Finding {
  if (answer.kind !== 'failed') return 'well';
  switch (answer.failure) {
    case 'address':
    case 'aborted':
    case 'deadline':
    case 'loop':
    case 'request':
    case 'request-too-large':
    case 'settings':
    case 'breaker-open':
    case 'busy':
      return 'nothing';
    case 'timeout':
      return answer.unfair === true ? 'nothing' : 'unwell';
    case 'connect':
    case 'dns':
    case 'tls':
    case 'reset':
    case 'protocol':
    case 'too-large':
    case 'redirect':
    case 'status':
    case 'not-json':
    case 'no-answer':
    case 'too-deep':
    case 'forbidden-key':
    case 'invalid-reply':
      return 'unwell';
    default:
      return answer.failure satisfies never;
  }
}

/** A lane tells once when it begins to refuse, and stop() what it cut off; a line for each call would bury the rest. */
function isLoggedByOthers(failure: FailureKind): boolean {
  return failure === 'breaker-open' || failure === 'busy' || failure === 'aborted';
}

/**
 * What `allow` never lets pass: settings that cannot be read might have said "reject", and what a client can bring about
 * by itself (a depth it claims, an object too large or too deep to send or to be taken) would let it past the hook.
 */
const neverOpen: readonly FailureKind[] = ['settings', 'loop', 'request', 'request-too-large'];

function isFailedOpen(hook: InstalledHook, failure: FailureKind): boolean {
  return hook.blocking && hook.settings.failurePolicy === 'allow' && !neverOpen.includes(failure);
}

function judge<T>(
  result: ExchangeResult,
  timeoutMs: number,
  interpret: (value: JsonValue) => Interpretation<T>,
): Answer<T> {
  if (result.kind === 'failure') {
    return {
      kind: 'failed',
      failure: result.failure,
      detail: `${result.phase}: ${result.detail}`,
      timeoutMs: result.boundMs ?? timeoutMs,
      ...(result.queued === true && { unfair: true }),
    };
  }
  const reply = decodeReply(result.status, result.body);
  switch (reply.kind) {
    case 'empty':
      return { kind: 'unchanged' };
    case 'rejected':
      return reply;
    case 'failure':
      return { kind: 'failed', failure: failureOf(result.status, reply.failure), detail: reply.detail };
    case 'success':
      return interpretSafely(reply.value, interpret);
  }
}

/**
 * 413 Content Too Large, of a receiver or a proxy in front of it (nginx: above 1 MB), is what a client can bring about
 * with a large object, as with `maxRequestBytes`: no reason to let it past the hook, nor to think the receiver unwell.
 * 414 URI Too Long and 431 Request Header Fields Too Large are of the same kind. 400 is not: a receiver that answers it
 * to everything is broken, and one cannot tell.
 */
const tooLargeStatus = [413, 414, 431];

function failureOf(status: number, failure: ReplyFailureKind): FailureKind {
  return failure === 'status' && tooLargeStatus.includes(status) ? 'request-too-large' : failure;
}

function interpretSafely<T>(value: JsonValue, interpret: (value: JsonValue) => Interpretation<T>): Answer<T> {
  let interpretation: Interpretation<T>;
  try {
    interpretation = interpret(value);
  } catch (error) {
    // The value is the receiver's: whatever it makes an interpreter throw must end as a failure of that receiver.
    return {
      kind: 'failed',
      failure: 'invalid-reply',
      detail: error instanceof Error ? error.message : 'unreadable',
    };
  }
  return interpretation.kind === 'invalid'
    ? { kind: 'failed', failure: 'invalid-reply', detail: interpretation.detail }
    : interpretation;
}

type Prepared =
  | { readonly kind: 'ready'; readonly call: HookCall }
  | { readonly kind: 'unprepared'; readonly failure: Extract<Answer<never>, { kind: 'failed' }> };

/** Builds a call; what `prepare` throws becomes a failure of kind `request`. */
export function tryPrepare(prepare: () => HookCall): Prepared {
  try {
    return { kind: 'ready', call: prepare() };
  } catch (error) {
    const detail = error instanceof Error ? error.message : 'unreadable';
    return { kind: 'unprepared', failure: { kind: 'failed', failure: 'request', detail } };
  }
}

function tryEncode(fields: CallFields): Buffer | { readonly detail: string } {
  try {
    return encodeBody(fields);
  } catch (error) {
    return { detail: error instanceof Error ? error.message : 'not JSON' };
  }
}

function describeAnswer<T>(answer: Exclude<Answer<T>, { kind: 'unchanged' }>): string {
  switch (answer.kind) {
    case 'use':
      return 'changed the outcome';
    case 'rejected':
      return `rejected with code ${answer.code}`;
    case 'failed':
      return `failed: ${answer.failure}`;
  }
}
