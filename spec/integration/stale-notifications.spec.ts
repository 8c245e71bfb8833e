// Notifications that wait while their hook changes: what is in force when their turn comes says what becomes of them.
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type ReceivedCall, type WebhookReceiver } from '../support/webhook-receiver';
import { verify } from '../../src/receiver';

describeOnDatabase('postgres', 'notifications that wait', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let className = '';
  let path = '';
  let secret = '';
  let count = 0;
  let release = (): void => undefined;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
  });
  afterAll(async () => {
    release();
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  const hookPath = (): string => `/webhooks/hooks/triggers/${className}/afterSave`;
  const save = async (n: number): Promise<void> => {
    expect((await parse.client('POST', `/classes/${className}`, { body: { n } })).status).toBe(201);
  };
  const callsTo = (at: string): readonly ReceivedCall[] => receiver.calls.filter(call => call.path === at);
  const numbers = (calls: readonly ReceivedCall[]): number[] =>
    calls.map(({ body }) => (body as { object: { n: number } }).object.n);
  const dropLines = (): string[] =>
    parse.logs
      .filter(line => line.includes(` ${className}: dropped `))
      .map(line => line.split(': ')[1] ?? '');

  function isSignedWith(call: ReceivedCall, with_: string): boolean {
    try {
      verify(call.raw, call.headers, with_);
      return true;
    } catch {
      return false;
    }
  }

  /** A log line of what was dropped, or all calls, as it should not be. */
  async function untilDropped(): Promise<void> {
    while (dropLines().length === 0 && callsTo(path).length < 5)
      await new Promise(resolve => setImmediate(resolve));
  }

  /** One notification is held by the receiver, four wait for it. */
  beforeEach(async () => {
    className = `Post${++count}`;
    path = `/${className}`;
    const released = new Promise<void>(resolve => (release = resolve));
    const url = receiver.on(path, () => released.then(() => ({ success: true })));
    const hook = { className, triggerName: 'afterSave', url, maxInFlight: 1 };
    secret = (await parse.registerHook(hook)).body.secret as string;
    for (let n = 0; n < 5; n++) await save(n);
    await receiver.received(path, 1);
  });

  it('are signed with the new secret alone after a rotation without grace', async () => {
    const { body } = await parse.master('POST', `${hookPath()}/secret/rotate`, { body: { graceMs: 0 } });
    const rotated = body.secret as string;
    release();
    const calls = await receiver.received(path, 5);
    expect(numbers(calls)).toEqual([0, 1, 2, 3, 4]);
    expect(calls.map(call => isSignedWith(call, secret))).toEqual([true, false, false, false, false]);
    expect(calls.map(call => isSignedWith(call, rotated))).toEqual([false, true, true, true, true]);
    expect(dropLines()).toEqual([]);
  });

  it('are not sent after the hook was deleted', async () => {
    expect((await parse.master('DELETE', hookPath())).status).toBe(200);
    release();
    await untilDropped();
    expect(callsTo(path)).toHaveLength(1);
    expect(dropLines()).toEqual(['dropped 4 waiting notifications, it is no longer registered']);
  });

  it('are not sent by another hook of that name', async () => {
    await parse.master('DELETE', hookPath());
    const url = receiver.on(`${path}/anew`, () => ({ success: true }));
    await parse.registerHook({ className, triggerName: 'afterSave', url });
    release();
    await untilDropped();
    await save(5);
    expect(numbers(await receiver.received(`${path}/anew`, 1))).toEqual([5]);
    expect(callsTo(path)).toHaveLength(1);
    expect(dropLines()).toEqual(['dropped 4 waiting notifications, it was registered anew']);
  });

  it('are not sent after the hook was switched off, and not when it is on again', async () => {
    expect((await parse.master('PATCH', hookPath(), { body: { active: false } })).status).toBe(200);
    release();
    await untilDropped();
    await parse.master('PATCH', hookPath(), { body: { active: true } });
    await save(5);
    expect(numbers(await receiver.received(path, 2))).toEqual([0, 5]);
    expect(dropLines()).toEqual(['dropped 4 waiting notifications, it is inactive']);
  });

  it('go to the new URL', async () => {
    const moved = `${path}/moved`;
    const url = receiver.on(moved, () => ({ success: true }));
    expect((await parse.master('PATCH', hookPath(), { body: { url } })).status).toBe(200);
    release();
    const calls = await receiver.received(moved, 4);
    expect(numbers(calls)).toEqual([1, 2, 3, 4]);
    expect(calls.every(call => isSignedWith(call, secret))).toBe(true);
    expect(callsTo(path)).toHaveLength(1);
  });
});
