// beforeSave and beforeDelete through a real Parse Server: what is sent, and what the answer does to the object.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, webhookKey, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

describeOnEachDatabase('a beforeSave hook', database => {
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

  beforeEach(() => receiver.forget());

  it('stores the object that the receiver made of it', async () => {
    const url = receiver.on('/puppy', ({ body }) => ({ success: { ...body.object, name: 'Rover', age: 3 } }));
    await parse.registerHook({ className: 'Puppy', triggerName: 'beforeSave', url });
    const { sessionToken, objectId: userId } = await parse.signUp();
    const created = await parse.client('POST', '/classes/Puppy', {
      sessionToken,
      body: { name: 'Spot', type: 'Corgi', n: { __op: 'Increment', amount: 2 } },
    });
    expect(created).toMatchObject({ status: 201, body: { name: 'Rover', age: 3 } });
    const stored = await parse.master('GET', `/classes/Puppy/${created.body.objectId}`);
    expect(stored.body).toMatchObject({ name: 'Rover', type: 'Corgi', age: 3, n: 2 });

    const [call] = receiver.calls;
    expect(call?.body).toMatchObject({
      triggerName: 'beforeSave',
      object: { className: 'Puppy', name: 'Spot', type: 'Corgi', n: 2 },
      master: false,
      user: { __type: 'Object', className: '_User', objectId: userId },
    });
    expect(call?.body.user).not.toHaveProperty('sessionToken');
    expect(call?.headers).toMatchObject({
      'x-parse-webhook-key': webhookKey,
      'webhook-id': expect.stringMatching(/^msg_/),
      'x-parse-webhook-depth': '1',
    });
  });

  it('keeps operations and other fields when the reply echoes the object of an update', async () => {
    const url = receiver.on('/echo', ({ body }) => ({ success: body.object }));
    await parse.registerHook({ className: 'Counter', triggerName: 'beforeSave', url });
    const { body } = await parse.master('POST', '/classes/Counter', {
      body: { n: 1, tags: ['a'], other: 'x', when: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' } },
    });
    receiver.forget();
    const updated = await parse.client('PUT', `/classes/Counter/${body.objectId}`, {
      body: { n: { __op: 'Increment', amount: 5 }, tags: { __op: 'AddUnique', objects: ['b'] }, 'obj.a': 1 },
    });
    expect(updated.status).toBe(200);
    expect(receiver.calls[0]?.body).toMatchObject({
      object: { n: 6, tags: ['a', 'b'], other: 'x', objectId: body.objectId },
      original: { n: 1, tags: ['a'], objectId: body.objectId },
      update: { n: { __op: 'Increment', amount: 5 }, tags: { __op: 'AddUnique', objects: ['b'] } },
    });
    const stored = await parse.master('GET', `/classes/Counter/${body.objectId}`);
    expect(stored.body).toMatchObject({ n: 6, tags: ['a', 'b'], other: 'x' });
  });

  it('rejects the save with the message of the receiver', async () => {
    const url = receiver.on('/no', () => ({ error: 'no puppies today' }));
    await parse.registerHook({ className: 'Rejected', triggerName: 'beforeSave', url });
    const answer = await parse.client('POST', '/classes/Rejected', { body: { a: 1 } });
    expect(answer).toMatchObject({ status: 400, body: { code: 141, error: 'no puppies today' } });
    expect((await parse.master('GET', '/classes/Rejected')).body.results).toEqual([]);
  });

  it('stops a delete with an error, and lets it happen otherwise', async () => {
    let answer: unknown = { error: { code: 1337, message: 'not this one' } };
    const url = receiver.on('/delete', () => answer);
    await parse.registerHook({ className: 'Kept', triggerName: 'beforeDelete', url });
    const { body } = await parse.master('POST', '/classes/Kept', { body: { a: 1 } });
    const refused = await parse.client('DELETE', `/classes/Kept/${body.objectId}`);
    expect(refused).toMatchObject({ status: 400, body: { code: 1337, error: 'not this one' } });
    answer = { success: true };
    expect((await parse.client('DELETE', `/classes/Kept/${body.objectId}`)).status).toBe(200);
  });

  it('fails closed with a message that names no address', async () => {
    await parse.registerHook({ className: 'Dead', triggerName: 'beforeSave', url: 'http://127.0.0.1:1/x' });
    const answer = await parse.client('POST', '/classes/Dead', { body: { a: 1 } });
    expect(answer).toMatchObject({
      status: 400,
      body: { code: 141, error: 'webhook beforeSave Dead failed: connection failed' },
    });
  });
});
