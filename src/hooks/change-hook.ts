// A change of one hook, checked against what is stored of it: which text its settings become.
import { WebhookError } from '../errors';
import { assertCredentialsStay } from './credentials-of-origin';
import { assertSecretFits, type Declaration } from './declaration';
import { isRowOf, type HookTarget, type RowName } from './hook';
import type { HookRecords } from './hook-records';
import { changeSettings, type HookSettings } from './hook-settings';
import type { HookWriter } from './hook-store';
import { assertTlsFits, parseHookRow } from './validate-hook';

export interface HookChange {
  /** Checked. */
  readonly url: string | undefined;
  readonly settings: Declaration | undefined;
}

export interface ChangeHookParts {
  readonly records: HookRecords;
  /** Throws INVALID_HOOK for a URL that may not be called under these settings. */
  readonly assertReachable: (url: string, settings: HookSettings) => void;
}

/** Throws UNKNOWN_HOOK, INVALID_HOOK, BROKEN_SECRET. */
export async function changeHook(
  parts: ChangeHookParts,
  writer: HookWriter,
  { target, change }: { readonly target: HookTarget; readonly change: HookChange },
): Promise<void> {
  const row = (await writer.readHooks()).findLast(each => isRowOf(target, each));
  if (row === undefined) throw unknownHook(target);
  if (change.url === undefined) assertUsable(row);
  const from = (row as { url?: unknown }).url;
  const settings = await changedSettings(parts, writer, { target, change, from });
  // Written for a new URL too: the row's updatedAt is the hook's.
  await writer.writeSetting(target, settings);
  if (change.url !== undefined) await writer.writeHook({ target, url: change.url });
}

interface Changed {
  readonly target: HookTarget;
  readonly change: HookChange;
  readonly from: unknown;
}

async function changedSettings(
  { records, assertReachable }: ChangeHookParts,
  writer: HookWriter,
  { target, change, from }: Changed,
): Promise<string> {
  const { url, settings: given } = change;
  const stored = await writer.readSetting(target);
  const unchanged = stored?.settings ?? '{}';
  const to = url ?? String(from);
  // A hook whose settings cannot be read can still be sent elsewhere: they stay as they are.
  const record = given ? records.open(target, stored) : records.tryOpen(target, stored);
  const settings = given && record ? changeSettings(target, record.settings, given) : record?.settings;
  if (url !== undefined) assertCredentialsStay({ from, to, stored: stored?.settings, settings: given ?? {} });
  if (!record || !settings) {
    assertReachable(to, {});
    return unchanged;
  }
  if (given && record.secrets) assertSecretFits(settings, record.secrets.current);
  // Not of other changes: a row that has both already must stay changeable.
  if (url !== undefined || given?.tls !== undefined) assertTlsFits(to, settings);
  assertReachable(to, settings);
  return given ? records.seal(writer, target, { ...record, settings }) : unchanged;
}

function assertUsable(row: unknown): void {
  const parsed = parseHookRow(row);
  if (parsed.kind === 'unusable')
    throw new WebhookError('INVALID_HOOK', `the hook has no usable url: ${parsed.reason}`);
}

/** The built-in's words for a target without a hook. */
export function unknownHook(target: RowName): WebhookError {
  return new WebhookError(
    'UNKNOWN_HOOK',
    target.kind === 'function'
      ? `no function named: ${target.functionName} is defined`
      : `class ${target.className} does not exist`,
  );
}
