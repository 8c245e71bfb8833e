// Deliveries that wait while their hook changes: what is in force when their turn comes says what becomes of them.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type ReceivedCall, type WebhookReceiver } from '../support/webhook-receiver';
import { verify } from '../../src/receiver';

describeOnEachDatabase('notifications that wait', database => {
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
    calls.map(({ body }) => (body as { object: { n: number } }).object.n).sort((a, b) => a - b);

  /** How many deliveries of the class are in each state, newest first. */
  async function states(): Promise<readonly string[]> {
    const { body } = await parse.master('GET', `/webhooks/deliveries?className=${className}`);
    return (body.results as { state: string }[]).map(({ state }) => state);
  }

  async function untilStates(expected: readonly string[]): Promise<void> {
    while (String((await states()).toSorted()) !== String([...expected].sort()));
  }

  function isSignedWith(call: ReceivedCall, with_: string): boolean {
    try {
      verify(call.raw, call.headers, with_);
      return true;
    } catch {
      return false;
    }
  }

  /** One notification is held by the receiver, four wait for it. */
  beforeEach(async () => {
    className = `Post${++count}${database.kind}`;
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
  });

  it('are cancelled when the hook is deleted', async () => {
    expect((await parse.master('DELETE', hookPath())).status).toBe(200);
    // That under way too: whatever it ends with, it is not tried again.
    await untilStates(Array<string>(5).fill('cancelled'));
    release();
    await save(5);
    expect(await states()).toHaveLength(5);
    expect(callsTo(path)).toHaveLength(1);
  });

  it('are not sent by another hook of that name', async () => {
    await parse.master('DELETE', hookPath());
    const url = receiver.on(`${path}/anew`, () => ({ success: true }));
    await parse.registerHook({ className, triggerName: 'afterSave', url });
    release();
    await save(5);
    await untilStates([...Array<string>(5).fill('cancelled'), 'succeeded']);
    expect(numbers(callsTo(`${path}/anew`))).toEqual([5]);
    expect(callsTo(path)).toHaveLength(1);
  });

  it('are kept while the hook is switched off, and sent when it is on again', async () => {
    expect((await parse.master('PATCH', hookPath(), { body: { active: false } })).status).toBe(200);
    release();
    await untilStates([...Array<string>(4).fill('pending'), 'succeeded']);
    // Nobody is told of what happens meanwhile.
    await save(5);
    expect(callsTo(path)).toHaveLength(1);
    await parse.master('PATCH', hookPath(), { body: { active: true } });
    await save(6);
    expect(numbers(await receiver.received(path, 6))).toEqual([0, 1, 2, 3, 4, 6]);
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
