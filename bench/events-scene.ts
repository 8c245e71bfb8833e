// The servers that the events part compares, with their hooks and subscriptions.
import { assertClosed } from './ledger';
import type { LoadResult } from './load-protocol';
import { clientRequest, createHook, createSubscription, objectOf, type Pace } from './parse-client';
import { awaitCalls, receiverUrl, type ReceiverCount } from './receiver-protocol';
import type { BenchServer, Scene } from './scene';

/** One way to hear of a save. */
export interface Listener {
  readonly name: string;
  readonly server: BenchServer;
  readonly className: string;
  /** Under which the receiver counts. */
  readonly key: string;
  /** Calls that one save leads to. */
  readonly fanOut: number;
  /** Each call has a `webhook-id` of its own. */
  readonly hasIds: boolean;
}

export interface SaveSample {
  readonly round: number;
  readonly load: Omit<LoadResult, 'objectIds'>;
  readonly calls: ReceiverCount;
  readonly savesPerSecond: number;
  /** Of the server process, deliveries included: until the receiver had all and a moment more. */
  readonly cpuPerSaveUs: number;
}

/** After the last call of a receiver its outcome is still to be recorded; all variants wait alike. */
const settleMs = 250;

export function listenToNobody(server: BenchServer, className: string): Listener {
  return { name: 'none', server, className, key: 'nobody', fanOut: 0, hasIds: false };
}

export async function listenByHook(
  scene: Scene,
  server: BenchServer,
  { className, delayMs }: { readonly className: string; readonly delayMs: number },
): Promise<Listener> {
  const key = `${server.variant}/${className}`;
  const url = receiverUrl(scene.receiver, key, delayMs);
  await createHook(server, { className, triggerName: 'afterSave', url });
  return { name: `${server.variant} afterSave`, server, className, key, fanOut: 1, hasIds: false };
}

export async function listenBySubscriptions(
  scene: Scene,
  server: BenchServer,
  wanted: { readonly className: string; readonly delayMs: number; readonly count: number },
): Promise<Listener> {
  const { className, delayMs, count } = wanted;
  const key = `subscriptions/${className}`;
  for (let index = 0; index < count; index++) {
    await createSubscription(server, {
      name: `${className}-${index}`,
      url: receiverUrl(scene.receiver, key, delayMs),
      events: ['object.create'],
      classes: [className],
      // A receiver that takes a second would else hold the run up, at 16 per second.
      concurrency: 128,
    });
  }
  const name = count === 1 ? 'one subscription' : `${count} subscriptions`;
  return { name, server, className, key, fanOut: count, hasIds: true };
}

/** Saves at a pace and waits for all that they lead to. Throws a VoidRunError when not all of it came, once. */
export async function measureSaves(
  scene: Scene,
  listener: Listener,
  run: { readonly round: number; readonly requests: number; readonly pace: Pace },
): Promise<SaveSample> {
  const { server, className, key, fanOut } = listener;
  const { round, requests, pace } = run;
  const body = objectOf(1000, { benchAt: 0 });
  const cpuBefore = await server.cpuUs();
  const { objectIds, ...load } = await scene.load.ask(
    clientRequest(server, { path: `/classes/${className}`, body, requests, pace }),
  );
  const expected = requests * fanOut;
  const calls = await awaitCalls(scene.receiver, { key, calls: expected, patienceMs: 15_000 });
  await new Promise(resolve => setTimeout(resolve, settleMs));
  const cpuUs = (await server.cpuUs()) - cpuBefore;
  if (load.failure !== undefined) scene.log(`  ${listener.name}: ${load.failure}`);
  assertClosed(`${listener.name} of ${className}, round ${round}`, [
    { what: 'saves succeeded', expected: requests, found: load.succeeded },
    { what: 'objects were made', expected: requests, found: new Set(objectIds).size },
    { what: 'calls came', expected, found: calls.calls },
    {
      what: 'different calls came',
      expected: listener.hasIds ? expected : calls.distinct,
      found: calls.distinct,
    },
  ]);
  return {
    round,
    load,
    calls,
    savesPerSecond: (requests / load.elapsedMs) * 1000,
    cpuPerSaveUs: cpuUs / requests,
  };
}
