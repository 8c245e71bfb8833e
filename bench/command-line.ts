// What `npm run bench -- …` takes.
import { parseArgs } from 'node:util';
import { databaseKinds, type DatabaseKind } from './databases';

export const parts = ['blocking', 'events', 'scale'] as const;
export type Part = (typeof parts)[number];

export interface BenchOptions {
  readonly parts: readonly Part[];
  /** Measured rounds of each comparison; one more warms up. */
  readonly rounds: number;
  /** Of one variant in one round; slow cells take a share of it. */
  readonly requests: number;
  /** Scenarios whose name contains this. */
  readonly only: string | undefined;
  readonly database: DatabaseKind;
  /** Everything once and small, to see that it runs: its figures mean nothing. */
  readonly smoke: boolean;
  /** The folder of another tree of the package, such as a git worktree: the variant `before`. */
  readonly against: string | undefined;
  /** A folder for CPU profiles of the servers. */
  readonly profile: string | undefined;
  /** Where the JSON goes. Default: `bench/results/<time>.json`. */
  readonly output: string | undefined;
}

export const usage = `npm run bench -- [${parts.join('|')}] [--rounds 5] [--requests 400] [--only <scenario>]
  [--database ${databaseKinds.join('|')}] [--smoke] [--profile <folder>]
  [--against <folder>] [--output <file>]`;

/** Throws an Error that says what is wrong. */
export function parseCommandLine(args: readonly string[]): BenchOptions {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      requests: { type: 'string' },
      only: { type: 'string' },
      database: { type: 'string', default: 'postgres' },
      smoke: { type: 'boolean', default: false },
      against: { type: 'string' },
      profile: { type: 'string' },
      output: { type: 'string' },
    },
  });
  const database = databaseKinds.find(kind => kind === values.database);
  if (database === undefined) {
    throw new Error(`--database must be ${databaseKinds.join(' or ')}, got ${values.database}`);
  }
  return {
    parts: positionals.length === 0 || positionals[0] === 'all' ? parts : positionals.map(parsePart),
    rounds: parseCount('--rounds', values.rounds, values.smoke ? 1 : 5),
    requests: parseCount('--requests', values.requests, values.smoke ? 20 : 400),
    only: values.only,
    database,
    smoke: values.smoke,
    against: values.against,
    profile: values.profile,
    output: values.output,
  };
}

function parsePart(text: string): Part {
  const part = parts.find(name => name === text);
  if (part === undefined) throw new Error(`there is no part ${text}: ${parts.join(', ')}`);
  return part;
}

function parseCount(name: string, text: string | undefined, fallback: number): number {
  const count = text === undefined ? fallback : Number(text);
  if (!Number.isSafeInteger(count) || count < 1)
    throw new Error(`${name} must be 1 or more, got ${String(text)}`);
  return count;
}
