// A delivery in the memory of a dispatcher: it holds the lease, and is the only one of this node.
import type { Delivery, EndpointKey, NewDelivery } from './delivery';

export type HeldStage =
  | 'waiting' // in its lane
  | 'attempting'
  | 'recording' // attempted, and the store does not know yet
  | 'gone'; // no longer this node's

export type HeldOrigin =
  | 'handed' // by who inserted it, or by a queue that named it
  | 'found'; // by a claim of what is due

export interface HeldDelivery {
  readonly id: string;
  readonly endpoint: EndpointKey;
  /** As the store last gave it. */
  delivery: Delivery;
  /** Of the body that it was counted with. */
  readonly bodyLength: number;
  /** Of the lease that holds now. */
  owner: string;
  /** When that lease ends, on the monotonic clock. */
  leaseEndsAt: number;
  stage: HeldStage;
  readonly origin: HeldOrigin;
  /** It was written before its endpoint was resumed, and goes out at a bounded rate. */
  isBacklog: boolean;
  /** What it says was removed meanwhile: no further attempt begins. */
  isWithdrawn: boolean;
}

export function asFresh(delivery: NewDelivery): Delivery {
  return {
    id: delivery.id,
    webhookId: delivery.webhookId,
    endpoint: delivery.endpoint,
    type: delivery.type,
    className: delivery.className,
    objectId: delivery.objectId,
    body: delivery.body,
    createdAt: delivery.createdAt,
    isTest: delivery.isTest,
    depth: delivery.depth,
    traceparent: delivery.traceparent,
    state: 'pending',
    attemptCount: 0,
    attemptsBeforeReplay: 0,
    nextAttemptAt: delivery.nextAttemptAt,
    lastStatus: undefined,
    lastError: undefined,
    finishedAt: undefined,
  };
}

/** Most ids in one statement. */
const idsAtOnce = 500;

/** Groups what is held by the owner of its lease, in groups that fit one statement. */
export function groupByOwner(
  held: Iterable<HeldDelivery>,
): readonly { readonly owner: string; readonly members: readonly HeldDelivery[] }[] {
  const groups: { owner: string; members: HeldDelivery[] }[] = [];
  const open = new Map<string, HeldDelivery[]>();
  for (const one of held) {
    let members = open.get(one.owner);
    if (members === undefined || members.length >= idsAtOnce) {
      members = [];
      open.set(one.owner, members);
      groups.push({ owner: one.owner, members });
    }
    members.push(one);
  }
  return groups;
}
