// Which operations, concurrencies, sizes and receivers the blocking part goes through. The full product is taken of saves
// with a receiver that answers at once; the rest is reduced, so that the part takes less than ten minutes.

import type { BenchOptions } from './command-line';

export interface Cell {
  readonly name: string;
  readonly operation: 'save' | 'delete' | 'function';
  /** Requests of the load process under way at once. */
  readonly concurrency: number;
  /** Of the object, or the parameters. */
  readonly bytes: number;
  /** Until the receiver answers. */
  readonly delayMs: number;
  /** Of `--requests`. */
  readonly share: number;
  /** Times `--rounds`. */
  readonly roundShare: number;
}

/**
 * Many short rounds of what targets are judged by: a round is disturbed or not, and the more there are the less it matters
 * to their median.
 */
const mainRoundShare = 8;

export const cells: readonly Cell[] = [
  ...[1, 16, 64].flatMap(concurrency =>
    [200, 2000, 20_000].map(bytes => ({
      name: `save ${bytes} B, concurrency ${concurrency}`,
      operation: 'save' as const,
      concurrency,
      bytes,
      delayMs: 0,
      share: concurrency === 1 ? 0.5 : 1,
      roundShare: concurrency === 16 && bytes === 2000 ? mainRoundShare : 1,
    })),
  ),
  ...[1, 16, 64].map(concurrency => ({
    name: `save 200 B, concurrency ${concurrency}, receiver takes 20 ms`,
    operation: 'save' as const,
    concurrency,
    bytes: 200,
    delayMs: 20,
    share: concurrency === 1 ? 0.1 : 1,
    roundShare: 1,
  })),
  ...[16, 64].map(concurrency => ({
    name: `function 200 B, concurrency ${concurrency}`,
    operation: 'function' as const,
    concurrency,
    bytes: 200,
    delayMs: 0,
    share: 1,
    roundShare: 1,
  })),
  {
    name: 'delete 200 B, concurrency 16',
    operation: 'delete',
    concurrency: 16,
    bytes: 200,
    delayMs: 0,
    share: 1,
    roundShare: 1,
  },
];

/** Measured rounds of a cell. */
export function roundsOf(cell: Cell, options: BenchOptions): number {
  return options.smoke ? options.rounds : options.rounds * cell.roundShare;
}

/** A class of its own for each cell, so that tables and plans of one do not touch another. */
export function classNameOf(cell: Pick<Cell, 'name'>): string {
  return `B${cell.name.replace(/[^A-Za-z0-9]/g, '')}`;
}

/** The one that targets are judged by. */
export const mainCell = 'save 2000 B, concurrency 16';

/** Those of a smoke run: one of each operation. */
export const smokeCells: readonly string[] = [
  mainCell,
  'function 200 B, concurrency 16',
  'delete 200 B, concurrency 16',
];
