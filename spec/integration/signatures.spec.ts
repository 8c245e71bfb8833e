// Signed requests on the real server: judged on the bytes received by the official library and by the receiver kit.
import { createPublicKey, verify as verifyEd25519 } from 'node:crypto';
import express from 'express';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';
import { createSampleReceiver } from '../../src/dev/sample-receiver';
import { verify } from '../../src/receiver';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { insertHookRows, readRawRows } from '../support/hook-rows';
import {
  readOnlyMasterKey,
  startParseApplication,
  type Answer,
  type ParseApplication,
} from '../support/parse-application';
import { startParseProcess, type ParseProcess } from '../support/parse-process';
import {
  Reply,
  startWebhookReceiver,
  type ReceivedCall,
  type WebhookReceiver,
} from '../support/webhook-receiver';

function secretOf(byte: number, size = 32): string {
  return `whsec_${Buffer.alloc(size, byte).toString('base64')}`;
}

function signatureHeaders(call: ReceivedCall): Record<string, string> {
  return Object.fromEntries(
    ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map(name => [name, String(call.headers[name])]),
  );
}

/** True when both judges say so; fails when they disagree. */
function isSignedWith(call: ReceivedCall, secret: string): boolean {
  const headers = signatureHeaders(call);
  const says = (judge: () => unknown): boolean => {
    try {
      judge();
      return true;
    } catch {
      return false;
    }
  };
  const official = says(() => new Webhook(secret).verify(call.raw, headers));
  const kit = says(() => verify(call.raw, call.headers, secret));
  expect({ kit }).toEqual({ kit: official });
  return official;
}

function signatureCount(call: ReceivedCall): number {
  return String(call.headers['webhook-signature']).split(' ').length;
}

