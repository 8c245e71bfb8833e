// What is particular to deliveries on PostgreSQL: what a claim reads, notifications, lost connections, refused values.
import { Client, Pool } from 'pg';
import type { NewDelivery } from '../../src/events/delivery';
import { DeliveryStoreError } from '../../src/events/delivery-store-error';
import { PostgresDeliveryStore } from '../../src/events/postgres-delivery-store';
import { systemClock, type Clock } from '../../src/shared/clock';
import { startCuttableProxy } from '../support/cuttable-proxy';
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { silentLogger } from '../support/silent-logger';

const noon = Date.UTC(2026, 0, 15, 12);
let created = 0;

function newDelivery(fields: Partial<NewDelivery> = {}): NewDelivery {
  const id = `dlv_${String(++created).padStart(26, '0')}`;
  return {
    id,
    webhookId: `msg_${id}`,
    endpoint: 'subscription/one',
    type: 'object.create',
    className: 'Puppy',
    objectId: 'abc',
    body: '{}',
    createdAt: noon,
    nextAttemptAt: noon,
    isTest: false,
    depth: 1,
    traceparent: undefined,
    ...fields,
  };
}

/** A promise and the function that fulfils it. */
function createSignal(): { readonly promise: Promise<void>; readonly fire: () => void } {
  let fire = (): void => undefined;
  const promise = new Promise<void>(resolve => (fire = resolve));
  return { promise, fire: () => fire() };
}

