// Every limit on a real server: what passes it, what does not, and what the client is told.
import { promises as dns } from 'node:dns';
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { startFullListener } from '../support/full-listener';
import { startMisbehavingReceiver, type MisbehavingReceiver } from '../support/misbehaving-receiver';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { startRebindingNameServer } from '../support/rebinding-name-server';
import { Reply, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

let fresh: FreshDatabase;
let parse: ParseApplication;
let receiver: WebhookReceiver;
let bad: MisbehavingReceiver;
let className = '';
let path = '';
let count = 0;

const connectTimeoutMs = 150;

function beginTest(): void {
  className = `Kitten${++count}`;
  path = `/${className}`;
}

const hook = (url: string, settings: object = {}): Promise<Answer> =>
  parse.registerHook({ className, triggerName: 'beforeSave', url, ...settings });
const save = (body: object = { a: 1 }): Promise<Answer> =>
  parse.client('POST', `/classes/${className}`, { body });
const failed = (words: string, code = 141): object => ({
  code,
  error: `webhook beforeSave ${className} failed: ${words}`,
});
/** What the log says of the last failure, for operators: the part in brackets. */
const detail = (): string | undefined =>
  parse.logs
    .filter(line => line.startsWith(`warn webhook beforeSave ${className} failed`))
    .map(line => /\((.*)\)/.exec(line)?.[1])
    .at(-1);

describeOnDatabase('postgres', 'the limits', database => {
  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    bad = await startMisbehavingReceiver();
    parse = await startParseApplication({ database: fresh, webhooks: { connectTimeoutMs } });
  });
  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await bad.close();
    await fresh.drop();
  });
  beforeEach(beginTest);

  const yes = (): unknown => ({ success: {} });
  const calls = (): number => receiver.calls.filter(call => call.path === path).length;

  it('refuse a request body of one byte more than maxRequestBytes, and send nothing of it', async () => {
    await hook(receiver.on(path, yes));
    expect((await save({ text: 'é' })).status).toBe(201);
    const bytes = (await receiver.received(path, 1))[0]?.raw.length ?? 0;
    const change = (maxRequestBytes: number): Promise<Answer> =>
      parse.master('PATCH', `/webhooks/hooks/triggers/${className}/beforeSave`, {
        body: { maxRequestBytes },
      });
    await change(bytes);
    expect((await save({ text: 'ö' })).status).toBe(201);
    await change(bytes - 1);
    const { status, body } = await save({ text: 'ü' });
    expect([status, body]).toEqual([400, failed('request is too large')]);
    expect(detail()).toBe(`${bytes} bytes, maxRequestBytes is ${bytes - 1}`);
    expect(calls()).toBe(2);
  });

  it('refuse a request body that is too large also when failurePolicy is allow: clients choose its size', async () => {
    await hook(receiver.on(path, yes), { maxRequestBytes: 100, failurePolicy: 'allow' });
    expect((await save({ text: 'x'.repeat(100) })).body).toEqual(failed('request is too large'));
    expect(calls()).toBe(0);
  });

  it('refuse a reply body of one byte more than maxReplyBytes', async () => {
    let answer = '{"success":{}}';
    await hook(
      receiver.on(path, () => new Reply(200, answer)),
      { maxReplyBytes: answer.length },
    );
    expect((await save()).status).toBe(201);
    answer += ' ';
    expect((await save()).body).toEqual(failed('answer is too large'));
  });

  it.each(['sends-100-mb', 'announces-100-mb', 'gzip-bomb', 'gzip-of-nothing'] as const)(
    'end a reply that %s as soon as it is too large',
    async behaviour => {
      await hook(bad.url(behaviour));
      expect((await save()).body).toEqual(failed('answer is too large'));
      await bad.allClosed();
    },
  );

  it('take 200 reply headers, and refuse one more, however short they are', async () => {
    let count = 0;
    const url = bad.answer(() => {
      // What Node's server adds by itself: connection, content-length, content-type, date, keep-alive.
      const own = Array.from({ length: count - 5 }, (_, n) => [`h${n}`, '1']);
      return { headers: Object.fromEntries(own), body: '{"success":{}}' };
    });
    await hook(url);
    count = 200;
    expect((await save()).status).toBe(201);
    for (count of [201, 1000]) {
      expect((await save()).body).toEqual(failed('answer is not valid HTTP'));
      expect(detail()).toBe('body: more than 200 headers');
    }
    count = 5;
    expect((await save()).status).toBe(201);
  });

  it('refuse one reply header that is too long', async () => {
    await hook(bad.url('oversized-headers'));
    expect((await save()).body).toEqual(failed('answer is not valid HTTP'));
    expect(detail()).toContain('HEADERS_OVERFLOW');
  });

  it('refuse a reply that is nested too deeply', async () => {
    await hook(bad.url('deep-objects'));
    expect((await save()).body).toEqual(failed('answer is nested too deeply'));
  });

  it('end a look-up that gets no answer, and go on without harm when one comes', async () => {
    const names = await startRebindingNameServer();
    // Only who answers is replaced: getaddrinfo asks the servers of the machine and no other.
    const lookup = jest
      .spyOn(dns, 'lookup')
      .mockImplementation(((name: string) => names.resolve(name, 0)) as unknown as typeof dns.lookup);
    try {
      names.script('slow.test', 'silent');
      await hook(receiver.on(path, yes).replace('127.0.0.1', 'slow.test'));
      const saving = save();
      await names.asked('slow.test', 1);
      expect((await saving).body).toEqual(failed('connection failed'));
      expect(detail()).toMatch(/^connect: no connection to slow\.test:\d+ within 150 ms, still at DNS/);
      names.script('slow.test', { a: ['127.0.0.1'] });
      names.releaseSilent({ a: ['127.0.0.1'] });
      expect((await save()).status).toBe(201);
      expect(calls()).toBe(1);
    } finally {
      lookup.mockRestore();
      await names.close();
    }
  });

  it('end a TCP connection that is not accepted', async () => {
    const full = await startFullListener();
    try {
      await hook(`http://127.0.0.1:${full.port}/`);
      expect((await save()).body).toEqual(failed('connection failed'));
      expect(detail()).toMatch(/^connect: no connection to 127\.0\.0\.1:\d+ within 150 ms, still at TCP/);
    } finally {
      await full.close();
    }
  });

  it('end a TLS handshake that hangs', async () => {
    await hook(bad.url('never-answers'));
    expect((await save()).body).toEqual(failed('connection failed'));
    expect(detail()).toMatch(/^connect: no connection to 127\.0\.0\.1:\d+ within 150 ms, still at TLS/);
  });

  it.each([
    ['the first byte', 'hangs-before-headers', 'first-byte'],
    ['the rest of the body', 'hangs-after-headers', 'body'],
    ['the end of a body that never ends', 'drips', 'body'],
  ] as const)('end a call that waits for %s', async (_what, behaviour, phase) => {
    await hook(bad.url(behaviour), { timeoutMs: 200 });
    const { status, body } = await save();
    expect([status, body]).toEqual([400, failed('timed out after 200 ms', 124)]);
    expect(detail()).toMatch(new RegExp(`^${phase}: `));
  });
});