describeOnEachDatabase('signatures', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let count = 0;

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    // As a server with the built-in leaves it.
    await (await startParseApplication({ database: fresh })).stop();
    const url = receiver.on('/built-in', () => ({ success: 1 }));
    await insertHookRows(database.kind, fresh, [
      { functionName: 'builtInFunction', url },
      { className: 'BuiltIn', triggerName: 'beforeSave', url },
    ]);
    parse = await startParseApplication({ database: fresh });
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  /** Registers a function of a new name and gives what the registration answered. */
  async function register(extra: object = {}): Promise<{ name: string; path: string; answer: Answer }> {
    const name = `signed${++count}`;
    const path = `/${name}`;
    const url = receiver.on(path, () => ({ success: 1 }));
    return { name, path, answer: await parse.registerHook({ functionName: name, url, ...extra }) };
  }

  /** Calls a function and gives what the receiver got. */
  async function callOf(name: string, path = `/${name}`, body: object = { name: 'Ünïcødé 中文 🐶' }) {
    const before = receiver.calls.filter(call => call.path === path).length;
    expect((await parse.client('POST', `/functions/${name}`, { body })).status).toBe(200);
    const call = (await receiver.received(path, before + 1))[before];
    if (!call) throw new Error('no call');
    return call;
  }

  const rotate = (name: string, body: object = {}): Promise<Answer> =>
    parse.master('POST', `/webhooks/hooks/functions/${name}/secret/rotate`, { body });

  it('are on every blocking call, made with the secret that the registration answered', async () => {
    const { name, answer } = await register();
    expect(answer.body.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    const first = await callOf(name);
    const second = await callOf(name, undefined, { big: 'ä🐶'.repeat(50_000) });
    for (const call of [first, second]) {
      expect(isSignedWith(call, answer.body.secret)).toBe(true);
      expect(isSignedWith(call, secretOf(99))).toBe(false);
      expect(signatureCount(call)).toBe(1);
      expect(Math.abs(Number(call.headers['webhook-timestamp']) - Date.now() / 1000)).toBeLessThan(60);
      expect(call.headers['x-parse-webhook-key']).toBe('test-webhook-key');
    }
    expect(first.headers['webhook-id']).not.toBe(second.headers['webhook-id']);
    const changed = { ...first, raw: Buffer.concat([first.raw, Buffer.from(' ')]) };
    expect(isSignedWith(changed, answer.body.secret)).toBe(false);
  });

  it('are on notifications and on triggers, each with the secret of its own hook', async () => {
    const className = 'Notified';
    const secrets = new Map<string, string>();
    for (const triggerName of ['beforeSave', 'afterSave', 'beforeDelete', 'afterDelete']) {
      const url = receiver.on(`/notified/${triggerName}`, () => new Reply(204, ''));
      const { body } = await parse.registerHook({ className, triggerName, url });
      secrets.set(triggerName, body.secret);
    }
    expect(new Set(secrets.values()).size).toBe(4);
    const { body } = await parse.client('POST', `/classes/${className}`, { body: { a: 1 } });
    await parse.client('DELETE', `/classes/${className}/${body.objectId}`);
    for (const [triggerName, secret] of secrets) {
      const [call] = await receiver.received(`/notified/${triggerName}`, 1);
      for (const [other, its] of secrets) {
        expect([other, call && isSignedWith(call, its)]).toEqual([other, its === secret]);
      }
    }
  });

  it.each([24, 32, 64])('are made with a secret of %d bytes that the registration gives', async size => {
    const secret = secretOf(size, size);
    const { name, answer } = await register({ secret });
    expect(answer.body.secret).toBe(secret);
    expect(isSignedWith(await callOf(name), secret)).toBe(true);
  });

  it.each([
    ['no whsec_', 'c2VjcmV0'],
    ['23 bytes', secretOf(1, 23)],
    ['65 bytes', secretOf(1, 65)],
    ['no base64', 'whsec_canary-canary-canary-canary-canary'],
    ['no string', 17],
    ['an empty string', ''],
  ])('refuse a secret with %s: 143, and nothing is registered', async (_what, secret) => {
    const url = receiver.on('/malformed', () => ({}));
    const answer = await parse.master('POST', '/hooks/functions', {
      body: { functionName: 'malformed', url, secret },
    });
    expect(answer).toMatchObject({
      status: 400,
      body: { code: 143, error: expect.stringMatching(/^secret must be whsec_ and the base64 of 24 to 64/) },
    });
    expect(JSON.stringify(answer.body)).not.toContain('canary');
    expect((await parse.master('GET', '/webhooks/hooks/functions/malformed')).status).toBe(404);
  });

  it('show the secret once, and never again: not in answers, rows or logs', async () => {
    const given = secretOf(71);
    const { name, answer } = await register({ secret: given });
    const { name: other, answer: generated } = await register();
    const rotated = await rotate(other);
    const secrets = [given, generated.body.secret, rotated.body.secret] as string[];
    expect(answer.body.secret).toBe(given);
    const hook = `/webhooks/hooks/functions/${name}`;
    const answers = [
      await parse.master('GET', hook),
      await parse.master('PATCH', hook, { body: { timeoutMs: 1000 } }),
      await parse.master('PUT', `/hooks/functions/${name}`, {
        body: { url: receiver.on(`/${name}`, () => ({ success: 1 })) },
      }),
      await parse.master('GET', `/hooks/functions/${name}`),
      await parse.master('GET', '/hooks/functions'),
      await parse.master('GET', '/webhooks/hooks?limit=1000'),
      await parse.master('GET', '/webhooks/metrics'),
      await parse.master('GET', '/webhooks/health'),
    ];
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    await callOf(name);
    const shown = JSON.stringify(answers.map(({ body }) => body));
    const rows = JSON.stringify([
      await readRawRows(database.kind, fresh, 'WebhookSetting'),
      await readRawRows(database.kind, fresh, 'WebhookState'),
      await readRawRows(database.kind, fresh, '_Hooks'),
    ]);
    const lines = parse.logs.join('\n');
    expect(rows.length).toBeGreaterThan(1000);
    for (const secret of secrets) {
      for (const place of [shown, rows, lines]) {
        expect(place).not.toContain(secret);
        expect(place).not.toContain(secret.slice('whsec_'.length));
      }
    }
  });

  it('stay those of the hook when its URL or its settings change', async () => {
    const { name, answer } = await register();
    const url = receiver.on('/moved', () => ({ success: 1 }));
    expect((await parse.master('PUT', `/hooks/functions/${name}`, { body: { url } })).status).toBe(200);
    expect(isSignedWith(await callOf(name, '/moved'), answer.body.secret)).toBe(true);
    await parse.master('PATCH', `/webhooks/hooks/functions/${name}`, { body: { timeoutMs: 900 } });
    expect(isSignedWith(await callOf(name, '/moved'), answer.body.secret)).toBe(true);
    expect(
      await parse.master('PATCH', `/webhooks/hooks/functions/${name}`, { body: { secret: secretOf(3) } }),
    ).toMatchObject({ status: 400, body: { code: 143, error: 'unknown field "secret"' } });
  });

  it('are of another secret when the hook was deleted and made anew', async () => {
    const { name, path, answer } = await register();
    await parse.removeHook({ functionName: name });
    const url = receiver.on(path, () => ({ success: 1 }));
    const anew = await parse.registerHook({ functionName: name, url });
    expect(anew.body.secret).not.toBe(answer.body.secret);
    const call = await callOf(name);
    expect(isSignedWith(call, anew.body.secret)).toBe(true);
    expect(isSignedWith(call, answer.body.secret)).toBe(false);
  });

  it('are on the calls of hooks that the built-in made, with a secret that a rotation shows', async () => {
    const call = await callOf('builtInFunction', '/built-in');
    expect(call.headers['webhook-signature']).toMatch(/^v1,[A-Za-z0-9+/]{43}=$/);
    expect((await parse.client('POST', '/classes/BuiltIn', { body: {} })).status).toBe(201);
    expect(receiver.calls.at(-1)?.headers['webhook-signature']).toMatch(/^v1,/);
    const { body } = await rotate('builtInFunction', { graceMs: 0 });
    expect(isSignedWith(await callOf('builtInFunction', '/built-in'), body.secret)).toBe(true);
  });

  it('are what the sample receiver believes, and nothing else', async () => {
    const [secret, older, other] = [secretOf(50), secretOf(51), secretOf(52)];
    const sample = createSampleReceiver([secret, older], () => undefined).listen(0, '127.0.0.1');
    await once(sample, 'listening');
    const address = sample.address();
    const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/hello`;
    const run = async () => (await parse.client('POST', '/functions/hello', { body: { name: 'Ann' } })).body;
    try {
      for (const known of [secret, older]) {
        await parse.registerHook({ functionName: 'hello', url, secret: known });
        expect(await run()).toEqual({ result: 'Hello, Ann!' });
        await parse.removeHook({ functionName: 'hello' });
      }
      await parse.registerHook({ functionName: 'hello', url, secret: other });
      expect(await run()).toEqual({
        code: 141,
        error: 'webhook function hello failed: answer has an error status',
      });
    } finally {
      sample.close();
      sample.closeAllConnections();
    }
  });

  describe('after a rotation', () => {
    it('are of the new secret and of those before, newest first', async () => {
      const { name, answer } = await register();
      const secrets = [answer.body.secret];
      for (let n = 0; n < 3; n++) {
        const { status, body } = await rotate(name);
        expect(status).toBe(201);
        secrets.unshift(body.secret);
        expect(body.oldSecretsExpireAt).toHaveLength(n + 1);
      }
      expect(new Set(secrets).size).toBe(4);
      const call = await callOf(name);
      expect(signatureCount(call)).toBe(4);
      for (const secret of secrets) expect(isSignedWith(call, secret)).toBe(true);
      const [newest = ''] = String(call.headers['webhook-signature']).split(' ');
      const headers = { ...call.headers, 'webhook-signature': newest };
      expect(isSignedWith({ ...call, headers }, secrets[0])).toBe(true);
      const shown = await parse.master('GET', `/webhooks/hooks/functions/${name}`);
      expect(shown.body.oldSecretsExpireAt).toHaveLength(3);
      const day = 24 * 60 * 60 * 1000;
      const [latest] = shown.body.oldSecretsExpireAt as string[];
      expect(Math.abs(Date.parse(latest ?? '') - Date.now() - day)).toBeLessThan(60_000);
    });

    it('are of the new secret alone with a grace period of 0', async () => {
      const { name, answer } = await register();
      const { body } = await rotate(name, { graceMs: 0 });
      const call = await callOf(name);
      expect(isSignedWith(call, body.secret)).toBe(true);
      expect(isSignedWith(call, answer.body.secret)).toBe(false);
      expect(body.oldSecretsExpireAt).toEqual([]);
    });

    it('end for the old secret by themselves when its grace period is over', async () => {
      const { name, answer } = await register();
      const { body } = await rotate(name, { graceMs: 700 });
      const until = Date.now() + 20_000;
      let call = await callOf(name);
      expect(isSignedWith(call, answer.body.secret)).toBe(true);
      while (isSignedWith(call, answer.body.secret) && Date.now() < until) call = await callOf(name);
      expect(signatureCount(call)).toBe(1);
      expect(isSignedWith(call, body.secret)).toBe(true);
    });

    it('are of the secret that the rotation was given', async () => {
      const { name } = await register();
      const { body } = await rotate(name, { secret: secretOf(42) });
      expect(body.secret).toBe(secretOf(42));
      expect(isSignedWith(await callOf(name), secretOf(42))).toBe(true);
    });

    it('are made for triggers too', async () => {
      const className = 'Rotated';
      const url = receiver.on('/rotated', () => ({ success: {} }));
      const before = await parse.registerHook({ className, triggerName: 'beforeSave', url });
      const { body } = await parse.master(
        'POST',
        `/webhooks/hooks/triggers/${className}/beforeSave/secret/rotate`,
      );
      expect(body).toMatchObject({ className, triggerName: 'beforeSave', url, secret: expect.any(String) });
      await parse.client('POST', `/classes/${className}`, { body: { a: 1 } });
      const [call] = await receiver.received('/rotated', 1);
      for (const secret of [before.body.secret, body.secret]) {
        expect(call && isSignedWith(call, secret)).toBe(true);
      }
    });

    it.each([
      [{ secret: 'whsec_canary' }, /^secret must be whsec_/],
      [{ secret: 5 }, /^secret must be a string/],
      [{ graceMs: -1 }, /^graceMs must be an integer in 0\.\.7776000000, got -1$/],
      [{ graceMs: '5' }, /^graceMs must be a number, got "5"$/],
      [{ grace: 5 }, /^unknown field "grace"$/],
    ])('are as before when it was asked for with %j: 143', async (body, error) => {
      const { name, answer } = await register();
      const refused = await rotate(name, body);
      expect(refused).toMatchObject({
        status: 400,
        body: { code: 143, error: expect.stringMatching(error) },
      });
      expect(JSON.stringify(refused.body)).not.toContain('canary');
      const call = await callOf(name);
      expect(signatureCount(call)).toBe(1);
      expect(isSignedWith(call, answer.body.secret)).toBe(true);
    });

    it('are as before when it named the secret that is current already', async () => {
      const { name, answer } = await register();
      expect(await rotate(name, { secret: answer.body.secret })).toMatchObject({
        status: 400,
        body: { code: 143, error: 'the new secret is the current one already' },
      });
    });

    it('is refused for an unknown hook, without the master key and with the read-only one', async () => {
      expect(await rotate('nobody')).toMatchObject({ status: 404, body: { code: 143 } });
      const { name, answer } = await register();
      const path = `/webhooks/hooks/functions/${name}/secret/rotate`;
      const headers = { 'X-Parse-Master-Key': readOnlyMasterKey };
      for (const refused of [
        await parse.client('POST', path, { body: {} }),
        await parse.client('POST', path, { body: {}, headers }),
      ]) {
        expect(refused).toMatchObject({ status: 403, body: { code: 119 } });
        expect(JSON.stringify(refused.body)).not.toContain('whsec_');
      }
      const call = await callOf(name);
      expect(signatureCount(call)).toBe(1);
      expect(isSignedWith(call, answer.body.secret)).toBe(true);
    });
  });

  describe('of a second node', () => {
    let second: ParseProcess;

    beforeAll(async () => {
      second = await startParseProcess({ database: { ...fresh, drop: async () => undefined } });
    });
    afterAll(() => second.stop());

    it('are made with a secret that this node rotated', async () => {
      const { name, path, answer } = await register();
      const { body } = await rotate(name, { graceMs: 0 });
      const until = Date.now() + 20_000;
      let call: ReceivedCall | undefined;
      do {
        const before = receiver.calls.filter(each => each.path === path).length;
        // Until the next poll that node calls with the former secret, or does not know the function.
        const { status } = await second.master('POST', `/functions/${name}`, {});
        if (status === 200) call = (await receiver.received(path, before + 1))[before];
      } while (!(call && isSignedWith(call, body.secret)) && Date.now() < until);
      expect(call && isSignedWith(call, body.secret)).toBe(true);
      expect(call && isSignedWith(call, answer.body.secret)).toBe(false);
    });

    it('are made with the keys that this node made', async () => {
      const { name, path } = await register({ signatures: ['v1a'] });
      const { publicKeys } = (await parse.master('GET', '/webhooks/ed25519.json')).body;
      const until = Date.now() + 20_000;
      let call: ReceivedCall | undefined;
      do {
        if ((await second.master('POST', `/functions/${name}`, {})).status === 200) {
          call = (await receiver.received(path, 1))[0];
        }
      } while (!call && Date.now() < until);
      expect(call && verify(call.raw, call.headers, publicKeys).id).toEqual(call?.headers['webhook-id']);
      expect((await second.master('GET', '/webhooks/ed25519.json')).body).toEqual({ publicKeys });
    });
  });

  describe('of the kind v1a', () => {
    /** The public keys as a stranger gets them: from the router beside Parse, without any key. */
    async function publicKeys(): Promise<string[]> {
      const app = express().use('/webhooks', parse.webhooks.router());
      const server = createServer(app).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const address = server.address();
      const port = typeof address === 'object' ? address?.port : undefined;
      try {
        const response = await fetch(`http://127.0.0.1:${port}/webhooks/ed25519.json`, {
          headers: { connection: 'close' },
        });
        expect(response.status).toBe(200);
        const { publicKeys: keys } = (await response.json()) as { publicKeys: string[] };
        return keys;
      } finally {
        server.close();
        server.closeAllConnections();
      }
    }

    function isSignedByNode(call: ReceivedCall, publicKey: string): boolean {
      const bytes = Buffer.from(publicKey.replace('whpk_', ''), 'base64');
      const key = createPublicKey({
        key: { kty: 'OKP', crv: 'Ed25519', x: bytes.toString('base64url') },
        format: 'jwk',
      });
      const { headers, raw } = call;
      const signed = Buffer.concat([
        Buffer.from(`${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.`),
        raw,
      ]);
      return String(headers['webhook-signature'])
        .split(' ')
        .filter(entry => entry.startsWith('v1a,'))
        .some(entry => verifyEd25519(null, signed, key, Buffer.from(entry.slice(4), 'base64')));
    }

    it('stand beside v1 and are verified with the public key that everybody can get', async () => {
      const { name, answer } = await register({ signatures: ['v1', 'v1a'] });
      const call = await callOf(name);
      expect(
        String(call.headers['webhook-signature'])
          .split(' ')
          .map(entry => entry.split(',')[0]),
      ).toEqual(['v1', 'v1a']);
      expect(isSignedWith(call, answer.body.secret)).toBe(true);
      const keys = await publicKeys();
      expect(keys).toEqual([expect.stringMatching(/^whpk_[A-Za-z0-9+/]{43}=$/)]);
      expect(isSignedByNode(call, keys[0] ?? '')).toBe(true);
      const { 'webhook-signature': list } = call.headers;
      const onlyV1a = { ...call.headers, 'webhook-signature': String(list).split(' ')[1] };
      expect(verify(call.raw, onlyV1a, keys).id).toBe(call.headers['webhook-id']);
      expect(() => verify(Buffer.concat([call.raw, Buffer.from(' ')]), onlyV1a, keys)).toThrow(
        'no signature matches',
      );
      expect((await parse.master('GET', '/webhooks/ed25519.json')).body).toEqual({ publicKeys: keys });
    });

    it('can stand alone', async () => {
      const { name } = await register({ signatures: ['v1a'] });
      expect((await callOf(name)).headers['webhook-signature']).toMatch(/^v1a,[A-Za-z0-9+/]{86}==$/);
    });

    it('are of the new key and of the one before after a rotation of keys', async () => {
      const { name } = await register({ signatures: ['v1', 'v1a'] });
      const [old = ''] = await publicKeys();
      expect(await parse.master('POST', '/webhooks/keys/rotate', { body: { key: 'ed25519' } })).toMatchObject(
        {
          status: 201,
        },
      );
      const keys = await publicKeys();
      expect(keys).toEqual([expect.not.stringContaining(old), old]);
      const call = await callOf(name);
      expect(signatureCount(call)).toBe(3);
      for (const key of keys) {
        expect(isSignedByNode(call, key)).toBe(true);
        expect(verify(call.raw, call.headers, key).id).toBe(call.headers['webhook-id']);
      }
      await parse.master('POST', '/webhooks/keys/rotate', { body: { key: 'ed25519' } });
      expect(isSignedByNode(await callOf(name), old)).toBe(false);
    });

    it.each([[{ key: 'rsa' }], [{}], [[]]])('refuse to rotate %j', async body => {
      expect(await parse.master('POST', '/webhooks/keys/rotate', { body })).toMatchObject({
        status: 400,
        body: {
          code: 143,
          error: expect.stringMatching(/^(key must be one of ed25519, RS256, ES256, got|the body must be a)/),
        },
      });
    });

    it('rotate for the full master key only', async () => {
      const headers = { 'X-Parse-Master-Key': readOnlyMasterKey };
      for (const given of [{}, { headers }]) {
        expect(
          await parse.client('POST', '/webhooks/keys/rotate', { body: { key: 'ed25519' }, ...given }),
        ).toMatchObject({ status: 403, body: { code: 119 } });
      }
    });

    it.each([[[]], [['v2']], ['v1'], [['v1', 'v1']]])('refuse signatures of %j', async signatures => {
      const url = receiver.on('/refused', () => ({}));
      expect(
        await parse.master('POST', '/hooks/functions', {
          body: { functionName: 'refused', url, signatures },
        }),
      ).toMatchObject({ status: 400, body: { code: 143, error: expect.stringContaining('signatures') } });
    });
  });
});

