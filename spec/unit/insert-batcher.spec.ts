// How deliveries that are added at the same time are gathered into inserts.
import fc from 'fast-check';
import type { NewDelivery } from '../../src/events/delivery';
import type { Lease } from '../../src/events/delivery-store';
import { DeliveryStoreError } from '../../src/events/delivery-store-error';
import { InsertBatcher, type InsertBatcherOptions } from '../../src/events/insert-batcher';
import { systemClock, type Clock } from '../../src/shared/clock';

interface Insert {
  readonly ids: readonly string[];
  readonly lease: Lease | undefined;
  end(error?: Error): Promise<void>;
}

/** Lets everything that is ready to run do so. */
const settle = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

/** A store whose inserts end when the test says so. */
class RecordingStore {
  readonly inserts: Insert[] = [];
  inFlight = 0;

  async insert(deliveries: readonly NewDelivery[], lease: Lease | undefined): Promise<void> {
    this.inFlight++;
    await new Promise<void>((resolve, reject) => {
      this.inserts.push({
        ids: deliveries.map(({ id }) => id),
        lease,
        end: async error => {
          this.inFlight--;
          if (error) reject(error);
          else resolve();
          await settle();
        },
      });
    });
  }

  get batches(): readonly (readonly string[])[] {
    return this.inserts.map(({ ids }) => ids);
  }
}

interface ManualClock extends Clock {
  readonly delays: readonly number[];
  fire(): void;
}

function createManualClock(): ManualClock {
  const tasks = new Map<() => void, number>();
  return {
    ...systemClock,
    schedule: (delayMs, task) => {
      tasks.set(task, delayMs);
      return () => tasks.delete(task);
    },
    get delays() {
      return [...tasks.values()];
    },
    fire: () => {
      for (const task of [...tasks.keys()]) {
        tasks.delete(task);
        task();
      }
    },
  };
}

