// GET /webhooks/health: the database, the nodes that share it, and what is in force here.
import { startCuttableProxy } from '../support/cuttable-proxy';
import { describeOnEachDatabase } from '../support/databases';
import { startParseApplication } from '../support/parse-application';
import { startParseProcess } from '../support/parse-process';
import { Reply, startWebhookReceiver } from '../support/webhook-receiver';

describeOnEachDatabase('the health of a node', database => {
  it('names the version in force and every node of the database', async () => {
    const fresh = await database.create();
    const parse = await startParseApplication({ database: fresh, webhooks: { pollIntervalMs: 50 } });
    const second = await startParseProcess({ database: fresh });
    try {
      const health = async (): Promise<Record<string, unknown> & { nodes: { lastSeenAt: string }[] }> =>
        (await parse.master('GET', '/webhooks/health')).body;
      while ((await health()).nodes.length < 2) await new Promise(resolve => setImmediate(resolve));
      const before = await health();
      expect(before).toMatchObject({
        status: 'ok',
        database: 'reachable',
        hooks: 0,
        broken: [],
        openBreakers: [],
        deliveryStore: 'reachable',
        spooled: 0,
        subscriptions: 0,
        pausedSubscriptions: [],
        failingSubscriptions: [],
      });
      expect(before.nodes).toHaveLength(2);
      await parse.registerHook({ functionName: 'f', url: 'https://example.com/' });
      const after = await health();
      expect(after).toMatchObject({ hooks: 1 });
      expect(after.registryVersion).not.toBe(before.registryVersion);
      expect((await parse.client('GET', '/webhooks/health')).status).toBe(403);
    } finally {
      await second.stop();
      await parse.stop();
      await fresh.drop();
    }
  });

  it('names paused and failing subscriptions, twenty of each', async () => {
    const fresh = await database.create();
    const receiver = await startWebhookReceiver();
    const parse = await startParseApplication({ database: fresh });
    const subscribe = async (name: string, url: string): Promise<string> => {
      const fields = { name, url, events: ['custom.told'] };
      const { body } = await parse.master('POST', '/webhooks/subscriptions', { body: fields });
      return body.objectId as string;
    };
    const health = async () => (await parse.master('GET', '/webhooks/health')).body;
    try {
      await subscribe(
        'fails',
        receiver.on('/fails', () => new Reply(500, '')),
      );
      await subscribe(
        'works',
        receiver.on('/works', () => ''),
      );
      for (let n = 0; n < 22; n++) {
        const objectId = await subscribe(`paused${n}`, 'https://example.com/');
        await parse.master('POST', `/webhooks/subscriptions/${objectId}/pause`);
      }
      await parse.master('POST', '/webhooks/events', { body: { type: 'custom.told', data: {} } });
      while ((await health()).failingSubscriptions.length === 0);
      const { pausedSubscriptions, ...rest } = await health();
      expect(rest).toMatchObject({ status: 'ok', subscriptions: 24, failingSubscriptions: ['fails'] });
      expect(pausedSubscriptions).toHaveLength(20);
      const { body } = await parse.master('GET', '/webhooks/metrics');
      expect(body).toContain('parse_webhooks_subscriptions{state="paused"} 22');
      expect(body).toContain('parse_webhooks_subscriptions{state="failing"} 1');
      expect(body).toContain('parse_webhooks_subscriptions{state="healthy"} 1');
      expect(body).toContain(
        'parse_webhooks_delivery_attempts_total{kind="subscription",outcome="failed",error="status"} 1',
      );
    } finally {
      await parse.stop();
      await receiver.close();
      await fresh.drop();
    }
  });

  it('is 503 while the database does not answer', async () => {
    const fresh = await database.create();
    const proxy = await startCuttableProxy(fresh.databaseURI);
    const databaseOptions =
      database.kind === 'mongodb' ? { serverSelectionTimeoutMS: 1000, connectTimeoutMS: 1000 } : {};
    const parse = await startParseApplication({
      database: { ...fresh, databaseURI: proxy.through(fresh.databaseURI), databaseOptions },
      webhooks: { pollIntervalMs: 60_000 },
    });
    try {
      expect((await parse.master('GET', '/webhooks/health')).status).toBe(200);
      const cut = proxy.cutAt('WebhookState');
      const answer = await parse.master('GET', '/webhooks/health');
      await cut;
      expect(answer).toMatchObject({
        status: 503,
        body: { status: 'unhealthy', database: 'unreachable', nodes: [] },
      });
    } finally {
      await proxy.mend();
      await parse.stop();
      await proxy.close();
      await fresh.drop();
    }
  });
});
