// Two server processes on one database: changes of one are in force on the other, and nothing is registered twice.
import ParseServer from 'parse-server';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { readRawRows } from '../support/hook-rows';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startParseProcess, type ParseProcess } from '../support/parse-process';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

/** What the product promises for its default pollIntervalMs. */
const promisedMs = 1000;

describeOnEachDatabase('two nodes', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let here: ParseApplication;
  let there: ParseProcess;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    here = await startParseApplication({ database: fresh });
    there = await startParseProcess({ database: { ...fresh } });
  });

  afterAll(async () => {
    await there.stop();
    await here.stop();
    await receiver.close();
    await fresh.drop();
  });

  type Send = (method: string, path: string, body?: unknown) => Promise<{ status: number; body: unknown }>;
  const nodes = (): Readonly<Record<'here' | 'there', Send>> => ({
    here: (method, path, body) => here.master(method, path, { body }),
    there: (method, path, body) => there.master(method, path, body),
  });

  /** Milliseconds until `send` gets `wanted` from the function; asks again at once. */
  async function timeUntil(send: Send, wanted: unknown): Promise<number> {
    const startedAt = performance.now();
    for (;;) {
      const { body } = await send('POST', '/functions/shared', {});
      const elapsed = performance.now() - startedAt;
      if (JSON.stringify(body) === JSON.stringify(wanted)) return elapsed;
      if (elapsed > 10 * promisedMs) throw new Error(`still ${JSON.stringify(body)} after ${elapsed} ms`);
    }
  }

  it.each([
    ['here', 'there'],
    ['there', 'here'],
  ] as const)('a change made %s is in force %s within a second', async (changed, seen) => {
    const { [changed]: write, [seen]: read } = nodes();
    const first = receiver.on('/first', () => ({ success: 'first' }));
    const second = receiver.on('/second', () => ({ success: 'second' }));
    const gone = { code: 141, error: 'Invalid function: "shared"' };
    const path = '/webhooks/hooks/functions/shared';
    const times: number[] = [];
    // The phase of the poll differs from round to round.
    for (let round = 0; round < 5; round++) {
      await write('POST', '/hooks/functions', { functionName: 'shared', url: first });
      times.push(await timeUntil(read, { result: 'first' }));
      await write('PUT', '/hooks/functions/shared', { url: second });
      times.push(await timeUntil(read, { result: 'second' }));
      await write('PATCH', path, { active: false });
      times.push(await timeUntil(read, gone));
      await write('PATCH', path, { active: null });
      times.push(await timeUntil(read, { result: 'second' }));
      await write('PUT', '/hooks/functions/shared', { __op: 'Delete' });
      times.push(await timeUntil(read, gone));
    }
    console.log(
      `${database.kind}, changed ${changed}: in force ${seen} after at most ${Math.round(Math.max(...times))} ms`,
    );
    expect(Math.max(...times)).toBeLessThan(promisedMs);
  });

  it.each([
    ['a function', '/hooks/functions', { functionName: 'raced' }, 'function name: raced already exists'],
    [
      'a trigger',
      '/hooks/triggers',
      { className: 'Raced', triggerName: 'beforeSave' },
      'class Raced already has trigger beforeSave',
    ],
  ])(
    'twenty creates of %s at once, ten on each, make one row and nineteen refusals',
    async (_name, path, names, error) => {
      const { here: a, there: b } = nodes();
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, at) =>
          (at % 2 === 0 ? a : b)('POST', path, {
            ...names,
            url: `https://example.com/${at}`,
            timeoutMs: 100 + at,
          }),
        ),
      );
      const taken = answers.flatMap(({ status, body }, at) => (status === 200 ? [{ at, body }] : []));
      expect(taken).toHaveLength(1);
      const { at } = taken[0]!;
      expect(taken[0]?.body).toEqual({
        ...names,
        url: `https://example.com/${at}`,
        secret: expect.stringMatching(/^whsec_/),
      });
      const refusals = answers.filter(({ status }) => status !== 200);
      expect(refusals).toHaveLength(19);
      for (const refusal of refusals)
        expect(refusal).toMatchObject({ status: 400, body: { code: 143, error } });
      const rows = await readRawRows(database.kind, fresh, '_Hooks');
      expect(rows).toHaveLength(1);
      expect(rows[0]).toMatchObject({ ...names, url: `https://example.com/${at}` });
      // The settings are those of the one that was taken.
      expect((await a('GET', '/webhooks/hooks')).body).toMatchObject({
        results: [{ ...names, timeoutMs: 100 + at }],
      });
      const detail = 'functionName' in names ? 'raced' : 'Raced/beforeSave';
      await b('PUT', `${path}/${detail}`, { __op: 'Delete' });
      expect(await readRawRows(database.kind, fresh, '_Hooks')).toEqual([]);
    },
  );

  it('settings changed on both at once are all kept', async () => {
    const { here: a, there: b } = nodes();
    await a('POST', '/hooks/functions', { functionName: 'merged', url: 'https://example.com' });
    const path = '/webhooks/hooks/functions/merged';
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, at) =>
        (at % 2 === 0 ? a : b)('PATCH', path, { headers: { [`x-${at}`]: `${at}` } }),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 200));
    for (const read of [a, b]) {
      const { body } = await read('GET', path);
      expect(Object.keys((body as { headers: object }).headers)).toHaveLength(10);
    }
    await a('PUT', '/hooks/functions/merged', { __op: 'Delete' });
  });
});

/**
 * Makes Parse Server's own tables. On an empty PostgreSQL two servers that make them at once fail with or without this
 * package: CREATE INDEX IF NOT EXISTS "case_insensitive_username" is a duplicate key for the slower one.
 */
async function startOnceWithoutWebhooks({ databaseURI, databaseOptions }: FreshDatabase): Promise<void> {
  const keys = { appId: 'plain', masterKey: 'plain-master-key', maintenanceKey: 'plain-maintenance-key' };
  const server = new ParseServer({
    ...keys,
    serverURL: 'http://127.0.0.1/parse',
    databaseURI,
    databaseOptions,
  });
  await server.start();
  await server.config.databaseController.adapter.handleShutdown();
}

describeOnEachDatabase('two nodes that start at once where no hooks have been', database => {
  it('with the same declared hooks make each once, and serve it', async () => {
    const fresh = await database.create();
    await startOnceWithoutWebhooks(fresh);
    const receiver = await startWebhookReceiver();
    const url = receiver.on('/declared', () => ({ success: 'declared' }));
    const hooks = [
      { functionName: 'declared', url, timeoutMs: 1000, headers: { 'x-key': 'a' } },
      { className: 'Declared', triggerName: 'beforeSave', url },
    ];
    const start = (): Promise<ParseProcess> =>
      startParseProcess({ database: { ...fresh }, webhooks: { hooks } });
    const started = await Promise.allSettled([start(), start()]);
    const nodes = started.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
    try {
      expect(started).toMatchObject([{ status: 'fulfilled' }, { status: 'fulfilled' }]);
      expect(await readRawRows(database.kind, fresh, '_Hooks')).toHaveLength(2);
      expect(await readRawRows(database.kind, fresh, 'WebhookSetting')).toHaveLength(2);
      for (const node of nodes) {
        expect((await node.master('POST', '/functions/declared', {})).body).toEqual({ result: 'declared' });
      }
    } finally {
      await Promise.all(nodes.map(node => node.stop()));
      await receiver.close();
      await fresh.drop();
    }
  });
});
