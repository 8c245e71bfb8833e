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
import type { HeldDelivery, HeldOrigin } from './held-delivery';

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

/** From this part of the bound on all, a lane may have its fair share only. */
const tightPart = 3 / 4;
/** Part of the bound on all that one claim brings at most: it does not lead from below `tightPart` beyond the bound. */
const claimPartOfAll = 1 / 8;
/** Part of a lane's room for what is handed over or named. */
const handedPart = 1 / 2;
/** Part of it that one claim brings at most, when no more than as much is left of earlier ones. */
const claimPart = 1 / 4;
/** Each half of a lane's room may be passed by one body. */
const lastOnes = 2;
/** From so many times the bound on all nothing more comes. */
const overfullFactor = 2;
/** Lanes before idle ones are dropped. */
const lanesBeforeSweep = 1024;

export class HeldDeliveries {
  readonly #parts: HeldDeliveriesParts;
  readonly #options: DispatcherOptions;
  readonly #held = new Map<string, HeldDelivery>();
  readonly #lanes = new Map<EndpointKey, EndpointLane>();
  #bodyLength = 0;
  /** Lanes that hold something. */
  #occupied = 0;

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

  /** Nothing more may come. */
  get isOverfull(): boolean {
    return this.#reaches(overfullFactor);
  }

