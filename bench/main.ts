// `npm run bench` runs everything, `npm run bench -- blocking` one part. Progress goes to stderr, tables to stdout.
import { resolve } from 'node:path';
import { runBlocking } from './blocking';
import { parseCommandLine, usage, type BenchOptions, type Part } from './command-line';
import { compileProcesses } from './compile';
import { runEvents } from './events';
import { printPart, writeResults, type PartResult } from './report';
import { runScale } from './scale';
import { openScene, type CompiledFolders, type Scene } from './scene';

function runPart(part: Part, scene: Scene): Promise<PartResult> {
  switch (part) {
    case 'blocking':
      return runBlocking(scene);
    case 'events':
      return runEvents(scene);
    case 'scale':
      return runScale(scene);
    default:
      return part satisfies never;
  }
}

async function run(options: BenchOptions, folders: CompiledFolders): Promise<void> {
  const startedAt = new Date();
  const results: PartResult[] = [];
  let path = '';
  for (const part of options.parts) {
    // Each part on processes of its own: one that is full of another's hooks and rows is another machine.
    const scene = await openScene(options, folders);
    try {
      const { versions: databases } = scene.databases;
      const result = await runPart(part, scene);
      results.push(result);
      printPart(result);
      // After each part: a later one may be void.
      path = writeResults(options, { databases, startedAt }, results);
    } finally {
      await scene.close();
    }
  }
  if (options.smoke) console.log('smoke run: the figures mean nothing');
  console.log(`results: ${path}`);
}

let options: BenchOptions | undefined;
try {
  options = parseCommandLine(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${usage}\n`);
  process.exitCode = 2;
}
if (options) {
  const { against } = options;
  const compiled = compileProcesses();
  const before = against === undefined ? undefined : compileProcesses(resolve(against));
  run(options, { now: compiled.folder, before: before?.folder })
    .catch((error: unknown) => {
      process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
      process.exitCode = 1;
    })
    .finally(() => {
      compiled.remove();
      before?.remove();
    });
}
