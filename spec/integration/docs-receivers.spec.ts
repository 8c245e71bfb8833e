// Runs the checks of docs/receivers.md, in each language, as receivers of what a server sends: as it was, and changed.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Senders } from '../../src/blocking/sender';
import { settingDefaults } from '../../src/hooks/hook-settings';
import type { SecretSet } from '../../src/hooks/secret-rotation';
import type { ExchangeClient } from '../../src/http/exchange';
import { createExchangeClient } from '../../src/http/undici-client';
import { generateEd25519Key, parseEd25519Key } from '../../src/http/webhook-signature';
import { systemClock } from '../../src/shared/clock';
import { createMessageId } from '../../src/shared/ids';
import { parseNetworkOptions } from '../../src/shared/network-options';
import { generateSecret } from '../../src/shared/secret-format';
import { startChildProgram, type ChildProgram } from '../support/child-program';
import { platforms, sampleBelow } from '../support/documented-receivers';
import { findProgram } from '../support/find-program';
import { ManualClock } from '../support/manual-clock';

const secret = generateSecret(systemClock);
const minute = 60_000;

interface Sent {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const text = JSON.stringify({
  triggerName: 'beforeSave',
  object: { className: 'Puppy', name: ' Ünïcødé 中文 🐶 ' },
});

/** What a server sends with these secrets, `offByMs` away from now. */
function prepare(secrets: SecretSet, offByMs = 0, body = Buffer.from(text)): Sent {
  const key = generateEd25519Key(systemClock);
  const sender = new Senders({
    clock: new ManualClock(Date.now() + offByMs),
    issuer: 'https://parse.example.com/parse',
    webhookKey: 'the webhook key',
    network: parseNetworkOptions({}),
    keyRing: () => ({ ed25519: [{ text: key, key: parseEd25519Key(key) }], bearer: { keys: [] } }),
  }).of({
    label: 'beforeSave of Puppy',
    origin: 'http://127.0.0.1',
    settings: { ...settingDefaults, signatures: ['v1', 'v1a'] },
    secrets,
  });
  return { headers: sender.headers({ webhookId: createMessageId(systemClock), depth: 1, body }), body };
}

const mine: SecretSet = { current: secret, old: [] };
const another: SecretSet = { current: generateSecret(systemClock), old: [] };

const believed: readonly (readonly [what: string, make: () => Sent])[] = [
  ['what the server sent', () => prepare(mine)],
  ['1 MB', () => prepare(mine, 0, Buffer.from(text.replace('Ü', 'Ü🐶'.repeat(180_000))))],
  [
    'what is signed with the next secret, too',
    () => prepare({ ...another, old: [{ secret, expiresAt: Date.now() + 60 * minute }] }),
  ],
  ['a clock that is 4 minutes off', () => prepare(mine, -4 * minute)],
];

function changed(change: (sent: Sent) => Partial<Sent>): () => Sent {
  return () => {
    const sent = prepare(mine);
    return { ...sent, ...change(sent) };
  };
}

const withHeaders = (given: Readonly<Record<string, string>>): (() => Sent) =>
  changed(({ headers }) => ({ headers: { ...headers, ...given } }));

const refused: readonly (readonly [what: string, make: () => Sent])[] = [
  ['one byte changed', changed(() => ({ body: Buffer.from(text.replace('Puppy', 'Puppx')) }))],
  ['a byte more', changed(() => ({ body: Buffer.from(`${text} `) }))],
  ['nothing left of the body', changed(() => ({ body: Buffer.alloc(0) }))],
  ['another id', withHeaders({ 'webhook-id': createMessageId(systemClock) })],
  [
    'another time',
    changed(({ headers }) => {
      const timestamp = String(Number(headers['webhook-timestamp']) - 1);
      return { headers: { ...headers, 'webhook-timestamp': timestamp } };
    }),
  ],
  ['no time', withHeaders({ 'webhook-timestamp': 'now' })],
  ['a signature of nothing', withHeaders({ 'webhook-signature': 'v1,' })],
  ['no headers', changed(() => ({ headers: {} }))],
  ['another secret', () => prepare(another)],
  ['6 minutes ago', () => prepare(mine, -6 * minute)],
  ['6 minutes ahead', () => prepare(mine, 6 * minute)],
];

describe.each(platforms)('the receiver of docs/receivers.md below “$heading”', platform => {
  const { heading, program } = platform;
  if (findProgram([program]) === undefined) {
    it.skip(`needs ${program}, which is not on the PATH`, () => undefined);
    return;
  }
  let folder: string;
  let receiver: ChildProgram | undefined;
  let client: ExchangeClient;
  let url: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'docs-receivers-'));
    client = createExchangeClient();
    const { command, args, ready, port } = await platform.build(folder, sampleBelow(heading));
    receiver = startChildProgram({
      command,
      args,
      cwd: folder,
      environment: { WEBHOOK_SECRET: secret },
    });
    const [, said] = await receiver.waitForLine(ready);
    url = `http://127.0.0.1:${port ?? said}/`;
  }, 120_000);

  afterAll(async () => {
    await receiver?.dispose();
    await client.close();
    rmSync(folder, { recursive: true });
  });

  async function send({ headers, body }: Sent): Promise<unknown> {
    const result = await client.exchange({
      url,
      headers,
      body,
      timeoutMs: 20_000,
      maxReplyBytes: 10_000_000,
    });
    if (result.kind !== 'reply') return result.detail;
    return result.status === 200 ? JSON.parse(result.body.toString()) : result.status;
  }

  it.each(believed)('believes %s', async (_what, make) => {
    const sent = make();
    const name = () => JSON.parse(sent.body.toString()).object.name.trim();
    expect(await send(sent)).toEqual(heading === '## With the kit' ? { success: { name: name() } } : 204);
  });

  it.each(refused)('refuses %s', async (_what, make) => {
    expect(await send(make())).toBe(401);
  });
});
