// Which changes a subscription is told of, and which keys of them.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { save, subscribe } from '../support/event-subscriptions';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

describeOnEachDatabase('filters of subscriptions', database => {
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
    className = `Filtered${++count}`;
  });

  let names = 0;
  /** A subscription to the class of the test with more fields; gives the path it is sent to. */
  async function listen(fields: Readonly<Record<string, unknown>>): Promise<string> {
    const name = `filter-${++names}`;
    const path = `/${name}`;
    await subscribe(parse, { name, url: receiver.on(path, () => ({})), classes: [className], ...fields });
    return path;
  }

  /** The last change is told to every subscription: when it has come, nothing else is on its way. */
  async function eventsUntil(
    path: string,
    isLast: (event: Answer['body']) => boolean,
  ): Promise<Answer['body'][]> {
    for (let wanted = 1; ; wanted++) {
      const bodies = (await receiver.received(path, wanted)).map(({ body }) => body);
      if (bodies.some(isLast)) return bodies;
    }
  }

  const update = async (objectId: string, body: Readonly<Record<string, unknown>>): Promise<void> => {
    expect((await parse.client('PUT', `/classes/${className}/${objectId}`, { body })).status).toBe(200);
  };
  const statuses = (events: readonly Answer['body'][]): unknown[] =>
    events.map(({ data }) => data.object.status as unknown);

  it('where reaches the object and the object before', async () => {
    const paid = await listen({ where: { status: 'paid', 'original.status': { $ne: 'paid' } } });
    const objectId = await save(parse, className, { status: 'open' });
    await update(objectId, { status: 'paid' });
    await update(objectId, { status: 'paid', note: 'again' });
    await update(objectId, { status: 'open' });
    await update(objectId, { status: 'paid', last: true });
    const events = await eventsUntil(paid, ({ data }) => data.object.last === true);
    expect(events.map(({ type, data }) => [type, data.object.note ?? data.object.last])).toEqual(
      expect.arrayContaining([['object.update', undefined]]),
    );
    expect(events).toHaveLength(2);
  });

  it('changed lets through the updates that changed one of the keys, creates and deletes', async () => {
    const path = await listen({ changed: ['status', 'address.city'] });
    const objectId = await save(parse, className, { status: 'a', n: 1, address: { city: 'Bonn', zip: 1 } });
    await update(objectId, { n: 2 });
    await update(objectId, { status: 'a' });
    await update(objectId, { address: { city: 'Bonn', zip: 2 } });
    await update(objectId, { status: 'b' });
    await update(objectId, { address: { city: 'Kiel', zip: 2 } });
    await parse.client('DELETE', `/classes/${className}/${objectId}`);
    const events = await eventsUntil(path, ({ type }) => type === 'object.delete');
    expect(events.map(({ type }) => type as string).sort()).toEqual([
      'object.create',
      'object.delete',
      'object.update',
      'object.update',
    ]);
  });

  it('keys and excludeKeys choose what is sent', async () => {
    const only = await listen({ keys: ['status'] });
    const without = await listen({ excludeKeys: ['secret'] });
    const objectId = await save(parse, className, { status: 'a', secret: 'x', n: 1 });
    await update(objectId, { status: 'b', secret: 'y' });
    const isUpdate = ({ type }: Answer['body']): boolean => type === 'object.update';
    const [chosen] = (await eventsUntil(only, isUpdate)).filter(isUpdate);
    expect(chosen.data).toMatchObject({
      object: { status: 'b' },
      original: { status: 'a' },
      update: { status: 'b' },
    });
    expect(Object.keys(chosen.data.object as object).sort()).toEqual([
      'className',
      'createdAt',
      'objectId',
      'status',
      'updatedAt',
    ]);
    const [rest] = (await eventsUntil(without, isUpdate)).filter(isUpdate);
    expect(rest.data).toMatchObject({ object: { status: 'b', n: 1 }, update: { status: 'b' } });
    expect(JSON.stringify(rest)).not.toContain('secret');
  });

  it('events choose between creates, updates and deletes', async () => {
    const path = await listen({ events: ['object.create', 'object.delete'] });
    const objectId = await save(parse, className, { status: 'a' });
    await update(objectId, { status: 'b' });
    await parse.client('DELETE', `/classes/${className}/${objectId}`);
    const events = await eventsUntil(path, ({ type }) => type === 'object.delete');
    expect(statuses(events).sort()).toEqual(['a', 'b']);
  });

  it('"*" stands for all classes but those of the system, which have to be named', async () => {
    const all = await listen({ classes: ['*'], events: ['object.create'] });
    const roles = await listen({ classes: ['_Role'], events: ['object.create'] });
    await parse.signUp();
    const role = await parse.master('POST', '/roles', { body: { name: `role-${count}`, ACL: {} } });
    expect(role.status).toBe(201);
    await save(parse, className, { status: 'last' });
    const events = await eventsUntil(all, ({ data }) => data.object.status === 'last');
    expect(events.map(({ data }) => data.className as string)).toEqual([className]);
    const [created] = await receiver.received(roles, 1);
    expect(created?.body.data.objectId).toBe(role.body.objectId);
  });

  it('a body above maxBodyBytes is replaced by one that says what to fetch', async () => {
    const path = await listen({ maxBodyBytes: 1024 });
    const objectId = await save(parse, className, { text: 'x'.repeat(5000) });
    const [call] = await receiver.received(path, 1);
    expect(call?.body.data).toEqual({
      className,
      objectId,
      master: false,
      truncated: true,
      bytes: expect.any(Number),
    });
  });
});
