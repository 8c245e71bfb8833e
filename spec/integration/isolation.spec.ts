// The bound on calls in flight on a real server, and that a receiver that hangs does not slow another one down.
// The latter is a coarse check: it fails when p99 is above 1.1 times the usual in 11 of 12 blocks, unless the control does
// the same. It detects calls that wait behind hanging ones and a clear slow-down. A true ratio of 1.2 it sees in few runs,
// and passing is no proof of one below 1.1: the exact figure is a matter for a benchmark.
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

let fresh: FreshDatabase;
let parse: ParseApplication;
let well: WebhookReceiver;
let bad: WebhookReceiver;

async function stopAll(): Promise<void> {
  await parse.stop();
  await well.close();
  await bad.close();
  await fresh.drop();
}

describeOnDatabase('postgres', 'maxInFlight', database => {
  let count = 0;
  let functionName = '';
  let path = '';

  beforeAll(async () => {
    fresh = await database.create();
    [well, bad] = [await startWebhookReceiver(), await startWebhookReceiver()];
    parse = await startParseApplication({ database: fresh });
  });
  afterAll(stopAll);
  beforeEach(() => {
    functionName = `work${++count}`;
    path = `/${functionName}`;
  });

  const run = (): Promise<Answer> => parse.client('POST', `/functions/${functionName}`, { body: {} });
  const health = async (): Promise<unknown> =>
    (await parse.master('GET', `/webhooks/hooks/functions/${functionName}`)).body.health;

  /** Registers a function whose receiver counts the calls that it has at once, and answers when told to. */
  async function register(
    settings: object,
  ): Promise<{ readonly most: () => number; readonly release: () => void }> {
    let running = 0;
    let most = 0;
    let release = (): void => undefined;
    const released = new Promise<void>(resolve => (release = resolve));
    const url = well.on(path, async () => {
      most = Math.max(most, ++running);
      await released;
      running -= 1;
      return { success: 'done' };
    });
    await parse.registerHook({ functionName, url, ...settings });
    return { most: () => most, release: () => release() };
  }

  it('is never passed at the receiver; who waited too long is told so, and is never sent', async () => {
    const { most, release } = await register({ maxInFlight: 3 });
    let over = 0;
    let tellRefused = (): void => undefined;
    const nineRefused = new Promise<void>(resolve => (tellRefused = resolve));
    const running = Array.from({ length: 12 }, () =>
      run().then(answer => {
        if (++over === 9) tellRefused();
        return answer;
      }),
    );
    await well.received(path, 3);
    expect(await health()).toMatchObject({ inFlight: 3, breaker: 'closed' });
    // Those in flight are held until all others have given up.
    await nineRefused;
    release();
    const answers = await Promise.all(running);
    const refused = answers.filter(({ status }) => status !== 200).map(({ body }) => body as object);
    expect(refused).toEqual(
      Array(9).fill({
        code: 141,
        error: `webhook function ${functionName} failed: too many calls are in flight`,
      }),
    );
    expect([most(), well.calls.filter(call => call.path === path).length]).toEqual([3, 3]);
    expect(await health()).toMatchObject({ inFlight: 0, breaker: 'closed', failures: 9 });
    expect(parse.logs.filter(line => line.startsWith(`warn webhook function ${functionName}`))).toEqual([
      `warn webhook function ${functionName}: too many calls are in flight, calls are answered by its failurePolicy`,
    ]);
  });

  it('lets operations pass without a call when failurePolicy is allow', async () => {
    const { most, release } = await register({ maxInFlight: 1, failurePolicy: 'allow' });
    const first = run();
    await well.received(path, 1);
    const others = await Promise.all(Array.from({ length: 5 }, run));
    expect(others.map(({ status }) => status)).toEqual(Array(5).fill(200));
    release();
    expect((await first).body).toEqual({ result: 'done' });
    expect([most(), well.calls.filter(call => call.path === path).length]).toEqual([1, 1]);
  });

  it('makes calls wait for their turn instead of failing when it comes soon', async () => {
    const { most, release } = await register({ maxInFlight: 1 });
    release();
    const answers = await Promise.all(Array.from({ length: 8 }, run));
    expect(answers.map(({ body }) => body as object)).toEqual(Array(8).fill({ result: 'done' }));
    expect(most()).toBe(1);
  });
});

/**
 * A block is three short rounds next to each other: the other receiver well, hanging, and well once more as control. What
 * the machine does besides lasts longer than a block or hits its rounds in any order, so blocks are compared within
 * themselves, and a few that were disturbed do not decide.
 */
const blocks = 12;
const kinds = ['well', 'hangs', 'control'] as const;
type Kind = (typeof kinds)[number];
const orders: readonly (readonly Kind[])[] = [
  ['well', 'hangs', 'control'],
  ['control', 'well', 'hangs'],
  ['hangs', 'control', 'well'],
  ['control', 'hangs', 'well'],
  ['well', 'control', 'hangs'],
  ['hangs', 'well', 'control'],
];
const samplesPerRound = 300;
/** The round goes on this long before it is measured: calls hang, end and wait for their turn by then. */
const settleMs = 310;
const clients = 2;
/** The aim: what a receiver that hangs may cost another one's p99. */
const maxRatio = 1.1;
/**
 * If the true ratio is 1.1 or less, each block is above it with a chance of a half at most; 11 or more of 12 are then
 * above it once in 315 runs (binomial distribution).
 */
