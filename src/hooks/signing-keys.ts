// The registry's view of the plugin's own signing keys, one text: what is in it is the signer's business.
import type { HookSettings } from './hook-settings';

export interface SigningKeys {
  /** The text with every key that these hooks need; undefined when `text` has them all. */
  complete(text: string | undefined, hooks: readonly HookSettings[]): Promise<string | undefined>;
  /** Takes a text into use. Throws BROKEN_SECRET when it is unreadable. */
  use(text: string | undefined): void;
  /** True when a hook with these settings signs with one of them. */
  isNeededBy(settings: HookSettings): boolean;
}