function deliveryOf(id: string, body = '{}'): NewDelivery {
  return {
    id,
    webhookId: `msg_${id}`,
    endpoint: 'subscription/one',
    type: 'object.create',
    className: 'Puppy',
    objectId: 'abc',
    body,
    createdAt: 0,
    nextAttemptAt: 0,
    isTest: false,
    depth: 1,
    traceparent: undefined,
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'no error';
}

const lease: Lease = { owner: 'node-a', expiresAt: 1000 };
const refusal = new DeliveryStoreError('invalid', 'refused');

function setUp(options: Partial<InsertBatcherOptions> = {}) {
  const store = new RecordingStore();
  const clock = createManualClock();
  const batcher = new InsertBatcher({ store, clock, createLease: () => lease, options });
  const ended: string[] = [];
  /** Adds one delivery per id in one call; its end is noted as `a,b ok` or `a,b <message>`. */
  const add = (...ids: string[]): void => {
    batcher.add(ids.map(id => deliveryOf(id))).then(
      () => ended.push(`${ids.join()} ok`),
      (error: unknown) => ended.push(`${ids.join()} ${messageOf(error)}`),
    );
  };
  return { store, clock, batcher, add, ended };
}

describe('an insert batcher', () => {
  it('writes at once when no insert is under way, together with what the same turn adds', async () => {
    const { store, clock, add } = setUp();
    add('a');
    add('b', 'c');
    await settle();
    expect(store.batches).toEqual([['a', 'b', 'c']]);
    expect(clock.delays).toEqual([]);
  });

  it('resolves with the lease when the insert has ended, not before', async () => {
    const { store, batcher, add, ended } = setUp();
    add('a');
    await settle();
    expect([store.inserts[0]?.lease, ended]).toEqual([lease, []]);
    await store.inserts[0]?.end();
    expect(ended).toEqual(['a ok']);
    const added = batcher.add([deliveryOf('b')]);
    await settle();
    await store.inserts[1]?.end();
    await expect(added).resolves.toBe(lease);
  });

  it('gathers what comes while an insert is under way and writes it when that one ends', async () => {
    const { store, clock, add } = setUp();
    add('a');
    await settle();
    add('b');
    add('c');
    await settle();
    expect([store.batches, clock.delays]).toEqual([[['a']], [2]]);
    await store.inserts[0]?.end();
    expect([store.batches, clock.delays]).toEqual([[['a'], ['b', 'c']], []]);
  });

  it('does not wait longer than the delay while another insert may start', async () => {
    const { store, clock, add } = setUp({ maxInFlight: 2, maxDelayMs: 3 });
    for (const id of ['a', 'b', 'c']) {
      add(id);
      await settle();
    }
    expect(clock.delays).toEqual([3]);
    clock.fire();
    expect(store.batches).toEqual([['a'], ['b', 'c']]);
    add('d');
    await settle();
    expect([store.batches.length, clock.delays]).toEqual([2, []]);
    await store.inserts[1]?.end();
    expect(clock.delays).toEqual([3]);
    await store.inserts[0]?.end();
    expect(store.batches[2]).toEqual(['d']);
  });

  it('starts another insert at once when a batch is full', async () => {
    const { store, add } = setUp({ maxRows: 2 });
    add('a');
    await settle();
    for (const id of ['b', 'c', 'd']) add(id);
    await settle();
    expect(store.batches).toEqual([['a'], ['b', 'c']]);
  });

  it('keeps the deliveries of one call together, even beyond the size of a batch', async () => {
    const { store, add } = setUp({ maxRows: 2, maxInFlight: 3 });
    add('a');
    add('b', 'c');
    add('d', 'e', 'f');
    await settle();
    expect(store.batches).toEqual([['a'], ['b', 'c'], ['d', 'e', 'f']]);
  });

  it('bounds the bytes of a batch', async () => {
    const { store, batcher } = setUp({ maxBodyLength: 10, maxInFlight: 3 });
    const added = ['a', 'b', 'c'].map(id => batcher.add([deliveryOf(id, '123456')]));
    await settle();
    expect(store.batches).toEqual([['a'], ['b']]);
    await Promise.all(store.inserts.map(insert => insert.end()));
    await store.inserts[2]?.end();
    await Promise.all(added);
  });

  it('fails all members when the connection fails, and goes on', async () => {
    const { store, add, ended } = setUp();
    add('a');
    add('b');
    await settle();
    await store.inserts[0]?.end(new Error('connection lost'));
    expect(ended).toEqual(['a connection lost', 'b connection lost']);
    add('c');
    await settle();
    await store.inserts[1]?.end();
    expect(ended).toContain('c ok');
  });

  it('fails only the member whose deliveries the store refuses', async () => {
    const { store, add, ended } = setUp();
    for (const id of ['a', 'b', 'bad', 'c']) add(id);
    await settle();
    for (let index = 0; index < store.inserts.length; index++) {
      const insert = store.inserts[index];
      await insert?.end(insert.ids.includes('bad') ? refusal : undefined);
    }
    expect(store.batches).toEqual([['a', 'b', 'bad', 'c'], ['a', 'b'], ['bad', 'c'], ['bad'], ['c']]);
    expect(ended).toEqual(['a ok', 'b ok', 'bad refused', 'c ok']);
  });

  it('refuses more than may wait', async () => {
    const { store, add, ended, batcher } = setUp({ maxWaitingRows: 3, maxInFlight: 1 });
    add('a');
    await settle();
    add('b', 'c');
    add('d', 'e');
    add('f');
    await settle();
    expect(ended).toEqual(['d,e 2 deliveries wait to be written, maxWaitingRows is 3']);
    expect(batcher.waitingRows).toBe(3);
    await store.inserts[0]?.end();
    await store.inserts[1]?.end();
    expect(ended.slice(1)).toEqual(['a ok', 'b,c ok', 'f ok']);
    expect(batcher.waitingRows).toBe(0);
  });

  it('hands on what goes wrong in making a lease', async () => {
    const store = new RecordingStore();
    const createLease = (): Lease => {
      throw new Error('stopped');
    };
    const batcher = new InsertBatcher({ store, clock: createManualClock(), createLease });
    await expect(batcher.add([deliveryOf('a')])).rejects.toThrow('stopped');
  });

  it('answers every call by what became of its own deliveries, whatever the order of events', async () => {
    const event = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          kind: fc.constant('add' as const),
          size: fc.integer({ min: 1, max: 4 }),
          bad: fc.nat(9),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({ kind: fc.constant('end' as const), index: fc.nat(3), lost: fc.nat(9) }),
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('timer' as const) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('turn' as const) }) },
    );
    const options = fc.record({
      maxRows: fc.integer({ min: 1, max: 5 }),
      maxInFlight: fc.integer({ min: 1, max: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(
        options,
        fc.array(event, { maxLength: 40 }),
        async ({ maxRows, maxInFlight }, events) => {
          const { store, clock, batcher } = setUp({ maxRows, maxInFlight });
          const written = new Set<string>();
          const ended = new Set<Insert>();
          const calls: { readonly ids: readonly string[]; outcome?: string }[] = [];
          const end = async (insert: Insert | undefined, isLost: boolean): Promise<void> => {
            if (insert === undefined) return;
            ended.add(insert);
            const isBad = insert.ids.some(id => id.startsWith('bad'));
            if (!isBad && !isLost) for (const id of insert.ids) written.add(id);
            await insert.end(isLost ? new Error('lost') : isBad ? refusal : undefined);
          };
          const open = (): Insert[] => store.inserts.filter(insert => !ended.has(insert));
          const add = (ids: readonly string[]): void => {
            const call: (typeof calls)[number] = { ids };
            calls.push(call);
            batcher.add(ids.map(id => deliveryOf(id))).then(
              () => (call.outcome = 'ok'),
              (error: unknown) => (call.outcome = messageOf(error)),
            );
          };
          for (const [index, next] of events.entries()) {
            if (next.kind === 'add') {
              const name = next.bad === 0 ? 'bad' : 'good';
              add(Array.from({ length: next.size }, (_, place) => `${name}-${index}-${place}`));
            } else if (next.kind === 'end')
              await end(open()[next.index % Math.max(open().length, 1)], next.lost === 0);
            else if (next.kind === 'timer') clock.fire();
            else await settle();
            expect(store.inFlight).toBeLessThanOrEqual(maxInFlight);
          }
          await settle();
          while (open().length > 0) await end(open()[0], false);
          expect(batcher.waitingRows).toBe(0);
          expect(clock.delays).toEqual([]);
          for (const { ids, outcome } of calls) {
            const isBad = ids.some(id => id.startsWith('bad'));
            expect([
              outcome === 'ok',
              ids.every(id => written.has(id)),
              ids.some(id => written.has(id)),
            ]).toEqual(new Array<boolean>(3).fill(outcome === 'ok'));
            expect(isBad ? ['refused', 'lost'] : ['ok', 'lost']).toContain(outcome);
          }
          for (const ids of store.batches) {
            const members = calls.filter(call => call.ids.some(id => ids.includes(id)));
            expect(ids.length <= maxRows || members.length === 1).toBe(true);
            expect(ids).toEqual(members.flatMap(call => call.ids));
          }
        },
      ),
      { numRuns: 150, seed: 20 },
    );
  });
});
