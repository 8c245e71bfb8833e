// How attempts are written in groups, and what happens while that fails. A manual clock, a store in memory that fails
// when a test says so.
import { AttemptRecorder, type AttemptToRecord } from '../../src/events/attempt-recorder';
import type { FinishedAttempt } from '../../src/events/delivery-store';
import { asFresh, type HeldDelivery } from '../../src/events/held-delivery';
import { MemoryDeliveryStore } from '../../src/events/memory-delivery-store';
import { newDeliveries, newDelivery, RecordingLogger } from '../support/dispatching';
import { ManualClock } from '../support/manual-clock';

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn++) await new Promise<void>(resolve => setImmediate(resolve));
};

class FailingStore extends MemoryDeliveryStore {
  /** What comes of a write: nothing wrong, an error before it takes effect, or an answer that is lost after. */
  fault: 'none' | 'before' | 'after' | 'hangs' = 'none';
  refuses: (finished: FinishedAttempt) => boolean = () => false;
  readonly writes: number[] = [];

  override async finish(finished: readonly FinishedAttempt[]): Promise<readonly string[]> {
    this.writes.push(finished.length);
    if (this.fault === 'before') throw new Error('down');
    if (this.fault === 'hangs') return new Promise(() => undefined);
    if (finished.some(this.refuses))
      throw Object.assign(new Error('invalid byte sequence'), { code: '22021' });
    const ids = await super.finish(finished);
    if (this.fault === 'after') throw new Error('connection lost');
    return ids;
  }
}

const lease = { owner: 'me', expiresAt: Number.MAX_SAFE_INTEGER };

async function open(count: number) {
  const store = new FailingStore();
  const clock = new ManualClock();
  const logger = new RecordingLogger();
  const recorder = new AttemptRecorder({ store, clock, logger });
  const deliveries = newDeliveries(count, 'one');
  await store.insert(deliveries, lease);
  const ends = new Map<string, string>();
  const held = deliveries.map((delivery): HeldDelivery => ({
    id: delivery.id,
    endpoint: 'one',
    delivery: asFresh(delivery),
    bodyLength: 2,
    owner: lease.owner,
    leaseEndsAt: 0,
    stage: 'recording',
    origin: 'handed',
    isBacklog: false,
    isWithdrawn: false,
  }));
  const add = (one: HeldDelivery, more: Partial<AttemptToRecord> = {}): void =>
    recorder.add({
      held: one,
      attempt: {
        deliveryId: one.id,
        number: 1,
        startedAt: 1,
        durationMs: 1,
        status: 200,
        error: undefined,
        phase: 'done',
        reply: { headers: {} },
        node: 'node-a',
      },
      progress: {
        state: 'succeeded',
        attemptCount: 1,
        nextAttemptAt: undefined,
        lastStatus: 200,
        lastError: undefined,
        finishedAt: 2,
      },
      onEnd: end => void ends.set(one.id, end),
      ...more,
    });
  const advance = async (ms: number): Promise<void> => {
    clock.advance(ms);
    await settle();
  };
  return { store, recorder, logger, held, add, ends, advance };
}

const ended = (ends: ReadonlyMap<string, string>, as: string): number =>
  [...ends.values()].filter(end => end === as).length;

