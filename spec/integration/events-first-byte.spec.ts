// firstByteTimeoutMs of what is delivered: a receiver that takes a request and says nothing is given up early.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { eventually, listDeliveries, save, subscribe } from '../support/event-subscriptions';
import { startMisbehavingReceiver, type MisbehavingReceiver } from '../support/misbehaving-receiver';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';

describeOnEachDatabase('firstByteTimeoutMs of deliveries', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let bad: MisbehavingReceiver;

  beforeAll(async () => {
    fresh = await database.create();
    bad = await startMisbehavingReceiver();
    parse = await startParseApplication({ database: fresh });
  });
  afterAll(async () => {
    await parse.stop();
    await bad.close();
    await fresh.drop();
  });

  /** The first attempt of the only delivery of the class. */
  async function attemptOf(className: string): Promise<Answer['body']> {
    const [delivery] = await eventually(
      () => listDeliveries(parse, { className }),
      rows => rows.length > 0 && rows.every(({ attemptCount }) => attemptCount > 0),
    );
    const { body } = await parse.master('GET', `/webhooks/deliveries/${delivery.objectId}`);
    return body.attempts[0];
  }

  const bounded = { url: '', firstByteTimeoutMs: 150 };
  const ended = { error: 'timeout', phase: 'first-byte' };

  it('ends the attempt of an afterSave hook', async () => {
    const hook = { ...bounded, className: 'Hooked', triggerName: 'afterSave' };
    await parse.registerHook({ ...hook, url: bad.url('hangs-before-headers') });
    await save(parse, 'Hooked', {});
    const attempt = await attemptOf('Hooked');
    expect(attempt).toMatchObject(ended);
    // timeoutMs is 5 s.
    expect(attempt.durationMs).toBeLessThan(2500);
  });

  it('ends the attempt of a subscription, and leaves the body all of timeoutMs', async () => {
    const retry = { scheduleMs: [], jitter: 0 };
    for (const [className, behaviour, phase] of [
      ['Silent', 'hangs-before-headers', 'first-byte'],
      ['Slow', 'drips', 'body'],
    ] as const) {
      const fields = { ...bounded, name: className, classes: [className], retry, timeoutMs: 1000 };
      await subscribe(parse, { ...fields, url: bad.url(behaviour) });
      await save(parse, className, {});
      expect(await attemptOf(className)).toMatchObject({ ...ended, phase });
    }
  });
});
