// A backlog as a stopped receiver or a stopped server leaves it: rows in the store, drained by a server over HTTP.
import { assertClosed } from './ledger';
import { sharedNowMs } from './measure';
import { createSubscription } from './parse-client';
import { awaitCalls, receiverUrl } from './receiver-protocol';
import type { Table } from './report';
import { startStore } from './scale-rows';
import type { Scene } from './scene';

export async function measureBacklog(scene: Scene): Promise<readonly Table[]> {
  const { options } = scene;
  const { database } = options;
  const rows = options.smoke ? 200 : 100_000;
  const server = await scene.startServer('plugin');
  const objectId = await createSubscription(server, {
    name: 'backlog',
    url: receiverUrl(scene.receiver, 'backlog', 0),
    events: ['object.*'],
    classes: ['Backlog'],
    concurrency: 64,
  });
  const store = await startStore(scene, database, server.databaseURI);
  scene.log(`scale: a backlog of ${rows}`);
  const cpuBefore = await server.cpuUs();
  const startedAt = sharedNowMs();
  const written = await store.ask({ kind: 'insert', rows, endpoint: `subscription/${objectId}` });
  const count = await awaitCalls(scene.receiver, { key: 'backlog', calls: rows, patienceMs: 20_000 });
  const cpuUs = (await server.cpuUs()) - cpuBefore;
  assertClosed('backlog', [
    { what: 'deliveries came', expected: rows, found: count.calls },
    { what: 'different deliveries came', expected: rows, found: count.distinct },
  ]);
  await store.stop();
  await scene.stopServers([server]);
  const elapsedMs = count.lastAt - startedAt;
  return [
    {
      title: `draining a backlog of one endpoint over HTTP, signed and logged (${database})`,
      rows: [
        {
          deliveries: rows,
          'seconds, writing included': elapsedMs / 1000,
          'of which writing': written.elapsedMs / 1000,
          'per second': (rows / elapsedMs) * 1000,
          'CPU each, µs': cpuUs / rows,
        },
      ],
    },
  ];
}
