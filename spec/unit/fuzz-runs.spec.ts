// Holds `npm run test:fuzz` to what docs/testing.md says of it: which files, how many cases, how long at most.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import packageJson from '../../package.json';
import { propertyLimitMs } from '../support/property-runs';

describe('npm run test:fuzz', () => {
  const script = packageJson.scripts['test:fuzz'];
  const runs = Number(/FUZZ_RUNS=(\d+)/.exec(script)?.[1]);
  const pattern = new RegExp(/'(.+)'/.exec(script)?.[1] ?? '$^');
  const properties = readdirSync(__dirname)
    .filter(name => name !== basename(__filename))
    .map(name => ({ path: `spec/unit/${name}`, text: readFileSync(join(__dirname, name), 'utf8') }))
    .filter(({ text }) => text.includes("'../support/property-runs'"))
    .map(({ path, text }) => ({ path, count: text.split(/^ *propertyRuns,$/m).length - 1 }));
  /** The files whose cases the end of the run is held to. */
  const reporter = readFileSync(join(__dirname, '../support/summary-reporter.cjs'), 'utf8');
  const named = new RegExp(/^const fuzzed = \/(.+)\/;$/m.exec(reporter)?.[1] ?? '$^');
  const sum = (list: typeof properties): number => list.reduce((total, { count }) => total + count, 0);
  const total = sum(properties);
  const ofNamed = sum(properties.filter(({ path }) => named.test(basename(path))));

  it('runs every file whose property tests it can lengthen', () => {
    expect(properties.filter(({ path, count }) => count === 0 || !pattern.test(path))).toEqual([]);
  });

  it('ends within a minute, even when every property is cut short', () => {
    expect(packageJson.jest.maxWorkers).toBe(2);
    // A worker that ends last began its last file when the other was not idle.
    const longestFile = Math.max(...properties.map(({ count }) => count));
    expect((total / 2 + longestFile) * propertyLimitMs).toBeLessThanOrEqual(50_000);
  });

  it('tries 100,000 cases or more of replies, addresses and URLs, as many as the documentation says', () => {
    expect(ofNamed * runs).toBeGreaterThanOrEqual(100_000);
    const page = readFileSync(resolve(__dirname, '../../docs/testing.md'), 'utf8');
    expect(page).toContain(`${(total * runs).toLocaleString('en')} in all`);
    expect(page).toContain(`${(ofNamed * runs).toLocaleString('en')} of them of replies, addresses and URLs`);
    expect(page).toContain(`${total} properties`);
  });
});
