// `npm run bench` runs everything, `npm run bench -- blocking` one part. Prints a table and writes results.json.
import { writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { runBlocking, type ScenarioResult } from './blocking';

function print(results: readonly ScenarioResult[]): void {
  const rows = results.map(({ scenario, variants, ratios }) => ({
    scenario: scenario.name,
    'none µs': Math.round(variants.none.cpuPerRequestUs),
    'built-in µs': Math.round(variants['built-in'].cpuPerRequestUs),
    'plugin µs': Math.round(variants.plugin.cpuPerRequestUs),
    'added CPU, plugin ÷ built-in': ratios.addedCpu.toFixed(2),
    'req/s, plugin ÷ none': ratios.throughput.toFixed(2),
    'req/s, built-in ÷ none': ratios.builtInThroughput.toFixed(2),
  }));
  console.table(rows);
}

async function main(): Promise<void> {
  const [part = 'all'] = process.argv.slice(2);
  if (part !== 'all' && part !== 'blocking') throw new Error(`unknown part ${part}: there is "blocking"`);
  const method = { rounds: 5, requests: 600 };
  const blocking = await runBlocking(method);
  print(blocking);
  const machine = {
    cpus: cpus().length,
    model: cpus()[0]?.model,
    memoryBytes: totalmem(),
    node: process.version,
  };
  writeFileSync(join(__dirname, 'results.json'), JSON.stringify({ machine, method, blocking }, null, 2));
}

void main();
