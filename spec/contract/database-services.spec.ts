// What the tests and the product take from a database, on each kind that the run has, through Parse Server's adapters.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import express from 'express';
import ParseServer from 'parse-server';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';

const objectNotFound = 101;
const duplicateValue = 137;
const contenders = 20;

interface Node {
  readonly applicationId: string;
  readonly serverURL: string;
  readonly database: NodeDatabase;
  stop(): Promise<void>;
}

/** The part of Parse Server's DatabaseController that is used here. */
interface NodeDatabase {
  readonly adapter: { handleShutdown(): Promise<void> };
  loadSchema(): Promise<{ addClassIfNotExists(className: string, fields: object): Promise<unknown> }>;
  create(className: string, object: object): Promise<unknown>;
  update(className: string, query: object, update: object): Promise<{ state?: string }>;
  find(className: string, query: object): Promise<{ objectId: string; state?: string; count?: number }[]>;
}

async function startNode(database: FreshDatabase, applicationId: string): Promise<Node> {
  const app = express();
  const server: Server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const serverURL = `http://127.0.0.1:${address.port}/parse`;
  const databaseOptions: Record<string, unknown> = {
    ...database.databaseOptions,
    // Two nodes of one process with the same settings get a warning from pg-promise, the client of PostgreSQL.
    ...(database.databaseURI.startsWith('postgres') ? { application_name: applicationId } : {}),
  };
  const parseServer = new ParseServer({
    appId: applicationId,
    masterKey: 'master',
    maintenanceKey: 'maintenance',
    serverURL,
    databaseURI: database.databaseURI,
    databaseOptions,
    allowClientClassCreation: true,
  });
  await parseServer.start();
  app.use('/parse', parseServer.app);
  const controller: NodeDatabase = parseServer.config.databaseController;
  return {
    applicationId,
    serverURL,
    database: controller,
    stop: async () => {
      server.close();
      server.closeAllConnections();
      await controller.adapter.handleShutdown();
    },
  };
}

async function callApi(node: Node, method: string, path: string, body?: object): Promise<unknown> {
  const response = await fetch(`${node.serverURL}${path}`, {
    method,
    headers: {
      'X-Parse-Application-Id': node.applicationId,
      'Content-Type': 'application/json',
      Connection: 'close',
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return response.json();
}

/** How each attempt ended: 'done', or the code of the Parse error. */
async function settle(attempts: readonly Promise<unknown>[]): Promise<(string | number)[]> {
  const results = await Promise.allSettled(attempts);
  return results.map(result => {
    if (result.status === 'fulfilled') return 'done';
    const { code, message }: { code?: number; message?: string } = result.reason;
    return code ?? message ?? 'unknown';
  });
}

describeOnEachDatabase('Parse Server on a database of its own', database => {
  let fresh: FreshDatabase;
  let first: Node;
  let second: Node;

  beforeAll(async () => {
    fresh = await database.create();
    first = await startNode(fresh, `first-${database.kind}`);
    second = await startNode(fresh, `second-${database.kind}`);
    const schema = await first.database.loadSchema();
    await schema.addClassIfNotExists('Ticket', { state: { type: 'String' }, count: { type: 'Number' } });
  });

  afterAll(async () => {
    await first.stop();
    await second.stop();
    await fresh.drop();
  });

  /** `contenders` attempts at once, every other one on the second node, which has connections of its own. */
  function contend(attempt: (database: NodeDatabase) => Promise<unknown>): Promise<(string | number)[]> {
    const nodes = Array.from({ length: contenders }, (_, index) => (index % 2 === 0 ? first : second));
    return settle(nodes.map(node => attempt(node.database)));
  }

  it('reads through one node what was saved through another', async () => {
    const saved = await callApi(first, 'POST', '/classes/Note', { text: 'hello', tags: ['a'] });
    const { objectId } = saved as { objectId: string };
    await expect(callApi(second, 'GET', `/classes/Note/${objectId}`)).resolves.toMatchObject({
      objectId,
      text: 'hello',
      tags: ['a'],
    });
  });

  it('signs a user up once and logs them in', async () => {
    const user = { username: 'ada', password: 'secret' };
    await expect(callApi(first, 'POST', '/users', user)).resolves.toHaveProperty('sessionToken');
    await expect(callApi(second, 'POST', '/users', user)).resolves.toMatchObject({ code: 202 });
    await expect(callApi(second, 'POST', '/login', user)).resolves.toHaveProperty('sessionToken');
  });

  it('lets one of many inserts of an objectId succeed and tells the others of the duplicate', async () => {
    const now = new Date().toISOString();
    const outcomes = await contend(node =>
      node.create('Ticket', { objectId: 'unique', state: 'new', createdAt: now, updatedAt: now }),
    );
    expect(outcomes.filter(outcome => outcome === 'done')).toHaveLength(1);
    expect(outcomes.filter(outcome => outcome === duplicateValue)).toHaveLength(contenders - 1);
  });

  it('lets one of many conditional updates win and tells the others that nothing matched', async () => {
    await first.database.create('Ticket', { objectId: 'contended', state: 'new', count: 0 });
    const outcomes = await contend(node =>
      node.update(
        'Ticket',
        { objectId: 'contended', state: 'new' },
        { state: 'taken', count: { __op: 'Increment', amount: 1 } },
      ),
    );
    expect(outcomes.filter(outcome => outcome === 'done')).toHaveLength(1);
    expect(outcomes.filter(outcome => outcome === objectNotFound)).toHaveLength(contenders - 1);
    await expect(second.database.find('Ticket', { objectId: 'contended' })).resolves.toMatchObject([
      { state: 'taken', count: 1 },
    ]);
  });

  it('loses none of many increments', async () => {
    await first.database.create('Ticket', { objectId: 'counted', count: 0 });
    await contend(node =>
      node.update('Ticket', { objectId: 'counted' }, { count: { __op: 'Increment', amount: 1 } }),
    );
    await expect(first.database.find('Ticket', { objectId: 'counted' })).resolves.toMatchObject([
      { count: contenders },
    ]);
  });

  it('finds by absence, by membership and by pattern', async () => {
    await first.database.create('Ticket', { objectId: 'plain' });
    await first.database.create('Ticket', { objectId: 'stated', state: 'waiting' });
    const find = async (query: object) =>
      (await second.database.find('Ticket', query)).map(({ objectId }) => objectId).sort();
    await expect(
      find({ objectId: { $in: ['plain', 'stated'] }, state: { $exists: false } }),
    ).resolves.toEqual(['plain']);
    await expect(find({ state: { $in: ['waiting', 'other'] } })).resolves.toEqual(['stated']);
    await expect(find({ state: { $regex: '^wait' } })).resolves.toEqual(['stated']);
  });
});

describeOnEachDatabase('Databases made for tests', database => {
  it('start empty', async () => {
    for (let turn = 0; turn < 2; turn++) {
      const fresh = await database.create();
      const node = await startNode(fresh, `alone-${database.kind}`);
      try {
        await expect(callApi(node, 'GET', '/classes/Note')).resolves.toEqual({ results: [] });
        await expect(callApi(node, 'POST', '/classes/Note', { text: 'hello' })).resolves.toHaveProperty(
          'objectId',
        );
      } finally {
        await node.stop();
        await fresh.drop();
      }
    }
  });
});
