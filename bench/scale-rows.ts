// Whether rows that are kept make a delivery dearer: three stores side by side, by their number of rows.
import type { DatabaseKind } from './databases';
import { assertClosed } from './ledger';
import { medianOf } from './measure';
import type { Table, Target } from './report';
import type { Scene } from './scene';
import { storeProtocol, type StoreAnswer, type StoreProcess } from './store-protocol';

interface KeptRows {
  readonly kept: number;
  readonly store: StoreProcess;
  readonly samples: StoreAnswer[];
}

interface Drained {
  readonly rows: number;
  readonly answer: StoreAnswer;
}

export interface RowsReport {
  readonly tables: readonly Table[];
  readonly targets: readonly Target[];
  readonly samples: unknown;
}

export async function measureKeptRows(scene: Scene): Promise<RowsReport> {
  const { options, databases } = scene;
  const { database } = options;
  if (!databases.has(database)) {
    scene.skip(`rows kept on ${database}`, 'MONGODB_URI is not set');
    return { tables: [], targets: [], samples: undefined };
  }
  const sizes = options.smoke ? [100, 1000] : [1000, 100_000, 1_000_000];
  const perRound = options.smoke ? 500 : 5000;
  const all: KeptRows[] = [];
  for (const kept of sizes) {
    const store = await startStore(scene, database);
    const seeded = await store.ask({ kind: 'seed', rows: kept });
    assertClosed(`seeding ${kept} rows`, [{ what: 'rows', expected: kept, found: seeded.rows }]);
    scene.log(`scale: ${kept} rows kept, written in ${Math.round(seeded.elapsedMs / 1000)} s`);
    all.push({ kept, store, samples: [] });
  }
  for (let round = 0; round <= options.rounds; round++) {
    for (const { kept, store, samples } of all) {
      const answer = await store.ask({ kind: 'cycle', rows: perRound, keep: kept });
      assertClosed(`${kept} rows kept, round ${round}`, [
        { what: 'deliveries', expected: perRound, found: answer.rows },
      ]);
      if (round > 0) samples.push(answer);
    }
  }
  const drained = await drainBacklog(scene, all[0]?.store, options.smoke ? 1000 : 100_000);
  for (const { store } of all) await store.stop();
  return {
    tables: [rowsTable(database, all), drainTable(database, drained)],
    targets: [
      {
        figure: `cost per delivery with ${sizes.at(-1) ?? 0} rows kept ÷ with ${sizes[0] ?? 0} (${database})`,
        comparison: '<=',
        target: 1.2,
        found: medianOf(all.at(-1)?.samples ?? [], costOf) / medianOf(all[0]?.samples ?? [], costOf),
      },
    ],
    samples: { kept: all.map(({ kept, samples }) => ({ kept, samples })), drained },
  };
}

/** A process with a store on this database; on an empty one by default. */
export async function startStore(
  scene: Scene,
  kind: DatabaseKind,
  databaseURI?: string,
): Promise<StoreProcess> {
  const uri = databaseURI ?? (await scene.databases.create(kind));
  return scene.startProcess('store', storeProtocol, { kind, uri });
}

async function drainBacklog(
  scene: Scene,
  store: StoreProcess | undefined,
  rows: number,
): Promise<Drained | undefined> {
  if (store === undefined) return undefined;
  scene.log(`scale: a backlog of ${rows}, store alone`);
  await store.ask({ kind: 'insert', rows, endpoint: 'subscription/backlog' });
  const answer = await store.ask({ kind: 'drain' });
  assertClosed('backlog of a store', [{ what: 'deliveries', expected: rows, found: answer.rows }]);
  return { rows, answer };
}

/** Insert, claim and finish, one batch after the other: the time is the database's and ours together. */
const costOf = ({ elapsedMs, rows }: StoreAnswer): number => (elapsedMs * 1000) / rows;

function rowsTable(database: DatabaseKind, all: readonly KeptRows[]): Table {
  return {
    title: `insert, claim and finish by rows kept (${database}, one batch at a time, medians)`,
    rows: all.map(({ kept, samples }) => ({
      'rows kept': kept,
      'µs per delivery': medianOf(samples, costOf),
      'our CPU, µs': medianOf(samples, ({ cpuUs, rows }) => cpuUs / rows),
      '÷ fewest': medianOf(samples, costOf) / medianOf(all[0]?.samples ?? [], costOf),
    })),
  };
}

function drainTable(database: DatabaseKind, drained: Drained | undefined): Table {
  return {
    title: `draining a backlog of one endpoint, store alone (${database}, one claim at a time)`,
    rows: drained
      ? [
          {
            deliveries: drained.rows,
            seconds: drained.answer.elapsedMs / 1000,
            'per second': (drained.rows / drained.answer.elapsedMs) * 1000,
            'our CPU each, µs': drained.answer.cpuUs / drained.rows,
          },
        ]
      : [],
  };
}
