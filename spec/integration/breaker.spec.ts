// The breaker on a real server: when it opens, what clients get meanwhile, how it closes, where it shows.
import { describeOnDatabase, describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startMisbehavingReceiver, type MisbehavingReceiver } from '../support/misbehaving-receiver';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { Reply, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

/** In a row; so a receiver asked 5 times a second has its breaker open within 1 s. */
const failuresToOpen = 5;
const unwell = new Reply(503, '');
const yes = { success: {} };
const given = 'receiver has failed too often and is given a rest';

let fresh: FreshDatabase;
let parse: ParseApplication;
let receiver: WebhookReceiver;
let className = '';
let path = '';
let count = 0;

async function startWith(
  database: { create(): Promise<FreshDatabase> },
  breakerOpenMs: number,
): Promise<void> {
  fresh = await database.create();
  receiver = await startWebhookReceiver();
  parse = await startParseApplication({
    database: fresh,
    webhooks: { breakerFailures: failuresToOpen, breakerOpenMs },
  });
}

async function stopAll(): Promise<void> {
  await parse.stop();
  await receiver.close();
  await fresh.drop();
}

function beginTest(): void {
  className = `Puppy${++count}`;
  path = `/${className}`;
  receiver.forget();
}

const hookPath = (triggerName = 'beforeSave'): string =>
  `/webhooks/hooks/triggers/${className}/${triggerName}`;

async function hook(answer: () => unknown, settings: Readonly<Record<string, unknown>> = {}): Promise<void> {
  const url = receiver.on(path, answer);
  await parse.registerHook({ className, triggerName: 'beforeSave', url, ...settings });
}

const save = (): Promise<Answer> => parse.client('POST', `/classes/${className}`, { body: { a: 1 } });

async function saveTimes(times: number): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (let i = 0; i < times; i++) answers.push(await save());
  return answers;
}

async function healthOf(triggerName = 'beforeSave'): Promise<Readonly<Record<string, unknown>>> {
  const { body } = await parse.master('GET', hookPath(triggerName));
  return body.health as Readonly<Record<string, unknown>>;
}

const breaker = async (triggerName?: string): Promise<unknown> => (await healthOf(triggerName)).breaker;
const calls = (at = path): number => receiver.calls.filter(call => call.path === at).length;
const logged = (part: string): string[] =>
  parse.logs.filter(line => line.includes(` ${className}`) && line.includes(part));
const messages = (answers: readonly Answer[]): unknown[] => answers.map(({ body }) => body.error);

/** The value of a metric of the hook. */
async function metric(name: string): Promise<number> {
  const { body } = await parse.master('GET', '/webhooks/metrics');
  const line = String(body)
    .split('\n')
    .find(each => each.startsWith(`${name}{`) && each.includes(`hook="beforeSave ${className}"`));
  return Number(line?.split(' ').at(-1));
}

