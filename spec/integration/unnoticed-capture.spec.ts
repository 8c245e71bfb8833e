// Being told of writes must not show: with a hook and a subscription clients get the same bytes as without.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const ownCloud = (Parse: typeof globalThis.Parse): void => {
  Parse.Cloud.afterSave('Guarded', () => undefined, { requireMaster: true });
  // Parse Server reads the object itself then, with the client's rights.
  Parse.Cloud.afterSave('OwnTriggers', () => undefined);
  Parse.Cloud.afterDelete('OwnTriggers', () => undefined);
};

describeOnEachDatabase('hooks and subscriptions on writes', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let parse: ParseApplication;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh, parse: { cloud: ownCloud } });
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  /** The raw answers to one of each write and to a read, without what differs from one object to the next. */
  async function answersOf(className: string): Promise<readonly string[]> {
    const headers = { 'X-Parse-Application-Id': parse.appId, 'Content-Type': 'application/json' };
    const texts: string[] = [];
    const call = async (method: string, path: string, body?: object): Promise<string> => {
      const answer = await fetch(parse.serverURL + path, {
        method,
        headers: { ...headers, Connection: 'close' },
        ...(body && { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      const told = [...answer.headers].filter(([name]) => !['date', 'etag', 'location'].includes(name));
      texts.push(`${answer.status} ${JSON.stringify(told)} ${text}`);
      return text;
    };
    const change = { n: { __op: 'Increment', amount: 2 }, tags: { __op: 'AddUnique', objects: ['b'] } };
    const written = await call('POST', `/classes/${className}`, {
      n: 1,
      tags: ['a'],
      gone: 1,
      at: { deep: [1] },
    });
    const { objectId } = JSON.parse(written) as { objectId: string };
    const path = `/classes/${className}/${objectId}`;
    await call('PUT', path, { ...change, gone: { __op: 'Delete' } });
    await call('PUT', path, { 'at.deep': [2] });
    await call('POST', '/batch', {
      requests: [
        { method: 'POST', path: `/parse/classes/${className}`, body: { n: 5 } },
        { method: 'PUT', path: `/parse${path}`, body: { n: 9 } },
      ],
    });
    await call('DELETE', path);
    await call('DELETE', path);
    return texts.map(text =>
      text
        .replaceAll(className, '<class>')
        .replaceAll(/"objectId":"\w{10}"/g, '"objectId":"<id>"')
        .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>'),
    );
  }

  /** A subscription whose deliveries come to `/name`. */
  async function subscribe(name: string, settings: Readonly<Record<string, unknown>>): Promise<void> {
    const url = receiver.on(`/${name}`, () => '');
    const { status } = await parse.master('POST', '/webhooks/subscriptions', {
      body: { name, url, ...settings },
    });
    expect(status).toBe(201);
  }

  it('change no byte of what clients get', async () => {
    const plain = await answersOf('Plain');
    const url = receiver.on('/hook', () => ({ success: { n: 99 } }));
    for (const triggerName of ['afterSave', 'afterDelete'])
      await parse.registerHook({ className: 'Watched', triggerName, url });
    const subscribed = await parse.master('POST', '/webhooks/subscriptions', {
      body: {
        name: 'all',
        url: receiver.on('/all', () => ''),
        events: ['object.*'],
        classes: ['Watched'],
      },
    });
    expect(subscribed.status).toBe(201);
    expect(await answersOf('Watched')).toEqual(plain);
    expect((await receiver.received('/hook', 6)).map(({ body }) => body.triggerName).sort()).toEqual([
      'afterDelete',
      ...Array<string>(5).fill('afterSave'),
    ]);
    expect((await receiver.received('/all', 6)).map(({ body }) => body.type).sort()).toEqual([
      'object.create',
      'object.create',
      'object.delete',
      ...Array<string>(3).fill('object.update'),
    ]);
  });

  it('let a client delete what it may write and not read, and run no find triggers for it', async () => {
    const path = '/deleted';
    await parse.registerHook({
      className: 'Hidden',
      triggerName: 'afterDelete',
      url: receiver.on(path, () => ''),
    });
    await parse.registerHook({
      className: 'Hidden',
      triggerName: 'beforeFind',
      url: receiver.on('/found', () => ({ error: 'nobody finds it' })),
    });
    const fields = { secret: 'a', ACL: { '*': { write: true } } };
    const { body } = await parse.client('POST', '/classes/Hidden', { body: fields });
    expect(await parse.client('DELETE', `/classes/Hidden/${body.objectId}`)).toMatchObject({
      status: 200,
      body: {},
    });
    const [call] = await receiver.received(path, 1);
    expect(call?.body).toMatchObject({
      triggerName: 'afterDelete',
      master: false,
      object: { className: 'Hidden', objectId: body.objectId, secret: 'a' },
    });
    expect(receiver.calls.filter(each => each.path === '/found')).toEqual([]);
  });

  it('let a client update what it may write and not read, and tell of all that has changed', async () => {
    const subscription = { events: ['object.update'], classes: ['WriteOnly'] };
    await subscribe('write-only', subscription);
    const fields = { secret: 'a', n: 1, ACL: { '*': { write: true } } };
    const answers: unknown[] = [];
    for (const className of ['WriteOnlyPlain', 'WriteOnly']) {
      const { body } = await parse.client('POST', `/classes/${className}`, { body: fields });
      const { status, body: answer } = await parse.client('PUT', `/classes/${className}/${body.objectId}`, {
        body: { n: { __op: 'Increment', amount: 2 } },
      });
      answers.push({ status, keys: Object.keys(answer as object), n: answer.n as unknown });
    }
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[0]).toMatchObject({ status: 200, n: 3 });
    const [call] = await receiver.received('/write-only', 1);
    expect(call?.body.data).toMatchObject({
      object: { secret: 'a', n: 3 },
      original: { secret: 'a', n: 1 },
      update: { n: 3 },
    });
  });

  it.each(['Protected', 'OwnTriggers'])(
    'see protected fields of %s in a change by a client, who does not',
    async className => {
      const open = { '*': true };
      const permissions = { get: open, find: open, create: open, update: open, delete: open, addField: open };
      for (const name of [className, `${className}Plain`]) {
        const created = await parse.master('POST', `/schemas/${name}`, {
          body: {
            className: name,
            fields: { internal: { type: 'String' }, n: { type: 'Number' } },
            classLevelPermissions: { ...permissions, protectedFields: { '*': ['internal'] } },
          },
        });
        expect(created.status).toBe(200);
      }
      const gold = { classes: [className], where: { internal: 'gold' } };
      await subscribe(`gold-${className}`, { ...gold, events: ['object.update'] });
      await subscribe(`gone-${className}`, { ...gold, events: ['object.delete'] });
      const hook = `/hook-${className}`;
      const url = receiver.on(hook, () => '');
      await parse.registerHook({ className, triggerName: 'afterSave', url });
      const answers: unknown[] = [];
      for (const name of [`${className}Plain`, className]) {
        const { body } = await parse.master('POST', `/classes/${name}`, { body: { internal: 'gold', n: 1 } });
        const path = `/classes/${name}/${body.objectId}`;
        const updated = await parse.client('PUT', path, { body: { n: { __op: 'Increment', amount: 2 } } });
        const deleted = await parse.client('DELETE', path);
        const { updatedAt, ...answer } = updated.body as Record<string, unknown>;
        expect(typeof updatedAt).toBe('string');
        answers.push([updated.status, answer, deleted.status, deleted.body]);
      }
      expect(answers[1]).toEqual(className === 'Protected' ? answers[0] : [200, expect.any(Object), 200, {}]);
      expect(JSON.stringify(answers)).not.toContain('gold');
      const [update] = await receiver.received(`/gold-${className}`, 1);
      expect(update?.body.data).toMatchObject({
        object: { internal: 'gold', n: 3 },
        original: { internal: 'gold', n: 1 },
      });
      const [gone] = await receiver.received(`/gone-${className}`, 1);
      expect(gone?.body.data).toMatchObject({ object: { internal: 'gold', n: 3 } });
      const saves = (await receiver.received(hook, 2)).map(({ body }) => body.object as unknown);
      expect(saves).toContainEqual(expect.objectContaining({ internal: 'gold', n: 3 }));
    },
  );

  it('tell two updates of one object in a batch apart by what each has changed', async () => {
    await subscribe('twice', { events: ['object.update'], classes: ['Twice'] });
    const { body } = await parse.client('POST', '/classes/Twice', { body: { a: 0, b: 0 } });
    const path = `/parse/classes/Twice/${body.objectId}`;
    await parse.client('POST', '/batch', {
      body: { requests: ['a', 'b'].map(key => ({ method: 'PUT', path, body: { [key]: 1 } })) },
    });
    const updates = (await receiver.received('/twice', 2)).map(call => call.body.data.update as unknown);
    expect(updates).toContainEqual(expect.objectContaining({ a: 1 }));
    expect(updates).toContainEqual(expect.objectContaining({ b: 1 }));
  });

  it("do not depend on the validator of the application's own trigger", async () => {
    const path = '/guarded';
    await parse.registerHook({
      className: 'Guarded',
      triggerName: 'afterSave',
      url: receiver.on(path, () => ''),
    });
    const { status } = await parse.client('POST', '/classes/Guarded', { body: { a: 1 } });
    // Parse Server logs that its trigger was refused, and the object is saved all the same.
    expect(status).toBe(201);
    expect((await receiver.received(path, 1)).map(({ body }) => body.object.a)).toEqual([1]);
  });
});
