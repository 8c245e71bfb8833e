// How deliveries are taken in, and what becomes of them while the store fails. A manual clock, a store in memory that
// a test lets fail or hang.
import type { NewDelivery } from '../../src/events/delivery';
import type { Lease } from '../../src/events/delivery-store';
import { DeliveryStoreError } from '../../src/events/delivery-store-error';
import { MemoryDeliveryStore } from '../../src/events/memory-delivery-store';
import { Outbox, type OutboxOptions } from '../../src/events/outbox';
import { newDeliveries, newDelivery, RecordingLogger } from '../support/dispatching';
import { ManualClock } from '../support/manual-clock';

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn++) await new Promise<void>(resolve => setImmediate(resolve));
};

class FailingStore extends MemoryDeliveryStore {
  failure: Error | undefined;
  /** Inserts that wait for `letGo`. */
  hangs = false;
  inserts = 0;
  readonly #hanging: (() => void)[] = [];

  override async insert(deliveries: readonly NewDelivery[], lease: Lease | undefined): Promise<void> {
    this.inserts += 1;
    if (this.hangs) await new Promise<void>(resolve => this.#hanging.push(resolve));
    if (this.failure) throw this.failure;
    await super.insert(deliveries, lease);
  }

  async letGo({ andHang = false } = {}): Promise<void> {
    this.hangs = andHang;
    for (const resolve of this.#hanging.splice(0)) resolve();
    await settle();
  }
}

function open(options: Partial<OutboxOptions> = {}) {
  const store = new FailingStore();
  const clock = new ManualClock(Date.now() + 1000);
  const logger = new RecordingLogger();
  const accepted: NewDelivery[] = [];
  const adopted: NewDelivery[] = [];
  const roomy = new Set(['roomy']);
  let wakes = 0;
  const dispatcher = {
    hasRoom: (endpoint: string) => roomy.has(endpoint),
    createLease: () => ({ owner: 'me', expiresAt: clock.now() + 60_000 }),
    accept: (deliveries: readonly NewDelivery[]) => void accepted.push(...deliveries),
    adopt: async (deliveries: readonly NewDelivery[]) => void adopted.push(...deliveries),
    wake: () => {
      wakes += 1;
    },
  };
  const named: string[] = [];
  const outbox = new Outbox({
    store,
    clock,
    logger,
    dispatcher,
    onInserted: refs => void named.push(...refs.map(({ id }) => id)),
    options,
  });
  const advance = async (ms: number): Promise<void> => {
    clock.advance(ms);
    await settle();
  };
  return { store, clock, logger, outbox, accepted, adopted, named, advance, wakes: () => wakes };
}

const idsOf = (deliveries: readonly { readonly id: string }[]): string[] => deliveries.map(({ id }) => id);

describe('an outbox', () => {
  it('hands what there is room for to the dispatcher, and leaves the rest to whoever claims', async () => {
    const { outbox, accepted, named, store, clock, wakes } = open();
    const [own, full] = [newDelivery('roomy'), newDelivery('full')];
    const later = newDelivery('roomy', { nextAttemptAt: clock.now() + 1000 });
    await outbox.add([own, full, later]);
    expect(idsOf(accepted)).toEqual([own.id]);
    expect(named).toEqual([full.id, later.id]);
    expect(wakes()).toBe(1);
    const lease = { owner: 'other', expiresAt: clock.now() + 1 };
    const request = { lease, now: clock.now(), limit: 9, limitPerEndpoint: 9, except: [] };
    expect(idsOf(await store.claim(request))).toEqual([full.id]);
  });

  it('does nothing without deliveries', async () => {
    const { outbox, store } = open();
    await outbox.add([]);
    expect(store.inserts).toBe(0);
  });

  it('fails as STORE_FAILED where that is asked for', async () => {
    const { outbox, store, accepted } = open({ onStoreFailure: 'fail' });
    store.failure = new Error('read-only');
    await expect(outbox.add([newDelivery('roomy')])).rejects.toMatchObject({
      code: 'STORE_FAILED',
      parseCode: 141,
      message: 'the object was saved or deleted, but its webhooks could not be recorded',
    });
    expect(accepted).toEqual([]);
    store.failure = undefined;
    await outbox.add([newDelivery('roomy')]);
    expect(accepted.length).toBe(1);
  });

  it('keeps deliveries in memory until the store works, and says so once', async () => {
    const { outbox, store, logger, named, advance } = open();
    store.failure = new Error('the disk is full');
    const deliveries = newDeliveries(3, 'roomy');
    for (const delivery of deliveries) await outbox.add([delivery]);
    expect(outbox.spooled).toBe(3);
    for (let round = 0; round < 6; round++) await advance(20_000);
    expect(logger.matching(/^error/)).toEqual([expect.stringMatching(/kept in memory.*the disk is full/)]);
    store.failure = undefined;
    await advance(20_000);
    expect(outbox.spooled).toBe(0);
    expect(named).toEqual(idsOf(deliveries));
    expect(await store.countByState({})).toMatchObject({ pending: 3 });
    expect(logger.matching(/^info/)).toEqual([expect.stringMatching(/works again, 3 that waited/)]);
  });

  it('tries less and less often while the store fails, every other second in the end', async () => {
    const { outbox, store, advance } = open();
    store.failure = new Error('down');
    await outbox.add([newDelivery('roomy')]);
    const before = store.inserts;
    for (let second = 0; second < 100; second++) await advance(1000);
    expect(store.inserts - before).toBeLessThanOrEqual(55);
    expect(store.inserts - before).toBeGreaterThanOrEqual(45);
  });

  it('writes what it keeps two seconds after the store works again, at the latest', async () => {
    const { outbox, store, advance } = open();
    store.failure = new Error('down');
    await outbox.add([newDelivery('roomy')]);
    for (let round = 0; round < 600; round++) await advance(101);
    store.failure = undefined;
    await advance(2000);
    expect(outbox.spooled).toBe(0);
  });

  it('tries at once to write what it keeps when another insert succeeds', async () => {
    const { outbox, store, advance } = open();
    store.hangs = true;
    const hanging = outbox.add([newDelivery('roomy')]);
    await settle();
    store.hangs = false;
    store.failure = new Error('down');
    const failing = outbox.add([newDelivery('roomy')]);
    await advance(2);
    await failing;
    expect(outbox.spooled).toBe(1);
    store.failure = undefined;
    await store.letGo();
    await hanging;
    expect(outbox.spooled).toBe(0);
    expect(await store.countByState({})).toMatchObject({ pending: 2 });
  });

  it('fails when the memory that it may use is full, and counts what was lost', async () => {
    const { outbox, store, logger, advance } = open({ spool: { maxRows: 2 } });
    store.failure = new Error('down');
    await outbox.add(newDeliveries(2, 'roomy'));
    for (let round = 0; round < 3; round++) {
      await expect(outbox.add([newDelivery('roomy')])).rejects.toMatchObject({ code: 'STORE_FAILED' });
    }
    expect(logger.matching(/no room for more/).length).toBe(1);
    store.failure = undefined;
    await advance(1000);
    expect(logger.matching(/^info/)).toEqual([expect.stringMatching(/2 that waited.*3 were lost/)]);
  });

  it('counts a delivery once that it keeps already', async () => {
    const { outbox, store } = open({ spool: { maxRows: 2, maxBodyLength: 100 } });
    store.failure = new Error('down');
    const delivery = newDelivery('roomy', { body: 'x'.repeat(60) });
    await outbox.add([delivery]);
    await outbox.add([delivery]);
    await outbox.add([newDelivery('roomy', { body: 'x'.repeat(40) })]);
    expect(outbox.spooled).toBe(2);
  });

  it('writes what comes after inserts that hang for ever, when the store works again', async () => {
    const { outbox, store, advance } = open({ insertTimeoutMs: 5000 });
    store.hangs = true;
    const hanging = [outbox.add([newDelivery('roomy')])];
    await advance(2);
    hanging.push(outbox.add([newDelivery('roomy')]));
    await advance(2);
    await advance(5000);
    await Promise.all(hanging);
    expect(outbox.spooled).toBe(2);
    store.hangs = false;
    await advance(20_000);
    expect(outbox.spooled).toBe(0);
    const late = newDelivery('roomy');
    await outbox.add([late]);
    expect(outbox.spooled).toBe(0);
    expect(await store.get(late.id)).toBeDefined();
  });

  it('does not wait for an insert that hangs, and writes no second row when it succeeds late', async () => {
    const { outbox, store, accepted, advance } = open({ insertTimeoutMs: 5000 });
    store.hangs = true;
    const delivery = newDelivery('roomy');
    let isAnswered = false;
    const adding = outbox.add([delivery]).then(() => (isAnswered = true));
    await settle();
    await advance(4999);
    expect(isAnswered).toBe(false);
    await advance(1);
    await adding;
    expect(outbox.spooled).toBe(1);
    await store.letGo();
    expect(idsOf(accepted)).toEqual([delivery.id]);
    expect(outbox.spooled).toBe(0);
    await advance(60_000);
    expect(await store.countByState({})).toMatchObject({ pending: 1 });
  });

  it('takes a repeated id for success when the first try took effect after all', async () => {
    const { outbox, store, logger, adopted, advance } = open({ insertTimeoutMs: 100 });
    const delivery = newDelivery('roomy');
    // The first try takes effect and its answer is lost.
    await store.insert([delivery], undefined);
    store.failure = new Error('connection lost');
    await outbox.add([delivery, newDelivery('roomy')]);
    store.failure = undefined;
    await advance(1000);
    expect(outbox.spooled).toBe(0);
    expect(await store.countByState({})).toMatchObject({ pending: 2 });
    expect(logger.matching(/is lost/)).toEqual([]);
    expect(idsOf(adopted)).toEqual([delivery.id]);
  });

  it('gives up one delivery that the store refuses, and keeps the others of the same save', async () => {
    const { outbox, store, logger, accepted } = open();
    const [good, refused] = newDeliveries(2, 'roomy');
    const insert = store.insert.bind(store);
    store.insert = async (deliveries, lease) => {
      if (deliveries.some(({ id }) => id === refused!.id)) {
        throw new DeliveryStoreError('invalid', 'a NUL in a text');
      }
      await insert(deliveries, lease);
    };
    await outbox.add([good!, refused!]);
    expect(idsOf(accepted)).toEqual([good!.id]);
    expect(outbox.spooled).toBe(0);
    expect(logger.matching(/^error.*refuses/)).toEqual([expect.stringContaining(refused!.id)]);
  });

  it('answers when all parts of a large call are durable, and keeps those that are not', async () => {
    const { outbox, store, accepted, advance } = open({ batching: { maxRows: 2 } });
    const whole = newDeliveries(5, 'roomy');
    await outbox.add(whole);
    expect(idsOf(accepted)).toEqual(idsOf(whole));
    const halfway = newDeliveries(5, 'roomy');
    const insert = store.insert.bind(store);
    store.insert = async (deliveries, lease) => {
      await insert(deliveries, lease);
      store.failure = new Error('connection lost');
    };
    await outbox.add(halfway);
    expect(outbox.spooled).toBe(3);
    expect(idsOf(accepted.slice(5))).toEqual(idsOf(halfway.slice(0, 2)));
    store.insert = insert;
    store.failure = undefined;
    await advance(1000);
    expect(outbox.spooled).toBe(0);
    expect(await store.countByState({})).toMatchObject({ pending: 10 });
  });

  it('gives up one delivery of a large call that the store refuses, and writes the others', async () => {
    const { outbox, store, logger } = open({ batching: { maxRows: 2, maxWaitingRows: 3 } });
    const whole = newDeliveries(9, 'roomy');
    const refused = whole[4];
    const insert = store.insert.bind(store);
    store.insert = async (deliveries, lease) => {
      if (deliveries.some(({ id }) => id === refused?.id)) {
        throw new DeliveryStoreError('invalid', 'a NUL in a text');
      }
      await insert(deliveries, lease);
    };
    await outbox.add(whole);
    expect(outbox.spooled).toBe(0);
    expect(await store.countByState({})).toMatchObject({ pending: 8 });
    expect(logger.matching(/^error/)).toEqual([expect.stringContaining(refused?.id ?? '')]);
  });

  it('waits for a large call as long as parts of it get in', async () => {
    const { outbox, store, advance } = open({ batching: { maxRows: 1 }, insertTimeoutMs: 5000 });
    let isAnswered = false;
    store.hangs = true;
    const adding = outbox.add(newDeliveries(3, 'roomy')).then(() => (isAnswered = true));
    for (let part = 0; part < 3; part++) {
      await advance(4999);
      expect([isAnswered, outbox.spooled]).toEqual([false, 0]);
      await store.letGo({ andHang: part < 2 });
    }
    await adding;
    expect(outbox.spooled).toBe(0);
    store.hangs = true;
    const late = outbox.add(newDeliveries(3, 'roomy'));
    await advance(4999);
    await store.letGo({ andHang: true });
    await advance(5000);
    await late;
    expect(outbox.spooled).toBe(2);
    await store.letGo();
    await advance(60_000);
    expect(outbox.spooled).toBe(0);
    expect(await store.countByState({})).toMatchObject({ pending: 6 });
  });

  it('writes what it keeps at the stop, and says what is lost', async () => {
    const working = open();
    working.store.failure = new Error('down');
    await working.outbox.add([newDelivery('roomy')]);
    working.store.failure = undefined;
    await working.outbox.stop(1000);
    expect(await working.store.countByState({})).toMatchObject({ pending: 1 });

    const failing = open();
    failing.store.failure = new Error('down');
    await failing.outbox.add(newDeliveries(2, 'roomy'));
    const stopping = failing.outbox.stop(1000);
    await failing.advance(1000);
    await stopping;
    expect(failing.logger.matching(/^error.*2 that waited in memory are lost/).length).toBe(1);
  });
});
