import {
  createSigner,
  generateEd25519Key,
  parseEd25519Key,
  parseSecret,
  publicKeyOf,
} from '../../src/http/webhook-signature';
import { createVerifier, verify, VerificationError, type WebhookHeaders } from '../../src/receiver';
import { systemClock } from '../../src/shared/clock';
import { generateSecret } from '../../src/shared/secret-format';

const nowMs = 1_700_000_000_500;
const seconds = 1_700_000_000;
const now = () => nowMs;
const secret = generateSecret(systemClock);
const otherSecret = generateSecret(systemClock);
const privateKey = parseEd25519Key(generateEd25519Key(systemClock));
const publicKey = publicKeyOf(privateKey);
const text = '{"object":{"name":"Süße 🐶"}}';
const body = Buffer.from(text);

type Headers = Record<string, string>;

function signed(
  overrides: { secrets?: readonly string[]; timestamp?: number; ed25519?: boolean } = {},
): Headers {
  const { secrets = [secret], timestamp = seconds, ed25519 = false } = overrides;
  const signer = createSigner({ secrets: secrets.map(parseSecret), ed25519: ed25519 ? [privateKey] : [] });
  return {
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signer.sign('msg_1', timestamp, body),
  };
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof VerificationError) return error.code;
    throw error;
  }
  return 'accepted';
}

function judge(
  headers: WebhookHeaders,
  rawBody: Buffer | string = body,
  secrets: string | readonly string[] = secret,
): string {
  return codeOf(() => verify(rawBody, headers, secrets, { now }));
}

describe('a webhook that was signed with the secret', () => {
  it('gives id, timestamp and the parsed body', () => {
    const verified = verify(body, signed(), secret, { now });
    expect(verified).toEqual({ id: 'msg_1', timestamp: seconds, body: { object: { name: 'Süße 🐶' } } });
  });

  test.each([
    ['a string', text],
    [
      'a Uint8Array that views a larger buffer',
      new Uint8Array(Buffer.concat([Buffer.from('xx'), body, body])).subarray(2, 2 + body.length),
    ],
  ])('is believed as %s', (_, raw) => {
    expect(judge(signed(), raw as Buffer)).toBe('accepted');
  });

  it('is believed with an empty body', () => {
    const signature = createSigner({ secrets: [parseSecret(secret)] }).sign(
      'msg_1',
      seconds,
      Buffer.alloc(0),
    );
    const headers = { ...signed(), 'webhook-signature': signature };
    expect(verify('', headers, secret, { now }).body).toBeUndefined();
  });

  it('is believed by the time of this machine when none is given', () => {
    expect(verify(body, signed({ timestamp: Math.floor(Date.now() / 1000) }), secret).id).toBe('msg_1');
  });
});

describe('headers', () => {
  const {
    'webhook-id': id = '',
    'webhook-timestamp': timestamp = '',
    'webhook-signature': signature = '',
  } = signed();

  test.each<[string, WebhookHeaders]>([
    ['upper case', { 'WEBHOOK-ID': id, 'Webhook-Timestamp': timestamp, 'Webhook-Signature': signature }],
    [
      'arrays of one',
      { 'webhook-id': [id], 'webhook-timestamp': [timestamp], 'webhook-signature': [signature] },
    ],
    [
      'fetch’s Headers',
      new Headers({ 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature }),
    ],
    ['among others', { ...signed(), host: 'x', 'set-cookie': ['a', 'b'], absent: undefined }],
  ])('are understood in %s', (_, headers) => {
    expect(judge(headers)).toBe('accepted');
  });

  test.each<[string, WebhookHeaders, string]>([
    ['nothing at all', {}, 'missing-header'],
    ['no id', { ...signed(), 'webhook-id': undefined }, 'missing-header'],
    ['an empty id', { ...signed(), 'webhook-id': '' }, 'missing-header'],
    ['no timestamp', { ...signed(), 'webhook-timestamp': [] }, 'missing-header'],
    ['no signature', { ...signed(), 'webhook-signature': undefined }, 'missing-header'],
    ['a blank signature', { ...signed(), 'webhook-signature': '  ' }, 'missing-header'],
    ['two ids', { ...signed(), 'webhook-id': [id, id] }, 'malformed-header'],
    ['two ids that differ in case of the name', { ...signed(), 'Webhook-Id': id }, 'malformed-header'],
    ['two timestamps', { ...signed(), 'webhook-timestamp': [timestamp, timestamp] }, 'malformed-header'],
    ['an id with a dot', { ...signed(), 'webhook-id': 'msg_1.1' }, 'malformed-header'],
    ['two ids that node joined', { ...signed(), 'webhook-id': `${id}, ${id}` }, 'malformed-header'],
  ])('with %s are refused', (_, headers, code) => {
    expect(judge(headers)).toBe(code);
  });

  it('may hold any number of other signatures before the right one', () => {
    const list = `v1,${'A'.repeat(43)}= v2,x garbage v1 v1, ${signature}`;
    expect(judge({ ...signed(), 'webhook-signature': list })).toBe('accepted');
  });

  test.each([
    ['an array', ['v1,AAAA', signature]],
    ['one text, as node joins repeated headers', `v1,AAAA, ${signature}`],
  ])('may repeat the signature as %s', (_, value) => {
    expect(judge({ ...signed(), 'webhook-signature': value })).toBe('accepted');
  });

  it('with more signatures than any sender makes are not all tried', () => {
    const list = `${'v1,AAAA '.repeat(100)}${signature}`;
    expect(judge({ ...signed(), 'webhook-signature': list })).toBe('no-signature-matched');
  });
});

