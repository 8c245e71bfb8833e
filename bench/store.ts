// A process with one delivery store and no HTTP: what the rows themselves cost.
import type { Client } from 'pg';
import type { DeliveryStore, FinishedAttempt, Lease } from '../src/events/delivery-store';
import type { Delivery, NewDelivery } from '../src/events/delivery';
import { MongodbDeliveryStore } from '../src/events/mongodb-delivery-store';
import { PostgresDeliveryStore } from '../src/events/postgres-delivery-store';
import { attemptTable, bodyTable, deliveryTable } from '../src/events/postgres-migrations';
import { systemClock } from '../src/shared/clock';
import { createDeliveryId, createMessageId } from '../src/shared/ids';
import type { Logger } from '../src/shared/logger';
import { withPostgres } from './databases';
import { readSettings, serve } from './processes';
import { storeProtocol, storeSettingsShape, type StoreAnswer, type StoreRequest } from './store-protocol';

/** As many as InsertBatcher writes at once. */
const batchRows = 500;
const endpoints = 20;
const leaseMs = 600_000;
const reply = { headers: { 'content-type': 'application/json' }, body: '{"success":true}' };
const text = JSON.stringify({ type: 'object.create', data: { object: { text: 'x'.repeat(900) } } });

function newDelivery(endpoint: string): NewDelivery {
  const now = Date.now();
  const id = createDeliveryId(systemClock);
  return {
    id,
    webhookId: createMessageId(systemClock),
    endpoint,
    type: 'object.create',
    className: 'Bench',
    objectId: id.slice(-10),
    body: text,
    createdAt: now,
    nextAttemptAt: now,
    isTest: false,
    depth: 1,
    traceparent: undefined,
  };
}

async function insertRows(store: DeliveryStore, rows: number, endpoint?: string): Promise<void> {
  for (let written = 0; written < rows; written += batchRows) {
    const size = Math.min(batchRows, rows - written);
    const batch = Array.from({ length: size }, (_, index) =>
      newDelivery(endpoint ?? `subscription/bench${index % endpoints}`),
    );
    await store.insert(batch, undefined);
  }
}

/** Claims and finishes until nothing is due; answers how many. */
async function drain(store: DeliveryStore): Promise<number> {
  for (let drained = 0; ;) {
    const now = Date.now();
    const lease = { owner: createMessageId(systemClock), expiresAt: now + leaseMs };
    const claimed = await store.claim({
      lease,
      now,
      limit: batchRows,
      limitPerEndpoint: batchRows,
      except: [],
    });
    if (claimed.length === 0) return drained;
    const finished = await store.finish(claimed.map(delivery => attemptOf(delivery, lease)));
    drained += finished.length;
  }
}

function attemptOf(delivery: Delivery, lease: Lease): FinishedAttempt {
  const now = Date.now();
  const number = delivery.attemptCount + 1;
  return {
    owner: lease.owner,
    attempt: {
      deliveryId: delivery.id,
      number,
      startedAt: now,
      durationMs: 1.5,
      status: 200,
      error: undefined,
      phase: 'done',
      reply,
      node: 'bench',
    },
    progress: {
      state: 'succeeded',
      attemptCount: number,
      nextAttemptAt: undefined,
      lastStatus: 200,
      lastError: undefined,
      finishedAt: now,
    },
  };
}

/** As finished deliveries stand in the tables: a million by the store would take minutes. */
async function seedPostgres(client: Client, rows: number): Promise<void> {
  const id = `'dlv_' || lpad(n::text, 26, '0')`;
  const endpoint = `'subscription/bench' || n % ${endpoints}`;
  const at = `${Date.now()} - (${rows} - n)`;
  const numbers = `generate_series(1, ${rows}) n`;
  await client.query(
    `INSERT INTO ${deliveryTable} (id, webhook_id, endpoint, type, class_name, object_id, created_at, is_test, depth,
      state, attempt_count, attempts_before_replay, last_status, finished_at, is_expunged)
    SELECT ${id}, 'msg_' || lpad(n::text, 26, '0'), ${endpoint}, 'object.create', 'Bench', lpad(n::text, 10, '0'), ${at},
      false, 1, 'succeeded', 1, 0, 200, ${at}, false FROM ${numbers}`,
  );
  await client.query(`INSERT INTO ${bodyTable} SELECT ${id}, $1 FROM ${numbers}`, [text]);
  await client.query(
    `INSERT INTO ${attemptTable} (delivery_id, endpoint, number, started_at, duration_ms, status, phase, reply, node)
    SELECT ${id}, ${endpoint}, 1, ${at}, 1.5, 200, 'done', $1, 'bench' FROM ${numbers}`,
    [JSON.stringify(reply)],
  );
  // Else it is done in the background, in the middle of a round.
  await client.query('VACUUM (ANALYZE)');
}

const logger: Logger = { info: () => undefined, warn: () => undefined, error: () => undefined };

async function main(): Promise<void> {
  const { kind, uri } = readSettings(storeSettingsShape);
  const parts = { connection: uri, clock: systemClock, logger };
  const store: DeliveryStore =
    kind === 'postgres' ? new PostgresDeliveryStore(parts) : new MongodbDeliveryStore(parts);
  await store.migrate();
  const run = async (request: StoreRequest): Promise<number> => {
    switch (request.kind) {
      case 'seed':
        if (kind === 'postgres') {
          await withPostgres(uri, client => seedPostgres(client, request.rows));
          return request.rows;
        }
        await insertRows(store, request.rows);
        return drain(store);
      case 'cycle':
        await insertRows(store, request.rows);
        return drain(store);
      case 'insert':
        await insertRows(store, request.rows, request.endpoint);
        return request.rows;
      case 'drain':
        return drain(store);
      default:
        return request satisfies never;
    }
  };
  serve(
    storeProtocol,
    {},
    {
      answer: async (request): Promise<StoreAnswer> => {
        const cpuBefore = process.cpuUsage();
        const startedAt = performance.now();
        const rows = await run(request);
        const elapsedMs = performance.now() - startedAt;
        const { user, system } = process.cpuUsage(cpuBefore);
        const lastKept = request.kind === 'cycle' ? await store.findLastKept(request.keep) : undefined;
        if (lastKept !== undefined) await store.purge(lastKept);
        return { rows, elapsedMs, cpuUs: user + system };
      },
      stop: () => store.close(),
    },
  );
}

void main();
