// GET /webhooks/health: the database, the nodes that share it, and what is in force here.
import { startCuttableProxy } from '../support/cuttable-proxy';
import { describeOnEachDatabase } from '../support/databases';
import { startParseApplication } from '../support/parse-application';
import { startParseProcess } from '../support/parse-process';

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
