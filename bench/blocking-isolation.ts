// Whether a receiver that hangs slows another one down: p99 of saves to one hook, beside calls to another hook whose
// receiver answers, or does not.
import { roundsOf, type Cell } from './blocking-cells';
import { measureVariant, registerHooks, type Sample } from './blocking-round';
import { loadProtocol, type Load } from './load-protocol';
import { confidenceOf, medianOf, type Interval } from './measure';
import { clientRequest, createHook, objectOf } from './parse-client';
import { receiverUrl } from './receiver-protocol';
import type { BenchServer, Scene } from './scene';

/** `again` is `answers` once more: how far two equal things are apart in this run. */
const neighbours = ['answers', 'hangs', 'again'] as const;
type Neighbour = (typeof neighbours)[number];

export interface IsolationResult {
  readonly neighbour: Neighbour;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly samples: readonly Sample[];
}

/** Saves per second to the neighbour, the same whether it answers or not. */
const neighbourPerSecond = 20;
const slotSeconds = 6;
/** Longer than any run. */
const foreverMs = 3_600_000;

const cell: Cell = {
  name: 'beside a receiver that hangs',
  operation: 'save',
  concurrency: 64,
  bytes: 200,
  delayMs: 0,
  share: 1,
  roundShare: 2,
};

const classOf = (neighbour: Neighbour): string => `BNeighbour${neighbour}`;

/** Saves of one class at half of what the server takes, while another process saves objects of the neighbour's class. */
export async function measureIsolation(
  scene: Scene,
  server: BenchServer,
): Promise<readonly IsolationResult[]> {
  const { options } = scene;
  if (!scene.includes(cell.name)) return [];
  await registerHooks(scene, server, cell);
  for (const neighbour of neighbours) {
    const delayMs = neighbour === 'hangs' ? foreverMs : 0;
    const url = receiverUrl(scene.receiver, classOf(neighbour), delayMs);
    await createHook(server, { className: classOf(neighbour), triggerName: 'beforeSave', url });
  }
  const load: Load = await scene.startProcess('load', loadProtocol);
  const requests = options.smoke ? 64 : 2000;
  const capacity = await measureVariant(scene, server, cell, { round: 0, requests });
  const perSecond = Math.max(1, Math.floor(capacity.requestsPerSecond / 2) - neighbourPerSecond);
  scene.log(`blocking: ${cell.name}: ${perSecond} saves per second`);
  const samples = new Map<Neighbour, Sample[]>(neighbours.map(neighbour => [neighbour, []]));
  const seconds = options.smoke ? 0.2 : slotSeconds;
  for (let round = 0; round <= roundsOf(cell, options); round++) {
    for (const neighbour of neighbours) {
      const beside = load.ask(
        clientRequest(server, {
          path: `/classes/${classOf(neighbour)}`,
          body: objectOf(cell.bytes),
          requests: Math.ceil(neighbourPerSecond * seconds),
          pace: { kind: 'open', perSecond: neighbourPerSecond, seed: round },
        }),
      );
      const sample = await measureVariant(scene, server, cell, {
        round,
        requests: Math.ceil(perSecond * seconds),
        pace: { kind: 'open', perSecond, seed: round },
      });
      // Also the last call that hangs: none may reach into the next slot.
      await beside;
      if (round > 0) samples.get(neighbour)?.push(sample);
    }
  }
  await load.stop();
  return neighbours.map(neighbour => {
    const own = samples.get(neighbour) ?? [];
    return {
      neighbour,
      perSecond,
      p50Ms: medianOf(own, ({ latency }) => latency.p50Ms),
      p99Ms: medianOf(own, ({ latency }) => latency.p99Ms),
      samples: own,
    };
  });
}

/** p99 beside the receiver that hangs ÷ the mean of both beside one that answers. */
export function isolationRatio(results: readonly IsolationResult[]): number | undefined {
  if (results.length === 0) return undefined;
  return ratioOf(neighbour => results.find(result => result.neighbour === neighbour)?.p99Ms ?? NaN);
}

export function isolationInterval(results: readonly IsolationResult[]): Interval | undefined {
  const samplesOf = (neighbour: Neighbour): readonly Sample[] =>
    results.find(result => result.neighbour === neighbour)?.samples ?? [];
  return confidenceOf(samplesOf('hangs').length, drawn =>
    ratioOf(neighbour => {
      const samples = samplesOf(neighbour);
      return medianOf(drawn, round => samples[round]?.latency.p99Ms ?? NaN);
    }),
  );
}

function ratioOf(p99: (neighbour: Neighbour) => number): number {
  return p99('hangs') / ((p99('answers') + p99('again')) / 2);
}