describeOnEachDatabase('the secrets of declared hooks', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let url: string;

  beforeEach(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    url = receiver.on('/declared', () => ({ success: 1 }));
  });

  afterEach(async () => {
    await receiver.close();
    await fresh.drop();
  });

  /** Starts with these hooks, calls `declared`, stops, and gives what the receiver got. */
  async function callWith(hook: object, more: object = {}): Promise<ReceivedCall> {
    const hooks = [{ functionName: 'declared', url, ...hook }];
    const parse = await startParseApplication({ database: fresh, webhooks: { hooks, ...more } });
    try {
      receiver.forget();
      expect((await parse.client('POST', '/functions/declared', { body: {} })).body).toEqual({ result: 1 });
      expect(parse.logs.join('\n')).not.toContain('whsec_');
    } finally {
      await parse.stop();
    }
    const [call] = receiver.calls;
    if (!call) throw new Error('no call');
    return call;
  }

  it('are those of the declaration, and a new one signs beside the former', async () => {
    const [first, second] = [secretOf(1), secretOf(2)];
    expect(isSignedWith(await callWith({ secret: first }), first)).toBe(true);
    expect(isSignedWith(await callWith({ secret: first }), first)).toBe(true);
    const call = await callWith({ secret: second });
    expect(signatureCount(call)).toBe(2);
    expect([first, second].map(secret => isSignedWith(call, secret))).toEqual([true, true]);
    // Not declared any more: the hook keeps what it has.
    expect(isSignedWith(await callWith({}), second)).toBe(true);
  });

  it('are refused at start when they are malformed, by place and without a word of them', async () => {
    const printed = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    const secret = 'whsec_canary';
    const start = startParseApplication({
      database: fresh,
      webhooks: { hooks: [{ functionName: 'declared', url, secret }] },
    });
    await expect(start).rejects.toMatchObject({
      message: expect.stringMatching(/^hooks\.0 is invalid: secret/),
    });
    await expect(start).rejects.not.toMatchObject({ message: expect.stringContaining('canary') });
    printed.mockRestore();
  });

  it('must be readable with the encryption key, or the start fails and names the hooks; nothing is sent', async () => {
    const encryptionKey = 'the right key, sixteen or more';
    const secret = secretOf(5);
    await callWith({ secret }, { encryptionKey });
    const printed = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    receiver.forget();
    for (const hooks of [[], [{ functionName: 'declared', url }]]) {
      const start = startParseApplication({
        database: fresh,
        webhooks: { encryptionKey: 'a wrong key, sixteen or more', hooks },
      });
      await expect(start).rejects.toMatchObject({
        code: 'BROKEN_SECRET',
        message: expect.stringMatching(/function declared.*encryptionKey/),
      });
    }
    printed.mockRestore();
    expect(receiver.calls).toEqual([]);
    // A failed start has destroyed nothing.
    expect(isSignedWith(await callWith({}, { encryptionKey }), secret)).toBe(true);
  });

  it('may be declared anew under another encryption key, but a server key that cannot be read stops the start', async () => {
    const encryptionKey = 'the right key, sixteen or more';
    await callWith({ signatures: ['v1a'] }, { encryptionKey });
    const declared = { functionName: 'declared', url, secret: secretOf(6) };
    const other = 'another key, sixteen or more';
    const printed = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    const start = startParseApplication({
      database: fresh,
      webhooks: { encryptionKey: other, hooks: [{ ...declared, signatures: ['v1', 'v1a'] }] },
    });
    await expect(start).rejects.toMatchObject({
      code: 'BROKEN_SECRET',
      message: expect.stringContaining('function declared'),
    });
    printed.mockRestore();
    const taken = { encryptionKey: other, encryptionKeyLost: true };
    const call = await callWith({ secret: secretOf(6) }, taken);
    expect(isSignedWith(call, secretOf(6))).toBe(true);
  });
});
