// The key that secrets are sealed with: a start with another one destroys nothing and leaves nothing of its own.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import type { WebhooksOptions } from '../../src/index';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { insertHookRows, readRawRows, replaceInRow } from '../support/hook-rows';
import { masterKey, startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

interface WrongStart {
  readonly hooks?: readonly Readonly<Record<string, unknown>>[];
  readonly deleteUndeclaredHooks?: boolean;
}

const encryptionKey = 'the right key, sixteen or more';
const wrongKey = 'a wrong key, sixteen or more';
const keyBetween = 'a key between, sixteen or more';
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
    return {
      hooks,
      settings,
      sealed: state?.map(({ keys }) => keys).filter(keys => typeof keys === 'string'),
    };
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

  it('fails, names hooks and subscriptions together, and writes nothing', async () => {
    await sealDatabase({ functionName: 'a' }, { functionName: 'other' });
    const parse = await startParseApplication({ database: fresh, webhooks: { encryptionKey } });
    const subscription = { name: 'orders', url, events: ['*'] };
    expect((await parse.master('POST', '/webhooks/subscriptions', { body: subscription })).status).toBe(201);
    await parse.stop();
    const before = await readStored();
    for (const hooks of [[], ['a', 'other', 'bare']]) {
      const declared = hooks.map((functionName, at) => ({ functionName, url, secret: secretOf(at) }));
      const start = startParseApplication({
        database: fresh,
        webhooks: { encryptionKey: wrongKey, hooks: declared },
      });
      await expect(start).rejects.toMatchObject({
        code: 'BROKEN_SECRET',
        message: expect.stringMatching(
          /secrets of function a, function other.*, subscription orders cannot be decrypted/,
        ),
      });
    }
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

  it('takes over with encryptionKeyLost when it declares every hook that does not open with its secret', async () => {
    await sealDatabase({ functionName: 'a' }, { functionName: 'other' });
    const hooks = ['a', 'other'].map((functionName, at) => ({ functionName, url, secret: secretOf(at) }));
    const webhooks = { encryptionKey: wrongKey, hooks };
    // Two servers with different keys and the same declarations would take it from each other.
    await expect(startParseApplication({ database: fresh, webhooks })).rejects.toMatchObject({
      code: 'BROKEN_SECRET',
      message: expect.stringContaining('encryptionKeyLost'),
    });
    const lost = await startParseApplication({
      database: fresh,
      webhooks: { ...webhooks, encryptionKeyLost: true },
    });
    expect(lost.logs).toContainEqual(expect.stringMatching(/^warn .*encryptionKeyLost/));
    await lost.stop();
    const parse = await startParseApplication({ database: fresh, webhooks });
    try {
      for (const name of ['a', 'other', 'bare']) {
        const answer = await parse.client('POST', `/functions/${name}`, { body: {} });
        expect(answer.body).toEqual({ result: 'answered' });
      }
    } finally {
      await parse.stop();
    }
  });

  it('writes nothing on a running node either, whose database was put under another key meanwhile', async () => {
    const parse = await startParseApplication({
      database: fresh,
      webhooks: { encryptionKey: wrongKey },
    });
    try {
      const other = await startParseApplication({
        database: fresh,
        appId: 'other',
        webhooks: { encryptionKey, previousEncryptionKeys: [wrongKey] },
      });
      await other.registerHook({ url, functionName: 'a' });
      await other.stop();
      await insertHookRows(database.kind, fresh, [{ functionName: 'bare', url }]);
      const before = await readStored();
      for (const [path, body] of [
        ['/hooks/functions', { functionName: 'b', url }],
        ['/webhooks/hooks/functions/bare/secret/rotate', {}],
        ['/webhooks/keys/rotate', { key: 'ed25519' }],
      ] as const) {
        expect(await parse.master('POST', path, { body })).toMatchObject({
          status: 400,
          body: { code: 143, error: expect.stringContaining('under another encryptionKey') },
        });
      }
      const answer = await parse.master('GET', '/webhooks/hooks/functions/a');
      expect(answer.body.health).toMatchObject({ state: 'broken' });
      expect(await readStored()).toEqual(before);
    } finally {
      await parse.stop();
    }
  });
});

describeOnEachDatabase('a start with a new encryption key and the previous one', database => {
  const newKey = 'the new key, sixteen or more';
  const basicAuth = { username: 'parse', password: 'a password' };
  const certificate = (name: string): string =>
    readFileSync(join(__dirname, '../support/certificates', name), 'utf8');
  const tls = { cert: certificate('client.pem'), key: certificate('client.key') };
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let url: string;
  let secret: string;
  let publicKeys: unknown;

  const start = (webhooks: WebhooksOptions, appId = 'test-app'): Promise<ParseApplication> =>
    startParseApplication({ database: fresh, webhooks, appId });

  beforeAll(async () => {
    receiver = await startWebhookReceiver();
    url = receiver.on('/hook', () => ({ success: 'answered' }));
  });

  afterAll(() => receiver.close());

  beforeEach(async () => {
    jest.spyOn(console, 'error').mockImplementation(() => undefined);
    fresh = await database.create();
    // As most begin: under the master key.
    const parse = await start({});
    const answer = await parse.registerHook({
      functionName: 'header',
      url,
      headers: { 'x-key': 'a header' },
      signatures: ['v1', 'v1a'],
    });
    secret = String(answer.body.secret);
    await parse.registerHook({ functionName: 'basic', url, basicAuth });
    // Nobody calls it.
    await parse.registerHook({ functionName: 'mutual', url: 'https://example.com/hook', tls });
    // A row that cannot be used keeps its settings, too.
    await parse.registerHook({ functionName: 'unusable', url, headers: { 'x-key': 'a header' } });
    await replaceInRow(database.kind, fresh, {
      className: '_Hooks',
      where: { functionName: 'unusable' },
      column: 'url',
      change: () => 'ftp://example.com',
    });
    publicKeys = (await parse.master('GET', '/webhooks/ed25519.json')).body;
    await parse.stop();
    receiver.forget();
  });

  afterEach(async () => {
    jest.restoreAllMocks();
    await fresh.drop();
  });

  async function expectAllAsItWas(parse: ParseApplication): Promise<void> {
    receiver.forget();
    for (const name of ['header', 'basic']) {
      const answer = await parse.client('POST', `/functions/${name}`, { body: {} });
      expect(answer.body).toEqual({ result: 'answered' });
    }
    const [header, basic] = receiver.calls;
    expect(header?.headers['x-key']).toBe('a header');
    expect(() =>
      new Webhook(secret).verify(String(header?.raw), header?.headers as Record<string, string>),
    ).not.toThrow();
    expect(basic?.headers['authorization']).toBe(`Basic ${btoa('parse:a password')}`);
    expect((await parse.master('GET', '/webhooks/ed25519.json')).body).toEqual(publicKeys);
    // The key of tls belongs to its certificate, or this would be refused.
    const path = '/webhooks/hooks/functions/mutual';
    const shown = (await parse.master('GET', path)).body.tls;
    expect((await parse.master('PATCH', path, { body: { tls: shown } })).status).toBe(200);
  }

  it('keeps all secrets, and from then on the new key is enough and the previous one is refused', async () => {
    const rotating = await start({ encryptionKey: newKey, previousEncryptionKeys: ['another', masterKey] });
    expect(rotating.logs).toContainEqual(
      expect.stringContaining('secrets of 4 hooks, kept under a previous'),
    );
    await expectAllAsItWas(rotating);
    await rotating.stop();
    const alone = await start({ encryptionKey: newKey });
    expect(alone.logs.filter(line => line.includes('previous'))).toEqual([]);
    await expectAllAsItWas(alone);
    await alone.stop();
    await expect(start({})).rejects.toMatchObject({
      code: 'BROKEN_SECRET',
      message: expect.stringMatching(/function header.*encryptionKey/),
    });
  });

  it('fails with wrong previous keys, names the hooks, no key, and writes nothing', async () => {
    const rows = (): Promise<unknown> =>
      Promise.all(['_Hooks', 'WebhookSetting'].map(name => readRawRows(database.kind, fresh, name)));
    const before = await rows();
    const failing = start({ encryptionKey: newKey, previousEncryptionKeys: ['a wrong one', wrongKey] });
    await expect(failing).rejects.toMatchObject({
      code: 'BROKEN_SECRET',
      message: expect.stringMatching(/function header, function basic.*previousEncryptionKeys/),
    });
    await expect(failing).rejects.not.toMatchObject({ message: expect.stringContaining('wrong') });
    expect(await rows()).toEqual(before);
    const parse = await start({});
    await expectAllAsItWas(parse);
    await parse.stop();
  });

  it('may be made one server after the other: those that know both keys go on, and register', async () => {
    const first = await start({ encryptionKey: keyBetween, previousEncryptionKeys: [newKey, masterKey] });
    const second = await start({ encryptionKey: newKey, previousEncryptionKeys: [keyBetween] }, 'second');
    try {
      await expectAllAsItWas(first);
      // Sealed by the one, under the key of the other.
      await first.registerHook({ functionName: 'later', url });
    } finally {
      await first.stop();
      await second.stop();
    }
    const alone = await start({ encryptionKey: newKey });
    expect((await alone.client('POST', '/functions/later', { body: {} })).body).toEqual({
      result: 'answered',
    });
    await expectAllAsItWas(alone);
    await alone.stop();
  });

  it('is not taken back by a server of the first step that starts again', async () => {
    const firstStep: WebhooksOptions = { previousEncryptionKeys: [newKey] };
    const first = await start(firstStep);
    const subscription = { name: 'all', url, events: ['*'], headers: { 'x-key': 'a header' } };
    expect(await first.master('POST', '/webhooks/subscriptions', { body: subscription })).toMatchObject({
      status: 201,
    });
    await first.stop();
    const second = await start({ encryptionKey: newKey, previousEncryptionKeys: [masterKey] }, 'second');
    const restarted = await start(firstStep);
    try {
      expect(restarted.logs).toContainEqual(
        expect.stringMatching(/^warn .*was replaced by one of its previous/),
      );
      await expectAllAsItWas(restarted);
      await restarted.registerHook({ functionName: 'later', url });
      await expectAllAsItWas(second);
    } finally {
      await restarted.stop();
      await second.stop();
    }
    const alone = await start({ encryptionKey: newKey });
    try {
      await expectAllAsItWas(alone);
      expect((await alone.client('POST', '/functions/later', { body: {} })).body).toEqual({
        result: 'answered',
      });
    } finally {
      await alone.stop();
    }
  });

  it('makes server keys anew and has hooks reject with encryptionKeyLost, until they are registered anew', async () => {
    const parse = await start({ encryptionKey: newKey, encryptionKeyLost: true });
    const failed = { code: 141, error: expect.stringContaining('webhook function header failed') };
    expect((await parse.client('POST', '/functions/header', { body: {} })).body).toEqual(failed);
    expect(receiver.calls).toEqual([]);
    for (const functionName of ['header', 'basic', 'mutual']) await parse.removeHook({ functionName });
    await parse.registerHook({ functionName: 'header', url, signatures: ['v1a'] });
    const keys = (await parse.master('GET', '/webhooks/ed25519.json')).body;
    expect(keys).toEqual({ publicKeys: [expect.stringMatching(/^whpk_/)] });
    expect(keys).not.toEqual(publicKeys);
    await parse.stop();
    const next = await start({ encryptionKey: newKey });
    expect((await next.client('POST', '/functions/header', { body: {} })).body).toEqual({
      result: 'answered',
    });
    await next.stop();
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
