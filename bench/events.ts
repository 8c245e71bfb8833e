// Event deliveries: what they cost the client that saves, and how many go out.
import { measureEventSaves } from './events-saves';
import { measureThroughput } from './events-throughput';
import type { PartResult } from './report';
import type { Scene } from './scene';

export async function runEvents(scene: Scene): Promise<PartResult> {
  const saves = await measureEventSaves(scene);
  const throughput = await measureThroughput(scene);
  return {
    part: 'events',
    tables: [...saves.tables, ...throughput.tables],
    targets: [...saves.targets, ...throughput.targets],
    skipped: scene.skipped,
    samples: { saves: saves.samples, throughput: throughput.samples },
  };
}