describe('the timestamp', () => {
  test.each([
    [-301, 'too-old'],
    [-300, 'accepted'],
    [300, 'accepted'],
    [301, 'too-new'],
  ])('%i s from now is %s', (offset, code) => {
    expect(judge(signed({ timestamp: seconds + offset }))).toBe(code);
  });

  it('is held to another tolerance when one is given', () => {
    const headers = signed({ timestamp: seconds - 11 });
    expect(codeOf(() => verify(body, headers, secret, { now, toleranceSeconds: 10 }))).toBe('too-old');
    expect(codeOf(() => verify(body, headers, secret, { now, toleranceSeconds: 11 }))).toBe('accepted');
  });

  test.each([NaN, -1])('is not left unchecked by a tolerance of %p', toleranceSeconds => {
    expect(() => verify(body, signed(), secret, { now, toleranceSeconds })).toThrow(RangeError);
  });

  test.each([
    'now',
    '',
    ' 1700000000',
    '+1700000000',
    '01700000000',
    '1700000000.0',
    '1.7e9',
    '0x6553f100',
    '-1',
    '9'.repeat(13),
  ])('spelled %j is refused', spelling => {
    expect(['bad-timestamp', 'missing-header']).toContain(
      judge({ ...signed(), 'webhook-timestamp': spelling }),
    );
  });

  it('cannot be made young again', () => {
    const headers = { ...signed({ timestamp: seconds - 1000 }), 'webhook-timestamp': String(seconds) };
    expect(judge(headers)).toBe('no-signature-matched');
  });
});

describe('secrets', () => {
  it('of before and after a rotation are both believed while both sign', () => {
    const during = signed({ secrets: [otherSecret, secret] });
    expect(judge(during, body, secret)).toBe('accepted');
    expect(judge(during, body, otherSecret)).toBe('accepted');
    const after = signed({ secrets: [otherSecret] });
    expect(judge(after, body, secret)).toBe('no-signature-matched');
    expect(judge(after, body, [secret, otherSecret])).toBe('accepted');
  });

  it('may be public keys, which check v1a', () => {
    const headers = signed({ ed25519: true });
    expect(judge(headers, body, publicKey)).toBe('accepted');
    expect(judge(headers, body, [otherSecret, publicKey])).toBe('accepted');
    const other = publicKeyOf(parseEd25519Key(generateEd25519Key(systemClock)));
    expect(judge(headers, body, other)).toBe('no-signature-matched');
    expect(judge(headers, body, [other, publicKey])).toBe('accepted');
    expect(judge(signed(), body, publicKey)).toBe('no-signature-matched');
  });

  it('of one kind do not check signatures of the other', () => {
    const [, v1a = ''] = signed({ ed25519: true })['webhook-signature']?.split(' ') ?? [];
    expect(judge({ ...signed(), 'webhook-signature': v1a })).toBe('no-signature-matched');
    expect(judge({ ...signed(), 'webhook-signature': v1a.replace('v1a', 'v1') })).toBe(
      'no-signature-matched',
    );
    const v1 = signed()['webhook-signature'] ?? '';
    expect(judge({ ...signed(), 'webhook-signature': v1.replace('v1', 'v1a') }, body, publicKey)).toBe(
      'no-signature-matched',
    );
  });

  test.each<[string, string | readonly string[], string]>([
    ['missing', [], 'no secret is given'],
    ['empty', '', 'secret must be whsec_ and the base64 of 24 to 64 bytes: it does not begin with whsec_'],
    ['too short', 'whsec_c2hvcnQ=', 'secret must be whsec_ and the base64 of 24 to 64 bytes: it has 5'],
    ['private keys', generateEd25519Key(systemClock), 'it does not begin with whsec_'],
    ['undefined, as from an unset variable', [undefined as unknown as string], 'it is of type undefined'],
    ['broken public keys', 'whpk_AAAA', 'public key must be whpk_ and the base64 of 32 bytes: it has 3'],
  ])('that are %s are a clear error at start', (_, secrets, message) => {
    expect(codeOf(() => createVerifier(secrets))).toBe('malformed-secret');
    expect(() => createVerifier(secrets)).toThrow(message);
  });
});