describeOnDatabase('postgres', 'the limits of the stages of a connection', database => {
  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    bad = await startMisbehavingReceiver();
    const webhooks = { dnsTimeoutMs: 110, tcpTimeoutMs: 120, tlsTimeoutMs: 130 };
    parse = await startParseApplication({ database: fresh, webhooks });
  });
  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await bad.close();
    await fresh.drop();
  });
  beforeEach(beginTest);

  it('end a look-up whose name server is silent', async () => {
    const names = await startRebindingNameServer();
    const lookup = jest
      .spyOn(dns, 'lookup')
      .mockImplementation(((name: string) => names.resolve(name, 0)) as unknown as typeof dns.lookup);
    try {
      names.script('slow.test', 'silent');
      await hook('http://slow.test/');
      expect((await save()).body).toEqual(failed('name does not resolve'));
      expect(detail()).toBe('connect: no answer from DNS for slow.test:80 within 110 ms');
    } finally {
      lookup.mockRestore();
      await names.close();
    }
  });

  it('end a TCP connection that is not accepted', async () => {
    const full = await startFullListener();
    try {
      await hook(`http://127.0.0.1:${full.port}/`);
      expect((await save()).body).toEqual(failed('connection failed'));
      expect(detail()).toBe(`connect: no TCP connection to 127.0.0.1:${full.port} within 120 ms`);
    } finally {
      await full.close();
    }
  });

  it('end a TLS handshake that hangs', async () => {
    await hook(bad.url('never-answers'));
    expect((await save()).body).toEqual(failed('TLS failed'));
    expect(detail()).toMatch(/^connect: no TLS handshake with 127\.0\.0\.1:\d+ within 130 ms$/);
  });

  it('end a call whose reply headers do not come within firstByteTimeoutMs', async () => {
    await hook(bad.url('hangs-before-headers'), { firstByteTimeoutMs: 140 });
    expect((await save()).body).toEqual(failed('timed out after 140 ms', 124));
    expect(detail()).toBe('first-byte: no reply headers within 140 ms');
  });

  it('leave the body all of timeoutMs once the headers are there', async () => {
    await hook(bad.url('drips'), { firstByteTimeoutMs: 100, timeoutMs: 400 });
    expect((await save()).body).toEqual(failed('timed out after 400 ms', 124));
    expect(detail()).toBe('body: no complete reply within 400 ms');
  });
});

describeOnDatabase('postgres', 'totalDeadlineMs', database => {
  beforeAll(async () => {
    fresh = await database.create();
    bad = await startMisbehavingReceiver();
    parse = await startParseApplication({ database: fresh, webhooks: { totalDeadlineMs: 300 } });
  });
  afterAll(async () => {
    await parse.stop();
    await bad.close();
    await fresh.drop();
  });
  beforeEach(beginTest);

  it('ends a call before its own timeoutMs', async () => {
    await hook(bad.url('hangs-before-headers'), { timeoutMs: 30_000 });
    const { body } = await save();
    expect(body.code).toBe(124);
    expect(Number(/timed out after (\d+) ms/.exec(body.error as string)?.[1])).toBeLessThanOrEqual(300);
  });
});
