// One run: clients save, a server process dies in the middle of it and comes back, and the account is closed.
import { setTimeout as delay } from 'node:timers/promises';
import {
  afterSaveOf,
  DeliveryLedger,
  eventOf,
  type LedgerBalance,
  type ObjectEvent,
} from '../support/delivery-ledger';
import { masterKey } from '../support/parse-application';
import type { ParseProcess } from '../support/parse-process';
import { Reply, type ReceivedCall, type WebhookReceiver } from '../support/webhook-receiver';
import { createSeededRandom, type SeededRandom } from './seeded-random';
import type { ServerFleet } from './server-fleet';
import type { WorkerSlot } from './worker-slot';

export const className = 'Parcel';

/** Beside attempts that end at once there are some that fail: they are what a dead server leaves with a date in the future. */
const failingShare = 0.1;
const clients = 6;
/** A hook's attempt that fails for want of CPU comes again after 60 s (its schedule is not to be chosen). */
const closeLimitMs = 150_000;

export interface CrashRunParts {
  readonly fleet: ServerFleet;
  readonly receiver: WebhookReceiver;
  readonly seed: number;
  /** All attempts of subscriptions fail until the crash: whatever the servers hold then must survive it. */
  readonly refuseUntilCrash?: boolean;
  /** All servers die. Default: in a quarter of runs. */
  readonly killAll?: boolean;
  /** What delivers, where the servers do not. It dies in every run, and in half of them no server does. */
  readonly worker?: WorkerSlot;
}

export interface CrashRunReport extends LedgerBalance {
  readonly seed: number;
  /** Numbers of servers, and the worker. */
  readonly killed: readonly (number | 'worker')[];
  /** From the crash to the last delivery recorded, in milliseconds. */
  readonly closedAfterMs: number;
}

/** Throws an error that names the seed when servers cannot be started again, or deliveries wait for ever. */
export async function runCrash(parts: CrashRunParts): Promise<CrashRunReport> {
  try {
    return await run(parts);
  } catch (cause) {
    throw new Error(`RECOVERY_SEED=${parts.seed}: ${String(cause)}`, { cause });
  }
}

async function run(parts: CrashRunParts): Promise<CrashRunReport> {
  const { fleet, receiver, seed, worker } = parts;
  const random = createSeededRandom(seed);
  const ledger = new DeliveryLedger({ '/first': eventOf, '/second': eventOf, '/hook': afterSaveOf });
  const refusals = { all: parts.refuseUntilCrash === true, random: createSeededRandom(seed + 1) };
  receive(receiver, ledger, refusals);

  const before = random.between(5, 60);
  const phaseMs = random.between(0, 20);
  const after = random.between(10, 40);
  const victim = random.between(0, fleet.size - 1);
  const killsAll = random.chance(0.25);
  const isWorkerAlone = worker !== undefined && random.chance(0.5);
  const all = Array.from({ length: fleet.size }, (_, i) => i);
  const killed = (parts.killAll ?? killsAll) ? all : isWorkerAlone ? [] : [victim];

  let isOver = false;
  const load = Array.from({ length: clients }, (_, client) =>
    saveUntil(() => isOver, { fleet, ledger, random: createSeededRandom(seed + 100 + client) }),
  );
  try {
    await ledger.acknowledgedCount(before);
    // In the middle of a save, not at its end.
    await delay(phaseMs);
    const killedAt = performance.now();
    await Promise.all([worker?.kill(), ...killed.map(index => fleet.kill(index))]);
    refusals.all = false;
    const enough = ledger.acknowledgedCount(before + after).then(() => {
      isOver = true;
    });
    await Promise.all([enough, worker?.revive(), ...killed.map(index => fleet.revive(index))]);
    await Promise.all(load);
    await fleet.nothingPending(closeLimitMs);
    const closedAfterMs = Math.round(performance.now() - killedAt);
    const dead = worker === undefined ? killed : [...killed, 'worker' as const];
    return { ...ledger.balance(), seed, killed: dead, closedAfterMs };
  } finally {
    isOver = true;
    await Promise.allSettled(load);
  }
}

export function describeReport({ seed, killed, closedAfterMs, ...balance }: CrashRunReport): string {
  const { acknowledged, delivered, repeated, lost } = balance;
  return `RECOVERY_SEED=${seed}: killed ${killed.join(' and ')}, ${acknowledged} changes acknowledged, ${delivered} deliveries, ${repeated} repeated, ${lost.length} lost, closed after ${closedAfterMs} ms`;
}

function receive(
  receiver: WebhookReceiver,
  ledger: DeliveryLedger,
  refusals: { all: boolean; readonly random: SeededRandom },
): void {
  receiver.forget();
  const idOf = ({ headers }: ReceivedCall): string => String(headers['webhook-id']);
  for (const path of ['/first', '/second']) {
    receiver.on(path, call => {
      if (refusals.all || refusals.random.chance(failingShare)) return new Reply(500, '');
      const { type, data } = call.body as { type: ObjectEvent; data: { object: StoredParcel } };
      ledger.take(path, eventOf({ ...data.object, event: type }), idOf(call));
      return undefined;
    });
  }
  receiver.on('/hook', call => {
    const { object } = call.body as { object: StoredParcel };
    ledger.take('/hook', `afterSave ${object.objectId} ${object.n}`, idOf(call));
    return undefined;
  });
}

interface StoredParcel {
  readonly objectId: string;
  readonly n: number;
}

interface ClientParts {
  readonly fleet: ServerFleet;
  readonly ledger: DeliveryLedger;
  readonly random: SeededRandom;
}

/** A client: creates an object, changes it some times, perhaps deletes it, and begins anew. */
async function saveUntil(isOver: () => boolean, { fleet, ledger, random }: ClientParts): Promise<void> {
  while (!isOver()) {
    const create = await request(await fleet.pick(random.between(0, 99)), 'POST', '', { n: 0 });
    if (typeof create?.objectId !== 'string') continue;
    const { objectId } = create;
    ledger.acknowledge({ event: 'object.create', objectId, n: 0 });
    const updates = random.between(0, 3);
    let n = 0;
    let isKnown = true;
    while (!isOver() && isKnown && n < updates) {
      const server = await fleet.pick(random.between(0, 99));
      isKnown = (await request(server, 'PUT', `/${objectId}`, { n: n + 1 })) !== undefined;
      if (isKnown) ledger.acknowledge({ event: 'object.update', objectId, n: ++n });
    }
    if (isOver() || !isKnown || !random.chance(0.3)) continue;
    const server = await fleet.pick(random.between(0, 99));
    if (await request(server, 'DELETE', `/${objectId}`))
      ledger.acknowledge({ event: 'object.delete', objectId, n });
  }
}

/** The answer of a success; undefined when there was none, and nobody knows what happened. */
async function request(
  { serverURL }: ParseProcess,
  method: string,
  path: string,
  body?: unknown,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  try {
    const response = await fetch(`${serverURL}/classes/${className}${path}`, {
      method,
      headers: {
        'X-Parse-Application-Id': 'test-app',
        'X-Parse-Master-Key': masterKey,
        'Content-Type': 'application/json',
        Connection: 'close',
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const answer = (await response.json()) as Readonly<Record<string, unknown>>;
    return response.ok ? answer : undefined;
  } catch {
    return undefined;
  }
}