describeOnEachDatabase('an open breaker', database => {
  beforeAll(() => startWith(database, 600_000));
  afterAll(stopAll);
  beforeEach(beginTest);

  it(`opens after ${failuresToOpen} failures in a row and then rejects without asking the receiver`, async () => {
    await hook(() => unwell);
    const answers = await saveTimes(30);
    expect(calls()).toBe(failuresToOpen);
    const failed = `webhook beforeSave ${className} failed: answer has an error status`;
    const rested = `webhook beforeSave ${className} failed: ${given}`;
    expect(messages(answers)).toEqual([...Array<string>(5).fill(failed), ...Array<string>(25).fill(rested)]);
    expect(new Set(answers.map(({ body }) => body.code as number))).toEqual(new Set([141]));
    expect(await breaker()).toBe('open');
  });

  it('lets operations pass without asking the receiver when failurePolicy is allow, and counts them', async () => {
    await hook(() => unwell, { failurePolicy: 'allow' });
    const answers = await saveTimes(30);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    expect(calls()).toBe(failuresToOpen);
    expect(await healthOf()).toMatchObject({ breaker: 'open', calls: 30, failures: 30, failedOpen: 30 });
    expect(await metric('parse_webhooks_failed_open_total')).toBe(30);
  });

  it('is logged when it opens, and the calls that it refuses are not', async () => {
    await hook(() => unwell);
    await saveTimes(30);
    expect(logged('breaker is')).toEqual([
      expect.stringMatching(/^warn webhook beforeSave \w+: breaker is open, calls are answered by/),
    ]);
    expect(logged('given a rest').filter(line => line.includes('nothing was sent'))).toEqual([]);
    expect(logged('answer has an error status').filter(line => line.includes('(status'))).toHaveLength(5);
  });

  it('shows in the list of hooks, the metrics and the health of the server', async () => {
    await hook(() => unwell);
    expect([await breaker(), await metric('parse_webhooks_breaker_state')]).toEqual(['closed', 0]);
    await saveTimes(10);
    const { body } = await parse.master('GET', '/webhooks/hooks?limit=1000');
    const shown = (body.results as { className?: string; health: unknown }[]).find(
      each => each.className === className,
    );
    expect(shown?.health).toMatchObject({ breaker: 'open', inFlight: 0, lastFailure: 'breaker-open' });
    expect(await metric('parse_webhooks_breaker_state')).toBe(2);
    const health = await parse.master('GET', '/webhooks/health');
    expect(health.body.openBreakers).toContain(`beforeSave ${className}`);
  });

  it('leaves another hook on the same origin alone', async () => {
    await hook(() => unwell);
    await parse.registerHook({
      className,
      triggerName: 'beforeDelete',
      url: receiver.on(`${path}/delete`, () => yes),
    });
    await saveTimes(10);
    await parse.removeHook({ className, triggerName: 'beforeSave' });
    const { body } = await save();
    expect((await parse.client('DELETE', `/classes/${className}/${body.objectId}`)).status).toBe(200);
    expect([calls(`${path}/delete`), await breaker('beforeDelete')]).toEqual([1, 'closed']);
  });

  it('starts afresh when the hook gets a new URL', async () => {
    await hook(() => unwell);
    await saveTimes(10);
    const url = receiver.on(`${path}/new`, () => yes);
    expect((await parse.master('PATCH', hookPath(), { body: { url } })).status).toBe(200);
    expect(await breaker()).toBe('closed');
    expect((await save()).status).toBe(201);
    expect([calls(), calls(`${path}/new`)]).toEqual([failuresToOpen, 1]);
  });

  it('stays open when another setting of the hook changes', async () => {
    await hook(() => unwell);
    await saveTimes(10);
    await parse.master('PATCH', hookPath(), { body: { maxInFlight: 2, timeoutMs: 1000 } });
    expect(messages([await save()])).toEqual([expect.stringContaining(given)]);
    expect([calls(), await breaker()]).toEqual([failuresToOpen, 'open']);
  });

  it.each([
    ['an error', () => ({ error: 'no' })],
    ['an error with status 500', () => new Reply(500, '{"error":"no"}')],
    ['an error with a code', () => ({ code: 1, error: { code: 101, message: 'no' } })],
  ])('is never opened by a receiver that answers %s', async (_what, answer) => {
    await hook(answer);
    const answers = await saveTimes(20);
    expect(
      answers.every(({ status, body }) => status >= 400 && !String(body.error).includes('webhook')),
    ).toBe(true);
    expect([calls(), await breaker()]).toEqual([20, 'closed']);
  });

  it('is not opened by two failures of five', async () => {
    let turn = 0;
    await hook(() => (++turn % 5 < 2 ? unwell : yes));
    await saveTimes(100);
    expect([calls(), await breaker()]).toEqual([100, 'closed']);
  });

  it('opens by four failures of five, in less than a second, when there are calls enough', async () => {
    const rounds: number[] = [];
    // The quickest of three: another process may stop this one for half a second, but not each time.
    for (let round = 0; round < 3; round++) {
      beginTest();
      rounds.push(await flap());
      expect(await breaker()).toBe('open');
    }
    process.stdout.write(
      `breaker: open ${rounds.map(ms => ms.toFixed(0)).join(', ')} ms after the first failure\n`,
    );
    expect(Math.min(...rounds)).toBeLessThan(1000);
  });

  /** A second of being well, and then four failures of five until the breaker is open: how long that took, in milliseconds. */
  async function flap(): Promise<number> {
    let isUnwell = false;
    let turn = 0;
    await hook(() => (isUnwell && ++turn % 5 !== 0 ? unwell : yes));
    let isOver = false;
    const client = async (): Promise<void> => {
      while (!isOver && turn < 10_000) {
        const { body } = await save();
        if (String(body.error).includes(given)) isOver = true;
      }
    };
    const clients = Promise.all(Array.from({ length: 4 }, client));
    const wellUntil = performance.now() + 1000;
    while (performance.now() < wellUntil) await receiver.received(path, calls() + 1);
    isUnwell = true;
    const startedAt = performance.now();
    await clients;
    return performance.now() - startedAt;
  }

  it('opens by timeouts of calls that ran at the same time', async () => {
    await hook(() => new Promise(() => undefined), { timeoutMs: 200 });
    const answers = await Promise.all(Array.from({ length: failuresToOpen }, save));
    expect(new Set(answers.map(({ body }) => body.code as number))).toEqual(new Set([124]));
    expect(await breaker()).toBe('open');
    expect(messages(await saveTimes(3))).toEqual(Array(3).fill(expect.stringContaining(given)));
    expect(calls()).toBe(failuresToOpen);
  });

  it('is not opened by requests that are too large', async () => {
    await hook(() => yes, { maxRequestBytes: 50 });
    const answers = await saveTimes(20);
    expect(messages(answers)).toEqual(Array(20).fill(expect.stringContaining('request is too large')));
    await parse.master('PATCH', hookPath(), { body: { maxRequestBytes: null } });
    expect((await save()).status).toBe(201);
    expect([calls(), await breaker()]).toEqual([1, 'closed']);
  });

  it('is not opened by addresses that are refused', async () => {
    const url = receiver.on(path, () => yes).replace('127.0.0.1', 'localhost');
    const network = { allowPrivate: false };
    await parse.registerHook({ className, triggerName: 'beforeSave', url, network });
    const answers = await saveTimes(20);
    expect(messages(answers)).toEqual(Array(20).fill(expect.stringContaining('address is not allowed')));
    expect([calls(), await breaker()]).toEqual([0, 'closed']);
  });

  it('is not opened by loops', async () => {
    await hook(() => yes);
    const headers = { 'X-Parse-Webhook-Depth': '5' };
    for (let i = 0; i < 20; i++) {
      const { body } = await parse.client('POST', `/classes/${className}`, { body: {}, headers });
      expect(body.error).toContain('loop');
    }
    expect([calls(), await breaker()]).toEqual([0, 'closed']);
  });

  it('spares the receiver of notifications, too, with one log line, and keeps them', async () => {
    const url = receiver.on(path, () => unwell);
    await parse.registerHook({ className, triggerName: 'afterSave', url, maxInFlight: 1 });
    expect((await saveTimes(30)).every(({ status }) => status === 201)).toBe(true);
    while ((await breaker('afterSave')) !== 'open');
    expect(calls()).toBe(failuresToOpen);
    expect((await healthOf('afterSave')).calls).toBe(failuresToOpen);
    expect(logged('breaker is')).toEqual([expect.stringContaining('open, its deliveries wait')]);
    const { body } = await parse.master('GET', `/webhooks/deliveries?className=${className}&state=pending`);
    expect(body.results).toHaveLength(30);
  });
});

