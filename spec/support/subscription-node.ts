// The subscriptions of one server process on a given storage, without Parse Server.
import type { EndpointSender } from '../../src/events/endpoint';
import type { InstalledSubscription } from '../../src/events/installed-subscription';
import type { RegistrationLock } from '../../src/events/subscription-changes';
import { CompiledMatcher } from '../../src/events/subscription-matcher';
import { SubscriptionRegistry } from '../../src/events/subscription-registry';
import type { SubscriptionStore } from '../../src/events/subscription-store';
import { SecretBoxes } from '../../src/hooks/secret-box';
import { ManualClock } from './manual-clock';
import { MemoryHookStore } from './memory-hook-store';
import { MemorySubscriptionStore } from './memory-subscription-store';
import { boxOf } from './secret-boxes';

export interface SubscriptionNode {
  readonly clock: ManualClock;
  readonly registry: SubscriptionRegistry;
  readonly matcher: CompiledMatcher;
  readonly lines: string[];
  /** Endpoints whose deliveries were cancelled. */
  readonly cancelled: string[];
}

export interface NodeOptions<Store extends SubscriptionStore> {
  readonly clock: ManualClock;
  readonly store: Store;
  readonly lock: RegistrationLock;
  readonly encryptionKey?: string;
  readonly previousKeys?: readonly string[];
  /** In place of those of the two above: for storage that a real server has sealed in. */
  readonly boxes?: SecretBoxes;
  readonly whyUnreachable?: (url: string) => string | undefined;
  /** Default notes the endpoint only. */
  readonly cancelDeliveries?: (endpoint: string, removedAt: number) => Promise<unknown>;
  readonly senderOf?: (subscription: InstalledSubscription) => EndpointSender;
}

export function openSubscriptionNode<Store extends SubscriptionStore>(
  options: NodeOptions<Store>,
): SubscriptionNode & { readonly store: Store } {
  const { clock, store, lock, encryptionKey = 'some key', previousKeys = [] } = options;
  const lines: string[] = [];
  const cancelled: string[] = [];
  const log = (line: string): void => void lines.push(line);
  const logger = { info: log, warn: log, error: log };
  const registry = new SubscriptionRegistry({
    store,
    lock,
    clock,
    logger,
    boxes:
      options.boxes ??
      new SecretBoxes(
        boxOf(encryptionKey),
        previousKeys.map(key => boxOf(key)),
      ),
    whyUnreachable: options.whyUnreachable ?? (() => undefined),
    completeKeys: async () => undefined,
    senderOf:
      options.senderOf ??
      (() => {
        throw new Error('nothing is sent here');
      }),
    cancelDeliveries: async (endpoint, removedAt) => {
      cancelled.push(endpoint);
      await options.cancelDeliveries?.(endpoint, removedAt);
    },
  });
  const matcher = new CompiledMatcher({ registry, clock, logger });
  return { clock, store, registry, matcher, lines, cancelled };
}

/** On storage in memory. */
export function openMemoryNode(
  options: Partial<NodeOptions<MemorySubscriptionStore>> = {},
): ReturnType<typeof openSubscriptionNode<MemorySubscriptionStore>> {
  const clock = options.clock ?? new ManualClock();
  const store = options.store ?? new MemorySubscriptionStore(clock);
  return openSubscriptionNode({ lock: new MemoryHookStore(clock), ...options, clock, store });
}
