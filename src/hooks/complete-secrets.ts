// Gives every hook a secret and makes the server keys that hooks need: rows of the built-in come without.
import type { Clock } from '../shared/clock';
import { generateSecret } from '../shared/secret-format';
import type { HookRecords } from './hook-records';
import type { HookStore } from './hook-store';
import type { SecretOpener } from './secret-box';
import type { SecretSet } from './secret-rotation';
import type { SigningKeys } from './signing-keys';
import { fitsKey, keysPlace, type StoredHooks } from './stored-hooks';

export interface CompleteSecretsParts {
  readonly store: HookStore;
  readonly records: HookRecords;
  readonly boxes: SecretOpener;
  readonly clock: Clock;
  readonly keys: Pick<SigningKeys, 'complete'>;
  /** Takes a message for the operator. */
  readonly report: (message: string) => void;
}

/** The lock is held for 10 s at most: 10,000 hooks that come from the built-in would take longer. */
const hooksPerLock = 100;

/** True when something was written. */
export async function completeSecrets(parts: CompleteSecretsParts, stored: StoredHooks): Promise<boolean> {
  const { store, records, boxes, clock, keys: signingKeys, report } = parts;
  const { installed, keys, keysError } = stored;
  const hooks = [...installed.values()];
  const bare = hooks.filter(({ broken, secrets }) => !broken && !secrets);
  // Sealed with a key that may be the wrong one, a new secret would be lost to the nodes that have the right one.
  if (!fitsKey(stored)) {
    const labels = bare.map(({ label }) => label);
    if (bare.length > 0) report(`no secret is made for ${labels.join(', ')}: others cannot be decrypted`);
    return false;
  }
  const needs = hooks.map(({ settings }) => settings);
  // Keys that cannot be opened are never replaced: receivers trust them.
  const lacksKeys = !keysError && (await signingKeys.complete(keys, needs)) !== undefined;
  if (bare.length === 0 && !lacksKeys) return false;
  for (let at = 0; at < bare.length; at += hooksPerLock) {
    await store.exclusively(async writer => {
      for (const { hook } of bare.slice(at, at + hooksPerLock)) {
        const record = records.open(hook.target, await writer.readSetting(hook.target));
        if (record.secrets) continue;
        const secrets: SecretSet = { current: generateSecret(clock), old: [] };
        const sealed = await records.seal(writer, hook.target, { ...record, secrets });
        await writer.writeSetting(hook.target, sealed);
      }
    });
  }
  if (!lacksKeys) return true;
  await store.exclusively(async writer => {
    const sealed = await writer.readKeys();
    const text = sealed === undefined ? undefined : boxes.open(sealed, keysPlace);
    const completed = await signingKeys.complete(text, needs);
    if (completed !== undefined)
      await writer.writeKeys((await records.sealingBox(writer)).seal(completed, keysPlace));
  });
  return true;
}
