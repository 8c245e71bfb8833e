// A receiver, or a proxy before it, that answers 413, 414 or 431: no way for a client to get past a hook by size.
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { Reply, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

describeOnDatabase('postgres', 'an answer that says too large, under failurePolicy allow,', database => {
  const className = 'Parcel';
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let answer: Reply;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
    const url = receiver.on('/parcel', () => answer);
    await parse.registerHook({ className, triggerName: 'beforeSave', url, failurePolicy: 'allow' });
  });
  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  const save = async (): Promise<unknown> =>
    (await parse.client('POST', `/classes/${className}`, { body: { text: 'x'.repeat(10_000) } })).body;
  const saved = async (): Promise<number> =>
    ((await parse.master('GET', `/classes/${className}`)).body as { results: unknown[] }).results.length;
  const breaker = async (): Promise<unknown> =>
    ((await parse.master('GET', `/webhooks/hooks/triggers/${className}/beforeSave`)).body as ShownHook).health
      .breaker;
  interface ShownHook {
    readonly health: { readonly breaker: string };
  }
  const refused = { code: 141, error: `webhook beforeSave ${className} failed: request is too large` };

  it.each([
    ['nginx’s page', new Reply(413, '<html><h1>413 Request Entity Too Large</h1></html>')],
    ['no body', new Reply(413, '')],
    ['JSON without an error', new Reply(413, '{"message":"too large"}')],
    ['status 414', new Reply(414, '<html><h1>414 Request-URI Too Large</h1></html>')],
    ['status 431', new Reply(431, '')],
  ])('with %s refuses the save, and never counts against the receiver', async (_what, reply) => {
    answer = reply;
    for (let i = 0; i < 10; i++) expect(await save()).toEqual(refused);
    expect([await saved(), await breaker()]).toEqual([0, 'closed']);
  });

  it('with a JSON error says what the receiver says', async () => {
    answer = new Reply(413, '{"error":"no more than 1 kB"}');
    expect(await save()).toEqual({ code: 141, error: 'no more than 1 kB' });
    expect(await saved()).toBe(0);
  });

  it('with status 400, which may be anything, is a failure like others', async () => {
    answer = new Reply(400, '');
    for (let i = 0; i < 5; i++) expect(await save()).toMatchObject({ objectId: expect.any(String) });
    expect([await saved(), await breaker()]).toEqual([5, 'open']);
  });
});
