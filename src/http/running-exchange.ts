// The life of one exchange: waiting for a connection, sent, answered or ended early, tried twice at most.
import type { Client, Dispatcher } from 'undici';
import type { Clock } from '../shared/clock';
import { classifyFailure } from './classify-failure';
import { ConnectFailure } from './connect-failure';
import { describeError } from './describe-error';
import type {
  ConnectionUse,
  ExchangeFailureKind,
  ExchangePhase,
  ExchangeRequest,
  ExchangeResult,
  ExchangeTimes,
} from './exchange';
import type { ConnectionTask, ReceiverPool } from './receiver-pool';
import { createReplyBody, type ReplyBody, type ReplyBodySink } from './reply-body';

export interface RunningExchangeParts {
  readonly request: ExchangeRequest;
  /** Path and query of the URL. */
  readonly path: string;
  readonly pool: ReceiverPool;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  /** Called once, with what came of it. */
  readonly onSettled: (exchange: RunningExchange, result: ExchangeResult) => void;
}

/** The bound on their bytes, `maxHeaderBytes`, alone would let 3,000 short ones pass. Servers take 100 of a client (Apache). */
export const maxReplyHeaders = 200;

/** What may still come of a reply that was cut before its connection is given up: reading on costs less than a new one. */
const maxDrainBytes = 256 * 1024;
const maxDrainMs = 1000;

const emptyBody = Buffer.alloc(0);
const cancelled = new Error('the exchange was over before a connection was ready');
/** setTimeout takes a greater delay for 1 ms. */
const maxTimerMs = 2 ** 31 - 1;

/**
 * Handler of undici's callbacks, whose order gives the phase: onRequestStart comes right before the first byte is
 * written to an open socket (lib/dispatcher/client-h1.js, writeH1), so until then nothing can have been sent.
 */
export class RunningExchange implements Dispatcher.DispatchHandler, ConnectionTask, ReplyBodySink {
  readonly #request: ExchangeRequest;
  readonly #dispatch: Dispatcher.DispatchOptions;
  readonly #pool: ReceiverPool;
  readonly #clock: Clock;
  readonly #connectTimeoutMs: number;
  readonly #onSettled: RunningExchangeParts['onSettled'];
  readonly #startedAt: number;
  #sentAt: number | undefined;
  #repliedAt: number | undefined;

  #phase: ExchangePhase = 'connect';
  #tries = 1;
  #settled = false;
  #client: Client | undefined;
  #clientIsSpent = false;
  #connection: ConnectionUse | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #cancelTimer: (() => void) | undefined;
  #cancelFirstByte: (() => void) | undefined;
  #onAbort: (() => void) | undefined;
  #status = 0;
  #headers: Readonly<Record<string, string>> = {};
  #body: ReplyBody | undefined;
  #bytesToDrain = 0;

