// The deadline that everything shares for which one operation of a client waits.
import { OperationDeadline } from '../../src/blocking/operation-deadline';
import { systemClock, type Clock } from '../../src/shared/clock';

/** A clock that a test moves. */
function manualClock(): Clock & { advance(ms: number): void } {
  let now = 1000;
  return {
    ...systemClock,
    monotonicMs: () => now,
    advance: ms => {
      now += ms;
    },
  };
}

const save = { request: undefined, className: 'A', triggerName: 'beforeSave', nests: true };

describe('OperationDeadline', () => {
  const clock = manualClock();
  const deadline = new OperationDeadline(clock, 500);
  const read = (operation: Parameters<typeof deadline.run>[0]) => deadline.run(operation, async at => at);

  it('is the total after the start', async () => {
    expect(await read(save)).toBe(clock.monotonicMs() + 500);
  });

  it('is that of the outer operation for work inside it, at any depth and after any wait', async () => {
    const outer = clock.monotonicMs() + 500;
    const seen = await deadline.run(save, async () => {
      clock.advance(100);
      const one = await read(save);
      return deadline.run({ ...save, className: 'B' }, async two => {
        clock.advance(1000);
        await new Promise(setImmediate);
        return [one, two, await read({ ...save, className: 'C' })];
      });
    });
    expect(seen).toEqual([outer, outer, outer]);
  });

  it('is its own for the next operation, also of the same caller', async () => {
    const first = await read(save);
    clock.advance(200);
    expect(await read(save)).toBe(first + 200);
  });

  it('is its own for operations at the same time', async () => {
    const first = deadline.run(save, async at => {
      await new Promise(setImmediate);
      return [at, await read(save)];
    });
    clock.advance(50);
    const second = await read(save);
    const [at, inner] = await first;
    expect(inner).toBe(at);
    expect(second).toBe(Number(at) + 50);
  });

  it('does not hold work that an operation left running', async () => {
    let left: Promise<number> = Promise.resolve(0);
    let release = (): void => undefined;
    const over = new Promise<void>(resolve => (release = resolve));
    const outer = await deadline.run(save, async at => {
      left = over.then(() => read(save));
      return at;
    });
    clock.advance(5000);
    release();
    expect(await left).toBe(outer + 5000);
  });

  it('does not hold work left running by an operation that failed', async () => {
    let left: Promise<number> = Promise.resolve(0);
    let release = (): void => undefined;
    const over = new Promise<void>(resolve => (release = resolve));
    const failed = deadline.run(save, async () => {
      left = over.then(() => read(save));
      throw new Error('no');
    });
    await expect(failed).rejects.toThrow('no');
    clock.advance(5000);
    release();
    expect(await left).toBe(clock.monotonicMs() + 500);
  });

  describe('over the phases of one find or delete', () => {
    const phase = (request: object, triggerName: string, className = 'A') =>
      read({ request, className, triggerName, nests: true });

    it('is one for beforeFind, afterFind and beforeDelete of one request', async () => {
      const request = {};
      const first = await phase(request, 'beforeFind');
      clock.advance(100);
      expect(await phase(request, 'afterFind')).toBe(first);
      clock.advance(100);
      expect(await phase(request, 'beforeDelete')).toBe(first);
    });

    it('is one when only some of them are hooked', async () => {
      const request = {};
      const first = await phase(request, 'afterFind');
      clock.advance(100);
      expect(await phase(request, 'beforeDelete')).toBe(first);
    });

    it('begins anew with the next operation of a batch, which comes with the same request', async () => {
      const request = {};
      const first = await phase(request, 'beforeFind');
      await phase(request, 'beforeDelete');
      clock.advance(100);
      const second = await phase(request, 'beforeFind');
      expect(second).toBe(first + 100);
      clock.advance(100);
      expect(await phase(request, 'beforeDelete')).toBe(second);
    });

    it('is another for another class, another request, or none', async () => {
      const request = {};
      const first = await phase(request, 'beforeFind');
      clock.advance(100);
      expect(await phase(request, 'afterFind', 'B')).toBe(first + 100);
      expect(await phase({}, 'afterFind')).toBe(first + 100);
      expect(await read({ request: undefined, className: 'A', triggerName: 'afterFind', nests: true })).toBe(
        first + 100,
      );
    });

    it('is another for a save with the same request', async () => {
      const request = {};
      const first = await phase(request, 'beforeFind');
      clock.advance(100);
      expect(await phase(request, 'beforeSave')).toBe(first + 100);
    });
  });
});
