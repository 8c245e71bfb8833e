// At start: is the encryption key the right one, and is everything under it? Finds a wrong key before anything is written,
// decides between servers that start at once with different ones, and seals anew what a previous key opens.
import { WebhookError } from '../errors';
import type { Logger } from '../shared/logger';
import { parseDeclared, type Declaration, type Declared } from './declaration';
import { hookKey, hookLabel, parseHookKey } from './hook';
import { resolveSettings, type HookSettings } from './hook-settings';
import type { HookStore, HookWriter, SettingRow, StoredState } from './hook-store';
import type { InstalledHook } from './installed-hook';
import { keyStateOf, otherKeyMessage, putUnderKey } from './key-check';
import type { SecretBoxes } from './secret-box';
import type { SigningKeys } from './signing-keys';
import { fitsKey, isUndecryptable, keysPlace, readStoredHooks, type StoredHooks } from './stored-hooks';
import { resealRecord } from './stored-settings';

/** Settings sealed anew under one lock: each takes a few milliseconds, and the lock is held for 10 s at most. */
const batchSize = 100;

export interface EstablishKeyParts {
  readonly store: HookStore;
  readonly boxes: SecretBoxes;
  readonly keys: Pick<SigningKeys, 'isNeededBy'>;
  readonly logger: Logger;
  readonly defaults: HookSettings;
}

export interface KeyRequest {
  /** What is reconciled next: what does not open may be replaced, if every such hook is declared with its secret. */
  readonly declared: readonly Declaration[];
  /**
   * The operator's word that the key before is lost: the database is put under this one, server keys that do not open
   * are removed, and hooks that do not open stay as they are, rejecting every call.
   */
  readonly isLost: boolean;
  /** Labels of what else does not open, such as subscriptions: named in the same error. Default none. */
  readonly alsoShut?: readonly string[];
}

/**
 * Throws BROKEN_SECRET, which names all that does not open, and changes nothing when something was sealed with a key that
 * is not among `boxes`. Otherwise the database is under the current key afterwards, unless that was replaced by a previous
 * one already.
 */
export async function establishKey(parts: EstablishKeyParts, request: KeyRequest): Promise<void> {
  const { store, boxes, logger } = parts;
  let state: StoredContent = await store.readAll();
  assertOpens(parts, request, state);
  const { isLost } = request;
  const resealsKeys = resealKeys(state, boxes) !== undefined;
  const removesKeys = isLost && areKeysShut(state, boxes);
  let lagsBehind = doesLagBehind(state, parts, request);
  if (!lagsBehind && (keyStateOf(state.keyCheck, boxes) !== 'current' || resealsKeys || removesKeys)) {
    state = await store.exclusively(async writer => {
      const stored = await writer.readAll();
      // Another server may have sealed something since the first look.
      assertOpens(parts, request, stored);
      lagsBehind = doesLagBehind(stored, parts, request);
      if (lagsBehind) return stored;
      await putUnderKey(writer, boxes);
      const keys = resealKeys(stored, boxes);
      if (keys !== undefined) await writer.writeKeys(keys);
      else if (isLost && areKeysShut(stored, boxes)) await writer.removeKeys();
      return stored;
    });
  }
  if (lagsBehind) {
    logger.warn(laggingMessage);
    return;
  }
  if (isLost) logger.warn(lostMessage);
  // After the database is under the current key: from here on nobody seals anything with another one.
  const hooks = await resealSettings(parts, state);
  if (hooks > 0 || resealsKeys)
    logger.info(
      `webhooks: secrets of ${hooks} hooks, kept under a previous encryption key, are under the current one now`,
    );
}

/**
 * A server of the first step of a change that starts after one of the second: it must not take the change back, or the
 * old key could never be left out. With isLost the operator says which key is to be.
 */
function doesLagBehind(
  { keyCheck }: StoredContent,
  { boxes }: EstablishKeyParts,
  { isLost }: KeyRequest,
): boolean {
  return !isLost && keyStateOf(keyCheck, boxes) === 'successor';
}

const laggingMessage =
  'webhooks: the encryptionKey of this server was replaced by one of its previousEncryptionKeys, which stays in use: give ' +
  'this server that one as encryptionKey; a key that was replaced does not come back';

