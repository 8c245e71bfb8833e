// Scale: many subscriptions, many hooks, many rows, a backlog, many saves.
import type { PartResult, Table, Target } from './report';
import { measureBacklog } from './scale-backlog';
import { measureMemory } from './scale-memory';
import { measureKeptRows } from './scale-rows';
import { measureStarts } from './scale-start';
import { measureCrowd } from './scale-subscriptions';
import type { Scene } from './scene';

interface Measured {
  readonly tables: readonly Table[];
  readonly targets?: readonly Target[];
  readonly samples?: unknown;
}

const scenarios: readonly { readonly name: string; readonly measure: (scene: Scene) => Promise<Measured> }[] =
  [
    { name: 'subscriptions', measure: measureCrowd },
    { name: 'start', measure: measureStarts },
    { name: 'rows', measure: measureKeptRows },
    { name: 'backlog', measure: async scene => ({ tables: await measureBacklog(scene) }) },
    { name: 'memory', measure: measureMemory },
  ];

export async function runScale(scene: Scene): Promise<PartResult> {
  const measured: (Measured & { readonly name: string })[] = [];
  for (const { name, measure } of scenarios) {
    if (scene.includes(name)) measured.push({ name, ...(await measure(scene)) });
  }
  return {
    part: 'scale',
    tables: measured.flatMap(({ tables }) => tables),
    targets: measured.flatMap(({ targets }) => targets ?? []),
    skipped: scene.skipped,
    samples: Object.fromEntries(measured.map(({ name, samples }) => [name, samples])),
  };
}