describe('a recorder of attempts', () => {
  it('writes what ends in one turn at once and together', async () => {
    const { store, held, add, ends, recorder } = await open(40);
    for (const one of held) add(one);
    await settle();
    expect(store.writes).toEqual([40]);
    expect(ended(ends, 'recorded')).toBe(40);
    expect(recorder.size).toBe(0);
  });

  it('gathers what ends within 10 ms of a write into the next one', async () => {
    const { store, held, add, advance } = await open(9);
    for (const one of held) {
      add(one);
      await settle();
    }
    expect(store.writes).toEqual([1]);
    await advance(10);
    expect(store.writes).toEqual([1, 8]);
  });

  it('writes no more than its bound at once', async () => {
    const { store, held, add, advance } = await open(1100);
    for (const one of held) add(one);
    await settle();
    await advance(10);
    expect(Math.max(...store.writes)).toBe(500);
    expect(store.writes.reduce((sum, rows) => sum + rows, 0)).toBe(1100);
  });

  it('says of a lease that was lost that nothing was written', async () => {
    const { held, add, ends, store } = await open(2);
    held[0]!.owner = 'somebody else';
    for (const one of held) add(one);
    await settle();
    expect([...ends.values()]).toEqual(['lost', 'recorded']);
    expect((await store.get(held[0]!.id))?.attempts).toEqual([]);
  });

  it('tries until the store works, and logs that twice in all', async () => {
    const { store, held, add, ends, advance, logger } = await open(3);
    store.fault = 'before';
    for (const one of held) add(one);
    await settle();
    for (let round = 0; round < 20; round++) await advance(5000);
    expect(ends.size).toBe(0);
    store.fault = 'none';
    await advance(5000);
    expect(ended(ends, 'recorded')).toBe(3);
    expect(logger.lines.length).toBe(2);
    expect((await store.get(held[0]!.id))?.attempts[0]?.reply).toEqual({ headers: {} });
  });

  it('counts nothing twice when a write took effect whose answer was lost', async () => {
    const { store, held, add, ends, advance } = await open(3);
    store.fault = 'after';
    for (const one of held) add(one);
    await settle();
    store.fault = 'none';
    await advance(5000);
    expect(ended(ends, 'recorded')).toBe(3);
    expect((await store.get(held[0]!.id))?.attempts.length).toBe(1);
  });

  it('gives up a write that hangs and tries another', async () => {
    const { store, held, add, ends, advance } = await open(1);
    store.fault = 'hangs';
    add(held[0]!);
    await settle();
    store.fault = 'none';
    await advance(30_000);
    await advance(5000);
    expect(ended(ends, 'recorded')).toBe(1);
  });

  it('records what the database takes, and the rest without the reply', async () => {
    const { store, held, add, ends, advance } = await open(20);
    store.refuses = ({ attempt }) => attempt.deliveryId === held[7]!.id && attempt.reply !== undefined;
    for (const one of held) add(one);
    await settle();
    for (let round = 0; round < 30; round++) await advance(5000);
    expect(ended(ends, 'recorded')).toBe(20);
    expect((await store.get(held[7]!.id))?.attempts[0]?.reply).toBeUndefined();
    expect((await store.get(held[8]!.id))?.attempts[0]?.reply).toBeDefined();
  });

  it('writes under the lease that holds now', async () => {
    const { store, held, add, ends, advance } = await open(1);
    store.fault = 'before';
    add(held[0]!);
    await settle();
    // Its lease ended meanwhile, and the same node claimed it again.
    await store.release('me', [held[0]!.id], 0);
    await store.claimByIds([held[0]!.id], { owner: 'me again', expiresAt: 9e15 }, { now: 1 });
    held[0]!.owner = 'me again';
    store.fault = 'none';
    await advance(5000);
    expect(ended(ends, 'recorded')).toBe(1);
  });

  it('goes on when one that it tells fails', async () => {
    const { held, add, ends, logger } = await open(2);
    add(held[0]!, {
      onEnd: () => {
        throw new Error('observer');
      },
    });
    add(held[1]!);
    await settle();
    expect(ended(ends, 'recorded')).toBe(1);
    expect(logger.matching(/observer/).length).toBe(1);
  });

  it('drains, and can be closed while the store fails', async () => {
    const { store, held, add, recorder } = await open(2);
    let isDrained = false;
    store.fault = 'before';
    add(held[0]!);
    void recorder.drained().then(() => (isDrained = true));
    await settle();
    expect(isDrained).toBe(false);
    recorder.close();
    await settle();
    expect(isDrained).toBe(true);
    await expect(recorder.drained()).resolves.toBeUndefined();
  });

  it('is sure of an attempt that a claim has shown', async () => {
    const { store, held, add, recorder, ends } = await open(1);
    store.fault = 'before';
    add(held[0]!);
    await settle();
    expect(recorder.attemptCountOf(held[0]!.id)).toBe(1);
    recorder.confirm(held[0]!.id);
    expect(ended(ends, 'recorded')).toBe(1);
    recorder.confirm(newDelivery('one').id);
    recorder.close();
  });
});
