// What a dispatcher holds in memory: the deliveries with their leases, the lanes that they are in, and how much room is
// left. Starts nothing and calls no store.
import type { Clock } from '../shared/clock';
import { timeOfId } from '../shared/ids';
import type { AttemptRecorder } from './attempt-recorder';
import type { ClaimRoom } from './claim-loop';
import type { Delivery, EndpointKey } from './delivery';
import type { Lease } from './delivery-store';
import type { DispatcherOptions } from './dispatcher-options';
import type { DeliveryRef } from './dispatching';
import type { EndpointLane, HeldCount } from './endpoint-lane';
import type { HeldDelivery } from './held-delivery';

export interface HeldDeliveriesParts {
  readonly options: DispatcherOptions;
  readonly clock: Clock;
  readonly recorder: Pick<AttemptRecorder, 'attemptCountOf' | 'confirm'>;
  /** Length of leases now, in milliseconds. */
  readonly leaseMs: () => number;
  readonly createLane: (key: EndpointKey) => EndpointLane;
  readonly onLaneDropped: (lane: EndpointLane) => void;
  /** A lane of which the store may have more has room again. */
  readonly onRoom: () => void;
}

/** UTF-16 units of bodies that a claim should bring at most; the mean of the last ones says how many rows that is. */
const claimBodyLength = 32 * 1024 * 1024;
const fewestClaimRows = 16;
/** Lanes before idle ones are dropped. */
const lanesBeforeSweep = 1024;

export class HeldDeliveries {
  readonly #parts: HeldDeliveriesParts;
  readonly #options: DispatcherOptions;
  readonly #held = new Map<string, HeldDelivery>();
  readonly #lanes = new Map<EndpointKey, EndpointLane>();
  #bodyLength = 0;
  #meanBodyLength = 0;

  constructor(parts: HeldDeliveriesParts) {
    this.#parts = parts;
    this.#options = parts.options;
  }

  has(id: string): boolean {
    return this.#held.has(id);
  }

  values(): Iterable<HeldDelivery> {
    return this.#held.values();
  }

  lanes(): Iterable<EndpointLane> {
    return this.#lanes.values();
  }

  findLane(key: EndpointKey): EndpointLane | undefined {
    return this.#lanes.get(key);
  }

