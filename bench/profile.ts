// Reads CPU profiles: the self time of each function, and how much more of it one server spent than another.
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Table } from './report';

const profileShape = z.object({
  nodes: z.array(
    z.object({
      id: z.number(),
      callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.number() }),
    }),
  ),
  samples: z.array(z.number()),
  timeDeltas: z.array(z.number()),
});

const shownFunctions = 40;

/** Waiting, and the profiler itself (`dispatch` of its session). */
const notWork = ['(idle)', '(program)', 'dispatch :0'];

/** Microseconds of self time by function and place. */
function readSelfTimes(path: string): ReadonlyMap<string, number> {
  const { nodes, samples, timeDeltas } = profileShape.parse(JSON.parse(readFileSync(path, 'utf8')));
  const names = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [
      id,
      `${functionName || '(anonymous)'} ${url.split('/').slice(-3).join('/')}:${lineNumber + 1}`,
    ]),
  );
  const times = new Map<string, number>();
  for (const [index, id] of samples.entries()) {
    const name = names.get(id) ?? '';
    times.set(name, (times.get(name) ?? 0) + (timeDeltas[index] ?? 0));
  }
  return times;
}

/** Each profile but the first compared with it: the functions that took most more self time per request, in microseconds. */
export function compareProfiles([first, ...others]: readonly string[], requests: number): readonly Table[] {
  if (first === undefined) return [];
  const none = readSelfTimes(first);
  return others.map(path => compareWith(none, path, requests));
}

function compareWith(none: ReadonlyMap<string, number>, path: string, requests: number): Table {
  const hooked = readSelfTimes(path);
  const names = new Set([...none.keys(), ...hooked.keys()]);
  const added = [...names]
    .filter(name => !notWork.some(start => name.startsWith(start)))
    .map(name => ({ name, us: ((hooked.get(name) ?? 0) - (none.get(name) ?? 0)) / requests }))
    .sort((a, b) => b.us - a.us);
  const total = added.reduce((sum, { us }) => sum + us, 0);
  return {
    title: `self time added per request, ${path}: ${Math.round(total)} µs in all`,
    rows: added.slice(0, shownFunctions).map(({ name, us }) => ({
      function: name,
      µs: us,
      'share of added, %': (us / total) * 100,
    })),
  };
}
