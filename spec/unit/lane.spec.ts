// The breaker and the bound on calls in flight of one receiver.
import { Lane, laneDefaults, type LaneOptions, type LaneResult, type LaneState } from '../../src/http/lane';
import { systemClock, type Clock } from '../../src/shared/clock';

interface Gate {
  readonly promise: Promise<string>;
  open(result: string): void;
}

function createGate(): Gate {
  let open = (_result: string): void => undefined;
  const promise = new Promise<string>(resolve => (open = resolve));
  return { promise, open: result => open(result) };
}

/** A clock whose timers run when the test says so. */
function createManualClock(): Clock & { fire(): void } {
  const tasks = new Set<() => void>();
  return {
    ...systemClock,
    schedule: (_delayMs, task) => {
      tasks.add(task);
      return () => tasks.delete(task);
    },
    fire: () => {
      for (const task of [...tasks]) {
        tasks.delete(task);
        task();
      }
    },
  };
}

function createLane(
  options: Partial<LaneOptions> = {},
  clock: Clock = systemClock,
): { lane: Lane<string>; states: LaneState[] } {
  const states: LaneState[] = [];
  const lane = new Lane<string>({
    options: { ...laneDefaults, ...options },
    clock,
    isFailure: result => result === 'bad',
    onStateChange: state => states.push(state),
  });
  return { lane, states };
}

const answer = (result: string) => () => Promise.resolve(result);
const open: LaneResult<string> = { kind: 'refused', refusal: 'breaker-open' };
const busy: LaneResult<string> = { kind: 'refused', refusal: 'busy' };

describe('a lane', () => {
  beforeEach(() => jest.useFakeTimers({ doNotFake: ['queueMicrotask', 'nextTick', 'setImmediate'] }));
  afterEach(() => jest.useRealTimers());

  it('hands results on', async () => {
    const { lane, states } = createLane();
    expect(await lane.run(answer('good'))).toEqual({ kind: 'done', result: 'good' });
    expect([lane.state, lane.inFlight, states]).toEqual(['closed', 0, []]);
  });

  it('opens after failures in a row and then refuses without calling', async () => {
    const { lane, states } = createLane({ failuresToOpen: 3 });
    for (let i = 0; i < 3; i++) await lane.run(answer('bad'));
    const work = jest.fn(answer('good'));
    expect(await lane.run(work)).toEqual(open);
    expect(work).not.toHaveBeenCalled();
    expect(states).toEqual(['open']);
  });

  it('stays closed when successes come between failures', async () => {
    const { lane } = createLane({ failuresToOpen: 2 });
    for (const result of ['bad', 'good', 'bad', 'good', 'bad']) await lane.run(answer(result));
    expect(lane.state).toBe('closed');
  });

  it('lets one probe through when its time has come, refuses the others meanwhile, and closes on success', async () => {
    const { lane, states } = createLane({ failuresToOpen: 1, openMs: 1000 });
    await lane.run(answer('bad'));
    jest.advanceTimersByTime(1001);
    const gate = createGate();
    const probe = lane.run(() => gate.promise);
    await Promise.resolve();
    expect(await lane.run(answer('good'))).toEqual(open);
    gate.open('good');
    expect(await probe).toEqual({ kind: 'done', result: 'good' });
    expect(await lane.run(answer('good'))).toEqual({ kind: 'done', result: 'good' });
    expect(states).toEqual(['open', 'half-open', 'closed']);
  });

  it('opens again when the probe fails', async () => {
    const { lane, states } = createLane({ failuresToOpen: 1, openMs: 1000 });
    await lane.run(answer('bad'));
    jest.advanceTimersByTime(1001);
    await lane.run(answer('bad'));
    expect(await lane.run(answer('good'))).toEqual(open);
    expect(states).toEqual(['open', 'half-open', 'open']);
  });

  it('runs no more than its bound at once, lets some wait, and refuses the rest', async () => {
    const { lane } = createLane({ maxInFlight: 2, maxWaiting: 1 }, createManualClock());
    const gates = [createGate(), createGate()];
    const running = gates.map(gate => lane.run(() => gate.promise));
    const waiting = lane.run(answer('third'));
    expect(await lane.run(answer('fourth'))).toEqual(busy);
    expect(lane.inFlight).toBe(2);
    gates.forEach(gate => gate.open('ok'));
    expect(await waiting).toEqual({ kind: 'done', result: 'third' });
    await Promise.all(running);
    expect(lane.inFlight).toBe(0);
  });

  it('gives up waiting after its bound and never runs that call', async () => {
    const clock = createManualClock();
    const { lane } = createLane({ maxInFlight: 1, maxWaiting: 5 }, clock);
    const gate = createGate();
    const running = lane.run(() => gate.promise);
    const work = jest.fn(answer('late'));
    const waiting = lane.run(work);
    clock.fire();
    expect(await waiting).toEqual(busy);
    gate.open('ok');
    await running;
    expect(await lane.run(answer('next'))).toEqual({ kind: 'done', result: 'next' });
    expect(work).not.toHaveBeenCalled();
  });
});
