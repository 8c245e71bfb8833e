// Look-ups on threads that nothing frees but an answer, as those of getaddrinfo: who waits for whom, and what is kept.
import type { LookupAddress } from 'node:dns';
import { ConnectFailure } from '../../src/http/connect-failure';
import { NameLookups, type NameLookupsOptions } from '../../src/http/name-lookups';
import { createLookupThreads } from '../support/lookup-threads';
import { ManualClock } from '../support/manual-clock';

const address: LookupAddress = { address: '93.184.216.34', family: 4 };
const timeoutMs = 1500;

/** Two threads; `silent` names get no answer until `end`, which is what a resolver does when it gives up. */
function open(more: NameLookupsOptions = {}) {
  const clock = new ManualClock();
  const silent = new Set<string>();
  const asked: string[] = [];
  const ends = new Map<string, (error: Error) => void>();
  const threads = createLookupThreads(hostname => {
    asked.push(hostname);
    if (!silent.has(hostname)) return Promise.resolve([address]);
    return new Promise((_resolve, reject) => ends.set(hostname, reject));
  });
  const lookups = new NameLookups({ resolve: threads.resolve, maxRunning: 2, clock, ...more });
  const find = (hostname: string): Promise<string> =>
    lookups.find({ hostname, hints: 0, timeoutMs }).then(
      () => 'found',
      (error: unknown) => (error instanceof ConnectFailure ? error.failure : 'gave up'),
    );
  const end = async (...hostnames: readonly string[]): Promise<void> => {
    for (const hostname of hostnames) ends.get(hostname)?.(new Error('EAI_AGAIN'));
    await nextTurn();
  };
  return {
    clock,
    silent,
    asked,
    threads,
    lookups,
    find,
    end,
    /** Makes the names suspect: one after the other is asked for, is late and ends. */
    makeSuspect: async (...hostnames: readonly string[]): Promise<void> => {
      for (const hostname of hostnames) {
        silent.add(hostname);
        const failed = find(hostname);
        clock.advance(timeoutMs);
        expect(await failed).toBe('dns');
        await end(hostname);
      }
    },
  };
}

const nextTurn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
/** What comes of it while the clock stands still. */
const atOnce = (outcome: Promise<string>): Promise<string> =>
  Promise.race([outcome, nextTurn().then(() => 'waits')]);

