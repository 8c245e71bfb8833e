import fc from 'fast-check';
import { isJsonObject } from '../../src/shared/json';
import { decodeReply, maxErrorLength, maxReplyDepth } from '../../src/wire/decode-reply';
import type { Reply } from '../../src/wire/reply';
import { propertyRuns } from '../support/property-runs';

const Parse = jest.requireActual<{ Error: { INTERNAL_SERVER_ERROR: number } }>('parse/node');

function decode(status: number, body: string | Buffer): Reply {
  return decodeReply(status, typeof body === 'string' ? Buffer.from(body, 'utf8') : body);
}

function kindOf(reply: Reply): string {
  return reply.kind === 'failure' ? reply.failure : reply.kind;
}

function rejected(code: number, message: unknown) {
  return { kind: 'rejected', code, message };
}

const bom = Buffer.from([0xef, 0xbb, 0xbf]);

describe('a JSON error rejects', () => {
  test.each([
    ['a string as 141 with that text', '{"error":"no"}', 141, 'no'],
    ['code and message', '{"error":{"code":1337,"message":"coded"}}', 1337, 'coded'],
    ['a message without a code as 141', '{"error":{"message":"m"}}', 141, 'm'],
    ['code and an empty message', '{"error":{"code":101,"message":""}}', 101, ''],
    [
      'the SDK spelling as 141 with the value',
      '{"error":{"code":101,"error":"x"}}',
      141,
      { code: 101, error: 'x' },
    ],
    ['a code alone as 141 with the value', '{"error":{"code":101}}', 141, { code: 101 }],
    [
      'a message that is no text as the value',
      '{"error":{"code":9,"message":{}}}',
      141,
      { code: 9, message: {} },
    ],
    ['a number', '{"error":42}', 141, 42],
    ['zero', '{"error":0}', 141, 0],
    ['true', '{"error":true}', 141, true],
    ['an array', '{"error":["a"]}', 141, ['a']],
    ['an object', '{"error":{}}', 141, {}],
    ['with success present', '{"success":{"a":1},"error":"no"}', 141, 'no'],
  ])('%s', (_name, body, code, message) => {
    for (const status of [200, 201, 302, 400, 404, 500]) {
      expect(decode(status, body)).toEqual(rejected(code, message));
    }
  });

  test.each([1, 0, -1, 1.5, 1e300, 2 ** 31, '"101"', 'null', 'true', '[]'])('code %s becomes 141', code => {
    expect(decode(200, `{"error":{"code":${code},"message":"m"}}`)).toEqual(rejected(141, 'm'));
  });

  test('the code that Parse answers with HTTP 500 is 1', () => {
    expect(Parse.Error.INTERNAL_SERVER_ERROR).toBe(1);
  });

  test.each([2, 101, 209, 999, 1337, 2 ** 31 - 1])('code %s is kept', code => {
    expect(decode(400, `{"error":{"code":${code},"message":"m"}}`)).toEqual(rejected(code, 'm'));
  });

  test.each(['null', 'false', '""'])('unless it is %s: then it counts as absent', value => {
    expect(decode(200, `{"error":${value},"success":5}`)).toEqual({ kind: 'success', value: 5 });
    expect(kindOf(decode(200, `{"error":${value}}`))).toBe('no-answer');
    expect(kindOf(decode(500, `{"error":${value},"success":5}`))).toBe('status');
  });

  test('a long text is cut, not inside a surrogate pair', () => {
    expect(decode(200, JSON.stringify({ error: 'x'.repeat(20_000) }))).toEqual(
      rejected(141, 'x'.repeat(maxErrorLength)),
    );
    const emoji = `x${'\u{1F600}'.repeat(9_000)}`;
    expect(decode(200, JSON.stringify({ error: { code: 5, message: emoji } }))).toEqual(
      rejected(5, emoji.slice(0, maxErrorLength - 1)),
    );
  });

  test.each([
    ['too long', JSON.stringify({ error: ['x'.repeat(maxErrorLength)] })],
    ['too deep', `{"error":${'['.repeat(50_000)}${']'.repeat(50_000)}}`],
    ['reaching a prototype', '{"error":{"__proto__":{"x":1}}}'],
  ])('a value that is %s still rejects, with a text of ours', (_name, body) => {
    expect(decode(200, body)).toEqual(rejected(141, 'webhook rejected the request'));
  });

  test('even when the rest of the body is hazardous', () => {
    expect(decode(200, '{"error":"no","success":{"__proto__":{}}}')).toEqual(rejected(141, 'no'));
  });
});

describe('success', () => {
  test.each([
    ['null', null],
    ['false', false],
    ['true', true],
    ['0', 0],
    ['""', ''],
    ['{}', {}],
    ['[{"a":1}]', [{ a: 1 }]],
    ['{"name":"Rex é"}', { name: 'Rex é' }],
  ])('%s is the value', (json, value) => {
    for (const status of [200, 201, 202, 299]) {
      expect(decode(status, `{"success":${json}}`)).toEqual({ kind: 'success', value });
    }
  });

  test('a byte order mark and whitespace before the JSON are tolerated', () => {
    const body = Buffer.concat([bom, Buffer.from('\r\n\t {"success":1}\n')]);
    expect(decode(200, body)).toEqual({ kind: 'success', value: 1 });
  });

  test('an object named by inherited keys does not count', () => {
    expect(kindOf(decode(200, '{"toString":1}'))).toBe('no-answer');
  });
});

describe('no content', () => {
  test.each([
    [204, ''],
    [204, '<html>'],
    [204, '{"error":"no"}'],
    [200, ''],
    [202, ' \r\n\t'],
    [200, bom],
  ])('status %d with %j is empty', (status, body) => {
    expect(decode(status, body)).toEqual({ kind: 'empty' });
  });
});

