// What stores on Parse's DatabaseController share: classes of our own, values of rows, errors.
import type { DatabaseController } from './internals';

/** Master key only. */
const masterOnly = { find: {}, get: {}, count: {}, create: {}, update: {}, delete: {}, addField: {} };

/**
 * For `find`: whatever `readPreference` the application's MongoDB address has. A secondary that lags would show a lock as
 * free, and a subscription as gone whose deliveries are then cancelled for good. PostgreSQL's adapter takes no notice.
 */
export const fromPrimary = { readPreference: 'PRIMARY' };
/** The same for a row that is read by its key. */
export const onlyRow = { ...fromPrimary, limit: 1 };

/** Creates a master-only class where it is missing. Safe on many nodes at once. */
export async function ensureClass(
  database: DatabaseController,
  className: string,
  fields: object,
): Promise<void> {
  const schema = await database.loadSchema({ clearCache: true });
  if (await schema.hasClass(className)) return;
  try {
    await schema.addClassIfNotExists(className, fields, masterOnly);
  } catch (error) {
    // Another node was faster: the class is there, which is all that is wanted.
    const now = await database.loadSchema({ clearCache: true });
    if (!(await now.hasClass(className))) throw error;
  }
}

export function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** The adapters give createdAt and updatedAt as ISO strings; a Date or REST date is taken too. */
export function isoOf(value: unknown): string {
  if (value instanceof Date) return value.toISOString();
  if (typeof value === 'object' && value !== null) return textOf((value as { iso?: unknown }).iso);
  return textOf(value);
}

export function isParseError(error: unknown, code: number): boolean {
  return typeof error === 'object' && error !== null && (error as { code?: unknown }).code === code;
}

/** For `catch`: answers `value` for an error of this code, and throws any other. */
export function ignoreParseError<T>(code: number, value: T): (error: unknown) => T {
  return error => {
    if (isParseError(error, code)) return value;
    throw error;
  };
}
