// What a save costs while others subscribe to other classes.
import { listenToNobody, measureSaves, type SaveSample } from './events-scene';
import { confidenceOf, medianOf } from './measure';
import { createSubscription } from './parse-client';
import { receiverUrl } from './receiver-protocol';
import type { Table, Target } from './report';
import type { BenchServer, Scene } from './scene';

interface Crowd {
  readonly subscriptions: number;
  readonly server: BenchServer;
  readonly samples: SaveSample[];
}

export interface CrowdReport {
  readonly tables: readonly Table[];
  readonly targets: readonly Target[];
  readonly samples: unknown;
}

const classes = 1000;
/** Each look after a creation reads all there are, which is not what is measured here. Alike for all three. */
const pollIntervalMs = 5000;
/** Creating them over the API ends here with what there is. */
const creationBudgetMs = 240_000;
/** Requests at once. */
const creators = 16;
/** A server that has answered thousands of creations would else be warmer than the one without. */
const warmUpSaves = 3000;
/** Times `--rounds`: the target is two percent away from no difference. */
const roundShare = 4;

export async function measureCrowd(scene: Scene): Promise<CrowdReport> {
  const { options } = scene;
  const sizes = options.smoke ? [0, 20] : [0, 1000, 10_000];
  const crowds: Crowd[] = [];
  for (const wanted of sizes) {
    const server = await scene.startServer('plugin', { webhooks: { pollIntervalMs } });
    const subscriptions = await subscribe(scene, server, wanted);
    crowds.push({ subscriptions, server, samples: [] });
  }
  const requests = options.smoke ? 20 : options.requests;
  const pace = { kind: 'closed', concurrency: 16 } as const;
  for (const { server } of options.smoke ? [] : crowds)
    await measureSaves(scene, listenToNobody(server, 'Alone'), { round: -1, requests: warmUpSaves, pace });
  const rounds = options.smoke ? options.rounds : options.rounds * roundShare;
  for (let round = 0; round <= rounds; round++) {
    for (const { server, samples } of crowds) {
      const listener = listenToNobody(server, 'Alone');
      const sample = await measureSaves(scene, listener, { round, requests, pace });
      if (round > 0) samples.push(sample);
    }
  }
  await scene.stopServers(crowds.map(({ server }) => server));
  const alone = crowds[0];
  const most = crowds.at(-1);
  const isWhole = options.smoke || most?.subscriptions === 10_000;
  const ratioOf = (drawn: readonly number[]): number => {
    const medianCpu = (crowd: Crowd | undefined): number =>
      medianOf(drawn, round => crowd?.samples[round]?.cpuPerSaveUs ?? NaN);
    return medianCpu(most) / medianCpu(alone);
  };
  return {
    tables: [
      {
        title: `a save by subscriptions on ${classes} other classes (medians)`,
        rows: crowds.map(({ subscriptions, samples }) => ({
          subscriptions,
          'CPU per save µs': medianOf(samples, cpuOf),
          'CPU ÷ none': medianOf(samples, cpuOf) / medianOf(alone?.samples ?? [], cpuOf),
          'saves/s': medianOf(samples, ({ savesPerSecond }) => savesPerSecond),
          'p50 ms': medianOf(samples, ({ load }) => load.latency.p50Ms),
        })),
      },
    ],
    targets: [
      {
        figure: 'CPU of a save with 10000 subscriptions on other classes ÷ none',
        comparison: '<=',
        target: 1.02,
        found: isWhole ? ratioOf(Array.from({ length: rounds }, (_each, round) => round)) : undefined,
        interval: isWhole ? confidenceOf(rounds, ratioOf) : undefined,
      },
    ],
    samples: crowds.map(({ subscriptions, samples }) => ({ subscriptions, samples })),
  };
}

const cpuOf = ({ cpuPerSaveUs }: SaveSample): number => cpuPerSaveUs;

/** How many there are in the end. */
async function subscribe(scene: Scene, server: BenchServer, wanted: number): Promise<number> {
  const startedAt = performance.now();
  let made = 0;
  const createNext = async (): Promise<void> => {
    while (made < wanted && performance.now() - startedAt < creationBudgetMs) {
      const index = made++;
      await createSubscription(server, {
        name: `crowd-${index}`,
        url: receiverUrl(scene.receiver, 'crowd', 0),
        events: ['object.*'],
        classes: [`Crowd${index % classes}`],
      });
    }
  };
  await Promise.all(Array.from({ length: creators }, createNext));
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  if (wanted > 0) scene.log(`scale: ${made} of ${wanted} subscriptions, created in ${seconds} s`);
  return made;
}
