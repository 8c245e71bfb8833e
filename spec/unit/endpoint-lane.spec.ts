// What a lane of dispatching keeps in mind of its endpoint.
import { EndpointLane } from '../../src/events/endpoint-lane';
import { dispatcherDefaults } from '../../src/events/dispatcher-options';
import type { Delivery } from '../../src/events/delivery';
import type { Endpoint } from '../../src/events/endpoint';
import { asFresh, type HeldDelivery } from '../../src/events/held-delivery';
import { newDelivery, TestEndpoints } from '../support/dispatching';
import { ManualClock } from '../support/manual-clock';

function createLane(fields: Partial<Endpoint>) {
  const clock = new ManualClock();
  const lane = new EndpointLane({ ...dispatcherDefaults, key: 'one', clock, onBreaker: () => undefined });
  const endpoints = new TestEndpoints();
  const use = (changed: Partial<Endpoint>): void => {
    endpoints.set('one', changed);
    const endpoint = endpoints.find('one');
    if (endpoint) lane.useEndpoint(endpoint);
  };
  use(fields);
  return { clock, lane, use };
}

function held(fields: Partial<Delivery>): HeldDelivery {
  const delivery = { ...asFresh(newDelivery('one')), ...fields };
  const { id, endpoint, body } = delivery;
  return {
    id,
    endpoint,
    delivery,
    bodyLength: body.length,
    owner: 'o',
    leaseEndsAt: 1e9,
    stage: 'waiting',
    origin: 'handed',
    isBacklog: false,
    isWithdrawn: false,
  };
}

/** How many of them may go at once. */
function takeAtOnce({ lane, clock }: ReturnType<typeof createLane>): number {
  let taken = 0;
  while ((lane.startsAt() ?? Infinity) <= clock.monotonicMs()) {
    lane.takeNext();
    taken += 1;
  }
  return taken;
}

describe('the lane of an endpoint', () => {
  it('is dropped when idle, also when its endpoint was resumed once', () => {
    const { lane } = createLane({ resumedAt: 1000 });
    expect(lane.isIdle).toBe(true);
  });

  it('paces what was written before a resumption, and no replay that came later', () => {
    const waited = createLane({ resumedAt: 1000 });
    for (let count = 0; count < 100; count++) waited.lane.push(held({ createdAt: 500, nextAttemptAt: 500 }));
    expect(takeAtOnce(waited)).toBeLessThan(20);
    const replayed = createLane({ resumedAt: 1000 });
    const replay = { createdAt: 500, attemptCount: 1, attemptsBeforeReplay: 1 };
    for (let count = 0; count < 100; count++) replayed.lane.push(held({ ...replay, nextAttemptAt: 2000 }));
    expect(takeAtOnce(replayed)).toBe(100);
    for (let count = 0; count < 100; count++) replayed.lane.push(held({ ...replay, nextAttemptAt: 900 }));
    expect(takeAtOnce(replayed)).toBeLessThan(20);
  });

  it('counts what claims found, and what waited for a resumption, apart from what was handed over', () => {
    const { lane, use } = createLane({});
    const handed = held({ createdAt: 500, nextAttemptAt: 500 });
    const found: HeldDelivery = { ...held({ createdAt: 500, nextAttemptAt: 500 }), origin: 'found' };
    for (const one of [handed, found]) {
      lane.enter(one);
      lane.push(one);
    }
    expect([lane.held.rows, lane.heldFound.rows]).toEqual([2, 1]);
    use({ resumedAt: 1000 });
    expect([lane.held.rows, lane.heldFound.rows]).toEqual([2, 2]);
    for (const one of [handed, found]) lane.leave(one);
    expect([lane.held, lane.heldFound]).toEqual([
      { rows: 0, bodyLength: 0 },
      { rows: 0, bodyLength: 0 },
    ]);
  });

  it('paces what it has when it hears of the resumption', () => {
    const scene = createLane({});
    for (let count = 0; count < 100; count++) scene.lane.push(held({ createdAt: 500, nextAttemptAt: 500 }));
    scene.use({ resumedAt: 1000 });
    expect(takeAtOnce(scene)).toBeLessThan(20);
  });
});
