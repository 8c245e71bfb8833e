// One lane per hook and URL, and what is said of them.
import { HookCaller } from '../../src/blocking/hook-caller';
import { Lanes } from '../../src/blocking/lanes';
import type { HookSettings } from '../../src/hooks/hook-settings';
import { installHook, type InstalledHook } from '../../src/hooks/installed-hook';
import type { ExchangeClient, ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
import { laneDefaults, type Finding } from '../../src/http/lane';
import { ManualClock } from '../support/manual-clock';

function setUp() {
  const lines: string[] = [];
  const log =
    (level: string) =>
    (line: string): void =>
      void lines.push(`${level} ${line}`);
  const clock = new ManualClock();
  const lanes = new Lanes<Finding>({
    options: { ...laneDefaults, failuresToOpen: 2, openMs: 1000 },
    clock,
    logger: { info: log('info'), warn: log('warn'), error: log('error') },
    judge: result => result,
  });
  return { lanes, lines, clock };
}

function hookAt(url: string, className = 'A', settings: HookSettings = {}): InstalledHook {
  return installHook({
    hook: { target: { kind: 'trigger', className, triggerName: 'beforeSave' }, url },
    settings,
    secrets: undefined,
    defaults: {},
  });
}

const answer = (result: Finding) => () => Promise.resolve(result);

async function open(lanes: Lanes<Finding>, hook: InstalledHook): Promise<void> {
  for (let i = 0; i < 2; i++) await lanes.of(hook).run(answer('unwell'));
}

describe('Lanes', () => {
  it('keeps one lane for all installations of a hook with the same URL', () => {
    const { lanes } = setUp();
    expect(lanes.of(hookAt('http://a.test/x'))).toBe(lanes.of(hookAt('http://a.test/x')));
  });

  it('knows hooks without calls as closed and idle', () => {
    expect(setUp().lanes.stateOf(hookAt('http://a.test/'))).toEqual({ breaker: 'closed', inFlight: 0 });
  });

  it('tells hooks of one origin apart', async () => {
    const { lanes } = setUp();
    const [a, b] = [hookAt('http://a.test/', 'A'), hookAt('http://a.test/', 'B')];
    await open(lanes, a);
    expect([lanes.stateOf(a).breaker, lanes.stateOf(b).breaker]).toEqual(['open', 'closed']);
    expect(await lanes.of(b).run(answer('well'))).toMatchObject({ kind: 'done' });
  });

  it.each(['http://b.test/', 'http://a.test/corrected'])('starts afresh at %s', async url => {
    const { lanes } = setUp();
    await open(lanes, hookAt('http://a.test/'));
    const moved = hookAt(url);
    expect(lanes.stateOf(moved)).toEqual({ breaker: 'closed', inFlight: 0 });
    expect(await lanes.of(moved).run(answer('well'))).toMatchObject({ kind: 'done' });
  });

  it('opens for the new URL also while calls to the former one are still made', async () => {
    const { lanes } = setUp();
    const [former, moved] = [hookAt('http://a.test/'), hookAt('http://b.test/')];
    for (let i = 0; i < 2; i++) {
      await lanes.of(former).run(answer('well'));
      await lanes.of(moved).run(answer('unwell'));
    }
    expect(lanes.stateOf(moved).breaker).toBe('open');
  });

  it('keeps the state of the breaker when maxInFlight changes, and applies the new bound', async () => {
    const { lanes, clock } = setUp();
    await open(lanes, hookAt('http://a.test/'));
    const narrow = hookAt('http://a.test/', 'A', { maxInFlight: 1 });
    expect(await lanes.of(narrow).run(answer('well'))).toMatchObject({ refusal: 'breaker-open' });
    clock.advance(1000);
    await lanes.of(narrow).run(answer('well'));
    let release = (_: Finding): void => undefined;
    const running = lanes.of(narrow).run(() => new Promise<Finding>(resolve => (release = resolve)));
    expect(await lanes.of(narrow).run(answer('well'), 0)).toMatchObject({ refusal: 'busy' });
    expect(lanes.stateOf(narrow).inFlight).toBe(1);
    release('well');
    await running;
  });

  it('forgets hooks that are no longer registered, and says nothing more of them', async () => {
    const { lanes, lines } = setUp();
    const hook = hookAt('http://a.test/');
    const lane = lanes.of(hook);
    lanes.keepOnly(new Set());
    for (let i = 0; i < 3; i++) await lane.run(answer('unwell'));
    expect(lines).toEqual([]);
    expect(lanes.stateOf(hook).breaker).toBe('closed');
  });

  it('logs when a breaker opens and closes, not the probes between', async () => {
    const { lanes, lines, clock } = setUp();
    const hook = hookAt('http://a.test/');
    await open(lanes, hook);
    for (let i = 0; i < 5; i++) {
      for (let refusals = 0; refusals < 20; refusals++) await lanes.of(hook).run(answer('well'));
      clock.advance(1000);
      await lanes.of(hook).run(answer('unwell'));
    }
    clock.advance(1000);
    await lanes.of(hook).run(answer('well'));
    expect(lines).toEqual([
      'warn webhook beforeSave A: breaker is open, calls are answered by its failurePolicy',
      'info webhook beforeSave A: breaker is closed, the receiver answers again',
    ]);
  });

  it('logs once that too many calls are in flight', async () => {
    const { lanes, lines } = setUp();
    const hook = hookAt('http://a.test/', 'A', { maxInFlight: 1 });
    let release = (_: Finding): void => undefined;
    const running = lanes.of(hook).run(() => new Promise<Finding>(resolve => (release = resolve)));
    for (let i = 0; i < 5; i++) await lanes.of(hook).run(answer('well'), 0);
    release('well');
    await running;
    expect(lines).toEqual([
      'warn webhook beforeSave A: too many calls are in flight, calls are answered by its failurePolicy',
    ]);
  });
});

/** A client of the exchange's contract whose exchanges end when the test says so. */
class HeldClient implements ExchangeClient {
  readonly requests: ExchangeRequest[] = [];
  readonly #held: ((result: ExchangeResult) => void)[] = [];

  exchange(request: ExchangeRequest): Promise<ExchangeResult> {
    this.requests.push(request);
    return new Promise(resolve => this.#held.push(resolve));
  }

  async close(): Promise<void> {
    // Holds nothing open.
  }

  timeOut(queued: { readonly queued?: true } = {}): void {
    const more = {
      ...queued,
      failure: 'timeout',
      phase: 'first-byte',
      detail: '',
      durationMs: 1,
      tries: 1,
    } as const;
    for (const resolve of this.#held.splice(0)) resolve({ kind: 'failure', ...more });
  }
}

function setUpCaller() {
  const clock = new ManualClock();
  const client = new HeldClient();
  const lines: string[] = [];
  const log = (line: string): void => void lines.push(line);
  const caller = new HookCaller({
    client,
    clock,
    logger: { info: log, warn: log, error: log },
    senders: { of: () => ({ route: { key: 'plain' }, headers: () => ({}) }) },
    lane: { ...laneDefaults, failuresToOpen: 2 },
  });
  const call = (hook: InstalledHook, leftMs: number): Promise<unknown> =>
    caller.call(
      hook,
      () => ({ fields: { triggerName: 'beforeSave', object: {}, master: false }, depth: 1 }),
      clock.monotonicMs() + leftMs,
      () => ({ kind: 'unchanged' }),
    );
  return { clock, client, caller, call, lines };
}

describe('a blocking call in its lane', () => {
  const narrow = hookAt('http://a.test/', 'A', { maxInFlight: 1 });

  it('is not sent when the client has no time left while it waits, and the receiver is not blamed', async () => {
    const { clock, client, caller, call } = setUpCaller();
    const first = call(narrow, 8000);
    const second = call(narrow, 100);
    clock.advance(100);
    expect(await second).toEqual({
      kind: 'refused',
      code: 124,
      message: 'webhook beforeSave A failed: timed out',
    });
    client.timeOut();
    await first;
    expect(client.requests).toHaveLength(1);
    expect(caller.laneOf(narrow)).toEqual({ breaker: 'closed', inFlight: 0 });
  });

  it('is refused as busy after its wait, with no log line of its own', async () => {
    const { clock, client, call, lines } = setUpCaller();
    const first = call(narrow, 8000);
    const others = Array.from({ length: 10 }, () => call(narrow, 8000));
    clock.advance(laneDefaults.maxWaitMs);
    expect(await Promise.all(others)).toEqual(
      Array(10).fill({
        kind: 'refused',
        code: 141,
        message: 'webhook beforeSave A failed: too many calls are in flight',
      }),
    );
    expect(lines).toHaveLength(1);
    client.timeOut();
    await first;
  });

  it('has what its wait left of timeoutMs', async () => {
    const { clock, client, call } = setUpCaller();
    const first = call(narrow, 8000);
    const second = call(narrow, 8000);
    clock.advance(200);
    client.timeOut();
    await first;
    expect(client.requests.map(({ timeoutMs }) => timeoutMs)).toEqual([5000, 4800]);
    client.timeOut();
    await second;
  });

  it.each([
    ['does not count when it had less than 100 ms because others had used the time', 5000, 99, 'closed'],
    ['counts when it had 100 ms', 5000, 100, 'open'],
    ['counts when the hook asks for no more', 50, 8000, 'open'],
  ] as const)('that times out %s', async (_what, timeoutMs, leftMs, breaker) => {
    const { client, caller, call } = setUpCaller();
    const hook = hookAt('http://a.test/', 'A', { timeoutMs });
    for (let i = 0; i < 4; i++) {
      const calling = call(hook, leftMs);
      client.timeOut();
      await calling;
    }
    expect(caller.laneOf(hook).breaker).toBe(breaker);
    expect(client.requests).toHaveLength(breaker === 'open' ? 2 : 4);
  });

  it('that times out while it waits for a connection does not count', async () => {
    const { client, caller, call } = setUpCaller();
    const hook = hookAt('http://a.test/');
    for (let i = 0; i < 6; i++) {
      const calling = call(hook, 8000);
      client.timeOut({ queued: true });
      expect(await calling).toMatchObject({ kind: 'refused', code: 124 });
    }
    expect(caller.laneOf(hook).breaker).toBe('closed');
    expect(client.requests).toHaveLength(6);
  });

  it('uses the connections of its own hook', async () => {
    const { client, call } = setUpCaller();
    const hooks = [hookAt('http://a.test/', 'A'), hookAt('http://a.test/', 'B')];
    const calls = hooks.map(hook => call(hook, 8000));
    expect(client.requests.map(({ lane }) => lane)).toEqual(hooks.map(({ key }) => key));
    client.timeOut();
    await Promise.all(calls);
  });
});
