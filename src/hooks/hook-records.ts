// Settings and secrets of hooks, opened and sealed on their way from and to their rows.
import { WebhookError } from '../errors';
import type { Clock } from '../shared/clock';
import type { Hook, HookTarget } from './hook';
import type { HookWriter, SettingRow } from './hook-store';
import { findSealingBox } from './key-check';
import type { SecretBox, SecretBoxes } from './secret-box';
import { dropExpired } from './secret-rotation';
import { openStored } from './stored-hooks';
import { sealRecord, type HookRecord } from './stored-settings';

export interface HookRecordsParts {
  readonly boxes: SecretBoxes;
  readonly clock: Clock;
}

export class HookRecords {
  readonly #parts: HookRecordsParts;
  /** While the lock is held the database stays under one key: it is looked up once. */
  readonly #sealing = new WeakMap<HookWriter, Promise<SecretBox>>();

  constructor(parts: HookRecordsParts) {
    this.#parts = parts;
  }

  /** Throws BROKEN_SECRET, INVALID_HOOK. */
  open(target: HookTarget, row: SettingRow | undefined): HookRecord {
    return openStored(target, row, this.#parts.boxes);
  }

  tryOpen(target: HookTarget, row: SettingRow | undefined): HookRecord | undefined {
    try {
      return this.open(target, row);
    } catch (error) {
      if (error instanceof WebhookError) return undefined;
      throw error;
    }
  }

  /** What goes into the row, without secrets that have expired. Throws BROKEN_SECRET as findSealingBox does. */
  async seal(writer: HookWriter, target: HookTarget, record: HookRecord): Promise<string> {
    const secrets = record.secrets && dropExpired(record.secrets, this.#parts.clock.now());
    return sealRecord(target, { ...record, secrets }, await this.sealingBox(writer));
  }

  sealingBox(writer: HookWriter): Promise<SecretBox> {
    const known = this.#sealing.get(writer);
    if (known) return known;
    const found = findSealingBox(writer, this.#parts.boxes);
    this.#sealing.set(writer, found);
    return found;
  }

  async writeNew(writer: HookWriter, hook: Hook, record: HookRecord): Promise<void> {
    // What a hook of this name left behind, its createdAt too, is not this hook's.
    if (await writer.readSetting(hook.target)) await writer.removeSetting(hook.target);
    await this.write(writer, hook, record);
  }

  async write(writer: HookWriter, hook: Hook, record: HookRecord): Promise<void> {
    // Settings first: a crash in between leaves settings without a hook, which the next registration or start removes,
    // and never a hook that runs without the settings it was given.
    await writer.writeSetting(hook.target, await this.seal(writer, hook.target, record));
    await writer.writeHook(hook);
  }
}
