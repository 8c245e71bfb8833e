// One connection that is being made: how far it has come, the bounds on each stage and on all, and its one end.
import type { Socket } from 'node:net';
import type { Clock } from '../shared/clock';
import { classifyConnectError, ConnectFailure, type ConnectStage } from './connect-failure';

export interface ConnectTimeouts {
  /** Bound on all stages together, in milliseconds. */
  readonly connectTimeoutMs: number;
  /** Bound on the look-up of a name, in milliseconds. Default: that on all. */
  readonly dnsTimeoutMs?: number | undefined;
  /** Bound on the TCP connection, or the tunnel through a proxy, in milliseconds. Default: that on all. */
  readonly tcpTimeoutMs?: number | undefined;
  /** Bound on the TLS handshake, in milliseconds. Default: that on all. */
  readonly tlsTimeoutMs?: number | undefined;
}

export interface ConnectAttemptParts {
  readonly timeouts: ConnectTimeouts;
  readonly clock: Clock;
  /** Host and port, for operators. */
  readonly where: string;
  readonly stage: ConnectStage;
  /** Called once. */
  readonly onEnd: (result: ConnectFailure | Socket) => void;
}

const stageWords: Readonly<Record<ConnectStage, string>> = {
  dns: 'DNS',
  tcp: 'TCP',
  proxy: 'the proxy',
  tls: 'TLS',
};

export class ConnectAttempt {
  readonly #parts: ConnectAttemptParts;
  readonly #cancelTotal: () => void;
  #stage: ConnectStage;
  #cancelStage = (): void => undefined;
  #discard = (): void => undefined;
  #isOver = false;

  constructor(parts: ConnectAttemptParts) {
    const { connectTimeoutMs } = parts.timeouts;
    this.#parts = parts;
    this.#stage = parts.stage;
    this.#cancelTotal = parts.clock.schedule(connectTimeoutMs, () => {
      const message = `no connection to ${parts.where} within ${connectTimeoutMs} ms, still at ${stageWords[this.#stage]}`;
      this.#end(new ConnectFailure('connect', message, { retryable: true, timedOut: true }));
    });
    this.enter(parts.stage);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** What is there so far, to be thrown away when the attempt fails: now, if it has. */
  holds(discard: () => void): void {
    if (this.#isOver) discard();
    else this.#discard = discard;
  }

  enter(stage: ConnectStage): void {
    if (this.#isOver) return;
    this.#stage = stage;
    this.#cancelStage();
    const { timeouts, clock } = this.#parts;
    const timeoutMs = boundOf(stage, timeouts);
    if (timeoutMs === undefined || timeoutMs >= timeouts.connectTimeoutMs) {
      this.#cancelStage = () => undefined;
    } else {
      this.#cancelStage = clock.schedule(timeoutMs, () => this.#end(this.#stageTimedOut(stage, timeoutMs)));
    }
  }

  /** The error is named by the stage that was reached. */
  fail(error: unknown): void {
    this.#end(classifyConnectError(error, this.#stage));
  }

  succeed(socket: Socket): void {
    this.#end(socket);
  }

  #stageTimedOut(stage: ConnectStage, timeoutMs: number): ConnectFailure {
    const more = { retryable: true, timedOut: true };
    const { where } = this.#parts;
    switch (stage) {
      case 'dns':
        return new ConnectFailure('dns', `no answer from DNS for ${where} within ${timeoutMs} ms`, more);
      case 'tcp':
        return new ConnectFailure('connect', `no TCP connection to ${where} within ${timeoutMs} ms`, more);
      case 'proxy':
        return new ConnectFailure(
          'connect',
          `no tunnel through the proxy to ${where} within ${timeoutMs} ms`,
          more,
        );
      case 'tls':
        return new ConnectFailure('tls', `no TLS handshake with ${where} within ${timeoutMs} ms`, more);
      default:
        return stage satisfies never;
    }
  }

  #end(result: ConnectFailure | Socket): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelTotal();
    this.#cancelStage();
    if (result instanceof ConnectFailure) this.#discard();
    this.#parts.onEnd(result);
  }
}

function boundOf(stage: ConnectStage, timeouts: ConnectTimeouts): number | undefined {
  switch (stage) {
    case 'dns':
      return timeouts.dnsTimeoutMs;
    case 'tcp':
    case 'proxy':
      return timeouts.tcpTimeoutMs;
    case 'tls':
      return timeouts.tlsTimeoutMs;
    default:
      return stage satisfies never;
  }
}
