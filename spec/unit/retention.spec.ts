// When finished deliveries are deleted: by age and by number. A manual clock and the store in memory.
import { MemoryDeliveryStore } from '../../src/events/memory-delivery-store';
import { Retention } from '../../src/events/retention';
import { createDelivery, deliver } from '../support/event-deliveries';
import { RecordingLogger } from '../support/dispatching';
import { ManualClock } from '../support/manual-clock';

const minute = 60_000;
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn++) await new Promise<void>(resolve => setImmediate(resolve));
};

function open(options: { readonly maxAgeMs?: number; readonly maxDeliveries?: number }) {
  const clock = new ManualClock();
  const logger = new RecordingLogger();
  const store = new MemoryDeliveryStore();
  const retention = new Retention({
    store,
    clock,
    logger,
    options: { maxAgeMs: 10 * minute, maxDeliveries: 1_000_000, ...options },
  });
  const kept = async (): Promise<number> => {
    const counts = await store.countByState({});
    return counts.succeeded + counts.exhausted;
  };
  const afterMinutes = async (minutes: number): Promise<void> => {
    for (let passed = 0; passed < minutes; passed++) {
      clock.advance(minute);
      await settle();
    }
  };
  return { clock, logger, store, retention, kept, afterMinutes };
}

describe('retention', () => {
  it('deletes what finished long enough ago, and nothing that waits', async () => {
    const { clock, store, retention, kept, afterMinutes } = open({});
    const startedAt = clock.now();
    await deliver(store, createDelivery(0, startedAt), { status: 200 });
    await store.insert([createDelivery(1, startedAt)], undefined);
    retention.start();
    await afterMinutes(10);
    expect(await kept()).toBe(1);
    await afterMinutes(1);
    expect(await kept()).toBe(0);
    expect((await store.countByState({})).pending).toBe(1);
    await retention.stop();
  });

  it.each([5, 0])('keeps no more than so many: %i', async maxDeliveries => {
    const { clock, store, retention, kept, afterMinutes } = open({ maxDeliveries });
    const startedAt = clock.now();
    for (let n = 0; n < 2500; n++) await deliver(store, createDelivery(n, startedAt), { status: 200 });
    retention.start();
    await afterMinutes(1);
    expect(await kept()).toBe(maxDeliveries);
    await retention.stop();
  });

  /** When it begins to count, in seconds after its start, with a store that takes so many seconds for each part of a round. */
  async function countsWith(
    rounds: readonly { readonly ageS?: number; readonly countS?: number; readonly numberS?: number }[],
  ): Promise<readonly number[]> {
    const { clock, logger } = open({});
    const counts: number[] = [];
    let round: (typeof rounds)[number] = {};
    const retention = new Retention({
      store: {
        findLastKept: async () => {
          counts.push(clock.monotonicMs() / 1000);
          clock.advance(1000 * (round.countS ?? 0));
          return { finishedAt: 1, id: 'dlv_1' };
        },
        purge: async ({ id }) => {
          clock.advance(1000 * ((id === '' ? round.ageS : round.numberS) ?? 0));
          return 1;
        },
      },
      clock,
      logger,
      options: { maxAgeMs: minute, maxDeliveries: 1 },
    });
    retention.start();
    for (const next of rounds) {
      round = next;
      const { length } = counts;
      for (let second = 0; counts.length === length && second < 4000; second++) {
        clock.advance(1000);
        await settle();
      }
    }
    await retention.stop();
    return counts;
  }

  it('waits longer after a count that took long, an hour at most', async () => {
    const rounds = [{ countS: 1 }, { countS: 6 }, { countS: 300 }, {}];
    expect(await countsWith(rounds)).toEqual([60, 121, 247, 4147]);
  });

  it('waits no longer for what it deletes by age', async () => {
    expect(await countsWith([{ ageS: 600 }, { ageS: 600 }, {}])).toEqual([660, 1320, 1380]);
  });

  it('takes what it deletes by number for a part of the rest after the count', async () => {
    const rounds = [30, 100, 3000, 3000, 0].map(numberS => ({ countS: 6, numberS }));
    expect(await countsWith(rounds)).toEqual([60, 186, 352, 3418, 6484]);
  });

  it('asks the store to end a round that is under way at the stop, and waits for it', async () => {
    const { clock, logger } = open({});
    let end = (): void => undefined;
    let signal: AbortSignal | undefined;
    let calls = 0;
    const retention = new Retention({
      store: {
        findLastKept: async () => undefined,
        purge: (_before, given) => {
          signal = given;
          calls += 1;
          return new Promise(resolve => (end = () => resolve(0)));
        },
      },
      clock,
      logger,
      options: { maxAgeMs: minute, maxDeliveries: 1 },
    });
    retention.start();
    clock.advance(minute);
    await settle();
    expect(signal?.aborted).toBe(false);
    let hasStopped = false;
    const stopping = retention.stop().then(() => (hasStopped = true));
    await settle();
    expect([signal?.aborted, hasStopped]).toEqual([true, false]);
    end();
    await stopping;
    clock.advance(60 * minute);
    await settle();
    expect(calls).toBe(1);
  });

  it('says once that the store fails, and goes on', async () => {
    const { clock, logger } = open({});
    let calls = 0;
    const retention = new Retention({
      store: {
        findLastKept: async () => undefined,
        purge: async () => {
          calls += 1;
          throw new Error('away');
        },
      },
      clock,
      logger,
      options: { maxAgeMs: minute, maxDeliveries: 1 },
    });
    retention.start();
    for (let passed = 0; passed < 3; passed++) {
      clock.advance(minute);
      await settle();
    }
    expect(calls).toBe(3);
    expect(logger.matching(/cannot be deleted: away/)).toHaveLength(1);
    await retention.stop();
  });
});
