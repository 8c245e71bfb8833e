// Attempts deliveries in this process: what it is handed straight after the insert, and what it claims from the store.
// Each endpoint has a lane, so that none waits for another; the store is asked in batches only.
import { setMaxListeners } from 'node:events';
import type { ExchangeClient } from '../http/exchange';
import type { LaneState } from '../http/lane';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import { AttemptMaker, type AttemptEnd, type MadeAttempt } from './attempt-maker';
import { AttemptRecorder } from './attempt-recorder';
import type { AttemptTracer } from './attempt-tracer';
import { logBreaker } from './breaker-log';
import { ClaimLoop } from './claim-loop';
import type { Attempt, Delivery, DeliveryProgress, EndpointKey, NewDelivery } from './delivery';
import type { DeliveryStore, Lease, StopListening } from './delivery-store';
import type { AttemptObserver, DeliveryRef, Dispatcher } from './dispatching';
import { dispatcherDefaults, type DispatcherOptions } from './dispatcher-options';
import type { Endpoint, Endpoints } from './endpoint';
import { EndpointLane } from './endpoint-lane';
import { asFresh, type HeldDelivery, type HeldOrigin } from './held-delivery';
import { HeldDeliveries } from './held-deliveries';
import { canBePaused } from './hook-endpoints';
import { LeaseKeeper } from './lease-keeper';
import { LeaseReturns } from './lease-returns';
import { MissingEndpoints } from './missing-endpoints';
import { ReadyLanes } from './ready-lanes';
import { messageOf, within } from './store-retries';

export interface DispatcherParts {
  readonly store: DeliveryStore;
  readonly endpoints: Endpoints;
  readonly client: Pick<ExchangeClient, 'exchange'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Name of this node: in the log of attempts and in front of lease owners. */
  readonly node: string;
  readonly observer?: AttemptObserver;
  readonly tracer?: AttemptTracer;
  readonly options?: Partial<DispatcherOptions>;
}

/** After a failed look for an endpoint, or a lease that could not be renewed, in milliseconds. */
const againMs = 2000;
/** For what is left to write at the end, beyond the time for attempts, in milliseconds. */
const flushMs = 5000;
export class InProcessDispatcher implements Dispatcher {
  readonly #parts: DispatcherParts;
  readonly #options: DispatcherOptions;
  readonly #maker: AttemptMaker;
  readonly #recorder: AttemptRecorder;
  readonly #keeper: LeaseKeeper;
  readonly #loop: ClaimLoop;
  readonly #cutOff = new AbortController();
  /** Of what this node inserts: such a delivery has this owner once in its life, as every claim has its own. */
  readonly #owner: string;

