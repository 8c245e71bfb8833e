// The breaker and the bound on calls in flight of one receiver.
import {
  Lane,
  laneDefaults,
  type Finding,
  type LaneEvent,
  type LaneOptions,
  type LaneResult,
} from '../../src/http/lane';
import { ManualClock } from '../support/manual-clock';

interface Gate {
  readonly promise: Promise<Finding>;
  open(result: Finding): void;
}

function createGate(): Gate {
  let open = (_result: Finding): void => undefined;
  const promise = new Promise<Finding>(resolve => (open = resolve));
  return { promise, open: result => open(result) };
}

function createLane(options: Partial<LaneOptions> = {}) {
  const events: LaneEvent[] = [];
  const clock = new ManualClock();
  const lane = new Lane<Finding>({
    options: { ...laneDefaults, ...options },
    clock,
    judge: result => result,
    onEvent: event => events.push(event),
  });
  return { lane, events, clock };
}

const answer = (result: Finding) => () => Promise.resolve(result);
const done = (result: Finding): LaneResult<Finding> => ({ kind: 'done', result });
const open: LaneResult<Finding> = { kind: 'refused', refusal: 'breaker-open' };
const busy: LaneResult<Finding> = { kind: 'refused', refusal: 'busy' };

async function fail(lane: Lane<Finding>, times: number): Promise<void> {
  for (let i = 0; i < times; i++) await lane.run(answer('unwell'));
}

describe('the breaker of a lane', () => {
  it('hands results on while the receiver is well', async () => {
    const { lane, events } = createLane();
    expect(await lane.run(answer('well'))).toEqual(done('well'));
    expect([lane.state, lane.inFlight, events]).toEqual(['closed', 0, []]);
  });

  it('opens after failures in a row and then refuses without calling', async () => {
    const { lane, events } = createLane({ failuresToOpen: 3 });
    await fail(lane, 3);
    const work = jest.fn(answer('well'));
    expect(await lane.run(work)).toEqual(open);
    expect(work).not.toHaveBeenCalled();
    expect([lane.state, events]).toEqual(['open', ['open']]);
  });

  it('stays closed when successes come between failures', async () => {
    const { lane } = createLane({ failuresToOpen: 2 });
    for (const result of ['unwell', 'well', 'unwell', 'well', 'unwell'] as const)
      await lane.run(answer(result));
    expect(lane.state).toBe('closed');
  });

  it('counts results that say nothing neither as failures nor as successes', async () => {
    const { lane } = createLane({ failuresToOpen: 2 });
    for (let i = 0; i < 5; i++) expect(await lane.run(answer('nothing'))).toEqual(done('nothing'));
    await fail(lane, 1);
    await lane.run(answer('nothing'));
    expect(lane.state).toBe('closed');
    await fail(lane, 1);
    expect(lane.state).toBe('open');
  });

  it('lets one probe through when its time has come, refuses the others meanwhile, and closes on success', async () => {
    const { lane, events, clock } = createLane({ failuresToOpen: 1, openMs: 1000 });
    await fail(lane, 1);
    clock.advance(999);
    expect(await lane.run(answer('well'))).toEqual(open);
    clock.advance(1);
    const gate = createGate();
    const probe = lane.run(() => gate.promise);
    expect(lane.state).toBe('half-open');
    for (let i = 0; i < 100; i++) expect(await lane.run(answer('well'))).toEqual(open);
    gate.open('well');
    expect(await probe).toEqual(done('well'));
    expect(await lane.run(answer('well'))).toEqual(done('well'));
    expect(events).toEqual(['open', 'closed']);
  });

  it('opens for its full time again when the probe fails, without saying so again', async () => {
    const { lane, events, clock } = createLane({ failuresToOpen: 1, openMs: 1000 });
    await fail(lane, 1);
    for (let i = 0; i < 3; i++) {
      clock.advance(1000);
      expect(await lane.run(answer('unwell'))).toEqual(done('unwell'));
      expect(await lane.run(answer('well'))).toEqual(open);
      clock.advance(999);
      expect(await lane.run(answer('well'))).toEqual(open);
    }
    expect(events).toEqual(['open']);
  });

  it('makes the next call the probe when the probe said nothing', async () => {
    const { lane, events, clock } = createLane({ failuresToOpen: 1, openMs: 1000 });
    await fail(lane, 1);
    clock.advance(1000);
    await lane.run(answer('nothing'));
    expect(lane.state).toBe('open');
    expect(await lane.run(answer('well'))).toEqual(done('well'));
    expect([lane.state, events]).toEqual(['closed', ['open', 'closed']]);
  });

  it.each([-3_600_000, 3_600_000])('keeps its time when the wall clock steps by %d ms', async stepMs => {
    const { lane, clock } = createLane({ failuresToOpen: 1, openMs: 1000 });
    await fail(lane, 1);
    const wall = jest.spyOn(Date, 'now').mockReturnValue(Date.now() + stepMs);
    try {
      expect(await lane.run(answer('well'))).toEqual(open);
      clock.advance(1000);
      expect(await lane.run(answer('well'))).toEqual(done('well'));
    } finally {
      wall.mockRestore();
    }
  });

  it('does not open again by calls that began before it opened and hung until it was closed', async () => {
    const { lane, events, clock } = createLane({ failuresToOpen: 2, openMs: 1000 });
    const gates = Array.from({ length: 10 }, createGate);
    const hanging = gates.map(gate => lane.run(() => gate.promise));
    gates.slice(0, 2).forEach(gate => gate.open('unwell'));
    await Promise.all(hanging.slice(0, 2));
    clock.advance(1000);
    const probe = createGate();
    const probing = lane.run(() => probe.promise);
    gates.slice(2, 6).forEach(gate => gate.open('unwell'));
    await Promise.all(hanging.slice(2, 6));
    expect(lane.state).toBe('half-open');
    probe.open('well');
    await probing;
    gates.slice(6).forEach(gate => gate.open('unwell'));
    await Promise.all(hanging);
    expect([lane.state, lane.inFlight, events]).toEqual(['closed', 0, ['open', 'closed']]);
  });

  it('does not stay half-open when the probe throws', async () => {
    const { lane, clock } = createLane({ failuresToOpen: 1, openMs: 1000 });
    await fail(lane, 1);
    clock.advance(1000);
    await expect(lane.run(() => Promise.reject(new Error('broken contract')))).rejects.toThrow('broken');
    expect([lane.state, lane.inFlight]).toEqual(['closed', 0]);
  });
});

