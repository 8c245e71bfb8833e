// The benchmarks run: each part once, small, with its ledgers closed. Their figures are nobody's business here.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { startChildProgram, type ChildProgram } from '../support/child-program';
import { describeWithService } from '../support/describe-with-service';

const projectDirectory = join(__dirname, '../..');

const resultsShape = z.object({
  machine: z.object({ cpus: z.number() }),
  versions: z.object({ node: z.string(), postgres: z.string() }),
  method: z.object({ smoke: z.literal(true) }),
  results: z.array(
    z.object({
      part: z.string(),
      tables: z.array(z.object({ title: z.string(), rows: z.array(z.record(z.string(), z.unknown())) })),
      targets: z.array(z.object({ figure: z.string(), verdict: z.string() })),
      skipped: z.array(z.string()),
    }),
  ),
});

describeWithService('postgres', 'benchmarks', ({ address }) => {
  let folder: string;
  let program: ChildProgram | undefined;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'bench-smoke-'));
  });

  afterEach(async () => {
    await program?.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  function startBench(...args: readonly string[]): ChildProgram {
    program = startChildProgram({
      command: process.execPath,
      args: ['--import', 'tsx', 'bench/main.ts', ...args],
      cwd: projectDirectory,
      environment: { POSTGRES_URI: address },
    });
    return program;
  }

  it.each(['blocking', 'events', 'scale'])(
    'run %s, close its ledgers and write tables, targets and machine',
    async part => {
      const output = join(folder, `${part}.json`);
      const bench = startBench(part, '--smoke', '--output', output);
      const { code } = await bench.exited;
      expect({ code, errors: code === 0 ? [] : bench.stderr }).toEqual({ code: 0, errors: [] });
      expect(bench.stdout).toContain(`results: ${output}`);
      const { results } = resultsShape.parse(JSON.parse(readFileSync(output, 'utf8')));
      expect(results.map(result => result.part)).toEqual([part]);
      expect(results[0]?.tables.every(({ rows }) => rows.length > 0)).toBe(true);
      expect(results[0]?.targets.length).toBeGreaterThan(0);
    },
    180_000,
  );

  it('refuse an unknown part and say which there are', async () => {
    const bench = startBench('speed');
    const { code } = await bench.exited;
    expect(code).toBe(2);
    expect(bench.stderr[0]).toBe('there is no part speed: blocking, events, scale');
  });
});