  readonly #memory: HeldDeliveries;
  readonly #returns: LeaseReturns;
  readonly #missing: MissingEndpoints;
  readonly #ready: ReadyLanes;
  #inFlight = 0;
  #leaseMs: number;
  #paused: ReadonlySet<EndpointKey> = new Set();
  #state: 'new' | 'started' | 'stopped' = 'new';
  #stopListening: StopListening | undefined;
  #idle: (() => void)[] = [];

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
    this.#options = { ...dispatcherDefaults, ...parts.options };
    const { store, client, clock, logger, node, tracer } = parts;
    // One signal for all attempts under way.
    setMaxListeners(0, this.#cutOff.signal);
    this.#owner = this.#createOwner();
    this.#leaseMs = this.#options.leaseMs;
    this.#maker = new AttemptMaker({
      client,
      clock,
      node,
      signal: this.#cutOff.signal,
      ...(tracer && { tracer }),
    });
    this.#recorder = new AttemptRecorder({ store, clock, logger });
    this.#ready = new ReadyLanes(this.#options.maxInFlight);
    this.#returns = new LeaseReturns({ store, logger });
    this.#missing = new MissingEndpoints({ ...parts, forget: held => this.#memory.forget(held) });
    this.#memory = new HeldDeliveries({
      options: this.#options,
      clock,
      recorder: this.#recorder,
      leaseMs: () => this.#leaseMs,
      createLane: key => this.#createLane(key),
      onLaneDropped: lane => {
        lane.cancelTimer?.();
        this.#ready.delete(lane);
      },
      onRoom: () => this.wake(),
    });
    this.#keeper = new LeaseKeeper({
      store,
      clock,
      logger,
      held: () => this.#memory.values(),
      leaseMs: () => this.#leaseMs,
      onLost: held => this.#lose(held),
      onRenewed: () => this.#pump(),
    });
    this.#loop = new ClaimLoop({
      store,
      clock,
      logger,
      pollMs: this.#options.pollMs,
      createLease: () => ({ owner: this.#createOwner(), expiresAt: clock.now() + this.#leaseMs }),
      room: () => {
        this.#relieve();
        return this.#memory.roomForClaim(parts.endpoints.paused());
      },
      onClaimed: (deliveries, lease) => this.#takeClaimed(deliveries, lease, 'found'),
      onClockStep: () => this.#keeper.renew(true),
    });
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') return;
    this.#state = 'started';
    const { endpoints, store, logger } = this.#parts;
    this.#paused = new Set(endpoints.paused());
    endpoints.onChange(() => this.#followEndpoints());
    this.#keeper.start();
    this.#loop.start();
    try {
      const stopListening = await store.listen?.(() => this.wake());
      if (this.#isStopped()) await stopListening?.();
      else this.#stopListening = stopListening;
    } catch (error) {
      logger.warn(`webhooks: deliveries of other nodes are found by polling only: ${messageOf(error)}`);
    }
  }

  createLease(): Lease {
    return { owner: this.#owner, expiresAt: this.#parts.clock.now() + this.#leaseMs };
  }

  hasRoom(key: EndpointKey): boolean {
    if (this.#state !== 'started') return false;
    const endpoint = this.#parts.endpoints.find(key);
    if (endpoint === undefined || endpoint.isPaused) return false;
    const lane = this.#memory.findLane(key);
    if (lane === undefined) return !this.#memory.isOverfull;
    if (lane.isSuspended || lane.isBreakerOpen || lane.holdUntil > this.#parts.clock.monotonicMs())
      return false;
    const hasRoom = this.#memory.hasRoom(lane);
    if (!hasRoom) lane.mayHaveMore = true;
    return hasRoom;
  }

  accept(deliveries: readonly NewDelivery[], lease: Lease): void {
    const over: HeldDelivery[] = [];
    for (const delivery of deliveries) {
      // A claim of this node was faster: its lease is the later one.
      if (this.#memory.has(delivery.id)) continue;
      const held = this.#memory.hold(asFresh(delivery), lease, 'handed');
      if (held === undefined) continue;
      const lane = this.#memory.laneOf(delivery.endpoint);
      if (this.#state !== 'started' || this.#memory.isOverfullLane(lane)) over.push(held);
      else this.#enqueue(lane, held);
    }
    if (over.length > 0) this.#giveUp(over, this.#parts.clock.now());
    this.#pump();
  }

  async adopt(deliveries: readonly NewDelivery[]): Promise<void> {
    const lease = this.createLease();
    const ids = deliveries.map(({ id }) => id).filter(id => !this.#memory.has(id));
    try {
      const kept = new Set(await this.#parts.store.renew(lease.owner, ids, lease.expiresAt));
      this.accept(
        deliveries.filter(({ id }) => kept.has(id)),
        lease,
      );
    } catch {
      // A store that fails again: the leases end, and somebody claims them.
    }
  }

  async acceptIds(refs: readonly DeliveryRef[]): Promise<void> {
    if (this.#state !== 'started') return;
    const { store, clock, endpoints } = this.#parts;
    const wanted = this.#memory.chooseNamed(
      refs.filter(({ id, endpoint }) => !this.#memory.has(id) && endpoints.find(endpoint)?.isPaused !== true),
    );
    if (wanted.length === 0) return;
    const maxBodyLength = this.#memory.claimBodyLength;
    const lease = { owner: this.#createOwner(), expiresAt: clock.now() + this.#leaseMs };
    const claimed = await store.claimByIds(
      wanted.map(({ id }) => id),
      lease,
      { now: clock.now(), maxBodyLength },
    );
    this.#takeClaimed(claimed, lease, 'handed');
    // It may have left some for their length, which a store may count in bytes: three at most for a unit.
    const bodyLength = claimed.reduce((sum, { body }) => sum + body.length, 0);
    if (claimed.length < wanted.length && 3 * bodyLength >= maxBodyLength) this.wake();
  }

  withdraw(className: string, objectId: string): void {
    this.#memory.withdraw(className, objectId);
  }

  wake(): void {
    if (this.#state === 'started') this.#loop.wake();
  }

  /** What is known of an endpoint on this node. */
  stateOf(key: EndpointKey): {
    readonly breaker: LaneState;
    readonly inFlight: number;
    readonly held: number;
  } {
    const lane = this.#memory.findLane(key);
    return {
      breaker: lane?.breaker ?? 'closed',
      inFlight: lane?.inFlight ?? 0,
      held: lane?.held.rows ?? 0,
    };
  }

  async stop(drainTimeoutMs: number): Promise<void> {
    if (this.#state === 'stopped') return;
    this.#state = 'stopped';
    const { clock, logger } = this.#parts;
    const endsAt = clock.monotonicMs() + drainTimeoutMs;
    const claimsEnded = this.#loop.stop();
    for (const lane of this.#memory.lanes()) this.#shed(lane, clock.now());
    await this.#inTime(drainTimeoutMs, this.#whenIdle());
    this.#cutOff.abort();
    await this.#inTime(flushMs, this.#whenIdle());
    const leftMs = Math.max(flushMs, endsAt - clock.monotonicMs());
    await this.#inTime(
      leftMs,
      Promise.all([claimsEnded, this.#recorder.drained(), this.#stopListening?.(), this.#returns.ended()]),
    );
    if (this.#recorder.size > 0) {
      logger.error(
        `webhooks stop: ${this.#recorder.size} attempts could not be recorded and will be repeated`,
      );
    }
    this.#recorder.close();
    this.#keeper.stop();
    for (const lane of this.#memory.lanes()) lane.cancelTimer?.();
  }

  #isStopped(): boolean {
    return this.#state === 'stopped';
  }

  #takeClaimed(deliveries: readonly Delivery[], lease: Lease, origin: HeldOrigin): void {
    const over: HeldDelivery[] = [];
    for (const delivery of deliveries) {
      const held = this.#memory.hold(delivery, lease, origin);
      if (held === undefined) continue;
      const lane = this.#memory.laneOf(delivery.endpoint);
      lane.mayHaveMore = true;
      const isOver = origin === 'handed' && this.#memory.isOverfullLane(lane);
      if (this.#state !== 'started' || isOver) over.push(held);
      else this.#enqueue(lane, held);
    }
    if (over.length > 0) this.#giveUp(over, this.#parts.clock.now());
    this.#pump();
  }

  #lose(held: HeldDelivery): void {
    // Of an attempt under way the store says at its end that the lease is not held.
    if (held.stage !== 'waiting') return;
    this.#memory.findLane(held.endpoint)?.remove(held);
    this.#memory.forget(held);
  }

  #createLane(key: EndpointKey): EndpointLane {
    const { endpoints, clock, logger } = this.#parts;
    const lane = new EndpointLane({
      key,
      clock,
      breaker: this.#options.breaker,
      maxConcurrency: this.#options.maxConcurrency,
      catchUpPerSecond: this.#options.catchUpPerSecond,
      onBreaker: event => logBreaker(logger, endpoints.find(key)?.label ?? key, event),
    });
    // Before anything is put in: what waited for a resumption is told apart by it.
    const endpoint = endpoints.find(key);
    if (endpoint) lane.useEndpoint(endpoint);
    return lane;
  }

  #enqueue(lane: EndpointLane, held: HeldDelivery): void {
    held.stage = 'waiting';
    lane.push(held);
    this.#ready.add(lane);
  }

  #pump(): void {
    if (this.#state !== 'started') return;
    this.#ready.start(
      () => this.#inFlight,
      lane => this.#startNext(lane),
    );
  }

  /** True when the lane may have more to start. */
  #startNext(lane: EndpointLane): boolean {
    const { endpoints, clock } = this.#parts;
    if (lane.waiting === 0 || lane.isSuspended) return false;
    const endpoint = endpoints.find(lane.key);
    if (endpoint === undefined) {
      void this.#resolveMissing(lane);
      return false;
    }
    if (endpoint.isPaused) {
      this.#shed(lane, clock.now());
      // Should paused() not name it, nothing is claimed and given back without end.
      lane.hold(againMs);
      return false;
    }
    lane.useEndpoint(endpoint);
    const neededMs = endpoint.timeoutMs + this.#options.leaseMarginMs;
    if (2 * neededMs > this.#leaseMs) this.#leaseMs = 2 * neededMs;
    const startsAt = lane.startsAt();
    if (startsAt === undefined) return false;
    const now = clock.monotonicMs();
    if (startsAt > now) {
      this.#comeBack(lane, startsAt - now);
      return false;
    }
    const held = lane.takeNext();
    if (held === undefined) return false;
    if (held.leaseEndsAt - now < neededMs) {
      lane.putBack(held);
      void this.#renewFirst(lane, held, neededMs);
      return false;
    }
    held.stage = 'attempting';
    lane.inFlight += 1;
    this.#inFlight += 1;
    void this.#attempt(lane, held, endpoint);
    return true;
  }

  /** Nothing of the lane starts meanwhile. Never fails. */
  async #renewFirst(lane: EndpointLane, held: HeldDelivery, neededMs: number): Promise<void> {
    lane.isSuspended = true;
    await this.#keeper.renew(false);
    lane.isSuspended = false;
    if (this.#state !== 'started') return;
    const isRenewed = held.stage === 'gone' || held.leaseEndsAt - this.#parts.clock.monotonicMs() >= neededMs;
    this.#comeBack(lane, isRenewed ? 0 : againMs);
  }

  #comeBack(lane: EndpointLane, afterMs: number): void {
    lane.cancelTimer?.();
    lane.cancelTimer = this.#parts.clock.schedule(Math.ceil(afterMs), () => {
      lane.cancelTimer = undefined;
      this.#ready.add(lane);
      this.#pump();
    });
  }

  /** Never fails. */
  async #attempt(lane: EndpointLane, held: HeldDelivery, endpoint: Endpoint): Promise<void> {
    let end: AttemptEnd | 'refused';
    try {
      const turn = await lane.run(() => this.#maker.make(endpoint, held.delivery));
      end = turn.kind === 'done' ? turn.result : 'refused';
    } catch (error) {
      this.#parts.logger.error(`${endpoint.label}: an attempt broke: ${messageOf(error)}`);
      end = { kind: 'cut-off' };
    }
    lane.inFlight -= 1;
    this.#inFlight -= 1;
    if (held.isWithdrawn && (end === 'refused' || end.kind === 'cut-off')) {
      this.#memory.forget(held);
    } else if (end === 'refused' && this.#state === 'started') {
      held.stage = 'waiting';
      lane.putBack(held);
    } else if (end === 'refused' || end.kind === 'cut-off') {
      // While this node runs on, something is wrong with it: not worth more haste.
      if (this.#state === 'started') lane.hold(againMs);
      this.#giveUp([held], this.#parts.clock.now());
    } else {
      this.#record(held, end, lane);
      const { url = endpoint.url } = this.#parts.endpoints.find(lane.key) ?? {};
      // Unless it has moved meanwhile: the new receiver asked for nothing.
      const asksForPause = end.outcome.kind === 'failed' && end.outcome.pauses && canBePaused(lane.key);
      if (asksForPause && url === endpoint.url) lane.hold(this.#options.holdMs);
    }
    this.#settleLane(lane);
    if (this.#inFlight === 0) for (const resolve of this.#idle.splice(0)) resolve();
    this.#pump();
  }

  /** After an attempt: what need not wait in memory goes back. */
  #settleLane(lane: EndpointLane): void {
    if (lane.waiting === 0) return;
    const { clock } = this.#parts;
    const now = clock.monotonicMs();
    if (lane.holdUntil > now) this.#shed(lane, clock.now() + Math.ceil(lane.holdUntil - now));
    // One stays: the next probe.
    else if (lane.isBreakerOpen) {
      this.#shed(lane, clock.now() + Math.max(0, Math.ceil(lane.probeAt - now)), 1);
    }
    this.#ready.add(lane);
  }

  #record(held: HeldDelivery, made: MadeAttempt, lane: EndpointLane): void {
    const { observer, logger, clock } = this.#parts;
    const { delivery } = held;
    let attempt: Attempt;
    let progress: DeliveryProgress;
    try {
      attempt = this.#maker.describe(made, delivery);
      progress = this.#maker.progressOf(made, delivery);
    } catch (error) {
      logger.error(`${made.endpoint.label}: an attempt cannot be described: ${messageOf(error)}`);
      lane.hold(againMs);
      this.#giveUp([held], clock.now());
      return;
    }
    held.stage = 'recording';
    this.#recorder.add({
      held,
      attempt,
      progress,
      onEnd: end => {
        this.#memory.forget(held);
        if (end === 'lost' || observer === undefined) return;
        const { body: _body, ...summary } = delivery;
        observer.attemptEnded({
          endpoint: made.endpoint,
          delivery: { ...summary, ...progress },
          attempt,
          outcome: made.outcome,
          state: progress.state,
        });
      },
    });
  }

  /** When memory is full, what the fullest lanes have waiting goes back, and the others keep theirs. */
  #relieve(): void {
    for (const { lane, keep } of this.#memory.excess()) this.#shed(lane, this.#parts.clock.now(), keep);
  }

  /** Gives back what waits in a lane. */
  #shed(lane: EndpointLane, nextAttemptAt: number, keep = 0): void {
    const taken = lane.takeWaiting(keep);
    if (taken.length > 0) this.#giveUp(taken, nextAttemptAt);
  }

  #giveUp(held: readonly HeldDelivery[], nextAttemptAt: number): void {
    for (const one of held) this.#memory.forget(one);
    this.#returns.add(held, nextAttemptAt);
  }

  /** Follows pauses, resumptions and new addresses. */
  #followEndpoints(): void {
    if (this.#state !== 'started') return;
    const { endpoints, clock } = this.#parts;
    const paused = new Set(endpoints.paused());
    for (const key of this.#paused) {
      const resumed = paused.has(key) ? undefined : endpoints.find(key);
      if (resumed) this.#memory.laneOf(key).resume(resumed);
    }
    this.#paused = paused;
    for (const lane of this.#memory.lanes()) {
      if (paused.has(lane.key)) {
        this.#shed(lane, clock.now());
        continue;
      }
      const endpoint = endpoints.find(lane.key);
      if (endpoint) lane.useEndpoint(endpoint);
      if (lane.waiting > 0) this.#ready.add(lane);
    }
    this.#pump();
    this.wake();
  }

  /** An endpoint that is not known: new on another node, or gone for good. Never fails. */
  async #resolveMissing(lane: EndpointLane): Promise<void> {
    lane.isSuspended = true;
    if (await this.#missing.resolve(lane)) {
      lane.hold(againMs);
      this.#comeBack(lane, againMs);
    }
    lane.isSuspended = false;
    if (lane.waiting > 0 && lane.cancelTimer === undefined) this.#ready.add(lane);
    this.#pump();
  }

  #whenIdle(): Promise<void> {
    if (this.#inFlight === 0) return Promise.resolve();
    return new Promise(resolve => this.#idle.push(resolve));
  }

  /** Waits for `work`, but not longer. */
  async #inTime(limitMs: number, work: Promise<unknown>): Promise<void> {
    await within(this.#parts.clock, limitMs, work).catch(() => undefined);
  }

  #createOwner(): string {
    return `${this.#parts.node} ${this.#parts.clock.randomBytes(12).toString('base64url')}`;
  }
}
