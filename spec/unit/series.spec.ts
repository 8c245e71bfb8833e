// Counters and histograms of the hot path, against prom-client's text of the same observations.
import { Counter, Histogram, Registry } from 'prom-client';
import { CounterFamily, HistogramFamily } from '../../src/api/series';

const labelSets = [
  { hook: 'beforeSave Puppy', outcome: 'changed' },
  { hook: 'quote " backslash \\ newline \n', outcome: 'failed' },
];

/** Samples and comments, without empty lines; `{}` and nothing are the same. */
const linesOf = (text: string): string[] => text.split('\n').filter(line => line !== '');

describe('series', () => {
  it('are written as prom-client writes them', async () => {
    const registry = new Registry();
    const registers = [registry];
    const labelNames = ['hook', 'outcome'];
    const theirs = new Histogram({ name: 'a', help: 'Of a.', labelNames, buckets: [0.1, 1, 10], registers });
    const theirCounts = new Counter({ name: 'b', help: 'Of b.', labelNames, registers });
    const ours = new HistogramFamily('a', 'Of a.', [0.1, 1, 10]);
    const ourCounts = new CounterFamily('b', 'Of b.');
    for (const labels of labelSets) {
      for (const value of [0, 0.1, 0.10001, 0.5, 10, 10.5, 1e9]) {
        theirs.observe(labels, value);
        ours.of(labels).observe(value);
        theirCounts.inc(labels);
        ourCounts.of(labels).add();
      }
    }
    expect([...linesOf(ours.render()), ...linesOf(ourCounts.render())]).toEqual(
      linesOf(await registry.metrics()),
    );
  });

  it('without labels are written without braces', async () => {
    const registry = new Registry();
    const theirs = new Histogram({ name: 'a', help: 'Of a.', buckets: [1], registers: [registry] });
    const ours = new HistogramFamily('a', 'Of a.', [1]);
    theirs.observe(2);
    ours.of({}).observe(2);
    expect(linesOf(ours.render())).toEqual(linesOf(await registry.metrics()));
  });

  it('go when they are removed', () => {
    const counts = new CounterFamily('b', 'Of b.');
    for (const labels of labelSets) counts.of(labels).add();
    counts.remove({ hook: 'beforeSave Puppy', outcome: 'changed' });
    counts.remove({ hook: 'nobody', outcome: 'changed' });
    expect(counts.render()).not.toContain('Puppy');
    expect(counts.render()).toContain('newline');
  });
});