describe('the bound of a lane', () => {
  it('runs no more than its bound at once, lets some wait, and refuses the rest', async () => {
    const { lane } = createLane({ maxInFlight: 2, maxWaiting: 1 });
    const gates = [createGate(), createGate()];
    const running = gates.map(gate => lane.run(() => gate.promise));
    const waiting = lane.run(answer('well'));
    expect(await lane.run(answer('well'))).toEqual(busy);
    expect([lane.inFlight, lane.waiting]).toEqual([2, 1]);
    gates.forEach(gate => gate.open('well'));
    expect(await waiting).toEqual(done('well'));
    await Promise.all(running);
    expect([lane.inFlight, lane.waiting]).toEqual([0, 0]);
  });

  it('keeps its bound and the order of those who wait under a storm', async () => {
    const { lane } = createLane({ maxInFlight: 3, maxWaiting: 1000 });
    const order: number[] = [];
    let running = 0;
    let most = 0;
    const calls = Array.from({ length: 500 }, (_, n) =>
      lane.run(async () => {
        order.push(n);
        most = Math.max(most, ++running);
        for (let turn = 0; turn < n % 7; turn++) await Promise.resolve();
        running -= 1;
        return 'well';
      }),
    );
    expect(new Set((await Promise.all(calls)).map(({ kind }) => kind))).toEqual(new Set(['done']));
    expect(order).toEqual(Array.from({ length: 500 }, (_, n) => n));
    expect([most, lane.inFlight]).toEqual([3, 0]);
  });

  it('gives up waiting after its bound, never runs that call, and leaves its place to others', async () => {
    const { lane, clock } = createLane({ maxInFlight: 1, maxWaiting: 1, maxWaitMs: 250 });
    const gate = createGate();
    const running = lane.run(() => gate.promise);
    const work = jest.fn(answer('well'));
    const waiting = lane.run(work);
    clock.advance(249);
    expect(lane.waiting).toBe(1);
    clock.advance(1);
    expect(await waiting).toEqual(busy);
    const next = lane.run(answer('well'));
    gate.open('well');
    expect(await next).toEqual(done('well'));
    await running;
    expect(work).not.toHaveBeenCalled();
  });

  it('waits no longer than its caller can', async () => {
    const { lane, clock } = createLane({ maxInFlight: 1 });
    const gate = createGate();
    const running = lane.run(() => gate.promise);
    const waiting = lane.run(answer('well'), 20);
    clock.advance(20);
    expect(await waiting).toEqual(busy);
    expect(await lane.run(answer('well'), 0)).toEqual(busy);
    gate.open('well');
    await running;
  });

  it('refuses those who wait as soon as the breaker opens, and nobody waits while it is open', async () => {
    const { lane } = createLane({ maxInFlight: 2, failuresToOpen: 1 });
    const gates = [createGate(), createGate()];
    const running = gates.map(gate => lane.run(() => gate.promise));
    const waiting = Array.from({ length: 5 }, () => lane.run(answer('well')));
    gates[0]?.open('unwell');
    expect(await Promise.all(waiting)).toEqual(new Array(5).fill(open));
    const late = createGate();
    // One place is free and one is taken by a call that hangs: neither matters now.
    expect(await lane.run(() => late.promise)).toEqual(open);
    expect([lane.inFlight, lane.waiting]).toEqual([1, 0]);
    gates[1]?.open('unwell');
    await Promise.all(running);
  });

  it('lets those who wait in when it is made greater', async () => {
    const { lane } = createLane({ maxInFlight: 1 });
    const gates = [createGate(), createGate(), createGate()];
    const running = gates.map(gate => lane.run(() => gate.promise));
    lane.resize(2);
    expect([lane.inFlight, lane.waiting]).toEqual([2, 1]);
    lane.resize(1);
    gates.forEach(gate => gate.open('well'));
    await Promise.all(running);
    expect(lane.inFlight).toBe(0);
  });

  it('says once that it refuses, and again only after half of its calls were done', async () => {
    const { lane, events } = createLane({ maxInFlight: 2, maxWaiting: 0 });
    for (let round = 0; round < 2; round++) {
      const gates = [createGate(), createGate()];
      const running = gates.map(gate => lane.run(() => gate.promise));
      for (let i = 0; i < 10; i++) expect(await lane.run(answer('well'))).toEqual(busy);
      gates.forEach(gate => gate.open('well'));
      await Promise.all(running);
    }
    expect(events).toEqual(['busy', 'busy']);
  });
});