const blocksToTell = 11;
/**
 * How long a call to the hanging receiver takes, and how many do at once: 13 end by their time-out in a second, as many as
 * with the defaults (64 at once, 5 s). With 4 and 80 ms, 50 a second, their ends alone cost: the ratio was 1.21.
 */
const hangMs = 300;
const maxInFlight = 4;
/**
 * Time between two calls to the other receiver, whether it hangs or not: 30 a second, more than hang, so that its lane is
 * always full. By a timer and not by the well calls: if those stood still, nothing would hang any more, and few would wait.
 */
const otherEveryMs = 33;
/** A round of which each call waits is not measured to its end. */
const maxRoundMs = 3000;

interface Round {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

describeOnDatabase('postgres', 'a receiver that hangs', database => {
  let agent: Agent;
  let hangs = false;

  beforeEach(async () => {
    fresh = await database.create();
    [well, bad] = [await startWebhookReceiver(), await startWebhookReceiver()];
    agent = new Agent({ keepAlive: true });
  });
  afterEach(async () => {
    agent.destroy();
    await stopAll();
  });

  /** One call as a client with keep-alive makes it: `fetch` costs as much as all that is measured. */
  async function call(functionName: string): Promise<number> {
    const startedAt = performance.now();
    const sent = request(`${parse.serverURL}/functions/${functionName}`, {
      method: 'POST',
      agent,
      headers: { 'X-Parse-Application-Id': parse.appId, 'Content-Type': 'application/json' },
    }).end('{}');
    const [answer] = (await once(sent, 'response')) as [NodeJS.ReadableStream];
    answer.resume();
    await once(answer, 'end');
    return performance.now() - startedAt;
  }

  async function measureRound(others: Promise<number>[]): Promise<Round> {
    const samples: number[] = [];
    const startedAt = performance.now();
    const client = async (): Promise<void> => {
      while (samples.length < samplesPerRound && performance.now() < startedAt + maxRoundMs) {
        const isMeasured = performance.now() >= startedAt + settleMs;
        const tookMs = await call('well');
        if (isMeasured) samples.push(tookMs);
      }
    };
    const timer = setInterval(() => others.push(call('other')), otherEveryMs);
    await Promise.all(Array.from({ length: clients }, client));
    clearInterval(timer);
    samples.sort((a, b) => a - b);
    const at = (share: number): number => samples[Math.floor(share * samples.length)] ?? 0;
    return { p50Ms: at(0.5), p99Ms: at(0.99) };
  }

  it.each([
    // Closed again at once when the receiver is well again, so that its calls are made in those rounds.
    ['with its breaker', { breakerOpenMs: 50 }],
    ['with a breaker that never opens', { breakerFailures: 1000, breakerFailurePercent: 0 }],
  ])(
    'does not slow another one down, %s',
    async (what, webhooks) => {
      parse = await startParseApplication({
        database: fresh,
        webhooks: { ...webhooks, defaults: { maxInFlight } },
      });
      await parse.registerHook({ functionName: 'well', url: well.on('/well', () => ({ success: 1 })) });
      await parse.registerHook({
        functionName: 'other',
        url: bad.on('/other', () => (hangs ? new Promise(() => undefined) : { success: 1 })),
        timeoutMs: hangMs,
      });
      const measured: Readonly<Record<Kind, Round[]>> = { well: [], hangs: [], control: [] };
      // One block to warm up.
      for (let block = -1; block < blocks; block++) {
        for (const kind of orders[(block + orders.length) % orders.length] ?? kinds) {
          hangs = kind === 'hangs';
          const others: Promise<number>[] = [];
          const result = await measureRound(others);
          await Promise.all(others);
          if (block >= 0) measured[kind].push(result);
        }
      }
      const other = await parse.master('GET', '/webhooks/hooks/functions/other');
      expect(other.body.health.failures).toBeGreaterThan(blocks);
      const ratios = measured.hangs.map(({ p99Ms }, block) => {
        const [a, b] = [measured.well[block], measured.control[block]];
        // Of the two beside it neither is better placed: their geometric mean.
        return p99Ms / Math.sqrt((a?.p99Ms ?? 0) * (b?.p99Ms ?? 0));
      });
      const noise = measured.control.map(({ p99Ms }, block) => p99Ms / (measured.well[block]?.p99Ms ?? 0));
      const above = (of: readonly number[]): number => of.filter(ratio => ratio > maxRatio).length;
      const show = (of: readonly number[]): string =>
        `${median(of).toFixed(2)}, above ${maxRatio} in ${above(of)} of ${blocks} blocks`;
      const p50s = kinds.map(kind => median(measured[kind].map(({ p50Ms }) => p50Ms)).toFixed(2)).join(', ');
      const p99s = kinds.map(kind => median(measured[kind].map(({ p99Ms }) => p99Ms)).toFixed(2)).join(', ');
      process.stdout.write(
        `isolation, ${what}: p99 ratio ${show(ratios)}; control ${show(noise)}; ` +
          `${kinds.join(', ')}: p50 ${p50s}, p99 ${p99s} ms\n`,
      );
      // No well call waits behind a hanging one, in any round.
      for (const { p50Ms } of measured.hangs) expect(p50Ms).toBeLessThan(hangMs / 2);
      // Where two kinds of rounds that are alike differ so much, what differs cannot be told from the machine.
      if (above(noise) < blocksToTell) expect(above(ratios)).toBeLessThan(blocksToTell);
      // And none fails in its stead.
      const { body } = await parse.master('GET', '/webhooks/hooks/functions/well');
      expect(body.health).toMatchObject({ failures: 0, breaker: 'closed' });
    },
    180_000,
  );
});

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2;
}
