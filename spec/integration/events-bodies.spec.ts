// What a subscription is sent of created, updated and deleted objects, and by whom it can be verified.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';
import { createReceiver, type EventCall } from '../../src/receiver';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { finishedDeliveries, save, subscribe } from '../support/event-subscriptions';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

interface CloudParse {
  readonly Cloud: {
    define(name: string, run: (request: { params: { className: string } }) => Promise<unknown>): void;
  };
  readonly Object: new (className: string) => {
    readonly id: string;
    set(key: string, value: unknown): void;
    save(attributes: object | null, options: object): Promise<unknown>;
    destroy(options: object): Promise<unknown>;
  };
}

/** A function that creates, changes and deletes an object with the master key. */
function cloud(Parse: CloudParse): void {
  Parse.Cloud.define('write', async ({ params }) => {
    const object = new Parse.Object(params.className);
    await object.save({ n: 1 }, { useMasterKey: true });
    object.set('n', 2);
    await object.save(null, { useMasterKey: true });
    await object.destroy({ useMasterKey: true });
    return object.id;
  });
}

describeOnEachDatabase('events of objects', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let className = '';
  let path = '';
  let secret = '';
  let count = 0;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh, parse: { cloud, directAccess: true } });
  });
  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(async () => {
    className = `Order${++count}`;
    path = `/${className}`;
    const made = await subscribe(parse, {
      name: className,
      url: receiver.on(path, () => ({})),
      classes: [className],
    });
    secret = made.secret;
  });

  /** The newest of `number` events. */
  async function eventNumber(number: number): Promise<Answer['body']> {
    return (await receiver.received(path, number))[number - 1]?.body;
  }

  /** As a client reads it. */
  async function stored(objectId: string): Promise<object> {
    const { body } = await parse.master('GET', `/classes/${className}/${objectId}`);
    return { className, ...(body as object) };
  }

  const values = {
    text: 'ünï',
    date: { __type: 'Date', iso: '2031-02-03T04:05:06.007Z' },
    place: { __type: 'GeoPoint', latitude: 12.5, longitude: -7.25 },
    file: { __type: 'File', name: 'bone.txt' },
    other: { __type: 'Pointer', className: 'Customer', objectId: 'abc1234567' },
    list: [1, 'x', null, { deep: [true] }],
    bytes: { __type: 'Bytes', base64: 'aGVsbG8=' },
  };

  it('hold a created object as it is stored, and who made it', async () => {
    const { sessionToken, objectId: userId } = await parse.signUp();
    const friend = await save(parse, 'Customer', {});
    const before = Date.now();
    const { body } = await parse.client('POST', `/classes/${className}`, {
      body: {
        ...values,
        friends: {
          __op: 'AddRelation',
          objects: [{ __type: 'Pointer', className: 'Customer', objectId: friend }],
        },
        ACL: { '*': { read: true }, [userId]: { write: true } },
      },
      sessionToken,
      headers: { 'X-Parse-Installation-Id': 'installation-1' },
    });
    const event = await eventNumber(1);
    const objectId = body.objectId as string;
    const object = await stored(objectId);
    expect(object).toMatchObject(values);
    const { user, ...data } = event.data as Readonly<Record<string, unknown>>;
    expect({ ...event, data }).toEqual({
      type: 'object.create',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      data: { object, className, objectId, installationId: 'installation-1', master: false },
    });
    expect(Date.parse(event.timestamp as string)).toBeGreaterThanOrEqual(before);
    expect(user).toEqual({ __type: 'Pointer', className: '_User', objectId: userId });
    expect(JSON.stringify(event)).not.toContain(sessionToken);
    expect(JSON.stringify(event)).not.toMatch(/sessionToken|_hashed_password|authData|test-master-key/);
  });

  it('hold an updated object, the object before and what changed', async () => {
    const objectId = await save(parse, className, { ...values, count: 1, gone: true });
    const original = await stored(objectId);
    await parse.master('PUT', `/classes/${className}/${objectId}`, {
      body: {
        count: { __op: 'Increment', amount: 2 },
        gone: { __op: 'Delete' },
        list: { __op: 'Add', objects: [2] },
      },
    });
    const object: Answer['body'] = await stored(objectId);
    expect(object.list).toHaveLength(5);
    expect(await eventNumber(2)).toEqual({
      type: 'object.update',
      timestamp: expect.any(String),
      data: {
        object,
        original,
        // Parse Server sorts such a list on PostgreSQL (array_add of PostgresStorageAdapter).
        update: { count: 3, gone: { __op: 'Delete' }, list: object.list },
        className,
        objectId,
        installationId: 'cloud',
        master: true,
      },
    });
  });

  it('hold a deleted object as it was', async () => {
    const objectId = await save(parse, className, values);
    const object = await stored(objectId);
    expect((await parse.client('DELETE', `/classes/${className}/${objectId}`)).status).toBe(200);
    expect(await eventNumber(2)).toEqual({
      type: 'object.delete',
      timestamp: expect.any(String),
      data: { object, className, objectId, master: false },
    });
  });

  it('say what was done to a relation', async () => {
    const objectId = await save(parse, className, {});
    const friend = await save(parse, 'Customer', {});
    const change = {
      __op: 'AddRelation',
      objects: [{ __type: 'Pointer', className: 'Customer', objectId: friend }],
    };
    await parse.client('PUT', `/classes/${className}/${objectId}`, { body: { friends: change } });
    const { data } = await eventNumber(2);
    expect(data.update.friends).toEqual(change);
    expect(data.object.friends).toEqual({ __type: 'Relation', className: 'Customer' });
  });

  it('come for every operation of a batch', async () => {
    const changed = await save(parse, className, { n: 1 });
    const deleted = await save(parse, className, { n: 1 });
    const { body } = await parse.client('POST', '/batch', {
      body: {
        requests: [
          { method: 'POST', path: `/parse/classes/${className}`, body: { n: 2 } },
          { method: 'PUT', path: `/parse/classes/${className}/${changed}`, body: { n: 3 } },
          { method: 'DELETE', path: `/parse/classes/${className}/${deleted}` },
        ],
      },
    });
    expect(body).toHaveLength(3);
    const calls = await receiver.received(path, 5);
    expect(calls.map(call => (call.body as { type: string }).type).sort()).toEqual([
      'object.create',
      'object.create',
      'object.create',
      'object.delete',
      'object.update',
    ]);
  });

  it('come for what cloud code does with the master key', async () => {
    const { body } = await parse.client('POST', '/functions/write', { body: { className } });
    const calls = await receiver.received(path, 3);
    const events = calls.map(call => call.body as { type: string; data: Record<string, unknown> });
    expect(events.map(({ type }) => type).sort()).toEqual([
      'object.create',
      'object.delete',
      'object.update',
    ]);
    expect(events.every(({ data }) => data['master'] === true && data['objectId'] === body.result)).toBe(
      true,
    );
  });

  it('do not come for what failed', async () => {
    const answer = await parse.client('PUT', `/classes/${className}/doesnotexist`, { body: { n: 1 } });
    expect(answer.status).toBe(404);
    const objectId = await save(parse, className, { n: 1 });
    const calls = await receiver.received(path, 1);
    expect(calls.map(call => call.body.data.objectId)).toEqual([objectId]);
  });

  it('are signed so that the official library and the receiver kit believe them', async () => {
    const events: EventCall[] = [];
    let taken = (): void => undefined;
    const all = new Promise<void>(resolve => (taken = resolve));
    const name = `${className}Kit`;
    const server = createServer((request, response) => kit.handler(request, response)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const made = await subscribe(parse, {
      name,
      url: `http://127.0.0.1:${address.port}/`,
      classes: [className],
      events: ['object.create'],
    });
    const kit = createReceiver({ secret: made.secret }).on('object.create', call => {
      events.push(call);
      taken();
    });
    try {
      const objectId = await save(parse, className, { n: 1 });
      await all;
      expect(events[0]).toMatchObject({ type: 'object.create', data: { objectId } });
      await expect(finishedDeliveries(parse, made, 1)).resolves.toMatchObject([{ state: 'succeeded' }]);
      const [call] = await receiver.received(path, 1);
      const headers = Object.fromEntries(
        Object.entries(call?.headers ?? {}).map(([key, value]) => [key, String(value)]),
      );
      expect(new Webhook(secret).verify(call?.raw ?? '', headers)).toMatchObject({ type: 'object.create' });
      expect(() => new Webhook(made.secret).verify(call?.raw ?? '', headers)).toThrow(/signature/i);
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });

  it('do not come of an object that is nested too deeply to be sent, and its save does not suffer', async () => {
    let nested: unknown = 1;
    for (let level = 0; level < 250; level++) nested = { nested };
    const objectId = await save(parse, className, { tree: nested });
    const shallow = await save(parse, className, { tree: {} });
    const calls = await receiver.received(path, 1);
    expect(calls.map(call => call.body.data.objectId)).toEqual([shallow]);
    expect(parse.logs.filter(line => line.includes(`create of ${className}`))).toHaveLength(1);
    expect((await parse.client('GET', `/classes/${className}/${objectId}`)).status).toBe(200);
  });
});
