// One long-lived thing per network policy or pair of them, such as a guard: equal policies share it and its connections.
import { compileNetworkPolicy, type NetworkPolicy } from '../shared/network-options';
import {
  combineKeys,
  createAddressGuard,
  type AddressGuard,
  type AddressGuardOptions,
} from './address-guard';

/** A policy, and the one that narrows it. */
export type Policies = readonly [policy: NetworkPolicy, narrowedBy?: NetworkPolicy | undefined];

export interface GuardRegistry<Held> {
  /** What belongs to the policies; opened when asked for the first time. */
  find(...policies: Policies): Held;
  /** Forgets what belongs to none of these policies and gives it back, for the caller to close. */
  keepOnly(policies: readonly Policies[]): readonly Held[];
  /** Everything that was opened and not given back. */
  list(): readonly Held[];
}

/**
 * Builds a registry. Policies are told apart by their canonical key, so order and spelling of entries do not matter;
 * a policy object must not change after it was given.
 */
export function createGuardRegistry<Held extends object>({
  open,
  ...options
}: Omit<AddressGuardOptions, 'narrowedBy'> & {
  readonly open: (guard: AddressGuard) => Held;
}): GuardRegistry<Held> {
  const held = new Map<string, Held>();
  // Policies live as long as hooks do: the key of each is made once and not for every call.
  const keys = new WeakMap<NetworkPolicy, string>();

  function keyOf([policy, narrowedBy]: Policies): string {
    return combineKeys(
      narrowedBy === undefined ? [keyOfOne(policy)] : [keyOfOne(policy), keyOfOne(narrowedBy)],
    );
  }

  function keyOfOne(policy: NetworkPolicy): string {
    const known = keys.get(policy);
    if (known !== undefined) return known;
    const { key } = compileNetworkPolicy(policy);
    keys.set(policy, key);
    return key;
  }

  return {
    find: (...policies) => {
      const key = keyOf(policies);
      const known = held.get(key);
      if (known !== undefined) return known;
      const [policy, narrowedBy] = policies;
      const opened = open(createAddressGuard(policy, { ...options, narrowedBy }));
      held.set(key, opened);
      return opened;
    },
    keepOnly: policies => {
      const kept = new Set(policies.map(keyOf));
      const dropped: Held[] = [];
      for (const [key, value] of held) {
        if (kept.has(key)) continue;
        held.delete(key);
        dropped.push(value);
      }
      return dropped;
    },
    list: () => [...held.values()],
  };
}