  constructor(parts: RunningExchangeParts) {
    this.#request = parts.request;
    this.#pool = parts.pool;
    this.#clock = parts.clock;
    this.#connectTimeoutMs = parts.connectTimeoutMs;
    this.#onSettled = parts.onSettled;
    this.#startedAt = parts.clock.monotonicMs();
    this.#dispatch = {
      path: parts.path,
      method: 'POST',
      headers: requestHeaders(parts.request.headers),
      body: parts.request.body,
    };
  }

  start(): void {
    const { signal, timeoutMs } = this.#request;
    this.#cancelTimer = this.#clock.schedule(Math.min(timeoutMs, maxTimerMs), () => {
      // Timers run before sockets are read. After a pause of the process the reply may lie in the kernel: it is
      // read first, so that our own slowness is not held against the receiver.
      setImmediate(() => this.#timeOut(`no complete reply within ${timeoutMs} ms`, timeoutMs));
    });
    if (signal !== undefined) {
      this.#onAbort = () => this.#fail('aborted', 'the caller ended the exchange');
      signal.addEventListener('abort', this.#onAbort, { once: true });
    }
    this.#pool.run(this);
  }

  /** Ends the exchange as `aborted`. */
  abort(detail: string): void {
    this.#fail('aborted', detail);
  }

  useClient(client: Client): void {
    this.#client = client;
    if (this.#settled) this.#releaseClient();
    else client.dispatch(this.#dispatch, this);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // Thrown and not aborted: abort would destroy the connection that is ready now, and good for others.
    if (this.#settled) throw cancelled;
    if (this.#phase !== 'connect') {
      // undici requeues what ran on a socket that it closes itself (UND_ERR_INFO in client-h1.js,
      // onHttpSocketClose). It should never do so to us, and nothing is ever sent twice if it does.
      this.#controller = undefined;
      this.#fail('reset', 'the connection was closed after the request was sent');
      throw cancelled;
    }
    this.#controller = controller;
    this.#phase = 'first-byte';
    this.#sentAt = this.#clock.monotonicMs();
    this.#boundFirstByte();
    if (this.#client !== undefined) this.#connection = this.#pool.useConnection(this.#client);
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
  ): void {
    // Informational replies (102, 103) come before the real one. undici refuses an unasked 100 itself.
    if (this.#settled || status < 200) return;
    this.#phase = 'body';
    this.#repliedAt = this.#clock.monotonicMs();
    this.#cancelFirstByte?.();
    this.#status = status;
    this.#headers = joinHeaders(headers);
    if (countHeaders(headers) > maxReplyHeaders) {
      this.#fail('protocol', `more than ${maxReplyHeaders} headers`);
    } else if (
      this.#request.oversize !== 'truncate' &&
      this.#headers['content-encoding'] === undefined &&
      this.#announcedBytes > this.#request.maxReplyBytes
    ) {
      this.#fail('too-large', `content-length is more than ${this.#request.maxReplyBytes} bytes`);
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#settled) {
      this.#drain(chunk);
      return;
    }
    this.#body ??= createReplyBody({
      contentEncoding: this.#headers['content-encoding'],
      maxBytes: this.#request.maxReplyBytes,
      oversize: this.#request.oversize,
      sink: this,
    });
    if (!this.#body.write(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    this.#controller = undefined;
    if (this.#settled) this.#cancelTimer?.();
    this.#releaseClient();
    if (this.#settled) return;
    if (this.#body === undefined) this.onBodyComplete(emptyBody);
    else this.#body.end();
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.#controller = undefined;
    if (this.#settled) this.#cancelTimer?.();
    const triesAgain = !this.#settled && this.#mayTryAgain(error);
    if (!triesAgain) this.#fail(classifyFailure(error, this.#phase), describeError(error));
    // Not within this call: undici asserts that a Client takes no request while it fails those that it has
    // (lib/dispatcher/client.js, onError).
    queueMicrotask(() => {
      this.#releaseClient();
      if (!triesAgain || this.#settled) return;
      this.#tries = 2;
      this.#pool.run(this);
    });
  }

  onBodyComplete(body: Buffer): void {
    this.#answer(body, false);
  }

  onBodyTruncated(body: Buffer): void {
    if (this.#settled) return;
    this.#answer(body, true);
    // Nothing more comes on it when the whole was read before it was decoded.
    if (this.#controller === undefined) return;
    this.#bytesToDrain = maxDrainBytes;
    this.#cancelTimer = this.#clock.schedule(maxDrainMs, () => this.#giveUpConnection());
    this.#controller.resume();
  }

  #answer(body: Buffer, truncated: boolean): void {
    this.#settle({
      kind: 'reply',
      status: this.#status,
      headers: this.#headers,
      body,
      ...(truncated && { truncated }),
      ...this.#times(),
      tries: this.#tries,
      ...(this.#connection !== undefined && { connection: this.#connection }),
    });
  }

  onBodyFailure(failure: 'too-large' | 'protocol', detail: string): void {
    this.#fail(failure, detail);
  }

  onBodyDrain(): void {
    this.#controller?.resume();
  }

  get #announcedBytes(): number {
    return Number(this.#headers['content-length'] ?? 0);
  }

  /** Once, and only after a connection failed, which is before any byte of the request could leave. */
  #mayTryAgain(error: unknown): boolean {
    if (this.#tries > 1 || this.#phase !== 'connect') return false;
    if (!(error instanceof ConnectFailure) || !error.retryable) return false;
    // A second connection that cannot be given its full time would end as a vague `timeout` instead of `connect`.
    return !error.timedOut || this.#request.timeoutMs - this.#elapsedMs() >= this.#connectTimeoutMs;
  }

  #boundFirstByte(): void {
    const { firstByteTimeoutMs } = this.#request;
    if (firstByteTimeoutMs === undefined) return;
    this.#cancelFirstByte = this.#clock.schedule(firstByteTimeoutMs, () => {
      // As with the bound on the whole: what lies in the kernel is read first.
      setImmediate(() => {
        if (this.#phase !== 'first-byte') return;
        this.#timeOut(`no reply headers within ${firstByteTimeoutMs} ms`, firstByteTimeoutMs);
      });
    });
  }

  #timeOut(detail: string, boundMs: number): void {
    this.#fail('timeout', detail, boundMs);
  }

  #fail(failure: ExchangeFailureKind, detail: string, boundMs?: number): void {
    this.#settle({
      kind: 'failure',
      failure,
      phase: this.#phase,
      detail,
      ...this.#times(),
      tries: this.#tries,
      ...(boundMs !== undefined && { boundMs }),
      ...(failure === 'timeout' && this.#isQueued && { queued: true }),
      ...(this.#connection !== undefined && { connection: this.#connection }),
    });
  }

  /** Waits in the pool for its first connection; a second try comes after one that says something. */
  get #isQueued(): boolean {
    return this.#phase === 'connect' && this.#tries === 1 && this.#client === undefined;
  }

  #settle(result: ExchangeResult): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#cancelTimer?.();
    this.#cancelFirstByte?.();
    if (this.#onAbort !== undefined) this.#request.signal?.removeEventListener('abort', this.#onAbort);
    if (result.kind === 'failure') {
      this.#pool.cancel(this);
      this.#body?.discard();
      // Destroys the socket: what still comes on it would be taken for the answer to the next request.
      const controller = this.#controller;
      this.#clientIsSpent = controller !== undefined;
      controller?.abort(cancelled);
    }
    this.#onSettled(this, result);
  }

  #drain(chunk: Buffer): void {
    this.#bytesToDrain -= chunk.length;
    if (this.#bytesToDrain < 0) this.#giveUpConnection();
  }

  #giveUpConnection(): void {
    this.#cancelTimer?.();
    const controller = this.#controller;
    if (controller === undefined) return;
    this.#clientIsSpent = true;
    controller.abort(cancelled);
  }

  #releaseClient(): void {
    const client = this.#client;
    this.#client = undefined;
    if (client === undefined) return;
    if (this.#clientIsSpent) this.#pool.discard(client);
    else this.#pool.release(client);
  }

  #times(): { readonly durationMs: number; readonly times: ExchangeTimes } {
    const endedAt = this.#clock.monotonicMs();
    const [sentAt, repliedAt] = [this.#sentAt, this.#repliedAt];
    return {
      durationMs: endedAt - this.#startedAt,
      times: {
        connectMs: (sentAt ?? endedAt) - this.#startedAt,
        ...(sentAt !== undefined && { firstByteMs: (repliedAt ?? endedAt) - sentAt }),
        ...(repliedAt !== undefined && { bodyMs: endedAt - repliedAt }),
      },
    };
  }

  #elapsedMs(): number {
    return this.#clock.monotonicMs() - this.#startedAt;
  }
}

/**
 * The request's headers as undici's flat list, `accept-encoding: identity` added unless the caller names one.
 *
 * Replies are small JSON, and decoding takes a trip through the thread pool: 20 µs of CPU per exchange without, 54
 * with gzip (medians of six runs of 10,000 and 3,000, 32 at once, loopback, two shared cores). Without the header
 * RFC 9110, section 12.5.3, allows any encoding, so it is said. Receivers that encode anyway are understood.
 */
function requestHeaders(headers: Readonly<Record<string, string>>): string[] {
  const flat: string[] = [];
  let namesEncoding = false;
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    if (value === undefined || name === 'host' || name === 'content-length') continue;
    if (name === 'accept-encoding') namesEncoding = true;
    flat.push(name, value);
  }
  if (!namesEncoding) flat.push('accept-encoding', 'identity');
  return flat;
}

function countHeaders(headers: Readonly<Record<string, string | string[] | undefined>>): number {
  let count = 0;
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    count += Array.isArray(value) ? value.length : 1;
  }
  return count;
}

function joinHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  const joined: Record<string, string> = {};
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    if (typeof value === 'string') joined[name] = value;
    else if (value !== undefined) joined[name] = value.join(', ');
  }
  return joined;
}
