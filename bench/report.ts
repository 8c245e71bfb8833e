// The form of results: tables for people, targets, and one JSON file with machine, versions and method.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import packageJson from '../package.json';
import type { BenchOptions, Part } from './command-line';
import type { Interval } from './measure';

export interface Table {
  readonly title: string;
  readonly rows: readonly Readonly<Record<string, string | number>>[];
}

export interface Target {
  readonly figure: string;
  readonly comparison: '<=' | '<' | '>=';
  readonly target: number;
  /** Undefined when it was not measured. */
  readonly found: number | undefined;
  /** Where it lies with 90 % confidence. */
  readonly interval?: Interval | undefined;
}

export interface PartResult {
  readonly part: Part;
  readonly tables: readonly Table[];
  readonly targets: readonly Target[];
  readonly skipped: readonly string[];
  /** All samples of all rounds. */
  readonly samples: unknown;
}

export function isReached({ comparison, target, found }: Target): boolean {
  if (found === undefined || Number.isNaN(found)) return false;
  switch (comparison) {
    case '<=':
      return found <= target;
    case '<':
      return found < target;
    case '>=':
      return found >= target;
    default:
      return comparison satisfies never;
  }
}

/**
 * How far a target is: `reached`, `not measured`, or by how much it is missed; with the addition `not certain` when the
 * target lies within the interval.
 */
export function verdictOf(target: Target): string {
  if (target.found === undefined || Number.isNaN(target.found)) return 'not measured';
  const [low, high] = target.interval ?? [target.found, target.found];
  const doubt = low <= target.target && target.target <= high && low < high ? ', not certain' : '';
  if (isReached(target)) return `reached${doubt}`;
  return `missed by ${rounded(Math.abs(target.found - target.target))}${doubt}`;
}

/** Three significant figures; whole numbers from 100 on. */
export function rounded(value: number): number {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}

export function printPart(result: PartResult): void {
  for (const { title, rows } of result.tables) {
    console.log(`\n${title}`);
    console.table(rows.map(row => Object.fromEntries(Object.entries(row).map(shown))));
  }
  console.log(`\n${result.part}: targets`);
  console.table(
    result.targets.map(target => ({
      figure: target.figure,
      target: `${target.comparison} ${target.target}`,
      found: target.found === undefined ? '-' : rounded(target.found),
      '90 % interval': target.interval ? target.interval.map(rounded).join(' to ') : '-',
      verdict: verdictOf(target),
    })),
  );
  for (const line of result.skipped) console.log(`skipped: ${line}`);
}

function shown([name, value]: [string, string | number]): [string, string | number] {
  return [name, typeof value === 'number' ? rounded(value) : value];
}

/** Writes everything to one file and answers its path. */
export function writeResults(
  options: BenchOptions,
  about: { readonly databases: object; readonly startedAt: Date },
  results: readonly PartResult[],
): string {
  const startedAt = about.startedAt.toISOString();
  const path = options.output ?? join(__dirname, 'results', `${startedAt.replace(/[:.]/g, '-')}.json`);
  mkdirSync(dirname(path), { recursive: true });
  const written = {
    startedAt,
    endedAt: new Date().toISOString(),
    machine: {
      cpus: cpus().length,
      model: cpus()[0]?.model,
      memoryBytes: totalmem(),
      kernel: release(),
    },
    versions: {
      node: process.version,
      'parse-server': packageJson.devDependencies['parse-server'],
      undici: packageJson.dependencies.undici,
      [packageJson.name]: `${packageJson.version} ${readCommit()}`,
      ...about.databases,
    },
    method: options,
    results: results.map(result => ({
      ...result,
      targets: result.targets.map(target => ({ ...target, verdict: verdictOf(target) })),
    })),
  };
  writeFileSync(path, `${JSON.stringify(written, null, 2)}\n`);
  return path;
}

function readCommit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], {
      cwd: __dirname,
      encoding: 'utf8',
    }).trim();
  } catch {
    return '';
  }
}
