// When leases are renewed, and what becomes of those that cannot be. A manual clock.
import { asFresh, type HeldDelivery } from '../../src/events/held-delivery';
import { LeaseKeeper } from '../../src/events/lease-keeper';
import { newDeliveries, RecordingLogger } from '../support/dispatching';
import { ManualClock } from '../support/manual-clock';

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn++) await new Promise<void>(resolve => setImmediate(resolve));
};

function open(count: number, leaseMs = 60_000) {
  const clock = new ManualClock();
  const logger = new RecordingLogger();
  const lost: HeldDelivery[] = [];
  const calls: { readonly owner: string; readonly ids: readonly string[]; readonly expiresAt: number }[] = [];
  const store = {
    failure: undefined as Error | undefined,
    taken: new Set<string>(),
    renew: async (owner: string, ids: readonly string[], expiresAt: number) => {
      calls.push({ owner, ids, expiresAt });
      if (store.failure) throw store.failure;
      return ids.filter(id => !store.taken.has(id));
    },
  };
  const held = newDeliveries(count, 'one').map((delivery): HeldDelivery => ({
    id: delivery.id,
    endpoint: 'one',
    delivery: asFresh(delivery),
    bodyLength: 2,
    owner: 'me',
    leaseEndsAt: clock.monotonicMs() + leaseMs,
    stage: 'waiting',
    origin: 'handed',
    isBacklog: false,
    isWithdrawn: false,
  }));
  const keeper = new LeaseKeeper({
    store,
    clock,
    logger,
    held: () => held,
    leaseMs: () => leaseMs,
    onLost: one => void lost.push(one),
    onRenewed: () => undefined,
  });
  const advance = async (ms: number): Promise<void> => {
    clock.advance(ms);
    await settle();
  };
  return { clock, logger, lost, calls, store, held, keeper, advance };
}

describe('a keeper of leases', () => {
  it('renews what is a third old, in batches, before half of it has passed', async () => {
    const { keeper, calls, advance, clock, held } = open(1200);
    keeper.start();
    await advance(10_000);
    expect(calls).toEqual([]);
    await advance(10_000);
    expect(calls.map(({ ids }) => ids.length)).toEqual([500, 500, 200]);
    expect(calls[0]?.expiresAt).toBe(clock.now() + 60_000);
    expect(held[0]?.leaseEndsAt).toBe(clock.monotonicMs() + 60_000);
    await advance(10_000);
    expect(calls.length).toBe(3);
    keeper.stop();
  });

  it('asks the store nothing while nothing is old', async () => {
    const { keeper, calls, advance, held } = open(3);
    held.length = 0;
    keeper.start();
    for (let round = 0; round < 20; round++) await advance(10_000);
    expect(calls).toEqual([]);
    keeper.stop();
  });

  it('renews under the owner of each', async () => {
    const { keeper, calls, held } = open(3);
    held[1]!.owner = 'a claim';
    await keeper.renew(true);
    expect(calls.map(({ owner, ids }) => [owner, ids.length])).toEqual([
      ['me', 2],
      ['a claim', 1],
    ]);
    keeper.stop();
  });

  it('says which ones others have', async () => {
    const { keeper, lost, store, held } = open(3);
    store.taken.add(held[1]!.id);
    await keeper.renew(true);
    expect(lost).toEqual([held[1]]);
    keeper.stop();
  });

  it('tries again soon while the store fails, and loses nothing by that', async () => {
    const { keeper, lost, store, calls, advance, logger } = open(2);
    store.failure = new Error('down');
    keeper.start();
    await advance(10_000);
    await advance(10_000);
    expect(calls.length).toBe(1);
    for (let round = 0; round < 4; round++) await advance(5000);
    expect(calls.length).toBe(5);
    store.failure = undefined;
    await advance(5000);
    expect(lost).toEqual([]);
    expect(logger.lines.length).toBe(2);
    keeper.stop();
  });

  it('renews once for all that ask meanwhile', async () => {
    const { keeper, calls } = open(2);
    await Promise.all([keeper.renew(true), keeper.renew(true), keeper.renew(true), keeper.renew(false)]);
    expect(calls.length).toBe(2);
    keeper.stop();
  });

  it('leaves alone what was claimed anew meanwhile', async () => {
    const { keeper, lost, store, held } = open(1);
    store.taken.add(held[0]!.id);
    const renewing = keeper.renew(true);
    held[0]!.owner = 'a claim';
    await renewing;
    expect(lost).toEqual([]);
    keeper.stop();
  });
});
