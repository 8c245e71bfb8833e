// Being told of writes must not show: with a hook and a subscription clients get the same bytes as without.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const ownCloud = (Parse: typeof globalThis.Parse): void => {
  Parse.Cloud.afterSave('Guarded', () => undefined, { requireMaster: true });
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