  #reaches(part: number): boolean {
    const { maxRows, maxBodyLength } = this.#options;
    return this.#held.size >= part * maxRows || this.#bodyLength >= part * maxBodyLength;
  }

  /**
   * What a lane may hold. Half of it is for what is handed over or named, half for what claims find: so new ones without
   * end keep neither retries nor what had no room from being found, and no backlog keeps new ones waiting.
   */
  #roomOf({ concurrency }: EndpointLane): HeldCount {
    // Enough to keep the concurrency busy while more are claimed and ended ones recorded.
    return this.#atMostFairShare(Math.max(this.#options.maxRowsPerEndpoint, 4 * concurrency));
  }

  #atMostFairShare(rows: number): HeldCount {
    const bodyLength = this.#options.maxBodyLengthPerEndpoint;
    if (!this.#reaches(tightPart)) return { rows, bodyLength };
    const share = this.#fairShare();
    return { rows: Math.min(rows, share.rows), bodyLength: Math.min(bodyLength, share.bodyLength) };
  }

  #fairShare(): HeldCount {
    const lanes = Math.max(1, this.#occupied);
    return {
      rows: Math.max(1, Math.floor(this.#options.maxRows / lanes)),
      bodyLength: Math.max(1, Math.floor(this.#options.maxBodyLength / lanes)),
    };
  }

  /**
   * When the bound on all is reached: the lanes that hold more than their fair share, and how many of their waiting ones
   * they may keep. That is half of the share, which leaves the half for claims free: else what goes back would come again
   * and go again.
   */
  excess(): readonly { readonly lane: EndpointLane; readonly keep: number }[] {
    if (!this.#reaches(1)) return [];
    const share = this.#fairShare();
    return [...this.#lanes.values()].flatMap(lane => {
      const { rows, bodyLength } = lane.held;
      const counted = rows - lastOnes;
      if (lane.waiting === 0 || counted <= 0) return [];
      const part = Math.min(share.rows / counted, share.bodyLength / (bodyLength * (counted / rows)));
      if (part >= 1) return [];
      const kept = Math.floor((rows * part) / 2);
      return [{ lane, keep: Math.max(0, lane.waiting - (rows - kept)) }];
    });
  }

  /** Room of a lane for what is handed over. */
  hasRoom(lane: EndpointLane): boolean {
    return !this.isOverfull && isWithin(newlyHeld(lane), this.#roomOf(lane), handedPart);
  }

  /** Many may have asked for the same room before the first of them came. */
  isOverfullLane(lane: EndpointLane): boolean {
    const { rows, bodyLength } = newlyHeld(lane);
    const room = this.#roomOf(lane);
    return rows > 1 && (rows > room.rows || bodyLength > room.bodyLength || this.isOverfull);
  }

  /** True when a claim may bring deliveries of this endpoint, whatever was handed over. */
  #wantsRows(lane: EndpointLane): boolean {
    return lane.wantsRows(this.#parts.clock.monotonicMs(), this.#hasClaimRoom(lane));
  }

  /** Half of the half for claims is claimed at once, when the other half of it is all that is left. */
  #hasClaimRoom(lane: EndpointLane): boolean {
    const room = this.#roomOf(lane);
    return (
      lane.heldFound.rows <= Math.floor(room.rows * claimPart) &&
      lane.heldFound.bodyLength <= room.bodyLength * claimPart
    );
  }

  /** Those that may be claimed of what is named. New ones need not wait until a backlog leaves room. */
  chooseNamed(refs: readonly DeliveryRef[]): readonly DeliveryRef[] {
    const now = this.#parts.clock.monotonicMs();
    const counts = new Map<string, number>();
    let left = this.isOverfull ? 0 : overfullFactor * this.#options.maxRows - this.#held.size;
    const refused = new Set<EndpointLane>();
    const chosen = refs.filter(({ id, endpoint }) => {
      const lane = this.laneOf(endpoint);
      const isOld = lane.isBeforeResume(timeOfId(id) ?? 0);
      const name = `${isOld ? 'old' : 'new'} ${endpoint}`;
      const count = counts.get(name) ?? 0;
      const { rows, bodyLength } = isOld ? lane.heldFound : newlyHeld(lane);
      const hasRoom =
        left > 0 && isWithin({ rows: rows + count, bodyLength }, this.#roomOf(lane), handedPart);
      // Of a breaker that is open, one probe.
      if (lane.wantsRows(now, hasRoom) && hasRoom && !(lane.isBreakerOpen && count > 0)) {
        counts.set(name, count + 1);
        left -= 1;
        return true;
      }
      // Claimed when there is room, and not at the next poll.
      lane.mayHaveMore = true;
      refused.add(lane);
      return false;
    });
    if ([...refused].some(lane => this.#wantsRows(lane))) this.#parts.onRoom();
    return chosen;
  }

  /** UTF-16 units of bodies that one claim may bring; the body that reaches it still comes. */
  get claimBodyLength(): number {
    return Math.max(1, Math.floor(claimPartOfAll * this.#options.maxBodyLength));
  }

  roomForClaim(paused: readonly EndpointKey[]): ClaimRoom | undefined {
    if (this.isOverfull) return undefined;
    const except = new Set(paused);
    for (const lane of this.#lanes.values()) {
      lane.mayHaveMore = !this.#wantsRows(lane);
      if (lane.mayHaveMore) except.add(lane.key);
    }
    const room = this.#atMostFairShare(this.#options.maxRowsPerEndpoint);
    return {
      limit: Math.min(
        this.#options.claimRows,
        Math.max(1, Math.floor(claimPartOfAll * this.#options.maxRows)),
      ),
      limitPerEndpoint: Math.max(1, Math.floor(room.rows * claimPart)),
      maxBodyLength: this.claimBodyLength,
      maxBodyLengthPerEndpoint: Math.max(1, Math.floor(room.bodyLength * claimPart)),
      except: [...except],
    };
  }

  /** Undefined when it is in memory already: its lease had expired, and this node has taken it from itself. */
  hold(delivery: Delivery, { owner, expiresAt }: Lease, origin: HeldOrigin): HeldDelivery | undefined {
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
      origin,
      isBacklog: false,
      isWithdrawn: false,
    };
    this.#held.set(held.id, held);
    const lane = this.laneOf(held.endpoint);
    if (lane.held.rows === 0) this.#occupied += 1;
    lane.enter(held);
    this.#bodyLength += held.bodyLength;
    return held;
  }

  /** It is no longer this node's. */
  forget(held: HeldDelivery): void {
    if (held.stage === 'gone') return;
    held.stage = 'gone';
    const lane = this.#lanes.get(held.endpoint);
    const hadRoom = lane === undefined || this.#hasClaimRoom(lane);
    this.#held.delete(held.id);
    this.#bodyLength -= held.bodyLength;
    if (lane === undefined) return;
    lane.leave(held);
    if (lane.held.rows === 0) this.#occupied -= 1;
    if (lane.mayHaveMore && !hadRoom && this.#hasClaimRoom(lane)) this.#parts.onRoom();
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

/** What was handed over or named, without what a pause left behind. */
function newlyHeld({ held, heldFound }: EndpointLane): HeldCount {
  return {
    rows: held.rows - heldFound.rows,
    bodyLength: held.bodyLength - heldFound.bodyLength,
  };
}

/** True when one more may come: one may always. */
function isWithin({ rows, bodyLength }: HeldCount, room: HeldCount, part: number): boolean {
  return rows < Math.max(1, Math.floor(room.rows * part)) && bodyLength < room.bodyLength * part;
}
