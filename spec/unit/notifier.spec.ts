// Background notifications: bounded, at most once, and waited for at the end.
import { HookCaller, type HookCall } from '../../src/blocking/hook-caller';
import { Notifier } from '../../src/blocking/notifier';
import { installHook, type InstalledHook } from '../../src/hooks/installed-hook';
import type { ExchangeClient, ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
import { laneDefaults } from '../../src/http/lane';
import { systemClock } from '../../src/shared/clock';
import type { HookSettings } from '../../src/hooks/hook-settings';

/** A client of the exchange's contract whose exchanges end when the test says so. */
class HeldClient implements ExchangeClient {
  readonly requests: ExchangeRequest[] = [];
  readonly #held: ((result: ExchangeResult) => void)[] = [];
  most = 0;

  exchange(request: ExchangeRequest): Promise<ExchangeResult> {
    this.requests.push(request);
    return new Promise(resolve => {
      this.#held.push(resolve);
      this.most = Math.max(this.most, this.#held.length);
    });
  }

  async close(): Promise<void> {
    // Holds nothing open.
  }

  get running(): number {
    return this.#held.length;
  }

  release(body = '{"success":true}'): void {
    for (const resolve of this.#held.splice(0)) {
      resolve({ kind: 'reply', status: 200, headers: {}, body: Buffer.from(body), durationMs: 1, tries: 1 });
    }
  }
}

function hookWith(settings: HookSettings = {}, className = 'A'): InstalledHook {
  return installHook({
    hook: {
      target: { kind: 'trigger', className, triggerName: 'afterSave' },
      url: `http://${className}.test/`,
    },
    settings,
    secrets: undefined,
    defaults: {},
  });
}

function setUp() {
  const client = new HeldClient();
  const lines: string[] = [];
  const log = (line: string): void => void lines.push(line);
  const logger = { info: log, warn: log, error: log };
  const senders = { of: () => ({ route: { key: 'plain' }, headers: () => ({}) }) };
  const caller = new HookCaller({
    client,
    clock: systemClock,
    logger,
    senders,
    lane: { ...laneDefaults, failuresToOpen: 2 },
  });
  const installed = new Map<string, InstalledHook>();
  const install = (hook: InstalledHook): InstalledHook => {
    installed.set(hook.key, hook);
    return hook;
  };
  const notifier = new Notifier({ caller, logger, find: key => installed.get(key) });
  return { client, lines, notifier, install, remove: (hook: InstalledHook) => installed.delete(hook.key) };
}

const call = (n = 0): HookCall => ({
  fields: { triggerName: 'afterSave', object: { n }, master: false },
  depth: 1,
});
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

describe('Notifier', () => {
  it('sends after its caller went on, with what was true at that moment', async () => {
    const { client, notifier, install } = setUp();
    let n = 1;
    notifier.send(install(hookWith()), () => call(n));
    n = 2;
    expect(client.requests).toHaveLength(0);
    await turn();
    expect(client.requests.map(({ body }) => JSON.parse(body.toString()) as unknown)).toEqual([
      { triggerName: 'afterSave', object: { n: 1 }, master: false },
    ]);
    client.release();
    await notifier.drained();
  });

  it('runs 64 at a time and all in the end, in order', async () => {
    const { client, notifier, install } = setUp();
    const hook = install(hookWith());
    for (let n = 0; n < 200; n++) notifier.send(hook, () => call(n));
    const waiting = { over: false };
    const done = notifier.drained().then(() => (waiting.over = true));
    await turn();
    expect(client.running).toBe(64);
    while (!waiting.over) {
      client.release();
      await turn();
    }
    await done;
    expect(client.most).toBe(64);
    const sent = client.requests.map(
      ({ body }) => (JSON.parse(body.toString()) as { object: { n: number } }).object.n,
    );
    expect(sent).toEqual(Array.from({ length: 200 }, (_, n) => n));
  });

  it('drops what comes when 10,000 wait, with one log line per thousand', async () => {
    const { client, lines, notifier, install } = setUp();
    const hook = install(hookWith());
    for (let n = 0; n < 11_500; n++) notifier.send(hook, () => call(n));
    expect(lines).toEqual([
      'webhook afterSave A: more than 10000 notifications wait; dropped 1 so far',
      'webhook afterSave A: more than 10000 notifications wait; dropped 1001 so far',
    ]);
    const waiting = { over: false };
    const done = notifier.drained().then(() => (waiting.over = true));
    while (!waiting.over) {
      client.release();
      await turn();
    }
    await done;
    expect(client.requests).toHaveLength(10_000);
  });

  it('gives every hook places of its own: one that hangs does not hold up another', async () => {
    const { client, notifier, install } = setUp();
    const [hung, well] = [install(hookWith({}, 'Hung')), install(hookWith({}, 'Well'))];
    for (let n = 0; n < 500; n++) notifier.send(hung, () => call(n));
    await turn();
    for (let n = 0; n < 3; n++) notifier.send(well, () => call(n));
    await turn();
    expect(client.requests.filter(({ url }) => url.includes('Well'))).toHaveLength(3);
    expect(client.requests.filter(({ url }) => url.includes('Hung'))).toHaveLength(64);
    notifier.close();
    client.release();
    await notifier.drained();
  });

  it('takes the place of one of the hook that holds most when all are taken', async () => {
    const { client, lines, notifier, install } = setUp();
    const [hung, well] = [install(hookWith({}, 'Hung')), install(hookWith({}, 'Well'))];
    for (let n = 0; n < 10_000; n++) notifier.send(hung, () => call(n));
    for (let n = 0; n < 3; n++) notifier.send(well, () => call(n));
    expect(lines).toEqual(['webhook afterSave Hung: more than 10000 notifications wait; dropped 1 so far']);
    await turn();
    expect(client.requests.filter(({ url }) => url.includes('Well'))).toHaveLength(3);
    notifier.close();
    client.release();
    await notifier.drained();
  });

  it('sends no more at once than maxInFlight and keeps the others, instead of losing them as busy', async () => {
    const { client, lines, notifier, install } = setUp();
    const hook = install(hookWith({ maxInFlight: 2 }));
    for (let n = 0; n < 50; n++) notifier.send(hook, () => call(n));
    const waiting = { over: false };
    const done = notifier.drained().then(() => (waiting.over = true));
    while (!waiting.over) {
      await turn();
      client.release();
    }
    await done;
    expect([client.most, client.requests.length, lines]).toEqual([2, 50, []]);
  });

  it('sends nothing more while the breaker of the hook is open, with one log line', async () => {
    const { client, lines, notifier, install } = setUp();
    const hook = install(hookWith({ maxInFlight: 1 }));
    for (let n = 0; n < 100; n++) notifier.send(hook, () => call(n));
    const waiting = { over: false };
    const done = notifier.drained().then(() => (waiting.over = true));
    while (!waiting.over) {
      await turn();
      client.release('<html>');
    }
    await done;
    expect(client.requests).toHaveLength(2);
    expect(lines.filter(line => !line.includes('answer is not JSON'))).toEqual([
      'webhook afterSave A: breaker is open, notifications are dropped',
    ]);
  });

  it('drops what waits when it is closed, with one log line, and takes nothing more', async () => {
    const { client, lines, notifier, install } = setUp();
    const hook = install(hookWith());
    for (let n = 0; n < 200; n++) notifier.send(hook, () => call(n));
    await turn();
    const drained = notifier.drained();
    notifier.close();
    notifier.close();
    notifier.send(hook, () => call());
    await turn();
    client.release();
    await drained;
    await turn();
    expect(client.requests).toHaveLength(64);
    expect(lines).toEqual(['webhooks stop: 136 notifications were not sent, 64 under way are cut off']);
  });

  it('says nothing when it is closed with nothing to do', async () => {
    const { lines, notifier } = setUp();
    notifier.close();
    await notifier.drained();
    expect(lines).toEqual([]);
  });

  it('is drained at once when nothing runs', async () => {
    const { notifier } = setUp();
    await expect(notifier.drained()).resolves.toBeUndefined();
  });

  it('sends nothing that the settings of the hook rule out', async () => {
    const { client, notifier, install } = setUp();
    notifier.send(install(hookWith({ where: { n: 5 } })), () => call(4));
    notifier.send(install(hookWith({ active: false })), () => call(5));
    notifier.send(install(hookWith({ changed: ['other'] })), () => ({ ...call(5), changedKeys: ['n'] }));
    await notifier.drained();
    await turn();
    expect(client.requests).toEqual([]);
  });

  it('logs a call that cannot be built, once, and sends nothing', async () => {
    const { client, lines, notifier, install } = setUp();
    notifier.send(install(hookWith()), () => {
      throw new RangeError('a value is nested deeper than 200 levels');
    });
    await notifier.drained();
    expect(client.requests).toEqual([]);
    expect(lines).toEqual([
      'webhook afterSave A failed: request could not be encoded (a value is nested deeper than 200 levels)',
    ]);
  });

  it('sends what waited by the hook that is in force then: its URL and settings', async () => {
    const { client, notifier, install } = setUp();
    const hook = install(hookWith({ maxInFlight: 1 }));
    for (let n = 0; n < 4; n++) notifier.send(hook, () => call(n));
    await turn();
    const moved = { ...hook.hook, url: 'http://moved.test/' };
    install({ ...hook, hook: moved, settings: { ...hook.settings, maxInFlight: 3 } });
    client.release();
    await turn();
    expect(client.requests.map(({ url }) => url)).toEqual([
      'http://A.test/',
      ...Array<string>(3).fill('http://moved.test/'),
    ]);
    client.release();
    await notifier.drained();
  });

  it.each([
    ['gone', 'it is no longer registered'],
    ['inactive', 'it is inactive'],
    ['created anew', 'it was registered anew'],
    ['created anew within the same millisecond', 'it was registered anew'],
  ])('drops what waited for a hook that is %s, with one log line, and is drained', async (what, why) => {
    const { client, lines, notifier, install, remove } = setUp();
    const hook = install({ ...hookWith({ maxInFlight: 1 }), createdAt: '2026-01-01T00:00:00.000Z' });
    for (let n = 0; n < 500; n++) notifier.send(hook, () => call(n));
    await turn();
    const settings = { ...hook.settings, active: false };
    if (what === 'gone') remove(hook);
    if (what === 'inactive') install({ ...hook, settings });
    if (what === 'created anew') install({ ...hook, createdAt: '2026-01-01T00:00:00.001Z' });
    if (what.endsWith('millisecond')) install({ ...hook, health: { ...hook.health } });
    client.release();
    await notifier.drained();
    expect(client.requests).toHaveLength(1);
    expect(lines).toEqual([`webhook afterSave A: dropped 499 waiting notifications, ${why}`]);
  });

  it('sends to a hook that was created anew what came after it', async () => {
    const { client, notifier, install } = setUp();
    const hook = install(hookWith({ maxInFlight: 1 }));
    for (let n = 0; n < 3; n++) notifier.send(hook, () => call(n));
    await turn();
    const anew = install(hookWith({ maxInFlight: 1 }));
    notifier.send(anew, () => call(3));
    // By an operation that began before.
    notifier.send(hook, () => call(4));
    notifier.send(anew, () => call(5));
    for (let i = 0; i < 3; i++) {
      await turn();
      client.release();
    }
    await notifier.drained();
    const sent = client.requests.map(({ body }) => JSON.parse(body.toString()) as { object: { n: number } });
    expect(sent.map(({ object }) => object.n)).toEqual([0, 3, 5]);
  });

  it('drops without a word what the current settings rule out', async () => {
    const { client, lines, notifier, install } = setUp();
    const hook = install(hookWith({ maxInFlight: 1 }));
    for (let n = 0; n < 3; n++) notifier.send(hook, () => call(n));
    await turn();
    install({ ...hook, matches: ({ n }) => n === 2 });
    client.release();
    await turn();
    client.release();
    await notifier.drained();
    expect([client.requests.length, lines]).toEqual([2, []]);
  });

  it('logs a failure and a rejection once each, and never what the receiver wrote', async () => {
    const { client, lines, notifier, install } = setUp();
    notifier.send(install(hookWith()), () => call());
    await turn();
    client.release('<html>a secret');
    await notifier.drained();
    notifier.send(install(hookWith()), () => call());
    await turn();
    client.release('{"error":"a secret"}');
    await notifier.drained();
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^webhook afterSave A failed: answer is not JSON/);
    expect(lines[1]).toMatch(/^webhook afterSave A answered with an error/);
    expect(lines.join()).not.toContain('secret');
  });
});
