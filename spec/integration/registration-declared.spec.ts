// Hooks declared in the options: brought into force at start, drift told, nothing removed unless asked.
import { Webhook } from 'standardwebhooks';
import { WebhookError, type WebhooksOptions } from '../../src/index';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { insertHookRows, readRawRows } from '../support/hook-rows';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const url = 'https://example.com/hook';

describeOnEachDatabase('declared hooks', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;

  beforeAll(async () => {
    receiver = await startWebhookReceiver();
  });

  afterAll(() => receiver.close());

  beforeEach(async () => {
    fresh = await database.create();
    receiver.forget();
  });

  afterEach(() => fresh.drop());

  /** Starts a server with these options, hands it to `use`, and stops it. */
  async function withServer(
    webhooks: WebhooksOptions,
    use: (parse: ParseApplication) => Promise<void>,
  ): Promise<void> {
    const parse = await startParseApplication({ database: fresh, webhooks });
    try {
      await use(parse);
    } finally {
      await parse.stop();
    }
  }

  const told = (parse: ParseApplication): readonly string[] =>
    parse.logs.filter(line => line.includes('webhooks '));

  it('are created with their settings and in force when the server answers', async () => {
    const hookUrl = receiver.on('/f', () => ({ success: 'declared' }));
    const hooks = [
      { functionName: 'f', url: hookUrl, timeoutMs: 777, headers: { 'X-Key': 'a-secret' } },
      { className: 'Puppy', triggerName: 'afterSave', url },
    ];
    await withServer({ hooks }, async parse => {
      expect((await parse.client('POST', '/functions/f', { body: {} })).body).toEqual({ result: 'declared' });
      expect(receiver.calls[0]?.headers['x-key']).toBe('a-secret');
      expect((await parse.master('GET', '/webhooks/hooks')).body.results).toMatchObject([
        { functionName: 'f', timeoutMs: 777, headers: { 'x-key': '********' } },
        { className: 'Puppy', timeoutMs: 5000 },
      ]);
      expect(told(parse)).toEqual(['info webhooks created as declared: function f, afterSave Puppy']);
      expect(parse.logs.join('\n')).not.toContain('a-secret');
    });
  });

  it('are left alone by a start with the same declaration, and updated by one with another', async () => {
    const declared = { functionName: 'f', url, timeoutMs: 777, headers: { 'x-key': 'a' }, where: undefined };
    await withServer({ hooks: [declared] }, async () => undefined);
    const [before] = await readRawRows(database.kind, fresh, 'WebhookSetting');
    await withServer({ hooks: [{ ...declared, headers: { 'X-KEY': 'a' } }] }, async parse => {
      expect(told(parse)).toEqual([]);
      expect(await readRawRows(database.kind, fresh, 'WebhookSetting')).toEqual([before]);
      // Drift in the settings: changed by hand, put back by the next start.
      await parse.master('PATCH', '/webhooks/hooks/functions/f', { body: { timeoutMs: 1, active: false } });
    });
    await withServer({ hooks: [declared] }, async parse => {
      expect(told(parse)).toEqual(['info webhooks updated as declared: function f']);
      expect((await parse.master('GET', '/webhooks/hooks/functions/f')).body).toMatchObject({
        timeoutMs: 777,
        active: true,
      });
    });
    const newUrl = 'https://example.com/new';
    await withServer({ hooks: [{ functionName: 'f', url: newUrl }] }, async parse => {
      expect(told(parse)).toEqual(['info webhooks updated as declared: function f']);
      expect((await parse.master('GET', '/webhooks/hooks/functions/f')).body).toMatchObject({
        url: newUrl,
        timeoutMs: 5000,
        headers: {},
      });
      expect((await parse.master('GET', '/hooks/functions')).body).toEqual([
        { functionName: 'f', url: newUrl },
      ]);
    });
  });

  it('do not touch a hook that is not declared, but tell of it', async () => {
    await withServer({}, async parse => {
      await parse.registerHook({ functionName: 'byHand', url, timeoutMs: 55 });
    });
    await withServer({ hooks: [{ functionName: 'f', url }] }, async parse => {
      expect(told(parse)).toEqual([
        'info webhooks created as declared: function f',
        'warn webhooks in the database that are not declared: function byHand',
      ]);
      expect((await parse.master('GET', '/webhooks/hooks/functions/byHand')).body).toMatchObject({
        timeoutMs: 55,
      });
    });
  });

  it('are all there is with deleteUndeclaredHooks', async () => {
    await withServer({}, async parse => {
      await parse.registerHook({ functionName: 'byHand', url, timeoutMs: 55 });
      await parse.registerHook({ className: 'ByHand', triggerName: 'beforeSave', url });
    });
    await withServer({ hooks: [{ functionName: 'f', url }], deleteUndeclaredHooks: true }, async parse => {
      expect(told(parse)).toContain(
        'info webhooks removed because not declared: function byHand, beforeSave ByHand',
      );
      expect((await parse.master('GET', '/hooks/functions')).body).toEqual([{ functionName: 'f', url }]);
      expect((await parse.master('GET', '/hooks/triggers')).body).toEqual([]);
      expect(await readRawRows(database.kind, fresh, 'WebhookSetting')).toHaveLength(1);
    });
    await withServer({ deleteUndeclaredHooks: true }, async parse => {
      expect((await parse.master('GET', '/hooks/functions')).body).toEqual([]);
    });
  });

  it('leave one row where the built-in had left two', async () => {
    await withServer({}, async () => undefined);
    await insertHookRows(database.kind, fresh, [
      { functionName: 'f', url },
      { functionName: 'f', url: 'https://example.com/second' },
    ]);
    await withServer({ hooks: [{ functionName: 'f', url }] }, async parse => {
      expect((await parse.master('GET', '/webhooks/hooks/functions/f')).body.url).toBe(url);
      expect(await readRawRows(database.kind, fresh, '_Hooks')).toHaveLength(1);
    });
  });

  it.each([
    [[{ functionName: 'f' }], 'hooks.0', 'invalid hook declaration'],
    [
      [
        { functionName: 'f', url },
        { functionName: 'g', url: 'ftp://example.com' },
      ],
      'hooks.1',
      'url',
    ],
    [[{ className: '_User', triggerName: 'beforeSave', url }], 'hooks.0', '_User'],
    [[{ functionName: 'f', url, timeoutMs: '5s' }], 'hooks.0', 'timeoutMs'],
    [[{ functionName: 'f', url, colour: 'red' }], 'hooks.0', 'colour'],
    [
      [
        { functionName: 'f', url },
        { functionName: 'f', url },
      ],
      'hooks',
      'twice',
    ],
  ])('that are invalid make the start fail: %j', async (hooks, named, problem) => {
    // Parse Server prints what makes its start fail.
    const printed = jest.spyOn(console, 'error').mockImplementation();
    const start = startParseApplication({ database: fresh, webhooks: { hooks } });
    await expect(start).rejects.toThrow(WebhookError);
    await expect(start).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining(named),
    });
    await expect(start).rejects.toMatchObject({ message: expect.stringContaining(problem) });
    printed.mockRestore();
    await withServer({}, async parse => {
      expect((await parse.master('GET', '/hooks/functions')).body).toEqual([]);
    });
  });

  it('take back no rotation, such as after a leak: the log names the hook', async () => {
    const secretOf = (byte: number): string => `whsec_${Buffer.alloc(32, byte).toString('base64')}`;
    const signs = (secret: string): boolean => {
      const call = receiver.calls.at(-1);
      try {
        new Webhook(secret).verify(String(call?.raw), call?.headers as Record<string, string>);
        return true;
      } catch {
        return false;
      }
    };
    const hook = { functionName: 'f', url: receiver.on('/leak', () => ({ success: 1 })) };
    const rotate = { path: '/webhooks/hooks/functions/f/secret/rotate', body: { graceMs: 0 } };
    const leaked = { hooks: [{ ...hook, secret: secretOf(1) }] };
    const rotated = { secret: '' };
    await withServer(leaked, async parse => {
      rotated.secret = (await parse.master('POST', rotate.path, rotate)).body.secret;
    });
    for (const restart of [1, 2]) {
      await withServer(leaked, async parse => {
        await parse.client('POST', '/functions/f', { body: {} });
        expect([restart, signs(secretOf(1)), signs(rotated.secret)]).toEqual([restart, false, true]);
        const warnings = parse.logs.filter(line => line.includes('is not used'));
        expect(warnings).toEqual([expect.stringMatching(/^warn .*webhook function f is not used/)]);
        expect(warnings.join()).not.toContain('whsec_');
      });
    }
    // Another one is taken, and the former by its name.
    await withServer({ hooks: [{ ...hook, secret: secretOf(2) }] }, async parse => {
      await parse.client('POST', '/functions/f', { body: {} });
      expect(signs(secretOf(2))).toBe(true);
      await parse.master('POST', rotate.path, { body: { secret: secretOf(1) } });
    });
    await withServer(leaked, async parse => {
      await parse.client('POST', '/functions/f', { body: {} });
      expect(signs(secretOf(1))).toBe(true);
      expect(parse.logs.filter(line => line.includes('is not used'))).toEqual([]);
    });
  });
});
