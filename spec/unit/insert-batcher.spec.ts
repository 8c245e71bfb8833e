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
  const stored: string[] = [];
  /** Adds one delivery per id in one call; its end is noted as `a,b ok` or `a,b <message>`. */
  const add = (...ids: string[]): void => {
    const onStored = (part: readonly NewDelivery[]): void => void stored.push(...part.map(({ id }) => id));
    batcher
      .add(
        ids.map(id => deliveryOf(id)),
        onStored,
      )
      .then(
        () => ended.push(`${ids.join()} ok`),
        (error: unknown) => ended.push(`${ids.join()} ${messageOf(error)}`),
      );
  };
  return { store, clock, batcher, add, ended, stored };
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

  it('tells of the lease and resolves when the insert has ended, not before', async () => {
    const { store, batcher } = setUp();
    const told: unknown[] = [];
    const deliveries = [deliveryOf('a'), deliveryOf('b')];
    const added = batcher.add(deliveries, (...stored) => told.push(stored)).then(() => told.push('ended'));
    await settle();
    expect([store.inserts[0]?.lease, told]).toEqual([lease, []]);
    await store.inserts[0]?.end();
    await added;
    expect(told).toEqual([[deliveries, lease], 'ended']);
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

  it('keeps the deliveries of one call together while they fit', async () => {
    const { store, add } = setUp({ maxRows: 3, maxInFlight: 3 });
    add('a', 'b');
    add('c', 'd', 'e');
    await settle();
    expect(store.batches).toEqual([
      ['a', 'b'],
      ['c', 'd', 'e'],
    ]);
  });

  it('writes a call that is too large part by part, others in between, and resolves after the last', async () => {
    const { store, add, ended, stored } = setUp({ maxRows: 2, maxInFlight: 1 });
    add('a', 'b', 'c', 'd', 'e');
    add('f');
    for (let index = 0; index < 4; index++) {
      await settle();
      expect(ended).toEqual(index < 2 ? [] : ['f ok']);
      await store.inserts[index]?.end();
    }
    expect(store.batches).toEqual([['a', 'b'], ['f'], ['c', 'd'], ['e']]);
    expect(stored).toEqual(['a', 'b', 'f', 'c', 'd', 'e']);
    expect(ended).toEqual(['f ok', 'a,b,c,d,e ok']);
  });

  it('never makes a text too long for the engine, however many large bodies one save has', async () => {
    const { store, batcher } = setUp();
    const body = 'x'.repeat(1_000_000);
    const deliveries = Array.from({ length: 600 }, (_, index) => deliveryOf(`d${index}`, body));
    const added = batcher.add(deliveries);
    for (let index = 0; index < 150; index++) {
      await settle();
      await store.inserts[index]?.end();
    }
    await added;
    expect(Math.max(...store.batches.map(({ length }) => length))).toBe(4);
    expect(store.batches.flat()).toEqual(deliveries.map(({ id }) => id));
  });

  it('stops at the part that fails, and has told of those before it', async () => {
    const { store, add, ended, stored } = setUp({ maxRows: 2 });
    add('a', 'b', 'c', 'd', 'e');
    await settle();
    await store.inserts[0]?.end();
    await store.inserts[1]?.end(new Error('connection lost'));
    await settle();
    expect(store.batches).toHaveLength(2);
    expect([stored, ended]).toEqual([['a', 'b'], ['a,b,c,d,e connection lost']]);
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
    const { store, add, ended } = setUp({ maxWaitingRows: 3, maxInFlight: 1 });
    add('a');
    await settle();
    add('b', 'c');
    add('d', 'e');
    add('f');
    await settle();
    expect(ended).toEqual(['d,e 2 deliveries wait to be written, maxWaitingRows is 3']);
    await store.inserts[0]?.end();
    await store.inserts[1]?.end();
    expect(ended.slice(1)).toEqual(['a ok', 'b,c ok', 'f ok']);
    add('g');
    await settle();
    add('h', 'i', 'j');
    await settle();
    await store.inserts[2]?.end();
    await store.inserts[3]?.end();
    expect(ended.slice(4)).toEqual(['g ok', 'h,i,j ok']);
  });

  it('refuses a second large call while the first is under way, and no small one', async () => {
    const { store, add, ended } = setUp({ maxRows: 2, maxWaitingRows: 4, maxInFlight: 1 });
    add('a', 'b', 'c', 'd', 'e', 'f');
    await settle();
    add('g', 'h', 'i');
    add('j', 'k');
    await settle();
    expect(ended).toEqual(['g,h,i 4 deliveries wait to be written, maxWaitingRows is 4']);
    await store.inserts[0]?.end();
    await store.inserts[1]?.end();
    await store.inserts[2]?.end(new Error('connection lost'));
    add('l', 'm', 'n');
    for (const index of [3, 4]) {
      await settle();
      await store.inserts[index]?.end();
    }
    expect(ended.slice(1)).toEqual(['j,k ok', 'a,b,c,d,e,f connection lost', 'l,m,n ok']);
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
          const calls: {
            readonly ids: readonly string[];
            readonly stored: Set<string>;
            outcome?: string;
          }[] = [];
          const end = async (insert: Insert | undefined, isLost: boolean): Promise<void> => {
            if (insert === undefined) return;
            ended.add(insert);
            const isBad = insert.ids.some(id => id.startsWith('bad'));
            if (!isBad && !isLost) for (const id of insert.ids) written.add(id);
            await insert.end(isLost ? new Error('lost') : isBad ? refusal : undefined);
          };
          const open = (): Insert[] => store.inserts.filter(insert => !ended.has(insert));
          const add = (ids: readonly string[]): void => {
            const call: (typeof calls)[number] = { ids, stored: new Set() };
            calls.push(call);
            batcher
              .add(
                ids.map(id => deliveryOf(id)),
                part => {
                  for (const { id } of part) call.stored.add(id);
                },
              )
              .then(
                () => (call.outcome = 'ok'),
                (error: unknown) => (call.outcome = messageOf(error)),
              );
          };
          for (const [index, next] of events.entries()) {
            if (next.kind === 'add') {
              const nameOf = (place: number): string =>
                next.bad === 0 && place === next.size - 1 ? 'bad' : 'good';
              add(Array.from({ length: next.size }, (_, place) => `${nameOf(place)}-${index}-${place}`));
            } else if (next.kind === 'end')
              await end(open()[next.index % Math.max(open().length, 1)], next.lost === 0);
            else if (next.kind === 'timer') clock.fire();
            else await settle();
            expect(store.inFlight).toBeLessThanOrEqual(maxInFlight);
          }
          await settle();
          while (open().length > 0) await end(open()[0], false);
          expect(clock.delays).toEqual([]);
          for (const { ids, stored, outcome } of calls) {
            const isBad = ids.some(id => id.startsWith('bad'));
            expect([...stored]).toEqual(ids.filter(id => written.has(id)));
            expect(outcome === 'ok').toBe(stored.size === ids.length);
            expect(isBad ? ['refused', 'lost'] : ['ok', 'lost']).toContain(outcome);
          }
          for (const ids of store.batches) expect(ids.length).toBeLessThanOrEqual(maxRows);
        },
      ),
      { numRuns: 150, seed: 20 },
    );
  });
});
