// One variant in one round of a cell: load, CPU of the server process, and the ledger.
import { classNameOf, type Cell } from './blocking-cells';
import { assertClosed } from './ledger';
import type { LoadRequest } from './load-protocol';
import type { Latency } from './measure';
import { clientRequest, createHook, objectOf, type Pace } from './parse-client';
import { awaitCalls, receiverUrl } from './receiver-protocol';
import type { BenchServer, Scene } from './scene';
import { callsNobody } from './server-protocol';

export interface Sample {
  readonly round: number;
  readonly requestsPerSecond: number;
  /** Of the server process; of the load process where it is the bare client. */
  readonly cpuPerRequestUs: number;
  readonly latency: Latency;
  /** Of the receiver, from a request's first byte to the end of its reply. */
  readonly receiverOwn: Latency | undefined;
}

export async function registerHooks(scene: Scene, server: BenchServer, cell: Cell): Promise<void> {
  if (callsNobody(server.variant)) return;
  const url = receiverUrl(scene.receiver, keyOf(server.variant, cell), cell.delayMs);
  const name = classNameOf(cell);
  if (cell.operation === 'function') await createHook(server, { functionName: name, url });
  else {
    const triggerName = cell.operation === 'save' ? 'beforeSave' : 'beforeDelete';
    await createHook(server, { className: name, triggerName, url });
  }
}

/** Throws a VoidRunError when not all requests, calls and objects are there. */
export async function measureVariant(
  scene: Scene,
  server: BenchServer,
  cell: Cell,
  run: { readonly round: number; readonly requests: number; readonly pace?: Pace },
): Promise<Sample> {
  const { requests } = run;
  const pace = run.pace ?? { kind: 'closed', concurrency: cell.concurrency };
  const request = await prepareRequest(scene, server, cell, { requests, pace });
  const cpuBefore = await server.cpuUs();
  const result = await scene.load.ask(request);
  const cpuUs = (await server.cpuUs()) - cpuBefore;
  const key = keyOf(server.variant, cell);
  const expectedCalls = callsNobody(server.variant) ? 0 : requests;
  const count = await awaitCalls(scene.receiver, { key, calls: expectedCalls, patienceMs: 1000 });
  if (result.failure !== undefined) scene.log(`  ${server.variant}: ${result.failure}`);
  assertClosed(`${cell.name}, ${server.variant}, round ${run.round}`, [
    { what: 'requests succeeded', expected: requests, found: result.succeeded },
    { what: 'calls came', expected: expectedCalls, found: count.calls },
    {
      what: 'objects were made',
      expected: cell.operation === 'save' ? requests : 0,
      found: new Set(result.objectIds).size,
    },
  ]);
  return {
    round: run.round,
    requestsPerSecond: (requests / result.elapsedMs) * 1000,
    cpuPerRequestUs: cpuUs / requests,
    latency: result.latency,
    receiverOwn: count.calls > 0 ? count.own : undefined,
  };
}

/** The floor: a loop of bare undici requests from the load process to the same receiver, bodies as a hook's would be. */
export async function measureBare(
  scene: Scene,
  cell: Cell,
  run: { readonly round: number; readonly requests: number },
): Promise<Sample> {
  const { requests } = run;
  const key = keyOf('bare', cell);
  const url = new URL(receiverUrl(scene.receiver, key, cell.delayMs));
  const result = await scene.load.ask({
    origin: url.origin,
    headers: { 'content-type': 'application/json' },
    method: 'POST',
    paths: [`${url.pathname}${url.search}`],
    body: `{"triggerName":"beforeSave","master":false,"object":${objectOf(cell.bytes)}}`,
    requests,
    pace: { kind: 'closed', concurrency: cell.concurrency },
  });
  const count = await awaitCalls(scene.receiver, { key, calls: requests, patienceMs: 1000 });
  assertClosed(`${cell.name}, bare, round ${run.round}`, [
    { what: 'requests succeeded', expected: requests, found: result.succeeded },
    { what: 'calls came', expected: requests, found: count.calls },
  ]);
  return {
    round: run.round,
    requestsPerSecond: (requests / result.elapsedMs) * 1000,
    cpuPerRequestUs: result.cpuUs / requests,
    latency: result.latency,
    receiverOwn: count.own,
  };
}

function keyOf(variant: string, cell: Cell): string {
  return `${variant}/${cell.name}`;
}

async function prepareRequest(
  scene: Scene,
  server: BenchServer,
  cell: Cell,
  { requests, pace }: { readonly requests: number; readonly pace: Pace },
): Promise<LoadRequest> {
  const name = classNameOf(cell);
  const body = objectOf(cell.bytes);
  switch (cell.operation) {
    case 'save':
      return clientRequest(server, { path: `/classes/${name}`, body, requests, pace });
    case 'function': {
      // Without a hook it is cloud code that answers its parameters, as the receiver does.
      const functionName = callsNobody(server.variant) ? 'HelloHere' : name;
      return clientRequest(server, { path: `/functions/${functionName}`, body, requests, pace });
    }
    case 'delete': {
      const creation = clientRequest(server, {
        path: `/classes/${name}`,
        body,
        requests,
        pace: { kind: 'closed', concurrency: 16 },
      });
      const { objectIds, failure } = await scene.load.ask(creation);
      if (objectIds.length !== requests) throw new Error(`no objects to delete: ${failure ?? ''}`);
      return {
        ...creation,
        pace,
        method: 'DELETE',
        paths: objectIds.map(objectId => `/parse/classes/${name}/${objectId}`),
      };
    }
    default:
      return cell.operation satisfies never;
  }
}
