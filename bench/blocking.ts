// Blocking hooks: the same save, delete and function call with no hook, the built-in webhooks and this plugin.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { startEmbeddedPostgres } from '../src/dev/embedded-postgres';
import type { LoadRequest, LoadResult } from './load';
import { summarise, type Sample, type Summary } from './measure';
import { startProcess, type BenchProcess } from './processes';

const variants = ['none', 'built-in', 'plugin'] as const;
type Variant = (typeof variants)[number];

interface Running {
  readonly process: BenchProcess;
  readonly origin: string;
  readonly appId: string;
}

interface Scenario {
  readonly name: string;
  readonly className: string;
  readonly concurrency: number;
  readonly bodyBytes: number;
  readonly delayMs: number;
}

export interface BlockingOptions {
  readonly rounds: number;
  readonly requests: number;
  readonly scenarios?: readonly Scenario[];
}

export interface ScenarioResult {
  readonly scenario: Scenario;
  readonly variants: Readonly<Record<Variant, Summary>>;
  readonly ratios: {
    /** CPU that the hook adds to a request: plugin ÷ built-in. */
    readonly addedCpu: number;
    /** Requests per second with the plugin's hook ÷ without a hook; the same for the built-in. */
    readonly throughput: number;
    readonly builtInThroughput: number;
  };
}

export const scenarios: readonly Scenario[] = [1, 16, 64]
  .flatMap(concurrency =>
    [200, 2000, 20_000].map(bodyBytes => ({
      name: `save ${bodyBytes} B, concurrency ${concurrency}`,
      className: `Save${bodyBytes}`,
      concurrency,
      bodyBytes,
      delayMs: 0,
    })),
  )
  .concat([
    {
      name: 'save 200 B, concurrency 16, receiver takes 20 ms',
      className: 'Slow',
      concurrency: 16,
      bodyBytes: 200,
      delayMs: 20,
    },
  ]);

/** Runs every scenario in interleaved rounds. Throws when a ledger does not close: such a run is void. */
export async function runBlocking(options: BlockingOptions): Promise<readonly ScenarioResult[]> {
  const folder = mkdtempSync(join(tmpdir(), 'webhooks-bench-'));
  const postgres = await startEmbeddedPostgres({ dataDirectory: folder });
  const running: BenchProcess[] = [];
  try {
    const receiver = await startProcess('receiver.ts', {});
    running.push(receiver);
    const load = await startProcess('load.ts', {});
    running.push(load);
    const servers = {} as Record<Variant, Running>;
    for (const variant of variants) {
      const databaseURI = await createDatabase(postgres.uri, `bench_${variant.replace('-', '_')}`);
      const server = await startProcess('server.ts', { VARIANT: variant, DATABASE_URI: databaseURI });
      running.push(server);
      servers[variant] = {
        process: server,
        origin: `http://127.0.0.1:${(server.ready as { port: number }).port}`,
        appId: `bench-${variant}`,
      };
    }
    const results: ScenarioResult[] = [];
    for (const scenario of options.scenarios ?? scenarios) {
      results.push(await runScenario(scenario, options, { servers, load, receiver }));
    }
    return results;
  } finally {
    for (const child of running.reverse()) await child.stop();
    await postgres.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runScenario(
  scenario: Scenario,
  options: BlockingOptions,
  parts: { servers: Record<Variant, Running>; load: BenchProcess; receiver: BenchProcess },
): Promise<ScenarioResult> {
  const { servers, load, receiver } = parts;
  const url = `http://127.0.0.1:${(receiver.ready as { port: number }).port}/?delay=${scenario.delayMs}`;
  const samples: Record<Variant, Sample[]> = { none: [], 'built-in': [], plugin: [] };
  for (const variant of ['built-in', 'plugin'] as const)
    await register(servers[variant], scenario.className, url);
  const request = (server: Running): LoadRequest => ({
    origin: server.origin,
    appId: server.appId,
    method: 'POST',
    paths: [`/parse/classes/${scenario.className}`],
    body: JSON.stringify({ number: 1, text: 'x'.repeat(Math.max(1, scenario.bodyBytes - 40)) }),
    requests: options.requests,
    concurrency: scenario.concurrency,
  });
  // Round 0 warms up and is thrown away.
  for (let round = 0; round <= options.rounds; round++) {
    for (const variant of variants) {
      const server = servers[variant];
      const callsBefore = (await receiver.ask<{ calls: number }>({})).calls;
      const cpuBefore = (await server.process.ask<{ cpuUs: number }>({})).cpuUs;
      const result = await load.ask<LoadResult>(request(server));
      const cpuUs = (await server.process.ask<{ cpuUs: number }>({})).cpuUs - cpuBefore;
      const calls = (await receiver.ask<{ calls: number }>({})).calls - callsBefore;
      const expectedCalls = variant === 'none' ? 0 : options.requests;
      if (
        result.failed > 0 ||
        calls !== expectedCalls ||
        new Set(result.objectIds).size !== options.requests
      ) {
        throw new Error(
          `void: ${scenario.name}, ${variant}: ${result.failed} failed, ${calls} of ${expectedCalls} calls`,
        );
      }
      if (round === 0) continue;
      samples[variant].push({
        requestsPerSecond: (options.requests / result.elapsedMs) * 1000,
        cpuPerRequestUs: cpuUs / options.requests,
        p50Ms: result.p50Ms,
        p99Ms: result.p99Ms,
      });
    }
  }
  const none = summarise(samples.none);
  const builtIn = summarise(samples['built-in']);
  const plugin = summarise(samples.plugin);
  return {
    scenario,
    variants: { none, 'built-in': builtIn, plugin },
    ratios: {
      addedCpu:
        (plugin.cpuPerRequestUs - none.cpuPerRequestUs) / (builtIn.cpuPerRequestUs - none.cpuPerRequestUs),
      throughput: plugin.requestsPerSecond / none.requestsPerSecond,
      builtInThroughput: builtIn.requestsPerSecond / none.requestsPerSecond,
    },
  };
}

async function register(server: Running, className: string, url: string): Promise<void> {
  const reply = await fetch(`${server.origin}/parse/hooks/triggers`, {
    method: 'POST',
    headers: {
      'x-parse-application-id': server.appId,
      'x-parse-master-key': 'bench',
      'content-type': 'application/json',
    },
    body: JSON.stringify({ className, triggerName: 'beforeSave', url }),
  });
  const text = await reply.text();
  if (reply.status !== 200 && !text.includes('already has trigger')) throw new Error(`hook refused: ${text}`);
}

async function createDatabase(serverUri: string, name: string): Promise<string> {
  const client = new Client({ connectionString: serverUri });
  await client.connect();
  await client.query(`CREATE DATABASE ${name}`);
  await client.end();
  const uri = new URL(serverUri);
  uri.pathname = `/${name}`;
  return uri.href;
}
