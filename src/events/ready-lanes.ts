// The lanes that may have something to start, and how they share the attempts that may be under way: in turn, and none
// is shut out by others whose receivers hang.
import type { EndpointLane } from './endpoint-lane';

/** Share of the bound up to which nobody has to share. */
const unsharedPart = 0.5;
/**
 * Above the bound a lane may still start its first attempt, up to so many times the bound: 63 endpoints that hang with 16
 * attempts each would else take all of 1000 until they time out.
 */
const reserveFactor = 2;

export class ReadyLanes {
  readonly #maxInFlight: number;
  /** Without an attempt under way when they were added. */
  readonly #idle = new Set<EndpointLane>();
  readonly #busy = new Set<EndpointLane>();

  constructor(maxInFlight: number) {
    this.#maxInFlight = maxInFlight;
  }

  add(lane: EndpointLane): void {
    if (lane.inFlight > 0) {
      this.#busy.add(lane);
    } else {
      this.#busy.delete(lane);
      this.#idle.add(lane);
    }
  }

  delete(lane: EndpointLane): void {
    this.#idle.delete(lane);
    this.#busy.delete(lane);
  }

  /** Starts what can start. `startNext` starts one attempt of a lane, or answers false: then nothing of it can start now. */
  start(inFlight: () => number, startNext: (lane: EndpointLane) => boolean): void {
    const most = this.#maxInFlight;
    const fairShare = Math.max(1, Math.floor(most / Math.max(1, this.#idle.size + this.#busy.size)));
    for (const lane of this.#idle) {
      if (inFlight() >= reserveFactor * most) break;
      this.#idle.delete(lane);
      if (startNext(lane)) this.add(lane);
    }
    for (const lane of this.#busy) {
      if (inFlight() >= most) break;
      if (inFlight() >= unsharedPart * most && lane.inFlight >= fairShare) continue;
      this.#busy.delete(lane);
      // A set is walked through in the order of insertion: the lane comes again after the others.
      if (startNext(lane)) this.add(lane);
    }
  }
}