describeOnDatabase('postgres', 'deliveries on PostgreSQL', database => {
  let fresh: FreshDatabase;

  beforeEach(async () => {
    fresh = await database.create();
  });

  afterEach(() => fresh.drop());

  async function withStore<Result>(
    use: (store: PostgresDeliveryStore) => Promise<Result>,
    parts: { readonly connection?: string | Pool; readonly clock?: Clock } = {},
  ): Promise<Result> {
    const store = new PostgresDeliveryStore({
      connection: fresh.databaseURI,
      clock: systemClock,
      logger: silentLogger,
      ...parts,
    });
    try {
      return await use(store);
    } finally {
      await store.close();
    }
  }

  it('reads a few rows per claim, not the backlog of an endpoint nor what is kept', async () => {
    // One connection, so that its statistics can be had as soon as it has done its work.
    const pool = new Pool({ connectionString: fresh.databaseURI, max: 1 });
    const countRowsRead = async (): Promise<number> => {
      await pool.query('SELECT pg_stat_force_next_flush()');
      const { rows } = await pool.query<{ count: string }>(
        `SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) AS count
        FROM pg_stat_user_tables WHERE relname LIKE '\\_webhook%'`,
      );
      return Number(rows[0]?.count);
    };
    const backlog = 20_000;
    await withStore(
      async store => {
        await store.migrate();
        for (let written = 0; written < backlog; written += 2000) {
          await store.insert(
            Array.from({ length: 2000 }, () => newDelivery({ endpoint: 'subscription/slow' })),
            undefined,
          );
        }
        const prompt = Array.from({ length: 30 }, (_, index) =>
          newDelivery({ endpoint: `subscription/prompt-${index % 10}`, nextAttemptAt: noon + 1 }),
        );
        await store.insert(prompt, undefined);
        const before = await countRowsRead();
        const claimed = await store.claim({
          lease: { owner: 'node-a', expiresAt: noon + 60_000 },
          now: noon + 1,
          limit: 100,
          limitPerEndpoint: 16,
          except: [],
        });
        expect(claimed).toHaveLength(16 + prompt.length);
        await store.nextDueAt([]);
        expect((await countRowsRead()) - before).toBeLessThan(1000);
      },
      { connection: pool },
    );
    await pool.end();
  });

  /** Rows and entries of indexes that this one connection has read so far. */
  const countRead = async (pool: Pool): Promise<{ readonly rows: number; readonly entries: number }> => {
    await pool.query('SELECT pg_stat_force_next_flush()');
    const { rows } = await pool.query<{ rows: string; entries: string }>(
      `SELECT (SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables
          WHERE relname LIKE '\\_webhook%') AS rows,
        (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname LIKE '\\_webhook%') AS entries`,
    );
    return { rows: Number(rows[0]?.rows), entries: Number(rows[0]?.entries) };
  };

  const insertPending = (pool: Pool, count: number): Promise<unknown> =>
    pool.query(
      `INSERT INTO _webhook_delivery (id, webhook_id, endpoint, type, created_at, is_test, depth, state, attempt_count,
        attempts_before_replay, next_attempt_at, is_expunged)
      SELECT 'dlv_' || lpad(n::text, 26, '0'), 'msg', 'subscription/one', 'object.create', ${noon}, false, 1, 'pending',
        n % 2, 0, ${noon} + n % 1009, false FROM generate_series(1, ${count}) n`,
    );

  it.each([
    ['with statistics', 'ANALYZE _webhook_delivery'],
    ['without statistics', 'ALTER TABLE _webhook_delivery SET (autovacuum_enabled = false)'],
  ])('cancels many without reading again what is left or what is cancelled, %s', async (_name, prepare) => {
    const pool = new Pool({ connectionString: fresh.databaseURI, max: 1 });
    const total = 20_000;
    await withStore(
      async store => {
        await store.migrate();
        await insertPending(pool, total);
        await pool.query(prepare);
        const before = await countRead(pool);
        expect(await store.cancel('subscription/one', noon)).toBe(total);
        const after = await countRead(pool);
        // Each is found, locked and changed by an index. To read what is left for each thousand would be 210,000 more.
        expect(after.entries - before.entries).toBeLessThan(5 * total);
        expect(after.rows - before.rows).toBeLessThan(5 * total);
      },
      { connection: pool },
    );
    await pool.end();
  });

  it('cancels what another connection holds and moves on meanwhile', async () => {
    const pool = new Pool({ connectionString: fresh.databaseURI });
    await withStore(
      async store => {
        await store.migrate();
        await insertPending(pool, 5);
        const client = await pool.connect();
        await client.query('BEGIN');
        const { rows } = await client.query<{ id: string }>(
          `UPDATE _webhook_delivery SET attempt_count = 1, next_attempt_at = ${noon + 5000}
          WHERE id = (SELECT min(id) FROM _webhook_delivery) RETURNING id`,
        );
        const cancelling = store.cancel('subscription/one', noon);
        const isWaiting = async (): Promise<boolean> => {
          const found = await pool.query(
            `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
          );
          return found.rowCount === 1;
        };
        while (!(await isWaiting()));
        await client.query('COMMIT');
        client.release();
        expect(await cancelling).toBe(5);
        const { deliveries } = await store.list({ states: ['cancelled'] }, { limit: 10 });
        expect(deliveries.find(({ id }) => id === rows[0]?.id)).toMatchObject({ attemptCount: 1 });
      },
      { connection: pool },
    );
    await pool.end();
  });

  it('counts what is kept once per purge, in an index, and not at all where that is too small for so many', async () => {
    const pool = new Pool({ connectionString: fresh.databaseURI, max: 1 });
    const total = 20_000;
    await withStore(
      async store => {
        await store.migrate();
        // Else the vacuum may come before the commit is on disk, and marks no page as visible to all.
        await pool.query('SET synchronous_commit = on');
        await pool.query(
          `INSERT INTO _webhook_delivery (id, webhook_id, endpoint, type, created_at, is_test, depth, state, attempt_count,
            attempts_before_replay, finished_at, is_expunged)
          SELECT 'dlv_' || lpad(n::text, 26, '0'), 'msg', 'subscription/one', 'object.create', ${noon}, false, 1, 'succeeded',
            1, 0, ${noon} + n % 7, false FROM generate_series(1, ${total}) n`,
        );
        await pool.query('VACUUM (ANALYZE) _webhook_delivery');
        const read = async (keep: number): Promise<{ readonly rows: number; readonly entries: number }> => {
          const before = await countRead(pool);
          const lastKept = await store.findLastKept(keep);
          const purged = lastKept === undefined ? 0 : await store.purge(lastKept);
          expect(purged).toBe(Math.max(0, total - keep));
          const after = await countRead(pool);
          return { rows: after.rows - before.rows, entries: after.entries - before.entries };
        };
        const idle = await read(2 * total);
        expect(idle.rows + idle.entries).toBeLessThan(10);
        const full = await read(total);
        expect(full.entries).toBeLessThan(1.1 * total);
        expect(full.rows).toBeLessThan(10);
        // Whoever has an older view keeps the entries of deleted rows in the index.
        const onlooker = new Client({ connectionString: fresh.databaseURI });
        await onlooker.connect();
        try {
          await onlooker.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
          await onlooker.query('SELECT count(*) FROM _webhook_delivery');
          // To count 10,000 once for each step would be another 100,000; to pass over what is deleted, 45,000.
          expect((await read(total / 2)).entries).toBeLessThan(50_000);
        } finally {
          await onlooker.end();
        }
      },
      { connection: pool },
    );
    await pool.end();
  });

  it('leaves a pool that it was given open', async () => {
    const pool = new Pool({ connectionString: fresh.databaseURI, max: 1 });
    await withStore(store => store.migrate(), { connection: pool });
    await expect(pool.query('SELECT 1')).resolves.toMatchObject({ rowCount: 1 });
    await pool.end();
  });

  it('migrates on one connection of a pool of one', async () => {
    const pool = new Pool({ connectionString: fresh.databaseURI, max: 1 });
    await withStore(store => Promise.all([store.migrate(), store.migrate()]), { connection: pool });
    await pool.end();
  });

  it('refuses a NUL in a text as invalid and writes none of the others', async () => {
    await withStore(async store => {
      await store.migrate();
      const good = newDelivery();
      await expect(store.insert([good, newDelivery({ objectId: 'a\0b' })], undefined)).rejects.toMatchObject({
        name: 'DeliveryStoreError',
        fault: 'invalid',
      });
      await expect(store.get(good.id)).resolves.toBeUndefined();
    });
  });

  it('works without prepared statements', async () => {
    const store = new PostgresDeliveryStore({
      connection: fresh.databaseURI,
      clock: systemClock,
      logger: silentLogger,
      preparedStatements: false,
    });
    await store.migrate();
    await store.insert([newDelivery()], undefined);
    await expect(store.countByState({})).resolves.toMatchObject({ pending: 1 });
    await store.close();
  });

  it('tells a lost connection from a refusal, and works again when the database is back', async () => {
    const proxy = await startCuttableProxy(fresh.databaseURI);
    await withStore(
      async store => {
        await store.migrate();
        const delivery = newDelivery();
        const cut = proxy.cutAt(delivery.id);
        const error: unknown = await store.insert([delivery], undefined).catch((reason: unknown) => reason);
        await cut;
        expect(error).toBeInstanceOf(Error);
        expect(error).not.toBeInstanceOf(DeliveryStoreError);
        await proxy.mend();
        await store.insert([delivery], undefined);
        await expect(store.get(delivery.id)).resolves.toBeDefined();
      },
      { connection: proxy.through(fresh.databaseURI) },
    );
    await proxy.close();
  });

  it('listens again after its connection is lost, and wakes for what it has missed', async () => {
    const proxy = await startCuttableProxy(fresh.databaseURI);
    const retry = createSignal();
    const retries: { readonly delayMs: number; readonly task: () => void }[] = [];
    const clock: Clock = {
      ...systemClock,
      schedule: (delayMs, task) => {
        retries.push({ delayMs, task });
        retry.fire();
        return () => undefined;
      },
    };
    await withStore(
      async store => {
        await withStore(direct => direct.migrate());
        let wake = createSignal();
        const stop = await store.listen(() => wake.fire());
        await withStore(direct => direct.insert([newDelivery()], undefined));
        await wake.promise;
        wake = createSignal();
        const cut = proxy.cutAt('dlv_cut');
        await expect(store.get('dlv_cut')).rejects.toThrow();
        await Promise.all([cut, retry.promise]);
        expect(retries.map(({ delayMs }) => delayMs)).toEqual([100]);
        await proxy.mend();
        retries[0]!.task();
        await wake.promise;
        wake = createSignal();
        await withStore(direct => direct.insert([newDelivery()], undefined));
        await wake.promise;
        await stop();
      },
      { connection: proxy.through(fresh.databaseURI), clock },
    );
    await proxy.close();
  });

  it('does not wake for deliveries that come with a lease', async () => {
    await withStore(async store => {
      await store.migrate();
      let wakes = 0;
      const end = createSignal();
      const stop = await store.listen(() => {
        wakes++;
        end.fire();
      });
      await store.insert([newDelivery()], { owner: 'node-a', expiresAt: noon + 1 });
      await store.insert([newDelivery()], undefined);
      await end.promise;
      await stop();
      expect(wakes).toBe(1);
    });
  });
});
