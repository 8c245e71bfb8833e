// The key that secrets are sealed with: a start with another one destroys nothing and leaves nothing of its own.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { insertHookRows, readRawRows } from '../support/hook-rows';
import { startParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

interface WrongStart {
  readonly hooks?: readonly Readonly<Record<string, unknown>>[];
  readonly deleteUndeclaredHooks?: boolean;
}

const encryptionKey = 'the right key, sixteen or more';
const wrongKey = 'a wrong key, sixteen or more';
const secretOf = (byte: number): string => `whsec_${Buffer.alloc(32, byte).toString('base64')}`;

describeOnEachDatabase('a start with another encryption key', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let url: string;

  beforeAll(async () => {
    receiver = await startWebhookReceiver();
    url = receiver.on('/hook', () => ({ success: 'answered' }));
  });

  afterAll(() => receiver.close());

  beforeEach(async () => {
    fresh = await database.create();
    // Parse Server prints what makes its start fail.
    jest.spyOn(console, 'error').mockImplementation(() => undefined);
  });

  afterEach(async () => {
    jest.restoreAllMocks();
    await fresh.drop();
  });

  /** A database as servers with the right key left it: these hooks, and one of the built-in that has no secret yet. */
  async function sealDatabase(...hooks: readonly Readonly<Record<string, unknown>>[]): Promise<void> {
    const parse = await startParseApplication({ database: fresh, webhooks: { encryptionKey } });
    for (const hook of hooks) await parse.registerHook({ url, ...hook });
    await parse.stop();
    await insertHookRows(database.kind, fresh, [{ functionName: 'bare', url }]);
  }

  async function readStored(): Promise<unknown> {
    const [hooks, settings, state] = await Promise.all(
      ['_Hooks', 'WebhookSetting', 'WebhookState'].map(name => readRawRows(database.kind, fresh, name)),
    );
    return { hooks, settings, keys: state?.find(({ keys }) => typeof keys === 'string')?.keys };
  }

  async function callAll(names: readonly string[]): Promise<unknown[]> {
    const parse = await startParseApplication({ database: fresh, webhooks: { encryptionKey } });
    try {
      const answers = names.map(name => parse.client('POST', `/functions/${name}`, { body: {} }));
      return (await Promise.all(answers)).map(({ body }) => body.result);
    } finally {
      await parse.stop();
    }
  }

  it.each<[string, WrongStart]>([
    ['as it is', {}],
    ['with a new declaration', { hooks: [{ functionName: 'b' }] }],
    [
      'with declarations that remove all others',
      { hooks: [{ functionName: 'a' }, { functionName: 'b' }], deleteUndeclaredHooks: true },
    ],
    [
      'with a secret for one of two hooks',
      { hooks: [{ functionName: 'a', secret: secretOf(1) }], deleteUndeclaredHooks: true },
    ],
    ['with a declaration that needs a server key', { hooks: [{ functionName: 'b', signatures: ['v1a'] }] }],
  ])('fails %s, names the hooks and writes nothing', async (_name, { hooks = [], ...options }) => {
    await sealDatabase({ functionName: 'a', signatures: ['v1', 'v1a'] }, { functionName: 'other' });
    const before = await readStored();
    const declared = hooks.map(hook => ({ url, ...hook }));
    const start = startParseApplication({
      database: fresh,
      webhooks: { encryptionKey: wrongKey, hooks: declared, ...options },
    });
    await expect(start).rejects.toMatchObject({
      code: 'BROKEN_SECRET',
      message: expect.stringMatching(/function a.*encryptionKey/),
    });
    expect(await readStored()).toEqual(before);
    expect(await callAll(['a', 'other', 'bare'])).toEqual(['answered', 'answered', 'answered']);
  });

  it('fails when only the server keys tell, and makes none of its own', async () => {
    await sealDatabase({ functionName: 'a', signatures: ['v1', 'v1a'] });
    const parse = await startParseApplication({ database: fresh, webhooks: { encryptionKey } });
    await parse.removeHook({ functionName: 'a' });
    await parse.removeHook({ functionName: 'bare' });
    await parse.stop();
    const before = await readStored();
    const start = startParseApplication({
      database: fresh,
      webhooks: { encryptionKey: wrongKey, hooks: [{ functionName: 'b', url, secret: secretOf(1) }] },
    });
    await expect(start).rejects.toMatchObject({ code: 'BROKEN_SECRET' });
    expect(await readStored()).toEqual(before);
  });

  it('takes over when it declares every hook that does not open with its secret', async () => {
    await sealDatabase({ functionName: 'a' }, { functionName: 'other' });
    const hooks = ['a', 'other'].map((functionName, at) => ({ functionName, url, secret: secretOf(at) }));
    const parse = await startParseApplication({
      database: fresh,
      webhooks: { encryptionKey: wrongKey, hooks },
    });
    try {
      for (const name of ['a', 'other', 'bare']) {
        const answer = await parse.client('POST', `/functions/${name}`, { body: {} });
        expect(answer.body).toEqual({ result: 'answered' });
      }
    } finally {
      await parse.stop();
    }
  });

  it('writes nothing on a running node either, whose database another key has sealed meanwhile', async () => {
    const parse = await startParseApplication({
      database: fresh,
      webhooks: { encryptionKey: wrongKey },
    });
    try {
      await sealDatabase({ functionName: 'a' });
      const before = await readStored();
      const answer = await parse.master('GET', '/webhooks/hooks/functions/a');
      expect(answer.body.health).toMatchObject({ state: 'broken' });
      expect(await readStored()).toEqual(before);
    } finally {
      await parse.stop();
    }
  });
});

describeOnEachDatabase('former secrets of a hook', database => {
  it('are shown only while they sign', async () => {
    const fresh = await database.create();
    const url = 'https://example.com/hook';
    const parse = await startParseApplication({ database: fresh, webhooks: { encryptionKey } });
    try {
      await parse.registerHook({ functionName: 'a', url });
      await parse.master('POST', '/webhooks/hooks/functions/a/secret/rotate', { body: { graceMs: 60_000 } });
      await parse.master('POST', '/webhooks/hooks/functions/a/secret/rotate', { body: { graceMs: 1 } });
      const shown = await parse.master('GET', '/webhooks/hooks/functions/a');
      expect(shown.body.oldSecretsExpireAt).toHaveLength(1);
    } finally {
      await parse.stop();
      await fresh.drop();
    }
  });
});
