// What dispatching sees of `after*` hooks, and of hooks and subscriptions together.
import type { InstalledHook } from '../hooks/installed-hook';
import type { EndpointKey } from './delivery';
import type { Endpoint, Endpoints, EndpointSender } from './endpoint';
import { standardRetryPolicy } from './retry-policy';

const prefix = 'hook/';

/** `hook/trigger/Puppy/afterSave`. */
export function hookEndpointKey(hookKey: string): EndpointKey {
  return `${prefix}${hookKey}`;
}

/** The key of the hook, or undefined for endpoints of other kinds. */
export function hookKeyOfEndpoint(key: EndpointKey): string | undefined {
  return key.startsWith(prefix) ? key.slice(prefix.length) : undefined;
}

/** Whether a receiver's 410 or `webhook-delivery: disable` pauses it: a subscription, and no hook. */
export function canBePaused(key: EndpointKey): boolean {
  return hookKeyOfEndpoint(key) === undefined;
}

export interface HookEndpointsParts {
  readonly registry: {
    find(key: string): InstalledHook | undefined;
    list(): readonly InstalledHook[];
    refresh(): Promise<void>;
    onChange(listener: () => void): void;
  };
  /** Throws a WebhookError when it cannot sign. */
  readonly senderOf: (hook: InstalledHook) => EndpointSender;
}

/** An inactive hook, and one whose settings cannot be read, keeps what waits for it. */
export function createHookEndpoints({ registry, senderOf }: HookEndpointsParts): Endpoints {
  const made = new WeakMap<InstalledHook, Endpoint>();
  let paused: readonly EndpointKey[] = [];
  registry.onChange(() => {
    paused = registry
      .list()
      .filter(hook => !hook.blocking && isPaused(hook))
      .map(({ key }) => hookEndpointKey(key));
  });
  const endpointOf = (hook: InstalledHook): Endpoint => {
    const { key, label, settings } = hook;
    return {
      key: hookEndpointKey(key),
      label: `webhook ${label}`,
      url: hook.hook.url,
      isPaused: isPaused(hook),
      resumedAt: undefined,
      timeoutMs: settings.timeoutMs,
      firstByteTimeoutMs: settings.firstByteTimeoutMs,
      concurrency: settings.maxInFlight,
      retry: standardRetryPolicy,
      sender: () => senderOf(hook),
    };
  };
  return {
    find: key => {
      const hook = registry.find(hookKeyOfEndpoint(key) ?? '');
      if (!hook || hook.blocking) return undefined;
      const known = made.get(hook) ?? endpointOf(hook);
      made.set(hook, known);
      return known;
    },
    paused: () => paused,
    refresh: () => registry.refresh(),
    onChange: listener => registry.onChange(listener),
  };
}

function isPaused({ settings, broken }: InstalledHook): boolean {
  return !settings.active || broken !== undefined;
}

/** Endpoints of hooks and of subscriptions as one. */
export function joinEndpoints(ofHooks: Endpoints, ofSubscriptions: Endpoints): Endpoints {
  return {
    find: key => (hookKeyOfEndpoint(key) === undefined ? ofSubscriptions : ofHooks).find(key),
    paused: () => [...ofHooks.paused(), ...ofSubscriptions.paused()],
    refresh: async () => {
      await Promise.all([ofHooks.refresh(), ofSubscriptions.refresh()]);
    },
    onChange: listener => {
      ofHooks.onChange(listener);
      ofSubscriptions.onChange(listener);
    },
  };
}
