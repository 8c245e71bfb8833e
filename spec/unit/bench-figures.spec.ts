// How the benchmarks sum up what they measured, and when they call a run void.
import { assertClosed, VoidRunError } from '../../bench/ledger';
import { confidenceOf, median, medianOf, slopeOf } from '../../bench/measure';
import { verdictOf, type Target } from '../../bench/report';

describe('figures of the benchmarks', () => {
  it('are medians: the middle one, or the mean of both in the middle', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([9, 1, 5, 3])).toBe(4);
    expect(median([])).toBeNaN();
  });

  it('lie, with 90 %, where drawing the rounds anew puts them', () => {
    const rounds = [10, 11, 9, 10, 12, 8, 10, 11, 9, 500];
    const [low, high] = confidenceOf(rounds.length, drawn =>
      medianOf(drawn, round => rounds[round] ?? NaN),
    ) ?? [NaN, NaN];
    // The one that was disturbed does not matter.
    expect(low).toBeGreaterThanOrEqual(9);
    expect(high).toBeLessThanOrEqual(12);
    expect(low).toBeLessThan(10.5);
    expect(high).toBeGreaterThanOrEqual(10);
  });

  it('take the same rounds of all variants', () => {
    const none = [1, 2, 3, 4, 5];
    const twice = none.map(value => value * 2);
    const at = (of: readonly number[], drawn: readonly number[]): number =>
      medianOf(drawn, round => of[round] ?? NaN);
    expect(confidenceOf(5, drawn => at(twice, drawn) / at(none, drawn))).toEqual([2, 2]);
  });

  it('have no interval of less than five rounds', () => {
    expect(confidenceOf(4, () => 1)).toBeUndefined();
  });

  it('tell growth from noise by its standard error', () => {
    const exact = slopeOf([0, 1, 2, 3].map(x => [x, 5 + 2 * x]));
    expect(exact.perUnit).toBeCloseTo(2);
    expect(exact.error).toBeCloseTo(0);
    expect(slopeOf([0, 1, 2, 3].map(x => [x, x % 2])).error).toBeGreaterThan(0.1);
  });
});

describe('a target', () => {
  const target: Target = { figure: 'a ratio', comparison: '<=', target: 0.5, found: 0.4 };

  it.each<[Partial<Target>, string]>([
    [{}, 'reached'],
    [{ interval: [0.3, 0.45] }, 'reached'],
    [{ interval: [0.3, 0.6] }, 'reached, not certain'],
    [{ found: 0.75 }, 'missed by 0.25'],
    [{ found: 0.75, interval: [0.45, 0.9] }, 'missed by 0.25, not certain'],
    [{ comparison: '>=' }, 'missed by 0.1'],
    [{ comparison: '<', found: 0.5 }, 'missed by 0'],
    [{ found: undefined }, 'not measured'],
    [{ found: NaN }, 'not measured'],
  ])('with %j is %s', (given, verdict) => {
    expect(verdictOf({ ...target, ...given })).toBe(verdict);
  });
});

describe('a ledger', () => {
  it('voids the run when something that was sent did not come, and names it', () => {
    const entries = [
      { what: 'requests succeeded', expected: 400, found: 400 },
      { what: 'calls came', expected: 400, found: 399 },
    ];
    expect(() => assertClosed('a save, round 1', entries)).toThrow(
      new VoidRunError('void: a save, round 1: 399 calls came of 400'),
    );
    expect(() => assertClosed('a save, round 1', entries.slice(0, 1))).not.toThrow();
  });
});
