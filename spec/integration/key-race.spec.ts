// Servers that start at once with different encryption keys where nothing has been sealed: one of them has the database.
import ParseSdk from 'parse/node';
import { HookRegistry } from '../../src/hooks/registry';
import { SecretBoxes } from '../../src/hooks/secret-box';
import type { WebhooksOptions } from '../../src/index';
import { DatabaseHookStore } from '../../src/parse/database-hook-store';
import type { DatabaseController } from '../../src/parse/internals';
import { systemClock } from '../../src/shared/clock';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { boxOf } from '../support/secret-boxes';

const url = 'https://example.com/hook';
const secret = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
const keys = ['the key of one, sixteen or more', 'the key of two, sixteen or more'] as const;
const refused = {
  code: 'BROKEN_SECRET',
  message: expect.stringMatching(/encryptionKey.*previousEncryptionKeys/),
};

describeOnEachDatabase('two servers with different encryption keys', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let controller: DatabaseController;

  beforeAll(async () => {
    fresh = await database.create();
    // Makes the tables, which two servers cannot make at once on PostgreSQL, whatever their keys.
    parse = await startParseApplication({ database: fresh, webhooks: { pollIntervalMs: 60_000 } });
    controller = (ParseSdk as unknown as { Server: { database: DatabaseController } }).Server.database;
  });

  afterAll(async () => {
    await parse.stop();
    await fresh.drop();
  });

  beforeEach(() => {
    // Parse Server prints what makes its start fail.
    jest.spyOn(console, 'error').mockImplementation(() => undefined);
  });

  afterEach(() => jest.restoreAllMocks());

  async function forgetEverything(): Promise<void> {
    for (const className of ['_Hooks', 'WebhookSetting', 'WebhookState'])
      await controller.destroy(className, {}).catch(() => undefined);
  }

  function openRegistry(encryptionKey: string): HookRegistry {
    const logger = { info: () => undefined, warn: () => undefined, error: () => undefined };
    return new HookRegistry({
      store: new DatabaseHookStore({ database: controller, clock: systemClock, logger }),
      boxes: new SecretBoxes(boxOf(encryptionKey)),
      clock: systemClock,
      logger,
      keys: { complete: async () => undefined, use: () => undefined, isNeededBy: () => false },
      whyUnreachable: () => undefined,
      defaults: {},
    });
  }

  /** On PostgreSQL with connections of its own name: pg-promise warns of two pools that look alike. */
  function startOne(appId: string, webhooks: WebhooksOptions): Promise<ParseApplication> {
    const named = { ...fresh.databaseOptions, application_name: appId };
    const databaseOptions = database.kind === 'postgres' ? named : fresh.databaseOptions;
    return startParseApplication({ database: { ...fresh, databaseOptions }, appId, webhooks });
  }

  it.each([
    ['no hooks', []],
    ['the same declared hook', [{ functionName: 'declared', url, secret }]],
  ])(
    'that start at once with %s: one has the database, the other fails, in each of 60 rounds',
    async (_name, declared) => {
      const winners = { [keys[0]]: 0, [keys[1]]: 0 };
      for (let round = 0; round < 60; round++) {
        await forgetEverything();
        const logger = { info: () => undefined, warn: () => undefined, error: () => undefined };
        await new DatabaseHookStore({ database: controller, clock: systemClock, logger }).prepare();
        // The order and the distance of the two differ from round to round.
        const order = round % 2 === 0 ? keys : ([keys[1], keys[0]] as const);
        const starts = order.map(async (key, at) => {
          const registry = openRegistry(key);
          for (let turns = at * (round % 7); turns > 0; turns--) await new Promise(setImmediate);
          await registry.establishKey({ declared, isLost: false });
          await registry.reconcile(declared, false);
          return { key, registry };
        });
        const results = await Promise.allSettled(starts);
        const started = results.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
        const failed = results.flatMap(result =>
          result.status === 'rejected' ? [result.reason as unknown] : [],
        );
        expect(started).toHaveLength(1);
        expect(failed).toMatchObject([refused]);
        const [winner] = started;
        if (!winner) continue;
        winners[winner.key]++;
        await winner.registry.create({ functionName: 'later', url, headers: { 'x-a': 'b' } }, 'drop-unknown');
        expect(winner.registry.list().filter(({ broken }) => broken)).toEqual([]);
        await expect(
          openRegistry(winner.key).establishKey({ declared: [], isLost: false }),
        ).resolves.toBeUndefined();
      }
      console.log(`${database.kind}: ${Object.values(winners).join(' and ')} of 60 rounds were won`);
    },
  );

  it('that are whole Parse Servers: one starts, the other fails with an error that says why, in each of 5 rounds', async () => {
    for (let round = 0; round < 5; round++) {
      await forgetEverything();
      const webhooks = (encryptionKey: string): WebhooksOptions => ({
        encryptionKey,
        hooks: [{ functionName: 'declared', url, secret, headers: { 'x-a': 'b' } }],
      });
      const results = await Promise.allSettled(
        keys.map((key, at) => startOne(`racer-${round}-${at}`, webhooks(key))),
      );
      const started = results.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
      try {
        expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
        expect(results).toContainEqual({ status: 'rejected', reason: expect.objectContaining(refused) });
        const shown = await started[0]?.master('GET', '/webhooks/hooks/functions/declared');
        expect(shown?.body.health).toMatchObject({ state: 'installed' });
      } finally {
        for (const each of started) await each.stop();
      }
    }
  });
});
