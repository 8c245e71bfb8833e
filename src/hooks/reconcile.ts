// Brings the hooks that code declares into what is stored.
import { WebhookError } from '../errors';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import { generateSecret } from '../shared/secret-format';
import { assertSecretFits, parseDeclared, type Declaration, type Declared } from './declaration';
import { hookKey, hookLabel, type Hook } from './hook';
import type { HookRecords } from './hook-records';
import type { HookSettings } from './hook-settings';
import type { HookStore, HookWriter } from './hook-store';
import { rotate, wasReplaced } from './secret-rotation';
import type { HookRecord } from './stored-settings';
import { parseHookRow } from './validate-hook';

export interface ReconcileParts {
  readonly store: HookStore;
  readonly records: HookRecords;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly whyUnreachable: (url: string, settings: HookSettings) => string | undefined;
}

export interface Reconciliation {
  readonly created: string[];
  readonly updated: string[];
  /** In the database and not declared: drift. */
  readonly undeclared: string[];
  readonly removed: string[];
  /** The keys of those. */
  readonly removedKeys: string[];
}

/**
 * Creates what is missing and updates the rest to what is declared. Rows that are not declared are told in the answer,
 * and removed only if `removeOthers`. Throws INVALID_OPTION and writes nothing when a declaration is not valid.
 */
export async function reconcile(
  parts: ReconcileParts,
  declared: readonly Declaration[],
  removeOthers: boolean,
): Promise<Reconciliation> {
  const wanted = declared.map(parseDeclared);
  assertDeclarable(wanted, parts.whyUnreachable);
  const keys = new Set(wanted.map(({ hook }) => hookKey(hook.target)));
  const result: Reconciliation = { created: [], updated: [], undeclared: [], removed: [], removedKeys: [] };
  await parts.store.exclusively(async writer => {
    const rows = await readUsableHooks(writer);
    for (const each of wanted) {
      const outcome = await bringIn(parts, writer, {
        declared: each,
        row: rows.get(hookKey(each.hook.target)),
      });
      if (outcome !== 'unchanged') result[outcome].push(hookLabel(each.hook.target));
    }
    for (const [key, { target }] of rows) {
      if (keys.has(key)) continue;
      result.undeclared.push(hookLabel(target));
      if (!removeOthers) continue;
      await writer.removeHook(target);
      await writer.removeSetting(target);
      result.removed.push(hookLabel(target));
      result.removedKeys.push(key);
    }
  });
  return result;
}

function assertDeclarable(
  wanted: readonly Declared[],
  whyUnreachable: ReconcileParts['whyUnreachable'],
): void {
  for (const [at, { hook, settings }] of wanted.entries()) {
    const why = whyUnreachable(hook.url, settings);
    if (why !== undefined)
      throw new WebhookError('INVALID_OPTION', `hooks.${at} is invalid: url is refused: ${why}`);
  }
  const keys = new Set(wanted.map(({ hook }) => hookKey(hook.target)));
  if (keys.size !== wanted.length)
    throw new WebhookError('INVALID_OPTION', 'hooks declares the same hook twice');
}

async function readUsableHooks(writer: HookWriter): Promise<ReadonlyMap<string, Hook>> {
  const rows = new Map<string, Hook>();
  for (const row of await writer.readHooks()) {
    const parsed = parseHookRow(row);
    if (parsed.kind === 'hook') rows.set(hookKey(parsed.hook.target), parsed.hook);
  }
  return rows;
}

interface BringIn {
  readonly declared: Declared;
  readonly row: Hook | undefined;
}

async function bringIn(
  { records, clock, logger }: ReconcileParts,
  writer: HookWriter,
  { declared, row }: BringIn,
): Promise<'created' | 'updated' | 'unchanged'> {
  const { hook, secret } = declared;
  if (!row) {
    await records.writeNew(writer, hook, declaredRecord(declared, undefined, clock));
    return 'created';
  }
  const stored = await writer.readSetting(hook.target);
  // What cannot be read is replaced by what is declared, if that includes the secret: the receiver has one, and a new
  // one would not be it.
  const current = records.tryOpen(hook.target, stored);
  if (!current && secret === undefined) return 'unchanged';
  const next = declaredRecord(declared, current, clock);
  if (isStale(declared, current))
    logger.warn(
      `the declared secret of webhook ${hookLabel(hook.target)} is not used: a rotation replaced it. Declare the one that ` +
        'signs now, or none',
    );
  if (row.url === hook.url && current && canonical(current) === canonical(next)) return 'unchanged';
  await records.write(writer, hook, next);
  return 'updated';
}

/** True when the secret was replaced since it was declared, which may have been after a leak. */
function isStale({ secret }: Declared, current: HookRecord | undefined): boolean {
  return secret !== undefined && current?.secrets !== undefined && wasReplaced(current.secrets, secret);
}

/**
 * A declared secret takes the place of another with a grace period, unless that one took its place before; without one,
 * the hook keeps or gets its own.
 */
function declaredRecord(declared: Declared, current: HookRecord | undefined, clock: Clock): HookRecord {
  const { settings } = declared;
  const old = current?.secrets;
  const secret = isStale(declared, current) ? undefined : declared.secret;
  if (old) assertSecretFits(settings, secret ?? old.current);
  if (!old) return { settings, secrets: { current: secret ?? generateSecret(clock), old: [] } };
  if (secret === undefined || secret === old.current) return { settings, secrets: old };
  return { settings, secrets: rotate(old, { newSecret: secret, nowMs: clock.now() }) };
}

function canonical(record: HookRecord): string {
  return JSON.stringify(record, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}