describeOnDatabase('postgres', 'a receiver that', database => {
  let bad: MisbehavingReceiver;

  beforeAll(async () => {
    await startWith(database, 600_000);
    bad = await startMisbehavingReceiver();
  });
  afterAll(async () => {
    await stopAll();
    await bad.close();
  });
  beforeEach(beginTest);

  it.each([
    'refuses',
    'resets-at-once',
    'unresolvable',
    'tls-self-signed',
    'resets-before-headers',
    'resets-mid-body',
    'not-http',
    'html-200',
    'redirect-302',
    'error-500-html',
    'deep-arrays',
  ] as const)('%s opens the breaker', async behaviour => {
    await parse.registerHook({ className, triggerName: 'beforeSave', url: bad.url(behaviour) });
    const answers = await saveTimes(failuresToOpen + 1);
    expect(messages(answers).map(text => String(text).includes(given))).toEqual([
      ...Array<boolean>(failuresToOpen).fill(false),
      true,
    ]);
    expect(await breaker()).toBe('open');
  });
});

describeOnEachDatabase('a breaker whose time has come', database => {
  beforeAll(() => startWith(database, 50));
  afterAll(stopAll);
  beforeEach(beginTest);

  /** Saves until the receiver is asked once more: that one is the probe, which is still under way. */
  async function untilProbed(): Promise<{ readonly probe: Promise<Answer> }> {
    const asked = receiver.received(path, calls() + 1);
    for (;;) {
      const saving = save();
      const first = await Promise.race([saving.then(() => 'answered'), asked.then(() => 'asked')]);
      if (first === 'asked') return { probe: saving };
    }
  }

  it('lets one probe through while others are refused, and closes when it succeeds', async () => {
    let answer: unknown = unwell;
    await hook(() => answer);
    await saveTimes(failuresToOpen);
    let open = (): void => undefined;
    answer = new Promise(resolve => (open = () => resolve(yes)));
    const { probe } = await untilProbed();
    expect([await breaker(), await metric('parse_webhooks_breaker_state')]).toEqual(['half-open', 1]);
    const others = await Promise.all(Array.from({ length: 40 }, save));
    expect(messages(others)).toEqual(Array(40).fill(expect.stringContaining(given)));
    expect(calls()).toBe(failuresToOpen + 1);
    open();
    expect((await probe).status).toBe(201);
    expect(await breaker()).toBe('closed');
    expect((await Promise.all(Array.from({ length: 10 }, save))).every(({ status }) => status === 201)).toBe(
      true,
    );
    expect(calls()).toBe(failuresToOpen + 11);
    expect(logged('breaker is').map(line => /(\w+) webhook .*breaker is (\w+)/.exec(line)?.slice(1))).toEqual(
      [
        ['warn', 'open'],
        ['info', 'closed'],
      ],
    );
  });

  it('opens again when the probe fails, and says nothing of it', async () => {
    await hook(() => unwell);
    await saveTimes(failuresToOpen);
    for (let i = 1; i <= 3; i++) {
      expect(messages([await (await untilProbed()).probe])).toEqual([
        expect.stringContaining('error status'),
      ]);
      expect([calls(), await breaker()]).toEqual([failuresToOpen + i, 'open']);
    }
    expect(logged('breaker is')).toHaveLength(1);
  });

  it('is not left half-open by a probe that hangs', async () => {
    let answer: unknown = unwell;
    await hook(() => answer, { timeoutMs: 200 });
    await saveTimes(failuresToOpen);
    answer = new Promise(() => undefined);
    expect((await (await untilProbed()).probe).body.code).toBe(124);
    expect(await breaker()).toBe('open');
    answer = yes;
    expect((await (await untilProbed()).probe).status).toBe(201);
    expect(await breaker()).toBe('closed');
  });
});