  /** The lane of an endpoint, made when it is first asked for. */
  laneOf(key: EndpointKey): EndpointLane {
    const known = this.#lanes.get(key);
    if (known) return known;
    if (this.#lanes.size >= lanesBeforeSweep) this.#sweepLanes();
    const lane = this.#parts.createLane(key);
    this.#lanes.set(key, lane);
    return lane;
  }

  /** The bound on all is reached: each endpoint may have one delivery, so that none is shut out by others. */
  get isCrowded(): boolean {
    return this.#held.size >= this.#options.maxRows || this.#bodyLength >= this.#options.maxBodyLength;
  }

  /** Nothing more may come. */
  get isOverfull(): boolean {
    return (
      this.#held.size >= 2 * this.#options.maxRows || this.#bodyLength >= 2 * this.#options.maxBodyLength
    );
  }

  /** Room of a lane for what is handed over, which is new. Its half is for claims. */
  hasRoom(lane: EndpointLane): boolean {
    const { rows, bodyLength } = newlyHeld(lane);
    return rows < this.#capacityOf(lane) && bodyLength < this.#options.maxBodyLengthPerEndpoint;
  }

  /** Many may have asked for the same room before the first of them came. */
  isOverfullLane(lane: EndpointLane): boolean {
    return newlyHeld(lane).rows > 2 * this.#capacityOf(lane) || this.isOverfull;
  }

  /** True when a claim may bring deliveries of this endpoint: it takes the oldest first, so the backlog counts. */
  #wantsRows(lane: EndpointLane): boolean {
    return lane.wantsRows(this.#parts.clock.monotonicMs(), this.#isHalfEmpty(lane, lane.held));
  }

  /** True when this one may be claimed: new ones need not wait until a backlog leaves room. */
  wantsId({ id, endpoint }: DeliveryRef): boolean {
    const lane = this.#lanes.get(endpoint);
    if (lane === undefined) return true;
    const isOld = lane.isBeforeResume(timeOfId(id) ?? 0);
    const hasRoom = this.#isHalfEmpty(lane, isOld ? lane.held : newlyHeld(lane));
    return lane.wantsRows(this.#parts.clock.monotonicMs(), hasRoom);
  }

  #isHalfEmpty(lane: EndpointLane, { rows, bodyLength }: HeldCount): boolean {
    return (
      rows <= Math.floor(this.#capacityOf(lane) / 2) &&
      bodyLength <= this.#options.maxBodyLengthPerEndpoint / 2
    );
  }

  /** Half of a lane is claimed at once, when the other half is all that is left. */
  roomForClaim(paused: readonly EndpointKey[]): ClaimRoom | undefined {
    if (this.isOverfull) return undefined;
    const except = new Set(paused);
    for (const lane of this.#lanes.values()) {
      lane.mayHaveMore = !this.#wantsRows(lane);
      if (lane.mayHaveMore) except.add(lane.key);
    }
    const rows = Math.floor(claimBodyLength / Math.max(1, this.#meanBodyLength));
    return {
      limit: Math.min(this.#options.claimRows, Math.max(fewestClaimRows, rows)),
      limitPerEndpoint: this.isCrowded ? 1 : Math.max(1, Math.floor(this.#options.maxRowsPerEndpoint / 2)),
      except: [...except],
    };
  }

  /** Learns how large bodies are, for the next claim. */
  learnFromClaim(deliveries: readonly Delivery[]): void {
    if (deliveries.length === 0) return;
    const length = deliveries.reduce((sum, { body }) => sum + body.length, 0);
    this.#meanBodyLength = Math.max(length / deliveries.length, this.#meanBodyLength * 0.9);
  }

  /** Undefined when it is in memory already: its lease had expired, and this node has taken it from itself. */
  hold(delivery: Delivery, { owner, expiresAt }: Lease): HeldDelivery | undefined {
    const { clock, recorder, leaseMs } = this.#parts;
    const leaseEndsAt = clock.monotonicMs() + Math.min(leaseMs(), expiresAt - clock.now());
    const known = this.#held.get(delivery.id);
    if (known !== undefined) {
      known.owner = owner;
      known.leaseEndsAt = leaseEndsAt;
      const recordedCount = recorder.attemptCountOf(delivery.id);
      if (recordedCount === undefined || delivery.attemptCount < recordedCount) {
        known.delivery = delivery;
        return undefined;
      }
      recorder.confirm(delivery.id);
    }
    const held: HeldDelivery = {
      id: delivery.id,
      endpoint: delivery.endpoint,
      delivery,
      bodyLength: delivery.body.length,
      owner,
      leaseEndsAt,
      stage: 'waiting',
      isBacklog: false,
      isWithdrawn: false,
    };
    this.#held.set(held.id, held);
    this.laneOf(held.endpoint).enter(held);
    this.#bodyLength += held.bodyLength;
    return held;
  }

  /** It is no longer this node's. */
  forget(held: HeldDelivery): void {
    if (held.stage === 'gone') return;
    held.stage = 'gone';
    this.#held.delete(held.id);
    this.#bodyLength -= held.bodyLength;
    const lane = this.#lanes.get(held.endpoint);
    if (lane === undefined) return;
    lane.leave(held);
    if (lane.mayHaveMore && lane.held.rows === Math.floor(this.#capacityOf(lane) / 2)) this.#parts.onRoom();
  }

  /** Deliveries that a lane may have: enough to keep its concurrency busy while more are claimed and ended ones recorded. */
  #capacityOf(lane: EndpointLane): number {
    return this.isCrowded ? 1 : Math.max(this.#options.maxRowsPerEndpoint, 4 * lane.concurrency);
  }

  /** Drops what is about this object and waits, and lets no attempt begin of what is about to wait again. */
  withdraw(className: string, objectId: string): void {
    for (const held of this.#held.values()) {
      if (held.delivery.className !== className || held.delivery.objectId !== objectId) continue;
      held.isWithdrawn = true;
      if (held.stage !== 'waiting') continue;
      this.#lanes.get(held.endpoint)?.remove(held);
      this.forget(held);
    }
  }

  #sweepLanes(): void {
    for (const [key, lane] of this.#lanes) {
      if (!lane.isIdle) continue;
      this.#lanes.delete(key);
      this.#parts.onLaneDropped(lane);
    }
  }
}

/** Without what a pause left behind. */
function newlyHeld({ held, heldBacklog }: EndpointLane): HeldCount {
  return {
    rows: held.rows - heldBacklog.rows,
    bodyLength: held.bodyLength - heldBacklog.bodyLength,
  };
}
