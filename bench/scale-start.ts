// How long a start takes with ten thousand hooks: Parse Server's own loading of them, and this package's.
import { withMongodb, withPostgres, type DatabaseKind } from './databases';
import { median } from './measure';
import { createHook } from './parse-client';
import { receiverUrl } from './receiver-protocol';
import type { Table } from './report';
import type { Scene } from './scene';
import type { Variant } from './server-protocol';

interface Start {
  readonly name: string;
  readonly variant: Variant;
  readonly databaseURI: string;
  readonly startMs: number[];
  readonly startCpuMs: number[];
}

export async function measureStarts(
  scene: Scene,
): Promise<{ readonly tables: readonly Table[]; readonly samples: unknown }> {
  const { options } = scene;
  const hooks = options.smoke ? 50 : 10_000;
  const empty = await scene.databases.create(options.database);
  const [full, fullOfPlugin] = await Promise.all([seedHooks(scene, hooks), seedHooks(scene, hooks)]);
  const start = (name: string, variant: Variant, databaseURI: string): Start => ({
    name,
    variant,
    databaseURI,
    startMs: [],
    startCpuMs: [],
  });
  const starts = [
    start('plugin, no hooks', 'plugin', empty),
    start(`built-in, ${hooks} hooks`, 'built-in', full),
    start(`plugin, ${hooks} hooks`, 'plugin', fullOfPlugin),
  ];
  const firstMs: number[] = [];
  for (let round = options.smoke ? 1 : 0; round <= options.rounds; round++) {
    scene.log(`scale: starts, round ${round}`);
    for (const { variant, databaseURI, startMs, startCpuMs } of starts) {
      const server = await scene.startServer(variant, { databaseURI });
      const { ready } = server.process;
      // The first makes tables, and a secret for each hook.
      if (round === 0) firstMs.push(ready.startMs);
      else {
        startMs.push(ready.startMs);
        startCpuMs.push(ready.startCpuMs);
      }
      await scene.stopServers([server]);
    }
  }
  return {
    tables: [
      {
        title: 'start of Parse Server (parse.start(), medians)',
        rows: starts.map(({ name, startMs, startCpuMs }, index) => ({
          server: name,
          ms: median(startMs),
          'CPU ms': median(startCpuMs),
          'very first, ms': firstMs[index] ?? NaN,
        })),
      },
    ],
    samples: starts,
  };
}

/** A database whose `_Hooks` has so many rows, half functions and half beforeSave hooks of classes. */
async function seedHooks(scene: Scene, hooks: number): Promise<string> {
  const { database } = scene.options;
  const databaseURI = await scene.databases.create(database);
  const url = receiverUrl(scene.receiver, 'unused', 0);
  const server = await scene.startServer('built-in', { databaseURI });
  // The table comes with the first row.
  await createHook(server, { functionName: 'first', url });
  await scene.stopServers([server]);
  await insertHooks(database, databaseURI, { hooks: hooks - 1, url });
  return databaseURI;
}

async function insertHooks(
  database: DatabaseKind,
  databaseURI: string,
  { hooks, url }: { readonly hooks: number; readonly url: string },
): Promise<void> {
  if (database === 'postgres') {
    await withPostgres(databaseURI, client =>
      client.query(
        `INSERT INTO "_Hooks" ("functionName", "className", "triggerName", "url")
        SELECT CASE WHEN n % 2 = 0 THEN 'crowd' || n END, CASE WHEN n % 2 = 1 THEN 'Crowd' || n END,
          CASE WHEN n % 2 = 1 THEN 'beforeSave' END, $2 FROM generate_series(1, $1::integer) n`,
        [hooks, url],
      ),
    );
    return;
  }
  const rows = Array.from({ length: hooks }, (_, n) =>
    n % 2 === 0
      ? { functionName: `crowd${n}`, url }
      : { className: `Crowd${n}`, triggerName: 'beforeSave', url },
  );
  await withMongodb(databaseURI, client => client.db().collection('_Hooks').insertMany(rows));
}
