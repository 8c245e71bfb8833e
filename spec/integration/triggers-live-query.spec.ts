// beforeConnect, beforeSubscribe and afterEvent on a real LiveQuery server, with a WebSocket client.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import ParseServer from 'parse-server';
import { WebSocket } from 'undici';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type Answerer, type WebhookReceiver } from '../support/webhook-receiver';

interface LiveQueryServer {
  shutdown(): Promise<void>;
}

/** A client that speaks the LiveQuery protocol. */
class LiveClient {
  readonly #socket: WebSocket;
  readonly #messages: Record<string, unknown>[] = [];
  #wake = (): void => undefined;

  constructor(port: number) {
    this.#socket = new WebSocket(`ws://127.0.0.1:${port}`);
    this.#socket.addEventListener('message', event => {
      this.#messages.push(JSON.parse(String(event.data)) as Record<string, unknown>);
      this.#wake();
    });
  }

  async open(): Promise<void> {
    await new Promise(resolve => this.#socket.addEventListener('open', resolve, { once: true }));
  }

  async ask(message: object): Promise<Record<string, unknown>> {
    this.#socket.send(JSON.stringify(message));
    return this.next();
  }

  async next(): Promise<Record<string, unknown>> {
    for (;;) {
      const message = this.#messages.shift();
      if (message) return message;
      await new Promise<void>(resolve => (this.#wake = resolve));
    }
  }

  async close(): Promise<void> {
    const closed = new Promise(resolve => this.#socket.addEventListener('close', resolve, { once: true }));
    this.#socket.close();
    await closed;
  }
}

describeOnEachDatabase('LiveQuery triggers', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let httpServer: Server;
  let live: LiveQueryServer;
  let client: LiveClient;
  let user: { sessionToken: string; objectId: string };

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh, parse: { liveQuery: { classNames: ['Ball'] } } });
    httpServer = createServer().listen(0, '127.0.0.1');
    await once(httpServer, 'listening');
    live = await ParseServer.createLiveQueryServer(
      httpServer,
      // Parse Server lets go of a closed connection at its second ping after that.
      { appId: parse.appId, serverURL: parse.serverURL, websocketTimeout: 1000 },
      {} as never,
    );
    user = await parse.signUp('player');
    await parse.master('POST', '/schemas/Ball', {
      body: { className: 'Ball', fields: { n: { type: 'Number' } } },
    });
  });

  afterAll(async () => {
    await live.shutdown();
    httpServer.close();
    httpServer.closeAllConnections();
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(async () => {
    receiver.forget();
    const address = httpServer.address();
    client = new LiveClient(typeof address === 'object' && address ? address.port : 0);
    await client.open();
  });

  afterEach(async () => {
    await client.close();
    const { body } = await parse.master('GET', '/hooks/triggers');
    for (const { className, triggerName } of body as { className: string; triggerName: string }[]) {
      await parse.removeHook({ className, triggerName });
    }
  });

  async function hook(className: string, triggerName: string, answer: Answerer): Promise<void> {
    await parse.registerHook({ className, triggerName, url: receiver.on(`/${triggerName}`, answer) });
  }

  const connect = () =>
    client.ask({
      op: 'connect',
      applicationId: parse.appId,
      sessionToken: user.sessionToken,
      installationId: 'phone-1',
    });
  const subscribe = (query: object) => client.ask({ op: 'subscribe', requestId: 1, query });
  const sentUser = (): unknown =>
    expect.objectContaining({ __type: 'Object', className: '_User', objectId: user.objectId });

  it('beforeConnect sends who connects, without any secret, and lets the client in', async () => {
    await hook('@Connect', 'beforeConnect', () => ({ success: true }));
    expect(await connect()).toMatchObject({ op: 'connected' });
    expect(receiver.calls.map(call => call.body)).toEqual([
      {
        triggerName: 'beforeConnect',
        className: '@Connect',
        event: 'connect',
        clients: expect.any(Number),
        subscriptions: expect.any(Number),
        master: false,
        user: sentUser(),
        installationId: 'phone-1',
      },
    ]);
    expect(receiver.calls[0]?.raw.toString()).not.toMatch(
      new RegExp(`${user.sessionToken}|sessionToken|password`),
    );
  });

  it('beforeConnect refuses a client with an error', async () => {
    await hook('@Connect', 'beforeConnect', () => ({ error: { code: 4711, message: 'members only' } }));
    expect(await connect()).toMatchObject({ op: 'error', code: 4711, error: 'members only' });
  });

  it('beforeSubscribe sends the query and the user', async () => {
    await hook('Ball', 'beforeSubscribe', () => ({ success: true }));
    await connect();
    expect(await subscribe({ className: 'Ball', where: { n: { $gt: 1 } } })).toMatchObject({
      op: 'subscribed',
    });
    expect(receiver.calls.map(call => call.body)).toEqual([
      {
        triggerName: 'beforeSubscribe',
        className: 'Ball',
        query: { className: 'Ball', where: { n: { $gt: 1 } } },
        master: false,
        user: sentUser(),
      },
    ]);
  });

  it('beforeSubscribe changes what is subscribed to', async () => {
    await hook('Ball', 'beforeSubscribe', () => ({ success: { where: { n: 2 } } }));
    await connect();
    await subscribe({ className: 'Ball', where: { n: 1 } });
    await parse.client('POST', '/classes/Ball', { body: { n: 1 } });
    await parse.client('POST', '/classes/Ball', { body: { n: 2 } });
    expect(await client.next()).toMatchObject({ op: 'create', object: { n: 2 } });
  });

  it('beforeSubscribe leaves the subscription alone when the query comes back as it was sent', async () => {
    await hook('Ball', 'beforeSubscribe', ({ body }) => ({ success: body.query }));
    await connect();
    expect(await subscribe({ className: 'Ball', where: { n: 1 } })).toMatchObject({ op: 'subscribed' });
    await parse.client('POST', '/classes/Ball', { body: { n: 1 } });
    expect(await client.next()).toMatchObject({ op: 'create', object: { n: 1 } });
  });

  it('beforeSubscribe refuses with an error, and by a query that is none', async () => {
    await hook('Ball', 'beforeSubscribe', () => ({ error: 'not this one' }));
    await connect();
    expect(await subscribe({ className: 'Ball', where: {} })).toMatchObject({
      op: 'error',
      code: 141,
      error: 'not this one',
    });
    receiver.on('/beforeSubscribe', () => ({ success: { limit: 1 } }));
    expect(await subscribe({ className: 'Ball', where: {} })).toMatchObject({
      op: 'error',
      error: 'webhook beforeSubscribe Ball failed: answer cannot be used',
    });
  });

  it('afterEvent tells of each event, and its answer does not hold it up', async () => {
    let release = (): void => undefined;
    const held = new Promise<void>(resolve => (release = resolve));
    await hook('Ball', 'afterEvent', async () => {
      await held;
      return { error: 'too late' };
    });
    await connect();
    await subscribe({ className: 'Ball', where: {} });
    const { body } = await parse.client('POST', '/classes/Ball', { body: { n: 7 } });
    expect(await client.next()).toMatchObject({ op: 'create', object: { n: 7 } });
    await parse.client('PUT', `/classes/Ball/${body.objectId}`, { body: { n: 8 } });
    expect(await client.next()).toMatchObject({ op: 'update', object: { n: 8 } });
    await parse.master('DELETE', `/classes/Ball/${body.objectId}`);
    expect(await client.next()).toMatchObject({ op: 'delete' });
    const calls = await receiver.received('/afterEvent', 3);
    release();
    expect(calls.map(call => call.body)).toEqual([
      {
        triggerName: 'afterEvent',
        event: 'create',
        object: expect.objectContaining({ className: 'Ball', objectId: body.objectId, n: 7 }),
        clients: 1,
        subscriptions: 1,
        master: false,
        user: sentUser(),
        installationId: 'phone-1',
      },
      expect.objectContaining({
        event: 'update',
        object: expect.objectContaining({ n: 8 }),
        original: expect.objectContaining({ n: 7, objectId: body.objectId }),
      }),
      expect.objectContaining({
        event: 'delete',
        object: expect.objectContaining({ objectId: body.objectId }),
      }),
    ]);
    for (const { raw } of calls)
      expect(raw.toString()).not.toMatch(new RegExp(`${user.sessionToken}|sessionToken|password`));
  });
});
