// Batches in a database transaction, where Parse Server runs its triggers before the transaction ends.
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { finishedDeliveries, save, subscribe } from '../support/event-subscriptions';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

describeOnDatabase('postgres', 'batches in a transaction', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;

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

  it('that are rolled back are told of all the same: nobody knows yet how they end', async () => {
    await save(parse, 'Entry', { n: 0 });
    const made = await subscribe(parse, {
      name: 'entries',
      url: receiver.on('/entries', () => ({})),
      classes: ['Entry'],
    });
    const answer = await parse.client('POST', '/batch', {
      body: {
        transaction: true,
        requests: [
          { method: 'POST', path: '/parse/classes/Entry', body: { n: 1 } },
          { method: 'PUT', path: '/parse/classes/Entry/doesnotexist', body: { n: 2 } },
        ],
      },
    });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    const stored = await parse.client('GET', '/classes/Entry');
    expect(stored.body.results).toHaveLength(1);
    await finishedDeliveries(parse, made, 1);
    const [call] = await receiver.received('/entries', 1);
    expect(call?.body).toMatchObject({ type: 'object.create', data: { object: { n: 1 } } });
  });
});
