// beforeFind and afterFind: the exact request, and what an answer does to the query and to the results.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { startParseApplication, type Answer, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type Answerer, type WebhookReceiver } from '../support/webhook-receiver';

const isoDate: unknown = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

describeOnEachDatabase('triggers of a find', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  let count = 0;
  let className = '';

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
  });

  afterAll(async () => {
    await parse.stop();
    await receiver.close();
    await fresh.drop();
  });

  beforeEach(async () => {
    className = `Dog${++count}`;
    for (const n of [1, 2, 3])
      await parse.master('POST', `/classes/${className}`, { body: { n, name: `dog ${n}` } });
    receiver.forget();
  });

  async function hook(triggerName: string, answer: Answerer, settings: object = {}): Promise<void> {
    const url = receiver.on(`/${className}/${triggerName}`, answer);
    await parse.registerHook({ className, triggerName, url, ...settings });
  }

  function find(query: Record<string, unknown> = {}): Promise<Answer> {
    const parameters = new URLSearchParams(
      Object.entries(query).map(([name, value]): [string, string] => [
        name,
        typeof value === 'string' ? value : JSON.stringify(value),
      ]),
    );
    return parse.client('GET', `/classes/${className}?${parameters.toString()}`);
  }

  function numbers(answer: Answer): unknown[] {
    return (answer.body.results as { n: unknown }[]).map(({ n }) => n);
  }

  describe('beforeFind', () => {
    it('sends the query, whether it counts and whether it is a get, and nothing else', async () => {
      await hook('beforeFind', () => ({ success: true }));
      const { sessionToken, objectId } = await parse.signUp();
      const where = {
        n: { $gt: 1 },
        createdAt: { $lt: { __type: 'Date', iso: '2999-01-01T00:00:00.000Z' } },
      };
      const parameters = new URLSearchParams({
        where: JSON.stringify(where),
        order: '-n,name',
        limit: '5',
        skip: '1',
        keys: 'n',
        count: '1',
      });
      const answer = await parse.client('GET', `/classes/${className}?${parameters.toString()}`, {
        sessionToken,
      });
      expect(numbers(answer)).toEqual([2]);
      expect(receiver.calls.map(call => call.body)).toEqual([
        {
          triggerName: 'beforeFind',
          className,
          query: { where, order: '-n,name', limit: 5, skip: 1, keys: 'n' },
          count: true,
          isGet: false,
          master: false,
          user: {
            __type: 'Object',
            className: '_User',
            objectId,
            username: expect.any(String),
            createdAt: isoDate,
            updatedAt: isoDate,
            ACL: { [objectId]: { read: true, write: true } },
          },
        },
      ]);
    });

    it('says isGet for a get by objectId', async () => {
      await hook('beforeFind', () => ({ success: true }));
      const [dog] = (await find()).body.results;
      receiver.forget();
      expect((await parse.client('GET', `/classes/${className}/${dog.objectId}`)).body.n).toBe(dog.n);
      expect(receiver.calls[0]?.body).toMatchObject({
        isGet: true,
        count: false,
        query: { where: { objectId: dog.objectId } },
      });
    });

    it('replaces where, order, limit, skip and keys by those of the answer', async () => {
      await hook('beforeFind', () => ({
        success: { where: { n: { $gte: 1 } }, order: '-n', limit: 1, skip: 1, keys: 'n' },
      }));
      const answer = await find({ where: { n: 3 }, order: 'n', limit: 100 });
      expect(answer.body.results).toEqual([
        { objectId: expect.any(String), n: 2, createdAt: isoDate, updatedAt: isoDate },
      ]);
    });

    it('changes what a count counts', async () => {
      await hook('beforeFind', () => ({ success: { where: { n: { $lt: 3 } } } }));
      expect((await find({ count: 1, limit: 0 })).body).toEqual({ results: [], count: 2 });
    });

    it('changes nothing when the answer is the query that was sent', async () => {
      await hook('beforeFind', ({ body }) => ({ success: body.query }));
      const answer = await find({
        where: { n: { $gt: 1 } },
        order: '-n',
        limit: 1,
        skip: 1,
        count: 1,
        keys: 'n',
        // A part that an answer cannot change.
        readPreference: 'PRIMARY',
      });
      expect(receiver.calls[0]?.body.query).toMatchObject({ readPreference: 'PRIMARY' });
      expect(answer).toMatchObject({ status: 200, body: { count: 2 } });
      expect(numbers(answer)).toEqual([2]);
    });

    it('takes null for a part that the receiver does not know', async () => {
      await hook('beforeFind', () => ({
        success: { where: { n: 2 }, limit: null, keys: null, order: '', skip: 0 },
      }));
      expect(numbers(await find())).toEqual([2]);
    });

    it.each([true, null, {}, 'text', 5, []])('goes on unchanged after success: %j', async success => {
      await hook('beforeFind', () => ({ success }));
      expect(numbers(await find({ order: 'n' }))).toEqual([1, 2, 3]);
    });

    it('is a veto with an error', async () => {
      await hook('beforeFind', () => ({ error: { code: 4711, message: 'not yours' } }));
      expect(await find()).toMatchObject({ status: 400, body: { code: 4711, error: 'not yours' } });
    });

    it.each([
      { where: 5 },
      { where: [] },
      { limit: 0 },
      { limit: -1 },
      { limit: '5' },
      { skip: 1.5 },
      { keys: ['n'] },
      { className: 'Other' },
      { pipeline: [] },
      { readPreference: 'SECONDARY' },
    ])('fails by an answer that is no query: %j', async success => {
      await hook('beforeFind', () => ({ success }));
      expect(await find({ limit: 100 })).toMatchObject({
        status: 400,
        body: { code: 141, error: `webhook beforeFind ${className} failed: answer cannot be used` },
      });
    });

    it('leaves a constraint that Parse Server refuses to Parse Server', async () => {
      await hook('beforeFind', () => ({ success: { where: { n: { $nonsense: 1 } } } }));
      expect(await find()).toMatchObject({
        status: 400,
        body: { code: expect.any(Number), error: expect.any(String) },
      });
    });
  });

  describe('afterFind', () => {
    it('sends the results in REST form with className, and nothing else', async () => {
      await hook('afterFind', () => ({ success: true }));
      const answer = await find({ where: { n: 2 } });
      expect(numbers(answer)).toEqual([2]);
      expect(receiver.calls.map(call => call.body)).toEqual([
        {
          triggerName: 'afterFind',
          className,
          objects: [
            {
              className,
              objectId: answer.body.results[0].objectId,
              n: 2,
              name: 'dog 2',
              createdAt: isoDate,
              updatedAt: isoDate,
            },
          ],
          query: { where: { n: 2 }, limit: 100 },
          isGet: false,
          master: false,
        },
      ]);
    });

    it('replaces the results by the objects of the answer', async () => {
      await hook('afterFind', ({ body }) => ({
        success: [
          ...body.objects.slice(1),
          { objectId: 'made-up', n: 99, when: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' } },
        ],
      }));
      const answer = await find({ order: 'n' });
      expect(numbers(answer)).toEqual([2, 3, 99]);
      expect(answer.body.results[2]).toMatchObject({
        objectId: 'made-up',
        when: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
      });
    });

    it('gives the same results when the receiver echoes them, whatever is in them', async () => {
      const user = await parse.signUp();
      const owner = { __type: 'Pointer', className: '_User', objectId: user.objectId };
      const parent = (await parse.master('POST', '/classes/Kennel', { body: { city: 'Bonn', boss: owner } }))
        .body;
      const created = await parse.master('POST', `/classes/${className}`, {
        body: {
          n: 4,
          kennel: { __type: 'Pointer', className: 'Kennel', objectId: parent.objectId },
          owner,
          born: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
          home: { __type: 'GeoPoint', latitude: 1, longitude: 2 },
          picture: { __type: 'File', name: 'a.png', url: 'http://127.0.0.1/a.png' },
          friends: { __op: 'AddRelation', objects: [owner] },
          list: [1, 'a', null, { deep: [{ x: 1 }] }],
          nested: { iso: 5, a: { b: [] } },
          empty: {},
          nothing: null,
          zero: 0,
          no: false,
          ACL: { '*': { read: true }, 'role:admin': { write: true } },
        },
      });
      expect(created).toMatchObject({ status: 201 });
      const query = { order: 'n', include: 'kennel,kennel.boss,owner' };
      // Parse Server adds className to results as soon as an afterFind trigger stands: compare with "unchanged".
      await hook('afterFind', () => ({ success: true }));
      const unchanged = await parse.master('GET', `/classes/${className}?order=n&include=${query.include}`);
      receiver.on(`/${className}/afterFind`, ({ body }) => ({ success: body.objects }));
      const echoed = await parse.master('GET', `/classes/${className}?order=n&include=${query.include}`);
      expect(echoed.body.results).toHaveLength(4);
      expect(echoed.body).toEqual(unchanged.body);
      expect(echoed.body.results[3].kennel).toMatchObject({
        __type: 'Object',
        city: 'Bonn',
        boss: { __type: 'Object' },
      });
    });

    it('gives back what keys kept from the receiver', async () => {
      await hook(
        'afterFind',
        ({ body }) => ({ success: body.objects.map((dog: object) => ({ ...dog, n: 7 })) }),
        {
          keys: ['n'],
        },
      );
      const answer = await find({ where: { n: 1 } });
      expect(receiver.calls[0]?.body.objects).toEqual([
        { className, objectId: expect.any(String), n: 1, createdAt: isoDate, updatedAt: isoDate },
      ]);
      expect(answer.body.results).toMatchObject([{ n: 7, name: 'dog 1' }]);
    });

    it.each([true, false, null, {}, { objects: [] }, 'text', 5])(
      'leaves the results after success: %j',
      async success => {
        await hook('afterFind', () => ({ success }));
        expect(numbers(await find({ order: 'n' }))).toEqual([1, 2, 3]);
      },
    );

    it('takes an empty array for no results', async () => {
      await hook('afterFind', () => ({ success: [] }));
      expect((await find()).body).toEqual({ results: [] });
    });

    it('is a veto with an error', async () => {
      await hook('afterFind', () => ({ error: 'nothing to see' }));
      expect(await find()).toMatchObject({ status: 400, body: { code: 141, error: 'nothing to see' } });
    });

    it.each([
      [[1]],
      [[null]],
      [['text']],
      [[[]]],
      [[{ className: 5 }]],
      [[{ 'a b': 1 }]],
      [[{ _rperm: ['*'] }]],
      [[{ when: { __type: 'Date', iso: 'never' } }]],
      [[{ to: { __type: 'Pointer', className: 'X' } }]],
      [[{ file: { __type: 'File', name: 'x' } }]],
      [[{ at: { __type: 'GeoPoint', latitude: 'x', longitude: 900 } }]],
      [[{ __type: 'Relation' }, { r: { __type: 'Relation', className: {} } }, null]],
    ])('fails by results that are no objects: %j', async success => {
      await hook('afterFind', () => ({ success }));
      expect(await find()).toMatchObject({
        status: 400,
        body: { code: 141, error: `webhook afterFind ${className} failed: answer cannot be used` },
      });
      expect((await parse.client('GET', '/classes/Untouched')).status).toBe(200);
    });

    it.each([
      [
        [
          {
            n: 1,
            constructor: 1,
            toString: 2,
            hasOwnProperty: 3,
            toJSON: 4,
            id: 5,
            get: 6,
            nested: { toJSON: 1 },
          },
        ],
      ],
      [[{ className: 'constructor', n: 1 }]],
      [[{ className: 'hasOwnProperty', n: 1 }]],
      [[{ to: { __type: 'Pointer' } }]],
      [[{ to: { __type: 'Object', className: 'toString' } }]],
      [[{ ACL: 5 }]],
      [[{ ACL: { '*': { read: 'maybe' } } }]],
      [[{ ACL: { x: 5 } }]],
      [[{ objectId: {}, createdAt: {}, updatedAt: 'x' }]],
      [[{ op: { __op: 'Increment', amount: 'x' } }]],
      [[{ op: { __op: 'Nonsense' } }]],
    ])('answers, one way or the other, when a result is odd: %j', async success => {
      await hook('afterFind', () => ({ success }));
      expect([200, 400]).toContain((await find()).status);
      expect((await parse.client('GET', '/classes/Untouched')).status).toBe(200);
    });

    it('works together with beforeFind and for a get', async () => {
      await hook('beforeFind', () => ({ success: true }));
      await hook('afterFind', ({ body }) => ({
        success: body.objects.map((dog: object) => ({ ...dog, extra: body.isGet })),
      }));
      const [dog] = (await find({ where: { n: 1 } })).body.results;
      const got = await parse.client('GET', `/classes/${className}/${dog.objectId}`);
      expect(got).toMatchObject({ status: 200, body: { n: 1, extra: true } });
    });
  });
});
