// A HookStore in memory: what the registry's unit tests run on, held to the same contract as the one in a database.
import { hookFields, hookKey, isRowOf, type RowName } from '../../src/hooks/hook';
import type { HookStore, HookWriter, SettingRow, StoredState, SeenNode } from '../../src/hooks/hook-store';
import type { Clock } from '../../src/shared/clock';

export class MemoryHookStore implements HookStore {
  readonly #clock: Clock;
  rows: unknown[] = [];
  readonly settings = new Map<string, SettingRow>();
  keys: string | undefined;
  keyCheck: string | undefined;
  reads = 0;
  #version = 0;
  #changing = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async prepare(): Promise<void> {
    for (const key of [...this.settings.keys()]) {
      if (!this.rows.some(row => isRowOf(nameOfKey(key), row))) this.settings.delete(key);
    }
  }

  readonly #nodes = new Map<string, SeenNode>();

  async readVersion(): Promise<string | undefined> {
    return this.#changing > 0 ? undefined : String(this.#version);
  }

  async readHooks(): Promise<readonly unknown[]> {
    return [...this.rows];
  }

  async readAll(): Promise<StoredState> {
    this.reads++;
    const version = await this.readVersion();
    return { version, ...this.#content() };
  }

  #content(): Omit<StoredState, 'version'> {
    const { keys, keyCheck } = this;
    return { hooks: [...this.rows], settings: [...this.settings.values()], keys, keyCheck };
  }

  async announce(node: SeenNode): Promise<void> {
    this.#nodes.set(node.node, node);
    for (const [name, { seenAt }] of this.#nodes) {
      if (seenAt < node.seenAt - 3_600_000) this.#nodes.delete(name);
    }
  }

  async readNodes(since: number): Promise<readonly SeenNode[]> {
    return [...this.#nodes.values()].filter(({ seenAt }) => seenAt >= since);
  }

  exclusively<T>(work: (writer: HookWriter) => Promise<T>): Promise<T> {
    const run = this.#last.then(async () => {
      this.#changing++;
      try {
        return await work(this.#writer());
      } finally {
        this.#changing--;
        this.#version++;
      }
    });
    this.#last = run.catch(() => undefined);
    return run;
  }

  #writer(): HookWriter {
    return {
      readAll: async () => this.#content(),
      readHooks: () => this.readHooks(),
      readSetting: async target => this.settings.get(hookKey(target)),
      writeHook: async hook => {
        this.rows = [...this.rows.filter(row => !isRowOf(hook.target, row)), hookFields(hook)];
      },
      removeHook: async target => {
        this.rows = this.rows.filter(row => !isRowOf(target, row));
      },
      writeSetting: async (target, settings) => {
        const key = hookKey(target);
        const updatedAt = new Date(this.#clock.now()).toISOString();
        const row = { key, settings, createdAt: this.settings.get(key)?.createdAt ?? updatedAt, updatedAt };
        this.settings.set(key, row);
        return row;
      },
      removeSetting: async target => {
        this.settings.delete(hookKey(target));
      },
      readKeys: async () => this.keys,
      writeKeys: async keys => {
        this.keys = keys;
      },
      removeKeys: async () => {
        this.keys = undefined;
      },
      readKeyCheck: async () => this.keyCheck,
      writeKeyCheck: async keyCheck => {
        this.keyCheck = keyCheck;
      },
    };
  }
}

function nameOfKey(key: string): RowName {
  const [kind, first = '', second = ''] = key.split('/');
  return kind === 'function'
    ? { kind: 'function', functionName: first }
    : { kind: 'trigger', className: first, triggerName: second };
}
