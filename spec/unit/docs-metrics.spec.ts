// Holds the tables of docs/metrics.md against the registry, both ways.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { maxLabels } from '../../src/api/hook-labels';
import { deliveryErrors, type CountedAttempt } from '../../src/api/delivery-metrics';
import { createMetrics, rejectionCodes, triggerLabels } from '../../src/api/metrics';
import { failureKinds } from '../../src/blocking/failure-message';
import { installHook } from '../../src/hooks/installed-hook';
import { attemptOf, failedWith } from '../support/ended-attempts';

const text = readFileSync(resolve(__dirname, '../../docs/metrics.md'), 'utf8');

function rowsUnder(header: string): readonly (readonly string[])[] {
  const lines = text.split('\n');
  const start = lines.findIndex(line => line.startsWith(`| ${header} |`));
  const end = lines.findIndex((line, at) => at > start && !line.startsWith('|'));
  return lines.slice(start + 2, end).map(row => row.split('|').map(cell => cell.trim()));
}

function quoted(cell: string | undefined): string[] {
  return [...(cell ?? '').matchAll(/`([^`]+)`/g)].map(([, word]) => word ?? '');
}

interface Family {
  readonly type: string;
  readonly labels: readonly string[];
}

/** Every metric with a sample, as a scraper sees it. */
async function scrape(): Promise<{
  readonly families: Readonly<Record<string, Family>>;
  readonly values: ReadonlyMap<string, ReadonlySet<string>>;
}> {
  const hook = installHook({
    hook: {
      target: { kind: 'trigger', className: 'Puppy', triggerName: 'beforeSave' },
      url: 'http://receiver.test/',
    },
    settings: {},
    secrets: undefined,
    defaults: {},
  });
  const metrics = createMetrics({
    listHooks: () => [hook],
    readLane: () => ({ breaker: 'closed', inFlight: 0 }),
    readSubscriptions: () => [{ name: 'orders', breaker: 'closed', inFlight: 0 }],
    readEvents: () => ({ spooled: 0, subscriptions: { healthy: 1, failing: 0, paused: 0, broken: 0 } }),
  });
  for (const key of ['hook/trigger/Puppy/afterSave', 'subscription/one']) {
    const tell = (outcome: CountedAttempt['outcome'], state: CountedAttempt['state']): void =>
      metrics.attemptEnded(attemptOf({ key, outcome, state }));
    tell({ kind: 'succeeded' }, 'succeeded');
    tell({ kind: 'aborted' }, 'cancelled');
    for (const error of deliveryErrors.filter(label => label !== 'none'))
      tell(failedWith(error), 'exhausted');
  }
  const base = { hook, durationMs: 1, failedOpen: true, overBudget: true };
  for (const outcome of ['changed', 'unchanged'] as const) metrics.callEnded({ ...base, outcome });
  for (const code of rejectionCodes) {
    metrics.callEnded({
      ...base,
      outcome: 'rejected',
      rejectionCode: code === 'other' ? 4242 : Number(code),
    });
  }
  for (const failure of failureKinds) metrics.callEnded({ ...base, outcome: 'failed', failure });
  const families: Record<string, Family> = {};
  const values = new Map<string, Set<string>>();
  let current = '';
  for (const line of (await metrics.render()).split('\n')) {
    const [, name, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
    if (name !== undefined && type !== undefined) {
      current = name;
      families[name] = { type, labels: [] };
    }
    const family = families[current];
    if (line.startsWith('#') || line === '' || family === undefined) continue;
    const pairs = [...line.matchAll(/(\w+)="([^"]*)"/g)].filter(([, label]) => label !== 'le');
    for (const [, label = '', value = ''] of pairs)
      values.set(label, (values.get(label) ?? new Set()).add(value));
    const labels = new Set([...family.labels, ...pairs.map(([, label = '']) => label)]);
    families[current] = { ...family, labels: [...labels] };
  }
  return { families, values };
}

describe('the documented metrics', () => {
  it('are all metrics there are, with their types and labels', async () => {
    const documented = rowsUnder('metric').map(([, name, type, labels]) => [
      quoted(name)[0],
      { type, labels: quoted(labels) },
    ]);
    expect(Object.fromEntries(documented)).toEqual((await scrape()).families);
  });

  it('have the documented values of labels, and no others', async () => {
    const { values } = await scrape();
    const documented = new Map(rowsUnder('label').map(([, label, cell]) => [quoted(label)[0], quoted(cell)]));
    expect([...documented.keys()].sort()).toEqual([...values.keys()].sort());
    for (const label of ['outcome', 'code', 'kind', 'error', 'state']) {
      expect([label, documented.get(label)?.sort()]).toEqual([label, [...(values.get(label) ?? [])].sort()]);
    }
    expect(documented.get('trigger')).toEqual(triggerLabels);
  });

  it('names the bound of hooks', () => {
    expect(text).toContain(`${maxLabels.toLocaleString('en')} hooks have a \`hook\` of their own`);
  });
});
