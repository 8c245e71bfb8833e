// The server's signing keys, unreadable for a node: under another encryption key, or damaged.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { readRawRows, replaceInRow } from '../support/hook-rows';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver } from '../support/webhook-receiver';

describeOnEachDatabase('signing keys that cannot be decrypted', database => {
  let fresh: FreshDatabase;

  beforeEach(async () => {
    fresh = await database.create();
  });

  afterEach(() => fresh.drop());

  async function damageKeys(): Promise<void> {
    const rows = await readRawRows(database.kind, fresh, 'WebhookState');
    const state = rows.find(({ version }) => version !== undefined && version !== null);
    const objectId = String(state?.[database.kind === 'mongodb' ? '_id' : 'objectId']);
    await replaceInRow(database.kind, fresh, {
      className: 'WebhookState',
      where: { [database.kind === 'mongodb' ? '_id' : 'objectId']: objectId },
      column: 'keys',
      change: () => 'v2.garbage',
    });
  }

  const readKeys = async (parse: ParseApplication): Promise<unknown> => [
    (await parse.master('GET', '/webhooks/jwks.json')).body,
    (await parse.master('GET', '/webhooks/ed25519.json')).body,
  ];

  it('leave a running node with those it has, and its health says so', async () => {
    const receiver = await startWebhookReceiver();
    const parse = await startParseApplication({ database: fresh });
    try {
      const url = receiver.on('/hook', () => ({ success: 'answered' }));
      await parse.registerHook({
        functionName: 'f',
        url,
        signatures: ['v1a'],
        bearer: { algorithm: 'ES256' },
      });
      expect(await parse.master('GET', '/webhooks/health')).toMatchObject({
        status: 200,
        body: { status: 'ok', keys: 'readable' },
      });
      const before = await readKeys(parse);
      await damageKeys();
      await parse.registerHook({ functionName: 'changed', url });
      expect(await parse.master('GET', '/webhooks/health')).toMatchObject({
        status: 503,
        body: { status: 'unhealthy', database: 'reachable', keys: 'unreadable' },
      });
      expect(await readKeys(parse)).toEqual(before);
      expect((await parse.client('POST', '/functions/f', { body: {} })).body).toEqual({ result: 'answered' });
    } finally {
      await parse.stop();
      await receiver.close();
    }
  });

  it('are never an empty set to who asks a node that has none', async () => {
    const url = 'https://example.com/hook';
    const first = await startParseApplication({ database: fresh });
    await first.registerHook({ functionName: 'f', url, signatures: ['v1a'], bearer: { algorithm: 'ES256' } });
    await first.removeHook({ functionName: 'f' });
    await first.registerHook({ functionName: 'g', url });
    await first.stop();
    await damageKeys();
    const parse = await startParseApplication({ database: fresh });
    try {
      for (const path of ['/webhooks/jwks.json', '/webhooks/ed25519.json']) {
        const answer = await parse.master('GET', path);
        expect(answer).toMatchObject({ status: 503, body: { code: 143 } });
        expect(answer.headers.get('cache-control')).toBe('no-store');
      }
    } finally {
      await parse.stop();
    }
  });
});
