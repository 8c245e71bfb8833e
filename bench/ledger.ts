// What was sent must be what arrived: a run whose ledger does not close is void.

/** One line of a ledger. */
export interface LedgerEntry {
  readonly what: string;
  readonly expected: number;
  readonly found: number;
}

export class VoidRunError extends Error {
  override readonly name = 'VoidRunError';
}

/** Throws a VoidRunError that names all lines that do not close. */
export function assertClosed(where: string, entries: readonly LedgerEntry[]): void {
  const open = entries.filter(({ expected, found }) => expected !== found);
  if (open.length === 0) return;
  const lines = open.map(({ what, expected, found }) => `${found} ${what} of ${expected}`);
  throw new VoidRunError(`void: ${where}: ${lines.join(', ')}`);
}