describe('a webhook with any one bit flipped', () => {
  /** Every value that differs from `original` in one bit. */
  function flips(original: Buffer): Buffer[] {
    return Array.from({ length: original.length * 8 }, (_, bit) => {
      const copy = Buffer.from(original);
      copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      return copy;
    });
  }

  test.each([
    ['v1', signed(), secret],
    [
      'v1a',
      {
        ...signed(),
        'webhook-signature': signed({ ed25519: true })['webhook-signature']?.split(' ')[1] ?? '',
      },
      publicKey,
    ],
  ])('is not believed (%s)', (_, headers, key) => {
    const check = createVerifier(key, { now });
    const accepts = (raw: Buffer, given: Headers): boolean => codeOf(() => check(raw, given)) === 'accepted';
    expect(accepts(body, headers)).toBe(true);
    for (const flipped of flips(body)) expect(accepts(flipped, headers)).toBe(false);
    for (const name of ['webhook-id', 'webhook-timestamp', 'webhook-signature']) {
      for (const flipped of flips(Buffer.from(headers[name] ?? '', 'latin1'))) {
        expect(accepts(body, { ...headers, [name]: flipped.toString('latin1') })).toBe(false);
      }
    }
  });

  it('is not believed when bytes move between id, timestamp and body', () => {
    const signature = createSigner({ secrets: [parseSecret(secret)] }).sign(
      'msg',
      seconds,
      Buffer.from('5.{}'),
    );
    const moved = {
      'webhook-id': `msg.${seconds}`,
      'webhook-timestamp': '5',
      'webhook-signature': signature,
    };
    expect(codeOf(() => verify('{}', moved, secret, { now: () => 5000 }))).toBe('malformed-header');
  });
});

describe('a body', () => {
  it('that was parsed already is a clear error', () => {
    expect(judge(signed(), JSON.parse(text))).toBe('raw-body-required');
  });

  it('that is authentic and not JSON is refused without being quoted', () => {
    const raw = Buffer.from('canary');
    const signature = createSigner({ secrets: [parseSecret(secret)] }).sign('msg_1', seconds, raw);
    const headers = { ...signed(), 'webhook-signature': signature };
    expect(judge(headers, raw)).toBe('not-json');
    expect(() => verify(raw, headers, secret, { now })).not.toThrow('canary');
  });
});

describe('a webhook for another receiver of the same server', () => {
  const signer = createSigner({ secrets: [], ed25519: [privateKey] });
  const judgeTarget = (sent: unknown, options: object): string => {
    const raw = Buffer.from(JSON.stringify(sent));
    const headers = {
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(seconds),
      'webhook-signature': signer.sign('msg_1', seconds, raw),
    };
    return codeOf(() => verify(raw, headers, publicKey, { now, ...options }));
  };
  const trigger = { triggerName: 'beforeSave', className: 'Puppy' };
  const save = { triggerName: 'beforeSave', object: { className: 'Puppy' } };

  it('is authentic all the same, by v1a: one key signs for all', () => {
    expect(judgeTarget(save, {})).toBe('accepted');
  });

  it.each<[string, unknown, object, boolean]>([
    ['the trigger', save, trigger, true],
    [
      'the trigger of a find',
      { triggerName: 'beforeFind', className: 'Puppy' },
      { ...trigger, triggerName: 'beforeFind' },
      true,
    ],
    ['another trigger', { ...save, triggerName: 'beforeDelete' }, trigger, false],
    ['another class', { ...save, object: { className: 'Cat' } }, trigger, false],
    ['the function', { functionName: 'pay' }, { functionName: 'pay' }, true],
    ['another function', { functionName: 'refund' }, { functionName: 'pay' }, false],
    ['a function, by its trigger', { functionName: 'pay', ...save }, trigger, false],
    ['the event', { type: 'object.create' }, { type: 'object.create' }, true],
    ['any event', { type: 'object.create' }, { type: '*' }, true],
    ['another event', { type: 'object.delete' }, { type: 'object.create' }, false],
    ['no event', save, { type: '*' }, false],
    ['one of several', { functionName: 'pay' }, [trigger, { functionName: 'pay' }], true],
    ['nothing', { functionName: 'pay' }, [], false],
    ['no object', [save], trigger, false],
  ])('is told by what is expected: %s', (_what, sent, expected, isTaken) => {
    expect(judgeTarget(sent, { expect: expected })).toBe(isTaken ? 'accepted' : 'unexpected-target');
  });
});
