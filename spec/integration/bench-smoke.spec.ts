// The benchmarks run: each part once, small, with its ledgers closed. Their figures are nobody's business here.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { startChildProgram, type ChildProgram } from '../support/child-program';
import { describeWithService } from '../support/describe-with-service';
import { readServices } from '../support/test-services';

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
  const mongodb = readServices()?.mongodb;
  const redis = readServices()?.redis;

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
      environment: {
        POSTGRES_URI: address,
        ...(mongodb?.available === true && { MONGODB_URI: mongodb.address }),
      },
    });
    return program;
  }

  const ofRedis = 'the same, Redis, in the faster of its setups';

  it.each([
    ['blocking', []],
    // A smoke run has no endpoint that takes a second.
    ['events', ['save p50 with a subscription to a 1 s endpoint ÷ without']],
    ['scale', []],
  ])(
    'run %s, close its ledgers, measure what targets are judged by, and write tables and machine',
    async (part, unmeasured) => {
      const output = join(folder, `${part}.json`);
      const bench = startBench(part, '--smoke', '--output', output);
      const { code } = await bench.exited;
      expect({ code, errors: code === 0 ? [] : bench.stderr }).toEqual({ code: 0, errors: [] });
      expect(bench.stdout).toContain(`results: ${output}`);
      const { results } = resultsShape.parse(JSON.parse(readFileSync(output, 'utf8')));
      expect(results.map(result => result.part)).toEqual([part]);
      expect(results[0]?.tables.every(({ rows }) => rows.length > 0)).toBe(true);
      const [result] = results;
      const hasRedis = part !== 'events' || redis?.available === true;
      expect(
        result?.targets.filter(({ verdict }) => verdict === 'not measured').map(({ figure }) => figure),
      ).toEqual([...unmeasured, ...(hasRedis ? [] : [ofRedis])]);
      const missing = [
        ...(part === 'events' && mongodb?.available !== true ? [/mongodb/] : []),
        ...(hasRedis ? [] : [/Redis/, /Redis/]),
      ];
      expect(result?.skipped).toEqual(missing.map(pattern => expect.stringMatching(pattern)));
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
