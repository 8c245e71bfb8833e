// What an `after*` hook should have been told and is not, what its receiver wants no more of, and what is under way to a
// subscription: in state and metrics.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { eventually, listDeliveries, subscribe } from '../support/event-subscriptions';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { Reply, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

describeOnEachDatabase('the calls of an after* hook', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let className = '';
  let count = 0;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
  });
  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });
  beforeEach(() => {
    className = `Untold${++count}`;
  });

  async function hook(
    settings: object = {},
    answer: () => unknown = () => ({ success: true }),
  ): Promise<void> {
    const url = receiver.on(`/${className}`, answer);
    await parse.registerHook({ className, triggerName: 'afterSave', url, ...settings });
  }

  const health = async (): Promise<Record<string, unknown>> =>
    (await parse.master('GET', `/webhooks/hooks/triggers/${className}/afterSave`)).body.health;

  async function metrics(series: string): Promise<readonly string[]> {
    const { body } = await parse.master('GET', '/webhooks/metrics');
    const lines = String(body).split('\n');
    return lines.filter(line => line.startsWith(series)).map(line => line.slice(series.length));
  }

  const failures = (): Promise<readonly string[]> =>
    metrics(`parse_webhooks_call_failures_total{hook="afterSave ${className}",kind=`);

  /** Every save succeeds. */
  async function save(body: object, headers: Record<string, string> = {}): Promise<void> {
    expect((await parse.master('POST', `/classes/${className}`, { body, headers })).status).toBe(201);
  }

  let nested: unknown = 1;
  for (let level = 0; level < 250; level++) nested = { nested };

  it.each([
    ['above maxRequestBytes', 'request-too-large', { text: 'x'.repeat(2000) }, {}],
    ['that is nested too deeply', 'request', { nested }, {}],
    ['too many webhooks deep', 'loop', {}, { 'X-Parse-Webhook-Depth': '5' }],
  ])('that are never made count as its failures: one %s', async (_what, kind, body, headers) => {
    await hook({ maxRequestBytes: 1000 });
    await save(body, headers);
    expect(await health()).toMatchObject({ calls: 1, failures: 1, lastFailure: kind });
    expect(await health()).not.toHaveProperty('lastSuccessAt');
    expect(await failures()).toEqual([`"${kind}"} 1`]);
    expect(await listDeliveries(parse, { className })).toEqual([]);
    await save({ n: 1 });
    await receiver.received(`/${className}`, 1);
    expect(await eventually(health, ({ calls }) => calls === 2)).toMatchObject({ failures: 1 });
  });

  it('that are none of its business do not count, however large or deep', async () => {
    await hook({ maxRequestBytes: 1000, where: { told: true } });
    await save({ text: 'x'.repeat(2000) });
    await save({}, { 'X-Parse-Webhook-Depth': '5' });
    expect(await health()).toMatchObject({ calls: 0, failures: 0 });
    await save({ told: true }, { 'X-Parse-Webhook-Depth': '5' });
    expect(await health()).toMatchObject({ calls: 1, failures: 1, lastFailure: 'loop' });
  });

  it('that its receiver wants no more of are neither successes nor failures', async () => {
    await hook({}, () => new Reply(500, '', { 'webhook-delivery': 'abort-message' }));
    await save({});
    const ended = await eventually(health, ({ calls }) => calls === 1);
    expect(ended).toMatchObject({ failures: 0, rejections: 0 });
    expect(ended).not.toHaveProperty('lastSuccessAt');
    expect(ended).not.toHaveProperty('lastFailureAt');
    expect(await failures()).toEqual([]);
    receiver.on(`/${className}`, () => ({}));
    await save({});
    expect(await eventually(health, ({ calls }) => calls === 2)).toHaveProperty('lastSuccessAt');
  });

  it('have beside them what is under way to a subscription, and its breaker', async () => {
    let release = (): void => undefined;
    const released = new Promise<void>(resolve => (release = resolve));
    const url = receiver.on(`/${className}`, () => released.then(() => ({})));
    await subscribe(parse, { name: className, url, classes: [className] });
    await save({});
    await receiver.received(`/${className}`, 1);
    const label = `{subscription="${className}"}`;
    const inFlight = (): Promise<readonly string[]> =>
      metrics(`parse_webhooks_endpoint_attempts_in_flight${label}`);
    expect(await inFlight()).toEqual([' 1']);
    expect(await metrics(`parse_webhooks_endpoint_breaker_state${label}`)).toEqual([' 0']);
    release();
    expect(await eventually(inFlight, ([count]) => count === ' 0')).toEqual([' 0']);
  });
});
