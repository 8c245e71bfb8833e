// The server's own signing keys in use on this node, and which of them hooks need.
import {
  addKey,
  emptyKeyRing,
  hasKey,
  parseKeyRing,
  replaceKeys,
  serializeKeyRing,
  type KeyRing,
  type RingKey,
} from '../http/key-ring';
import type { HookSettings } from '../hooks/hook-settings';
import type { SigningKeys } from '../hooks/signing-keys';
import type { Clock } from '../shared/clock';

export class ServerKeys implements SigningKeys {
  readonly #clock: Clock;
  #text: string | undefined;
  #ring: KeyRing = emptyKeyRing;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Changes object when the keys change. */
  get ring(): KeyRing {
    return this.#ring;
  }

  use(text: string | undefined): void {
    if (text === this.#text) return;
    this.#ring = parseKeyRing(text);
    this.#text = text;
  }

  isNeededBy(settings: HookSettings): boolean {
    return neededKeys([settings]).size > 0;
  }

  async complete(text: string | undefined, hooks: readonly HookSettings[]): Promise<string | undefined> {
    const ring = parseKeyRing(text);
    const completed = await this.#completed(ring, neededKeys(hooks));
    return completed === ring ? undefined : serializeKeyRing(completed);
  }

  async #completed(ring: KeyRing, needed: ReadonlySet<RingKey>): Promise<KeyRing> {
    let completed = ring;
    for (const key of withItsPeer(needed)) {
      if (!hasKey(completed, key, this.#clock.now())) completed = await addKey(completed, key, this.#clock);
    }
    return completed;
  }

  /** The text with one more key of a kind; with `revokeOthers` it is the only one of that kind, and signs at once. */
  async rotated(
    text: string | undefined,
    key: RingKey,
    { revokeOthers }: { readonly revokeOthers: boolean },
  ): Promise<string> {
    const change = revokeOthers ? replaceKeys : addKey;
    const changed = await change(parseKeyRing(text), key, this.#clock);
    return serializeKeyRing(await this.#completed(changed, new Set([key])));
  }
}

/**
 * Keys of tokens are made of both kinds at once, and the set is empty before, which no cache keeps: the first key of the
 * other kind would sign at once later, and gateways would refuse it for as long as they keep the set without it.
 */
function withItsPeer(needed: ReadonlySet<RingKey>): ReadonlySet<RingKey> {
  const isBearerNeeded = needed.has('RS256') || needed.has('ES256');
  return isBearerNeeded ? new Set<RingKey>([...needed, 'RS256', 'ES256']) : needed;
}

function neededKeys(hooks: readonly HookSettings[]): ReadonlySet<RingKey> {
  const needed = new Set<RingKey>();
  for (const { signatures, bearer } of hooks) {
    if (signatures?.includes('v1a')) needed.add('ed25519');
    if (bearer && bearer.algorithm !== 'HS256') needed.add(bearer.algorithm);
  }
  return needed;
}
