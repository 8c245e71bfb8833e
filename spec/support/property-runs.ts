// How long properties are tried: a thousand cases in `npm test`, as many as FUZZ_RUNS says in `npm run test:fuzz`, where each
// property stops after some seconds on a busy machine, and the run tells how many cases there were.
import { appendFileSync } from 'node:fs';
import { basename } from 'node:path';
import fc from 'fast-check';

/**
 * Bound on one property of `npm run test:fuzz`, in milliseconds. With two workers, all files cut short take at most half
 * of all properties times this, and one file more: spec/unit/fuzz-runs.spec.ts holds that to a minute.
 */
export const propertyLimitMs = 4000;

const { FUZZ_RUNS: givenRuns } = process.env;

/** The tally's file is made and read by spec/support/summary-reporter.cjs. */
const countRuns: fc.Plugin<unknown> = () => ({
  onAllRunsComplete: ({ numRuns, interrupted }) => {
    const { FUZZ_TALLY: tally } = process.env;
    const file = basename(expect.getState().testPath ?? '');
    if (tally !== undefined) appendFileSync(tally, `${numRuns} ${interrupted} ${file}\n`);
  },
});

/** Parameters of fc.assert. */
export const propertyRuns = {
  numRuns: Number(givenRuns ?? 1000),
  plugins: givenRuns === undefined ? [] : [fc.interruptAfterTimeLimit(propertyLimitMs), countRuns],
};
