// Hooks whose receivers share an origin: each has connections of its own. What is unused is dropped.
import type { LookupFunction } from 'node:net';
import type { ConnectionRoute, ExchangeRequest, ExchangeResult } from '../../src/http/exchange';
import { createExchangeClient, type UndiciClientOptions } from '../../src/http/undici-client';
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { startMisbehavingReceiver, type MisbehavingReceiver } from '../support/misbehaving-receiver';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

describeOnDatabase('postgres', 'a hook on the origin of two that hang', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh, webhooks: { totalDeadlineMs: 60_000 } });
  });
  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  const run = (functionName: string): Promise<Answer> =>
    parse.client('POST', `/functions/${functionName}`, { body: {} });

  it('is called as if they were not there', async () => {
    let release = (): void => undefined;
    const released = new Promise<void>(resolve => (release = resolve));
    const hung: Promise<Answer>[] = [];
    try {
      for (const functionName of ['hungOne', 'hungTwo']) {
        const url = receiver.on(`/${functionName}`, () => released.then(() => ({ success: 'late' })));
        await parse.registerHook({ functionName, url, timeoutMs: 30_000 });
        hung.push(...Array.from({ length: 64 }, () => run(functionName)));
        await receiver.received(`/${functionName}`, 64);
      }
      const url = receiver.on('/well', () => ({ success: 'well' }));
      await parse.registerHook({ functionName: 'well', url, timeoutMs: 2000 });
      for (let round = 0; round < 5; round++) {
        const answers = await Promise.all(Array.from({ length: 10 }, () => run('well')));
        expect(answers.map(({ body }) => body as unknown)).toEqual(Array(10).fill({ result: 'well' }));
      }
    } finally {
      release();
      await Promise.all(hung);
    }
    for (const answer of await Promise.all(hung)) expect(answer.body).toEqual({ result: 'late' });
  });
});

describe('the lanes of a client', () => {
  let receiver: MisbehavingReceiver;
  let close = (): Promise<void> => Promise.resolve();

  beforeEach(async () => {
    receiver = await startMisbehavingReceiver();
  });
  afterEach(async () => {
    await close();
    await receiver.close();
  });

  function open(options: UndiciClientOptions) {
    const client = createExchangeClient(options);
    close = () => client.close();
    return (url: string, more: Partial<ExchangeRequest> = {}): Promise<ExchangeResult> =>
      client.exchange({
        url,
        headers: {},
        body: Buffer.from('{}'),
        timeoutMs: 20_000,
        maxReplyBytes: 1000,
        ...more,
      });
  }

  it('have maxConnectionsPerOrigin each, and keep them through a new registration of equal route', async () => {
    const exchange = open({ maxConnectionsPerOrigin: 2 });
    for (const lane of ['a', 'b', undefined]) {
      for (let i = 0; i < 3; i++) {
        const route = { key: 'same' };
        const results = await Promise.all(
          Array.from({ length: 20 }, () =>
            exchange(receiver.url('ok'), { route, ...(lane !== undefined && { lane }) }),
          ),
        );
        expect(results.every(({ kind }) => kind === 'reply')).toBe(true);
      }
    }
    expect(receiver.connections).toBe(6);
  });

  it('tell who waits for a connection from who cannot make one', async () => {
    const neverLooksUp: LookupFunction = () => undefined;
    const exchange = open({ maxConnectionsPerOrigin: 1, lookup: neverLooksUp, connectTimeoutMs: 60_000 });
    const url = 'http://receiver.test/';
    const results = await Promise.all([
      exchange(url, { timeoutMs: 100 }),
      exchange(url, { timeoutMs: 100 }),
      exchange(receiver.url('hangs-before-headers'), { timeoutMs: 100 }),
    ]);
    expect(results.map(result => result.kind === 'failure' && [result.phase, result.queued])).toEqual([
      ['connect', undefined],
      ['connect', true],
      ['first-byte', undefined],
    ]);
  });

  it('keep no connector, and so no private key, of a route that is used no more', async () => {
    const lookup: LookupFunction = (_name, _options, callback) =>
      process.nextTick(() => callback(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }), ''));
    const exchange = open({ lookup });
    let built = 0;
    // Read once by each connector that is built of it.
    const former: ConnectionRoute = {
      key: 'former',
      get ca() {
        built += 1;
        return 'PEM';
      },
    };
    const held: ConnectionRoute = {
      key: 'held',
      get ca() {
        built += 100;
        return 'PEM';
      },
    };
    const call = (route: ConnectionRoute): Promise<ExchangeResult> =>
      exchange('http://receiver.test/', { lane: 'a', route });
    const hanging = exchange(receiver.url('hangs-before-headers'), {
      lane: 'b',
      route: held,
      timeoutMs: 500,
    });
    for (let i = 0; i < 3; i++) await call(former);
    expect(built).toBe(101);
    await call({ key: 'renewed' });
    await call(former);
    await exchange(receiver.url('ok'), { lane: 'b', route: held });
    expect(built).toBe(102);
    expect(await hanging).toMatchObject({ failure: 'timeout' });
  });
});
