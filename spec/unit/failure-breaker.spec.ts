// When a breaker opens, on a manual clock: failures in a row, and the share of failures among the latest calls.
import { laneDefaults, Lane, type Finding, type LaneEvent, type LaneOptions } from '../../src/http/lane';
import { minCallsJudged, rateWindowMs } from '../../src/http/failure-breaker';
import { ManualClock } from '../support/manual-clock';

function setUp(options: Partial<LaneOptions> = {}) {
  const clock = new ManualClock();
  const events: LaneEvent[] = [];
  const lane = new Lane<Finding>({
    options: { ...laneDefaults, ...options },
    clock,
    judge: result => result,
    onEvent: event => events.push(event),
  });
  return { clock, events, lane };
}

type Setting = ReturnType<typeof setUp>;

/** Calls at an even rate until the breaker opens or the time is over; the time that took. */
async function callUntilOpen(
  { clock, lane }: Setting,
  how: { readonly perSecond: number; readonly forMs: number; readonly finding: (call: number) => Finding },
): Promise<number> {
  const startedAt = clock.monotonicMs();
  for (let call = 0; clock.monotonicMs() - startedAt < how.forMs; call++) {
    clock.advance(1000 / how.perSecond);
    await lane.run(() => Promise.resolve(how.finding(call)));
    if (lane.state !== 'closed') break;
  }
  return clock.monotonicMs() - startedAt;
}

/** FFFFS and over again: four failures, never five in a row. */
const failsFourOfFive = (call: number): Finding => (call % 5 === 4 ? 'well' : 'unwell');
const well = (): Finding => 'well';

/** A small generator with a seed (mulberry32): the same calls fail in every run. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

describe('a receiver that fails four calls of five, never five in a row,', () => {
  it.each([20, 25, 50, 100, 1000, 5000])(
    'has its breaker open within a second when it is called %d times in it, after ten of being well',
    async perSecond => {
      const setting = setUp();
      await callUntilOpen(setting, { perSecond, forMs: 10_000, finding: well });
      const tookMs = await callUntilOpen(setting, { perSecond, forMs: 60_000, finding: failsFourOfFive });
      expect(setting.lane.state).toBe('open');
      expect(tookMs).toBeLessThan(rateWindowMs);
    },
  );

  it.each([0.1, 1, 5, 19])('has it open within 20 calls when they are %d a second', async perSecond => {
    const setting = setUp();
    await callUntilOpen(setting, { perSecond, forMs: 200_000, finding: well });
    const tookMs = await callUntilOpen(setting, { perSecond, forMs: 600_000, finding: failsFourOfFive });
    expect(setting.lane.state).toBe('open');
    expect(tookMs).toBeLessThanOrEqual((minCallsJudged / perSecond) * 1000);
  });

  it('never has it open when the share is not judged', async () => {
    const setting = setUp({ failurePercent: 0 });
    await callUntilOpen(setting, { perSecond: 100, forMs: 60_000, finding: failsFourOfFive });
    expect(setting.lane.state).toBe('closed');
  });

  it('has it open again after each probe that succeeds, judged by calls since then alone', async () => {
    const setting = setUp({ openMs: 1000 });
    await callUntilOpen(setting, { perSecond: 100, forMs: 60_000, finding: failsFourOfFive });
    for (let round = 0; round < 3; round++) {
      setting.clock.advance(1000);
      await setting.lane.run(() => Promise.resolve('well'));
      expect(setting.lane.state).toBe('closed');
      // Half of 20 calls have to fail anew.
      const perSecond = 100;
      const tookMs = await callUntilOpen(setting, { perSecond, forMs: 60_000, finding: failsFourOfFive });
      expect(setting.lane.state).toBe('open');
      expect(tookMs).toBeGreaterThanOrEqual(100);
      expect(tookMs).toBeLessThan(rateWindowMs);
    }
  });
});

describe('a receiver that hangs', () => {
  /**
   * Every place in flight is taken by a call; one that hangs ends after 5 s, unwell, and the next takes its place.
   * Gives the time from the first failure that is seen until the breaker is open.
   */
  async function hang(setting: Setting, hangs: (call: number) => boolean): Promise<number> {
    const { clock, lane } = setting;
    let firstFailureAt: number | undefined;
    let calls = 0;
    const stepMs = 10;
    for (let step = 0; step < 3000 && lane.state === 'closed'; step++) {
      // 500 calls a second are wanted.
      for (let wanted = 0; wanted < 5; wanted++) {
        const call = calls++;
        void lane.run(
          () =>
            new Promise<Finding>(resolve => {
              clock.schedule(hangs(call) ? 5000 : 10, () => {
                if (hangs(call)) firstFailureAt ??= clock.monotonicMs();
                resolve(hangs(call) ? 'unwell' : 'well');
              });
            }),
          0,
        );
      }
      clock.advance(stepMs);
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    }
    return clock.monotonicMs() - (firstFailureAt ?? 0);
  }

  it.each([
    ['every call', () => true],
    ['four calls of five', (call: number) => call % 5 !== 4],
    ['half of the calls', (call: number) => call % 2 === 0],
  ])('with %s has its breaker open within a second of the first that fails', async (_what, hangs) => {
    const setting = setUp();
    const tookMs = await hang(setting, hangs);
    expect(setting.lane.state).toBe('open');
    expect(tookMs).toBeLessThan(rateWindowMs);
  });
});

describe('a receiver that fails less often', () => {
  it.each([1, 20, 100, 500])('than half of %d calls a second keeps its breaker closed', async perSecond => {
    const setting = setUp();
    const finding = (call: number): Finding => (call % 5 < 2 ? 'unwell' : 'well');
    await callUntilOpen(setting, { perSecond, forMs: 30_000, finding });
    expect(setting.lane.state).toBe('closed');
  });

  it('keeps it closed with one call of ten failing at random, as far as the share goes', async () => {
    const random = createRandom(1);
    const setting = setUp({ failuresToOpen: 1000 });
    const finding = (): Finding => (random() < 0.1 ? 'unwell' : 'well');
    await callUntilOpen(setting, { perSecond: 50, forMs: 600_000, finding });
    expect(setting.lane.state).toBe('closed');
  });

  it('has it open at the share that is set', async () => {
    const setting = setUp({ failurePercent: 30 });
    const finding = (call: number): Finding => (call % 5 < 2 ? 'unwell' : 'well');
    const tookMs = await callUntilOpen(setting, { perSecond: 100, forMs: 30_000, finding });
    expect([setting.lane.state, tookMs < rateWindowMs]).toEqual(['open', true]);
  });

  it('is not judged by failures of former seconds once there are calls enough', async () => {
    const setting = setUp({ failuresToOpen: 1000 });
    const half = (call: number): Finding => (call < 9 ? 'unwell' : 'well');
    await callUntilOpen(setting, { perSecond: 100, forMs: 2000, finding: half });
    await callUntilOpen(setting, { perSecond: 100, forMs: 2000, finding: half });
    expect(setting.lane.state).toBe('closed');
  });
});