const lostMessage =
  'webhooks: started with encryptionKeyLost; take the option out again when hooks that cannot be read are replaced';

function areKeysShut({ keys }: StoredContent, boxes: SecretBoxes): boolean {
  return keys !== undefined && !boxes.find(keys, keysPlace);
}

type StoredContent = Omit<StoredState, 'version'>;

/** The server's keys under the current key; undefined when they are, when there are none, and when they do not open. */
function resealKeys({ keys }: StoredContent, boxes: SecretBoxes): string | undefined {
  const box = keys === undefined ? undefined : boxes.find(keys, keysPlace);
  if (keys === undefined || !box || box === boxes.current) return undefined;
  return boxes.current.seal(box.open(keys, keysPlace), keysPlace);
}

async function resealSettings(
  { store, boxes }: EstablishKeyParts,
  { settings }: StoredContent,
): Promise<number> {
  const formerRows = settings.filter(row => resealRecord(row.key, row.settings, boxes) !== undefined);
  for (let at = 0; at < formerRows.length; at += batchSize) {
    const batch = new Set(formerRows.slice(at, at + batchSize).map(({ key }) => key));
    await store.exclusively(async writer => {
      const { settings: rows } = await writer.readAll();
      for (const row of rows.filter(({ key }) => batch.has(key))) await resealRow(writer, row, boxes);
    });
  }
  return formerRows.length;
}

async function resealRow(writer: HookWriter, row: SettingRow, boxes: SecretBoxes): Promise<void> {
  const name = parseHookKey(row.key);
  const resealed = resealRecord(row.key, row.settings, boxes);
  if (name && resealed !== undefined) await writer.writeSetting(name, resealed);
}

function assertOpens(
  { boxes, keys, defaults }: EstablishKeyParts,
  { declared, isLost, alsoShut = [] }: KeyRequest,
  state: StoredContent,
): void {
  const wanted = new Map(declared.map(parseDeclared).map(each => [hookKey(each.hook.target), each]));
  if (isLost) return;
  const stored = readStoredHooks(state, { boxes, defaults, previous: new Map() });
  const shut = [...stored.installed.values()].filter(isUndecryptable);
  if (alsoShut.length > 0 || shut.some(({ key }) => wanted.get(key)?.secret === undefined))
    throw undecryptable([...labelsOf(shut), ...alsoShut]);
  if (stored.keyState === 'foreign')
    throw shut.length > 0
      ? undecryptable(labelsOf(shut))
      : new WebhookError('BROKEN_SECRET', otherKeyMessage);
  if (!stored.keysError) return;
  const keyless = needingKeys({ keys, defaults }, stored, wanted);
  if (keyless.length > 0) throw undecryptable(keyless);
  // Without a secret that opens, nothing says that the server's keys were lost earlier and this key is the right one.
  if (shut.length === 0 && !fitsKey(stored)) throw undecryptable(['the server itself']);
}

/** The labels of all hooks that will sign with the server's keys once what is wanted is in force. */
function needingKeys(
  { keys, defaults }: Pick<EstablishKeyParts, 'keys' | 'defaults'>,
  { installed }: StoredHooks,
  wanted: ReadonlyMap<string, Declared>,
): readonly string[] {
  const kept = [...installed.values()].filter(
    ({ key, settings }) => !wanted.has(key) && keys.isNeededBy(settings),
  );
  const declared = [...wanted.values()].filter(({ settings }) =>
    keys.isNeededBy(resolveSettings(settings, defaults)),
  );
  return [...labelsOf(kept), ...declared.map(({ hook }) => hookLabel(hook.target))];
}

export function labelsOf(hooks: readonly InstalledHook[]): readonly string[] {
  return hooks.map(({ label }) => label);
}

export function undecryptable(labels: readonly string[]): WebhookError {
  return new WebhookError(
    'BROKEN_SECRET',
    `secrets of ${labels.join(', ')} cannot be decrypted: give the encryptionKey (or master key) they were stored with, ` +
      'as encryptionKey or in previousEncryptionKeys; if it is lost, see encryptionKeyLost',
  );
}