describe('anything else is a failure', () => {
  test.each([
    [301, '', 'redirect'],
    [302, '{"success":1}', 'redirect'],
    [304, '<html>', 'redirect'],
    [400, '', 'status'],
    [404, '{"success":1}', 'status'],
    [500, '<html>', 'status'],
    [500, '{"error":', 'status'],
    [502, Buffer.from([0x7b, 0xff]), 'status'],
    [0, '{"success":1}', 'status'],
    [200, '<!DOCTYPE html>', 'not-json'],
    [200, '{"success":tru}', 'not-json'],
    [200, '{"success":1', 'not-json'],
    [200, '{"success":1}x', 'not-json'],
    [200, 'null\0', 'not-json'],
    [200, Buffer.from('{"success":"é"}', 'latin1'), 'not-json'],
    [200, Buffer.from('{"success":1}', 'utf16le'), 'not-json'],
    [200, Buffer.from('\uFEFF{"success":1}', 'utf16le'), 'not-json'],
    [200, Buffer.from([0x1f, 0x8b, 0x08, 0, 0]), 'not-json'],
    [200, '{}', 'no-answer'],
    [200, '[]', 'no-answer'],
    [200, '5', 'no-answer'],
    [200, '"success"', 'no-answer'],
    [200, 'null', 'no-answer'],
    [200, '{"result":1}', 'no-answer'],
    [200, '{"success":{"__proto__":{"admin":true}}}', 'forbidden-key'],
    [200, '{"success":[{"a":{"\\u005f_proto__":1}}]}', 'forbidden-key'],
    [200, '{"__proto__":{},"success":1}', 'forbidden-key'],
    [200, '{"success":{"constructor":{"prototype":{"x":1}}}}', 'forbidden-key'],
  ])('status %d with %j: %s', (status, body, failure) => {
    expect(kindOf(decode(status, body))).toBe(failure);
  });

  test('a plain value under constructor is no failure', () => {
    expect(decode(200, '{"success":{"constructor":"Ferrari"}}').kind).toBe('success');
  });

  test('the depth is counted with the root object', () => {
    const nested = (levels: number) => `{"success":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`;
    expect(kindOf(decode(200, nested(maxReplyDepth)))).toBe('success');
    expect(kindOf(decode(200, nested(maxReplyDepth + 1)))).toBe('too-deep');
  });

  test.each([
    ['100,000 nested arrays', `{"success":${'['.repeat(1e5)}${']'.repeat(1e5)}}`, 'too-deep'],
    ['100,000 nested objects', `{"success":${'{"a":'.repeat(1e5)}1${'}'.repeat(1e5)}}`, 'too-deep'],
    ['1 MiB of nested arrays', `${'['.repeat(2 ** 19)}${']'.repeat(2 ** 19)}`, 'too-deep'],
    ['1 MiB of opening brackets', '['.repeat(2 ** 20), 'not-json'],
    ['10 MiB of opening brackets', '['.repeat(10 * 2 ** 20), 'not-json'],
  ])('%s overflow no stack', (_name, body, failure) => {
    expect(kindOf(decode(200, body))).toBe(failure);
  });

  test.each([
    [200, '<html>top secret</html>'],
    [200, '{"topsecret": tru}'],
    [500, 'top secret'],
    [302, '{"topsecret":1}'],
    [200, '{"topsecret":1}'],
    [200, '"top secret"'],
  ])('the detail of status %d with %j is short and quotes nothing', (status, body) => {
    const reply = decode(status, body);
    const detail = reply.kind === 'failure' ? reply.detail : '';
    expect(detail).toMatch(/^status \d+/);
    expect(detail).not.toMatch(/secret/);
    expect(detail.length).toBeLessThanOrEqual(200);
  });
});

describe('whatever arrives', () => {
  test('arbitrary bytes never throw', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 999 }), fc.uint8Array({ maxLength: 200 }), (status, bytes) => {
        const reply = decodeReply(status, Buffer.from(bytes));
        if (reply.kind === 'failure') expect(reply.detail.length).toBeLessThanOrEqual(200);
      }),
      propertyRuns,
    );
  });

  test('arbitrary text that nearly is a reply never throws', () => {
    const piece = fc.constantFrom(
      ...['{', '}', '[', ']', '"success"', '"error"', '"code"', '"message"', ':', ',', ' ', '\uFEFF'],
      ...['null', 'true', '1', '-1e999', '"x"', '"\\ud800"', '"__proto__"', '"constructor"', '"prototype"'],
    );
    fc.assert(
      fc.property(
        fc.constantFrom(200, 204, 302, 500),
        fc.array(piece, { maxLength: 30 }),
        (status, pieces) => {
          decode(status, pieces.join(''));
        },
      ),
      propertyRuns,
    );
  });

  test('arbitrary JSON under success comes back as it was, and prototypes stay clean', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 8 }), json => {
        const reply = decode(200, `{"success":${json}}`);
        if (reply.kind === 'success')
          expect(JSON.stringify(reply.value)).toBe(JSON.stringify(JSON.parse(json)));
        else expect(kindOf(reply)).toBe('forbidden-key');
        expect(Object.keys(Object.prototype)).toEqual([]);
      }),
      propertyRuns,
    );
  });

  test('arbitrary JSON under error rejects unless it counts as absent', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(200, 302, 404, 503), (json, status) => {
        const error: unknown = JSON.parse(json);
        const reply = decode(status, `{"error":${json}}`);
        expect(reply.kind).toBe(error === null || error === false || error === '' ? 'failure' : 'rejected');
        if (reply.kind === 'rejected' && isJsonObject(reply.message)) {
          expect(Object.hasOwn(reply.message, '__proto__')).toBe(false);
        }
      }),
      propertyRuns,
    );
  });
});
