// What is kept in memory while the store fails, and is removed before it could be stored.
import type { NewDelivery } from '../../src/events/delivery';
import { Spool } from '../../src/events/spool';
import { newDeliveries, RecordingLogger } from '../support/dispatching';
import { ManualClock } from '../support/manual-clock';

async function openFailing() {
  const clock = new ManualClock();
  const inserted: NewDelivery[] = [];
  let fails = true;
  const spool = new Spool({
    store: {
      insert: async deliveries => {
        if (fails) throw new Error('down');
        inserted.push(...deliveries);
      },
    },
    clock,
    logger: new RecordingLogger(),
    onStored: () => undefined,
    onRepeated: () => undefined,
  });
  const recover = async (): Promise<void> => {
    fails = false;
    for (let step = 0; step < 5; step++) {
      clock.advance(10_000);
      await new Promise(setImmediate);
    }
  };
  return { spool, inserted, recover };
}

describe('a spool', () => {
  it('stores nothing of an object that was withdrawn', async () => {
    const { spool, inserted, recover } = await openFailing();
    const kept = newDeliveries(2, 'one', { objectId: 'other' });
    spool.put([...newDeliveries(3, 'one', { objectId: 'private' }), ...kept], new Error('down'));
    spool.withdraw('Puppy', 'private');
    expect(spool.size).toBe(2);
    await recover();
    expect(inserted.map(({ id }) => id)).toEqual(kept.map(({ id }) => id));
    expect(spool.close()).toBe(0);
  });

  it('is drained when all of it is withdrawn', async () => {
    const { spool } = await openFailing();
    spool.put(newDeliveries(3, 'one'), new Error('down'));
    const drained = spool.drained();
    spool.withdraw('Puppy', 'abc');
    await drained;
    expect(spool.close()).toBe(0);
  });
});
