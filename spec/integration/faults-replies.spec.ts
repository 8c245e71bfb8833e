// The reply table, row by row and trigger by trigger, and replies that nobody should send. On the whole stack.
import { describeOnEachDatabase } from '../support/databases';
import {
  expectRefusal,
  failurePolicies,
  startFaultStack,
  type FailurePolicy,
  type FaultStack,
  type Hook,
} from '../support/fault-stack';
import type { Answer } from '../support/parse-application';
import { Reply } from '../support/webhook-receiver';

const triggers = ['beforeSave', 'beforeDelete', 'beforeFind', 'afterFind', 'function'] as const;
type Trigger = (typeof triggers)[number];

/** JSON as written: JSON.stringify would leave `__proto__` and 1e400 out. */
type Body = string | Buffer | Reply;

const label = (trigger: Trigger): string => (trigger === 'function' ? 'function reply' : `${trigger} Reply`);
const failed = (trigger: Trigger, told: string) => ({
  code: 141,
  error: `webhook ${label(trigger)} failed: ${told}`,
});

describeOnEachDatabase('a reply', database => {
  let stack: FaultStack;
  let objectId: string;

  beforeAll(async () => {
    stack = await startFaultStack(database);
  });
  afterAll(async () => stack.stop());
  beforeEach(async () => {
    const { body } = await stack.parse.master('POST', '/classes/Reply', {
      body: { name: 'Spot', nested: { a: 1 } },
    });
    objectId = body.objectId as string;
  });
  afterEach(async () => {
    expect(Object.getOwnPropertyNames(Object.prototype).sort()).toEqual(prototypeNames);
    await stack.expectAlive();
  });
  const prototypeNames = Object.getOwnPropertyNames(Object.prototype).sort();

  const targetOf = (trigger: Trigger) =>
    trigger === 'function' ? { functionName: 'reply' } : { className: 'Reply', triggerName: trigger };
  const hookOf = (trigger: Trigger, body: Body, settings: Readonly<Record<string, unknown>> = {}): Hook => ({
    ...targetOf(trigger),
    url: stack.answering(body),
    ...settings,
  });
  /** What a client does to reach the trigger. */
  const act = (trigger: Trigger): Promise<Answer> => {
    switch (trigger) {
      case 'beforeSave':
        return stack.parse.client('PUT', `/classes/Reply/${objectId}`, { body: { age: 3 } });
      case 'beforeDelete':
        return stack.parse.client('DELETE', `/classes/Reply/${objectId}`);
      case 'beforeFind':
      case 'afterFind':
        return stack.parse.client('GET', `/classes/Reply?where={"objectId":"${objectId}"}`);
      case 'function':
        return stack.parse.client('POST', '/functions/reply', { body: {} });
    }
  };
  const answerTo = (trigger: Trigger, body: Body, policy: FailurePolicy = 'reject') =>
    stack.withHook(hookOf(trigger, body, { failurePolicy: policy }), () => act(trigger));
  const create = (
    body: Body,
    sent: object = { name: 'Spot' },
    settings?: Readonly<Record<string, unknown>>,
  ) =>
    stack.withHook(hookOf('beforeSave', body, settings), () =>
      stack.parse.client('POST', '/classes/Reply', { body: sent }),
    );
  const stored = async (id: unknown = objectId) =>
    (await stack.parse.master('GET', `/classes/Reply/${String(id)}`)).body as Record<string, unknown>;

  /** Fails unless the operation went on as if there were no hook. */
  async function expectUnchanged(trigger: Trigger, answer: Answer): Promise<void> {
    switch (trigger) {
      case 'beforeSave':
        expect(answer).toMatchObject({ status: 200, body: { updatedAt: expect.any(String) } });
        expect(Object.keys(answer.body)).toEqual(['updatedAt']);
        expect(await stored()).toMatchObject({ name: 'Spot', nested: { a: 1 }, age: 3 });
        return;
      case 'beforeDelete':
        expect(answer).toMatchObject({ status: 200, body: {} });
        expect((await stack.parse.master('GET', `/classes/Reply/${objectId}`)).status).toBe(404);
        return;
      case 'beforeFind':
      case 'afterFind':
        expect(answer.status).toBe(200);
        expect(answer.body.results).toMatchObject([{ objectId, name: 'Spot', nested: { a: 1 } }]);
        return;
      case 'function':
        expect(answer).toMatchObject({ status: 200, body: {} });
        expect(answer.body).toEqual({});
    }
  }
  /** Fails unless nothing was saved, deleted or told. */
  async function expectRefused(answer: Answer, body: { code: number; error: unknown }): Promise<void> {
    expectRefusal(answer, body);
    const kept = await stored();
    expect(kept).toMatchObject({ name: 'Spot', nested: { a: 1 } });
    expect(kept).not.toHaveProperty('age');
  }

  describe.each(triggers)('to %s', trigger => {
    it.each([
      ['200 with an error text', new Reply(200, '{"error":"no"}'), 141, 'no'],
      ['500 with an error text', new Reply(500, '{"error":"no"}'), 141, 'no'],
      ['302 with an error text', new Reply(302, '{"error":"no"}', { location: '/' }), 141, 'no'],
      [
        'HTML by its Content-Type',
        new Reply(200, '{"error":"no"}', { 'content-type': 'text/html' }),
        141,
        'no',
      ],
      ['both error and success', '{"success":true,"error":"no"}', 141, 'no'],
      ['code and message', '{"error":{"code":1337,"message":"no"}}', 1337, 'no'],
      ['code and message with 422', new Reply(422, '{"error":{"code":1337,"message":"no"}}'), 1337, 'no'],
      ['code 600', '{"error":{"code":600,"message":"no"}}', 600, 'no'],
      ['code 101', '{"error":{"code":101,"message":"no"}}', 101, 'no'],
      ['code 1, which SDKs would retry', '{"error":{"code":1,"message":"no"}}', 141, 'no'],
      ['code 0', '{"error":{"code":0,"message":"no"}}', 141, 'no'],
      ['a negative code', '{"error":{"code":-1,"message":"no"}}', 141, 'no'],
      ['a broken code', '{"error":{"code":1.5,"message":"no"}}', 141, 'no'],
      ['a code beyond 32 bits', '{"error":{"code":1e12,"message":"no"}}', 141, 'no'],
      ['a text as code', '{"error":{"code":"1337","message":"no"}}', 141, 'no'],
      ['a message without code', '{"error":{"message":"no"}}', 141, 'no'],
      ['an empty message', '{"error":{"code":1337,"message":""}}', 1337, ''],
      ['code and error', '{"error":{"code":5,"error":"no"}}', 141, { code: 5, error: 'no' }],
      ['a number', '{"error":42}', 141, 42],
      ['true', '{"error":true}', 141, true],
      ['an array', '{"error":["a",{"b":1}]}', 141, ['a', { b: 1 }]],
      ['an empty object', '{"error":{}}', 141, {}],
    ] as const)('that rejects with %s is told to the client so', async (_name, body, code, error) => {
      for (const policy of failurePolicies) {
        await expectRefused(await answerTo(trigger, body, policy), { code, error });
      }
    });

    it.each([
      ['204', new Reply(204, '')],
      ['an empty 200', ''],
      ['200 with blanks only', ' \r\n'],
    ] as const)('that is empty (%s) changes nothing', async (_name, body) => {
      await expectUnchanged(trigger, await answerTo(trigger, body));
    });

    it.each([
      ['a redirect', new Reply(302, '', { location: '/' }), 'answer is a redirect'],
      [
        'a redirect with success',
        new Reply(302, '{"success":true}', { location: '/' }),
        'answer is a redirect',
      ],
      ['404', new Reply(404, ''), 'answer has an error status'],
      ['500 with success', new Reply(500, '{"success":true}'), 'answer has an error status'],
      ['500 with an empty error', new Reply(500, '{"error":""}'), 'answer has an error status'],
      ['500 with HTML', new Reply(500, '<h1>x</h1>', { 'set-cookie': 'a=b' }), 'answer has an error status'],
      ['HTML', '<!doctype html><p>hello', 'answer is not JSON'],
      ['a JSON text cut short', '{"success":{"a":1', 'answer is not JSON'],
      ['an empty object', '{}', 'answer has neither success nor error'],
      ['an array', '[]', 'answer has neither success nor error'],
      ['a string', '"success"', 'answer has neither success nor error'],
      ['null', 'null', 'answer has neither success nor error'],
      ['a number', '7', 'answer has neither success nor error'],
      ['error null', '{"error":null}', 'answer has neither success nor error'],
      ['error false', '{"error":false}', 'answer has neither success nor error'],
      ['error ""', '{"error":""}', 'answer has neither success nor error'],
      ['more than maxReplyBytes', `{"success":"${'x'.repeat(1_048_576)}"}`, 'answer is too large'],
      ['__proto__', '{"__proto__":{"polluted":1},"success":true}', 'answer has a forbidden key'],
      ['__proto__ in success', '{"success":{"__proto__":{"polluted":1}}}', 'answer has a forbidden key'],
      ['__proto__ further down', '{"success":{"a":[{"__proto__":{"x":1}}]}}', 'answer has a forbidden key'],
      ['a prototype', '{"success":{"constructor":{"prototype":{"x":1}}}}', 'answer has a forbidden key'],
      [
        'a prototype further down',
        '{"success":{"a":{"constructor":{"prototype":{}}}}}',
        'answer has a forbidden key',
      ],
    ] as const)(
      'that is no answer (%s) is a failure, which the policy decides',
      async (_name, body, told) => {
        await expectRefused(await answerTo(trigger, body, 'reject'), failed(trigger, told));
        await expectUnchanged(trigger, await answerTo(trigger, body, 'allow'));
      },
    );

    it.each(['null', 'false'])('whose error is %s beside a success is a success', async error => {
      const answer = await answerTo(trigger, `{"error":${error},"success":true}`);
      if (trigger === 'function') expect(answer).toMatchObject({ status: 200, body: { result: true } });
      else await expectUnchanged(trigger, answer);
    });

    it('with prototype keys under error tells the client nothing of them', async () => {
      const answer = await answerTo(trigger, '{"error":{"__proto__":{"polluted":1}}}');
      await expectRefused(answer, { code: 141, error: 'webhook rejected the request' });
    });

    it('with an error of a megabyte is cut', async () => {
      const answer = await answerTo(trigger, `{"error":"${'é'.repeat(500_000)}"}`);
      await expectRefused(answer, { code: 141, error: 'é'.repeat(10_000) });
    });
  });

  describe.each(['beforeSave', 'beforeDelete', 'beforeFind', 'afterFind'] as const)('to %s', trigger => {
    it.each(['true', 'null', '{}', 'false', '5', '"s"', '0', '""'])(
      'of success %s changes nothing',
      async value => {
        await expectUnchanged(trigger, await answerTo(trigger, `{"success":${value}}`));
      },
    );
  });

  describe.each(['beforeSave', 'beforeDelete', 'beforeFind'] as const)('to %s', trigger => {
    it.each(['[]', '[1]', '[null]', '[{"name":"x"}]'])('of success %s changes nothing', async value => {
      await expectUnchanged(trigger, await answerTo(trigger, `{"success":${value}}`));
    });
  });

  it('to beforeDelete with an object changes nothing', async () => {
    await expectUnchanged('beforeDelete', await answerTo('beforeDelete', '{"success":{"name":"x"}}'));
  });

  describe('to beforeSave with an object', () => {
    it('sets the keys it names and keeps the others', async () => {
      const answer = await answerTo('beforeSave', '{"success":{"name":"Rover","extra":[1,{"b":null}]}}');
      expect(answer).toMatchObject({ status: 200, body: { name: 'Rover', extra: [1, { b: null }] } });
      expect(await stored()).toMatchObject({
        name: 'Rover',
        extra: [1, { b: null }],
        age: 3,
        nested: { a: 1 },
      });
    });

    it('deletes the keys that it deletes', async () => {
      expect((await answerTo('beforeSave', '{"success":{"name":{"__op":"Delete"}}}')).status).toBe(200);
      expect(await stored()).not.toHaveProperty('name');
      expect(await stored()).toMatchObject({ age: 3 });
    });

    it('loses the keys it does not name with responseMode replace', async () => {
      const { body } = await create(
        '{"success":{"name":"Rover"}}',
        { name: 'Spot', age: 3 },
        { responseMode: 'replace' },
      );
      expect(await stored(body.objectId)).toMatchObject({ name: 'Rover' });
      expect(await stored(body.objectId)).not.toHaveProperty('age');
    });

    it.each([
      ['className', '"Other"'],
      ['createdAt', '"2001-01-01T00:00:00.000Z"'],
      ['updatedAt', '{"__type":"Date","iso":"2001-01-01T00:00:00.000Z"}'],
      ['objectId', '"chosenByIt"'],
      ['objectId', '5'],
      ['__type', '"Object"'],
    ])('ignores %s: %s, on create and update', async (key, value) => {
      const body = `{"success":{"${key}":${value},"name":"Rover"}}`;
      const created = await create(body);
      expect(created).toMatchObject({ status: 201, body: { objectId: expect.stringMatching(/^\w{10}$/) } });
      expect(created.body.objectId).not.toBe('chosenByIt');
      const row = await stored(created.body.objectId);
      expect(row).toMatchObject({ name: 'Rover', objectId: created.body.objectId });
      expect(row.createdAt).not.toMatch(/^2001/);
      expect(row.updatedAt).not.toMatch(/^2001/);
      expect((await answerTo('beforeSave', body)).status).toBe(200);
      expect(await stored()).toMatchObject({ name: 'Rover', objectId });
      expect((await stack.parse.master('GET', '/schemas/Other')).status).not.toBe(200);
    });

    it('honours the ACL', async () => {
      const { body } = await create('{"success":{"ACL":{}}}');
      expect((await stack.parse.client('GET', `/classes/Reply/${String(body.objectId)}`)).status).toBe(404);
      expect(await stored(body.objectId)).toMatchObject({ name: 'Spot', ACL: {} });
    });

    it.each([
      '_rperm',
      '_wperm',
      '_hashed_password',
      '_id',
      'a b',
      '$set',
      '$where',
      'a$b',
      '1a',
      '',
      'ä',
      'a..b',
      '.a',
      'a.',
      'a.$b',
      'a.b c',
      '_p_owner',
      '_bsontype',
      'length',
      'constructor',
      'toString',
      'hasOwnProperty',
      'a.constructor',
      '__op',
      'prototype',
      "a'b",
    ])('that names %j cannot be used', async key => {
      const body = `{"success":{${JSON.stringify(key)}:["x"],"name":"Rover"}}`;
      for (const settings of [{}, { responseMode: 'replace' }]) {
        const answer = await create(body, { name: 'Spot' }, settings);
        expectRefusal(answer, failed('beforeSave', 'answer cannot be used'));
      }
      await expectRefused(await answerTo('beforeSave', body), failed('beforeSave', 'answer cannot be used'));
      await expectUnchanged('beforeSave', await answerTo('beforeSave', body, 'allow'));
    });

    it('sets below a key that it names with a dot', async () => {
      expect((await answerTo('beforeSave', '{"success":{"nested.b":2}}')).status).toBe(200);
      expect(await stored()).toMatchObject({ nested: { a: 1, b: 2 }, age: 3 });
    });

    it('sets below a key that nobody sent, on create', async () => {
      const { body } = await create('{"success":{"nested.b":2}}');
      expect(await stored(body.objectId)).toMatchObject({ name: 'Spot', nested: { b: 2 } });
    });

    it('sets below a key that the client sends, on create', async () => {
      const { body } = await create('{"success":{"nested.b":2}}', { nested: { a: 1 } });
      expect(await stored(body.objectId)).toMatchObject({ nested: { a: 1, b: 2 } });
    });

    it.each([
      ['a dotted key on create', '{"nested.b":2}'],
      ['an unknown op', '{"name":{"__op":"Explode"}}'],
      ['an op that is no text', '{"name":{"__op":{}}}'],
      ['Increment by a text', '{"age":{"__op":"Increment","amount":"x"}}'],
      ['Increment by nothing', '{"age":{"__op":"Increment"}}'],
      ['Add without objects', '{"list":{"__op":"Add"}}'],
      ['Add of a number', '{"list":{"__op":"Add","objects":5}}'],
      ['AddUnique of null', '{"list":{"__op":"AddUnique","objects":null}}'],
      ['Remove of a number', '{"list":{"__op":"Remove","objects":5}}'],
      ['AddRelation of a number', '{"rel":{"__op":"AddRelation","objects":5}}'],
      ['AddRelation of null', '{"rel":{"__op":"AddRelation","objects":[null]}}'],
      ['AddRelation of no pointer', '{"rel":{"__op":"AddRelation","objects":[{}]}}'],
      ['Batch without ops', '{"rel":{"__op":"Batch"}}'],
      ['Batch of numbers', '{"rel":{"__op":"Batch","ops":[5]}}'],
      ['Batch of null', '{"rel":{"__op":"Batch","ops":[null]}}'],
      ['AddRelation of nothing', '{"rel3":{"__op":"AddRelation","objects":[]}}'],
      ['Batch of nothing', '{"rel4":{"__op":"Batch","ops":[]}}'],
      ['SetOnInsert', '{"n3":{"__op":"SetOnInsert","amount":5}}'],
      ['SetOnInsert of nothing', '{"n2":{"__op":"SetOnInsert"}}'],
      ['a date without iso', '{"when":{"__type":"Date"}}'],
      ['a date that is none', '{"when":{"__type":"Date","iso":"never"}}'],
      ['a date of a number in text', '{"when":{"__type":"Date","iso":"5"}}'],
      ['a date beyond the year 9999', '{"when":{"__type":"Date","iso":"+275760-09-13T00:00:00.000Z"}}'],
      ['a date in the year 0', '{"when":{"__type":"Date","iso":"0000-01-01T00:00:00.000Z"}}'],
      ['a 30th of February', '{"when":{"__type":"Date","iso":"2020-02-30T00:00:00.000Z"}}'],
      ['half a surrogate pair further down', '{"map":{"a":["\\ud800"]}}'],
      ['a NUL in a key', '{"map":{"a\\u0000":1}}'],
      ['a date of a number', '{"when":{"__type":"Date","iso":5}}'],
      ['an empty pointer', '{"ptr":{"__type":"Pointer"}}'],
      ['a pointer to numbers', '{"ptr":{"__type":"Pointer","className":5,"objectId":5}}'],
      ['a pointer to an invalid class', '{"ptr":{"__type":"Pointer","className":"a b","objectId":"x"}}'],
      ['an unnamed file', '{"file":{"__type":"File"}}'],
      ['a file with a number as name', '{"file":{"__type":"File","name":5}}'],
      ['a point without numbers', '{"point":{"__type":"GeoPoint","latitude":"x","longitude":[]}}'],
      ['a point beyond the poles', '{"point":{"__type":"GeoPoint","latitude":1000,"longitude":1000}}'],
      ['a polygon of a number', '{"area":{"__type":"Polygon","coordinates":5}}'],
      ['a polygon of one point', '{"area":{"__type":"Polygon","coordinates":[[1,1]]}}'],
      ['a polygon of texts', '{"area":{"__type":"Polygon","coordinates":[["a","b"],["c","d"],["e","f"]]}}'],
      ['bytes of a number', '{"bytes":{"__type":"Bytes","base64":5}}'],
      ['a relation to a number', '{"rel5":{"__type":"Relation","className":5}}'],
      ['a relation to an invalid class', '{"rel6":{"__type":"Relation","className":"a b"}}'],
      ['a relation to nothing', '{"rel2":{"__type":"Relation"}}'],
      ['an object without class', '{"obj":{"__type":"Object"}}'],
      ['an unknown type', '{"odd":{"__type":"Wormhole"}}'],
      ['a type that is no text', '{"odd2":{"__type":{"a":1}}}'],
      ['another type than before', '{"nested":"text"}'],
      ['an ACL that is a number', '{"ACL":5}'],
      ['an ACL that is null', '{"ACL":null}'],
      ['an ACL of texts', '{"ACL":{"*":"read"}}'],
      ['an ACL of null', '{"ACL":{"*":null}}'],
      ['an ACL of an array', '{"ACL":[1]}'],
      ['an ACL with odd permissions', '{"ACL":{"*":{"fly":true}}}'],
      ['a _bsontype', '{"code":{"_bsontype":"Code","code":"x"}}'],
      ['a constructor below a key', '{"deep":{"constructor":{"name":"x"}}}'],
      ['a $ below a key', '{"deep2":{"$where":"1"}}'],
      ['a dot below a key', '{"deep3":{"a.b":1}}'],
      ['an underscore below a key', '{"deep4":{"_rperm":["x"]}}'],
      ['a number beyond all', '{"huge":1e400}'],
      ['a great number', '{"huge2":1e300}'],
      ['half a surrogate pair', '{"text":"\\ud800"}'],
      ['a NUL', '{"text2":"a\\u0000b"}'],
      ['a key of 1000 letters', `{"${'k'.repeat(1000)}":1}`],
      ['99 levels', `{"deep5":${'{"a":'.repeat(96)}1${'}'.repeat(96)}}`],
      ['2000 keys', `{"many":{${Array.from({ length: 2000 }, (_, i) => `"k${i}":${i}`).join(',')}}}`],
    ])(
      'that holds %s is saved or refused for a reason, never with an error that SDKs retry',
      async (_name, object) => {
        for (const policy of failurePolicies) {
          for (const settings of [
            { failurePolicy: policy },
            { failurePolicy: policy, responseMode: 'replace' },
          ]) {
            const body = `{"success":${object}}`;
            const created = await create(body, { name: 'Spot' }, settings);
            const updated = await stack.withHook(hookOf('beforeSave', body, settings), () =>
              act('beforeSave'),
            );
            for (const answer of [created, updated]) {
              if (answer.status < 300) continue;
              expect(answer).toMatchObject({ status: 400, body: { code: expect.any(Number) } });
              expect(answer.body.code).not.toBe(1);
            }
          }
        }
      },
    );
  });

  describe('to afterFind with an array', () => {
    it('replaces the results', async () => {
      const body = `{"success":[{"objectId":"${objectId}","name":"Rover","when":{"__type":"Date","iso":"2020-01-01T00:00:00.000Z"}},{"className":"Reply","objectId":"other","name":"New"}]}`;
      const { status, body: found } = await answerTo('afterFind', body);
      expect(status).toBe(200);
      expect(found.results).toMatchObject([
        { objectId, name: 'Rover', when: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' } },
        { objectId: 'other', name: 'New' },
      ]);
    });

    it('that is empty removes them all', async () => {
      expect((await answerTo('afterFind', '{"success":[]}')).body).toEqual({ results: [] });
    });

    it.each([
      '[1]',
      '[null]',
      '["a"]',
      '[[]]',
      '[true]',
      '[{"a b":1}]',
      '[{"className":5}]',
      '[{"_rperm":["*"]}]',
      '[{"$x":1}]',
    ])('of %s cannot be used', async value => {
      const body = `{"success":${value}}`;
      await expectRefused(await answerTo('afterFind', body), failed('afterFind', 'answer cannot be used'));
      await expectUnchanged('afterFind', await answerTo('afterFind', body, 'allow'));
    });

    it.each([
      '[{}]',
      '[{"objectId":5}]',
      '[{"objectId":null}]',
      '[{"createdAt":5}]',
      '[{"createdAt":"never"}]',
      '[{"createdAt":{"__type":"Date","iso":"never"}}]',
      '[{"ACL":5}]',
      '[{"ACL":{"*":5}}]',
      '[{"className":""}]',
      '[{"className":"a b"}]',
      '[{"className":"_User","sessionToken":"x"}]',
      '[{"constructor":5}]',
      '[{"toJSON":5}]',
      '[{"id":{}}]',
      '[{"a":{"__type":"Pointer"}}]',
      '[{"a":{"__type":"Date"}}]',
      '[{"a":{"__type":"File"}}]',
      '[{"a":{"__op":"Increment"}}]',
      '[{"a":{"__op":"Explode"}}]',
      '[{"a":{"__type":"Object"}}]',
      '[{"a":{"__type":"GeoPoint"}}]',
      '[{"a":{"__type":"Polygon"}}]',
      '[{"a":{"__type":"Relation"}}]',
      '[{"toString":1,"valueOf":2,"hasOwnProperty":3}]',
      '[{"__type":"Object"}]',
      '[{"attributes":1}]',
      '[{"length":1}]',
    ])('of %s is used or refused for a reason', async value => {
      const answer = await answerTo('afterFind', `{"success":${value}}`);
      if (answer.status === 200) expect(answer.body.results).toHaveLength(1);
      else expect(answer).toMatchObject({ status: 400, body: failed('afterFind', 'answer cannot be used') });
    });
  });

  describe('to beforeFind with an object', () => {
    it('changes the query', async () => {
      const { body } = await answerTo('beforeFind', '{"success":{"where":{"name":"nobody"}}}');
      expect(body).toEqual({ results: [] });
    });

    it.each([
      '{"a":1}',
      '{"where":5}',
      '{"where":[]}',
      '{"limit":"x"}',
      '{"limit":-1}',
      '{"limit":0}',
      '{"order":5}',
      '{"className":"_User"}',
      '{"redirectClassNameForKey":"a"}',
    ])('of %s cannot be used', async value => {
      const body = `{"success":${value}}`;
      await expectRefused(await answerTo('beforeFind', body), failed('beforeFind', 'answer cannot be used'));
      await expectUnchanged('beforeFind', await answerTo('beforeFind', body, 'allow'));
    });

    it.each([
      '{"where":{"$where":"1"}}',
      '{"where":{"a":{"$explode":1}}}',
      '{"where":{"$or":5}}',
      '{"where":{"$or":[null]}}',
      '{"where":{"a b":1}}',
      '{"where":{"name":{"$regex":5}}}',
      '{"where":{"name":{"$regex":"("}}}',
      '{"where":{"name":{"$in":5}}}',
      '{"where":{"name":{"$inQuery":5}}}',
      '{"where":{"_rperm":"x"}}',
      '{"where":{"constructor":1}}',
      '{"where":{"objectId":{}}}',
      '{"where":{"$relatedTo":5}}',
      '{"where":{"$relatedTo":{}}}',
      '{"where":{"name":{"$select":{}}}}',
      '{"where":{"createdAt":{"$gt":{"__type":"Date"}}}}',
      '{"where":{"name":{"$nearSphere":5}}}',
      '{"limit":1e300}',
      '{"skip":1e300}',
      '{"keys":""}',
      '{"keys":"a b"}',
      '{"order":"a b"}',
      '{"order":""}',
      '{"order":"--x"}',
      '{"include":"nope.nope"}',
      '{"include":"constructor"}',
      '{"excludeKeys":"__proto__"}',
      '{"order":"$x"}',
    ])('of %s gets what a client gets that asks so itself', async value => {
      const own = new URLSearchParams(
        Object.entries(JSON.parse(value) as Record<string, unknown>).map(([name, part]): [string, string] => [
          name,
          typeof part === 'string' ? part : JSON.stringify(part),
        ]),
      );
      const asked = await stack.parse.client('GET', `/classes/Reply?${own.toString()}`);
      const answer = await answerTo('beforeFind', `{"success":${value}}`);
      expect({ status: answer.status, code: answer.body.code }).toEqual({
        status: asked.status,
        code: asked.body.code,
      });
    });
  });

  it.each([
    ['null', 'null'],
    ['true', 'true'],
    ['0', '0'],
    ['""', '""'],
    ['[]', '[]'],
    ['{}', '{}'],
    ['a huge number', '1.7976931348623157e308'],
    ['a number with more digits than a double has', '12345678901234567890'],
    ['an object of no known class', '{"__type":"Object","className":"Nowhere","objectId":"x","a":1}'],
    ['a pointer', '{"__type":"Pointer","className":"Nowhere","objectId":"x"}'],
    ['a date', '{"__type":"Date","iso":"2020-01-01T00:00:00.000Z"}'],
    ['a broken date', '{"__type":"Date","iso":5}'],
    ['an unknown type', '{"__type":"Wormhole"}'],
    ['an op', '{"__op":"Explode"}'],
    ['names of prototypes', '{"toJSON":1,"toString":2,"then":3,"valueOf":null}'],
    ['text beyond ASCII', '"😀 \\u0000 \\ud800"'],
    ['99 levels', `${'['.repeat(98)}${']'.repeat(98)}`],
  ])('to a function is its result: %s', async (_name, value) => {
    const answer = await answerTo('function', `{"success":${value}}`);
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ result: JSON.parse(value) });
  });

  it('to a function with a number beyond all numbers is null, as JSON has no infinity', async () => {
    expect((await answerTo('function', '{"success":[1e400]}')).body).toEqual({ result: [null] });
  });
});