describe('names', () => {
  it.each([
    ['one that nobody knew to be silent', [], ['a.test']],
    ['one that is known to be silent', ['a.test'], ['a.test']],
    ['two that are known to be silent', ['a.test', 'b.test'], ['a.test', 'b.test']],
    ['twenty that are known to be silent', names(20), names(20)],
  ])(
    'that never end leave a look-up to every other name, at once, again and again: %s',
    async (_which, suspects, silents) => {
      const { clock, silent, threads, find, makeSuspect } = open();
      await makeSuspect(...suspects);
      for (const name of silents) silent.add(name);
      for (let round = 0; round < 200; round++) {
        const failing = silents.map(find);
        // A name that is new, and one that has been asked for before.
        expect(await atOnce(find(`new-${round}.test`))).toBe('found');
        expect(await atOnce(find('hooks.test'))).toBe('found');
        expect(threads.busy).toHaveLength(1);
        clock.advance(timeoutMs);
        expect(await Promise.all(failing)).toEqual(silents.map(() => 'dns'));
      }
    },
  );

  it('that are silent for the first time, two at once, hold the others up until the resolver gives up, once', async () => {
    const { clock, silent, threads, find, end } = open();
    silent.add('a.test').add('b.test');
    const first = [find('a.test'), find('b.test')];
    const held = find('hooks.test');
    expect(await atOnce(held)).toBe('waits');
    clock.advance(timeoutMs);
    expect(await Promise.all([...first, held])).toEqual(['dns', 'dns', 'dns']);
    await end('a.test', 'b.test');
    const again = [find('a.test'), find('b.test')];
    expect(await atOnce(find('hooks.test'))).toBe('found');
    expect(threads.busy).toEqual(['a.test']);
    clock.advance(timeoutMs);
    await Promise.all(again);
  });

  it('that are late while they run leave the other look-up to who is not', async () => {
    const { clock, silent, asked, find, makeSuspect } = open();
    await makeSuspect('b.test');
    silent.add('a.test');
    const failing = find('a.test');
    clock.advance(timeoutMs);
    expect(await failing).toBe('dns');
    const waiting = find('b.test');
    expect(asked).toEqual(['b.test', 'a.test']);
    expect(await atOnce(find('hooks.test'))).toBe('found');
    clock.advance(timeoutMs);
    expect(await waiting).toBe('dns');
  });

  it('are suspect until one of their look-ups comes in time', async () => {
    const { clock, silent, find, end, makeSuspect } = open();
    await makeSuspect('a.test', 'b.test');
    silent.delete('a.test');
    const failing = find('b.test');
    const waiting = find('a.test');
    expect(await atOnce(waiting)).toBe('waits');
    await end('b.test');
    expect(await Promise.all([failing, waiting])).toEqual(['gave up', 'found']);
    // That of b.test ended in time, too, by a failure; now it is late.
    const again = find('b.test');
    clock.advance(timeoutMs);
    expect(await again).toBe('dns');
    expect(await atOnce(find('a.test'))).toBe('found');
  });

  it('that are suspect take turns, and are not asked for when nobody waits any more', async () => {
    const { clock, silent, asked, lookups, find, end, makeSuspect } = open();
    await makeSuspect('a.test', 'b.test', 'c.test');
    silent.delete('c.test');
    asked.length = 0;
    const failing = [find('a.test'), find('b.test')];
    clock.advance(timeoutMs - 1);
    const waiting = find('c.test');
    clock.advance(1);
    expect(await Promise.all(failing)).toEqual(['dns', 'dns']);
    expect(lookups.size).toEqual({ running: 1, waiting: 1, suspects: 3 });
    await end('a.test');
    expect(await waiting).toBe('found');
    expect(asked).toEqual(['a.test', 'c.test']);
    expect(lookups.size).toEqual({ running: 0, waiting: 0, suspects: 2 });
  });

  it('are not late because they waited for their turn', async () => {
    const { clock, silent, lookups, find, end } = open();
    for (const name of ['a.test', 'b.test', 'c.test']) silent.add(name);
    const failing = [find('a.test'), find('b.test'), find('c.test')];
    clock.advance(timeoutMs - 1);
    await end('a.test', 'b.test');
    clock.advance(1);
    expect(await Promise.all(failing)).toEqual(['gave up', 'gave up', 'dns']);
    clock.advance(timeoutMs - 2);
    await end('c.test');
    expect(lookups.size).toEqual({ running: 0, waiting: 0, suspects: 0 });
  });

  it('have one look-up each, however they are written and however long it takes', async () => {
    const { clock, silent, asked, find, end } = open();
    silent.add('hooks.test');
    const callers = [find('hooks.test'), find('HOOKS.test')];
    clock.advance(timeoutMs);
    expect(await Promise.all(callers)).toEqual(['dns', 'dns']);
    const late = find('hooks.test');
    clock.advance(timeoutMs - 1);
    await end('hooks.test');
    expect(await late).toBe('gave up');
    expect(asked).toEqual(['hooks.test']);
  });

  it('fail after the time of each caller, as a name without an answer does', async () => {
    const { clock, silent, lookups, makeSuspect } = open();
    await makeSuspect('a.test', 'b.test');
    silent.delete('b.test');
    const failures = ['a.test', 'b.test'].map(hostname =>
      lookups.find({ hostname, hints: 0, timeoutMs }).catch((error: unknown) => error),
    );
    clock.advance(timeoutMs);
    expect(await Promise.all(failures)).toMatchObject([
      { failure: 'dns', retryable: true, message: 'no answer from DNS for a.test within 1500 ms' },
      {
        failure: 'dns',
        retryable: true,
        message: 'b.test was not looked up within 1500 ms: names without an answer were in its way',
      },
    ]);
  });

  it('are remembered up to a bound: the one that was late longest ago is forgotten', async () => {
    const { clock, asked, lookups, find, makeSuspect } = open({ maxSuspects: 2 });
    await makeSuspect('a.test', 'b.test', 'c.test');
    expect(lookups.size).toEqual({ running: 0, waiting: 0, suspects: 2 });
    asked.length = 0;
    const failing = [find('c.test'), find('b.test'), find('a.test')];
    expect(asked).toEqual(['c.test', 'a.test']);
    clock.advance(timeoutMs);
    await Promise.all(failing);
  });

  it('that answer leave nothing behind', async () => {
    const { lookups, find } = open();
    const found = await Promise.all(names(2000).map(find));
    expect(new Set(found)).toEqual(new Set(['found']));
    expect(lookups.size).toEqual({ running: 0, waiting: 0, suspects: 0 });
  });
});

describe('look-ups of the system', () => {
  const { UV_THREADPOOL_SIZE: before } = process.env;
  afterEach(() => {
    if (before === undefined) delete process.env.UV_THREADPOOL_SIZE;
    else process.env.UV_THREADPOOL_SIZE = before;
  });

  it.each([
    [undefined, 2],
    ['1', 1],
    ['2', 1],
    ['5', 3],
    ['16', 8],
    ['5000', 512],
    ['many', 1],
  ])('run as many at once as libuv lets them: of %s threads %i', async (threads, expected) => {
    if (threads === undefined) delete process.env.UV_THREADPOOL_SIZE;
    else process.env.UV_THREADPOOL_SIZE = threads;
    const clock = new ManualClock();
    const lookups = new NameLookups({ resolve: () => new Promise(() => undefined), clock });
    const failing = names(600).map(hostname => lookups.find({ hostname, hints: 0, timeoutMs }));
    expect(lookups.size.running).toBe(expected);
    clock.advance(timeoutMs);
    expect((await Promise.allSettled(failing)).every(({ status }) => status === 'rejected')).toBe(true);
  });
});

function names(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `name-${index}.test`);
}
