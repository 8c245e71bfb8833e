import fc from 'fast-check';
import { changedMatches } from '../../src/hooks/changed-filter';
import { compileWhere, maxWhereBytes } from '../../src/hooks/object-filter';
import type { JsonObject } from '../../src/shared/json';
import { propertyRuns } from '../support/property-runs';

// Parse's own matcher, of LiveQuery. It changes the object that it judges.
const { matchesQuery } = jest.requireActual<{
  matchesQuery: (object: unknown, where: unknown) => boolean;
}>('parse-server/lib/LiveQuery/QueryTools');

function date(iso: string) {
  return { __type: 'Date', iso };
}
function pointer(objectId: string, className = '_User') {
  return { __type: 'Pointer', className, objectId };
}

const object: JsonObject = {
  className: 'Puppy',
  objectId: 'p1',
  createdAt: '2020-01-01T00:00:00.000Z',
  updatedAt: '2020-01-02T00:00:00.000Z',
  name: 'Rex',
  motto: 'sit. stay?\nroll',
  age: 3,
  weight: 0,
  good: true,
  bad: false,
  born: date('2020-05-01T12:00:00.000Z'),
  owner: pointer('u1'),
  vet: { __type: 'Object', className: 'Vet', objectId: 'v1', name: 'Ann', address: { city: 'Rome' } },
  photo: { __type: 'File', name: 'a.png', url: 'http://x/a.png' },
  home: { __type: 'GeoPoint', latitude: 1, longitude: 2 },
  tags: ['small', 'brown'],
  scores: [1, 5, 9],
  friends: [pointer('p2', 'Puppy'), pointer('p3', 'Puppy')],
  visits: [{ at: date('2020-01-01T00:00:00.000Z'), n: 1 }, { n: 2 }],
  address: { city: 'Rome', zip: '00100', floor: 2 },
  empty: [],
  nothing: null,
};

function compile(where: unknown) {
  const filter = compileWhere(where);
  if (filter.kind === 'invalid') throw new Error(filter.detail);
  return filter;
}
function detailOf(where: unknown): string {
  const filter = compileWhere(where);
  return filter.kind === 'invalid' ? filter.detail : 'compiled';
}

describe('a filter judges as Parse does', () => {
  test.each<[unknown, boolean]>([
    [{}, true],
    [{ name: 'Rex' }, true],
    [{ name: 'rex' }, false],
    [{ age: 3, name: 'Rex' }, true],
    [{ age: 3, name: 'Max' }, false],
    [{ age: '3' }, false],
    [{ weight: 0 }, true],
    [{ good: true, bad: false }, true],
    [{ bad: true }, false],
    [{ missing: 1 }, false],
    [{ age: { $eq: 3 } }, true],
    [{ age: { $ne: 3 } }, false],
    [{ age: { $ne: 4 } }, true],
    [{ missing: { $ne: 4 } }, true],
    [{ age: { $gt: 2, $lt: 4 } }, true],
    [{ age: { $gt: 3 } }, false],
    [{ age: { $gte: 3, $lte: 3 } }, true],
    [{ age: { $lt: 3 } }, false],
    [{ name: { $gt: 'Ra', $lt: 'Rf' } }, true],
    [{ age: { $in: [1, 3] } }, true],
    [{ age: { $in: [] } }, false],
    [{ age: { $nin: [1, 3] } }, false],
    [{ age: { $nin: [] } }, true],
    [{ missing: { $nin: [1] } }, true],
    [{ missing: { $in: [1] } }, false],
    [{ age: { $exists: true } }, true],
    [{ missing: { $exists: true } }, false],
    [{ missing: { $exists: false } }, true],
    [{ nothing: { $exists: true } }, true],
    [{ empty: { $exists: true } }, true],
    [{ tags: 'small' }, true],
    [{ tags: 'big' }, false],
    [{ tags: { $all: ['brown', 'small'] } }, true],
    [{ tags: { $all: ['brown', 'big'] } }, false],
    [{ tags: { $in: ['big', 'brown'] } }, true],
    [{ tags: { $nin: ['big', 'brown'] } }, false],
    [{ missing: { $all: [1] } }, false],
    [{ scores: { $containedBy: [1, 5, 9, 12] } }, true],
    [{ scores: { $containedBy: [1, 5] } }, false],
    [{ empty: { $containedBy: [1] } }, true],
    [{ friends: { $containedBy: [pointer('p2', 'Puppy'), pointer('p3', 'Puppy')] } }, true],
    [{ born: date('2020-05-01T12:00:00.000Z') }, true],
    [{ born: date('2020-05-01T12:00:00.001Z') }, false],
    [{ born: { $gt: date('2020-05-01T11:59:00.000Z') } }, true],
    [{ born: { $lt: date('2020-05-01T12:00:00.000Z') } }, false],
    [{ born: { $lte: date('2020-05-01T12:00:00.000Z') } }, true],
    [{ owner: pointer('u1') }, true],
    [{ owner: pointer('u2') }, false],
    [{ owner: pointer('u1', 'Other') }, false],
    [{ owner: { $in: [pointer('u0'), pointer('u1')] } }, true],
    [{ owner: { $in: ['u1'] } }, true],
    [{ owner: { $nin: [pointer('u1')] } }, false],
    [{ friends: pointer('p3', 'Puppy') }, true],
    [{ friends: pointer('p4', 'Puppy') }, false],
    [{ vet: pointer('v1', 'Vet') }, true],
    [{ 'address.city': 'Rome' }, true],
    [{ 'address.city': 'Oslo' }, false],
    [{ 'address.floor': { $gte: 2 } }, true],
    [{ 'address.missing.deep': { $exists: false } }, true],
    [{ 'missing.city': 'Rome' }, false],
    [{ 'vet.address.city': 'Rome' }, true],
    [{ name: { $regex: '^R' } }, true],
    [{ name: { $regex: '^r' } }, false],
    [{ name: { $regex: '^r', $options: 'i' } }, true],
    [{ motto: { $regex: '^roll$', $options: 'm' } }, true],
    [{ motto: { $regex: 'stay.+roll', $options: 's' } }, true],
    [{ motto: { $regex: '^\\Qsit. s\\E' } }, true],
    [{ motto: { $regex: '^\\Qsit\\E\\.' } }, true],
    [{ motto: { $regex: '^\\Qsit+\\E' } }, false],
    [{ $or: [{ age: 1 }, { name: 'Rex' }] }, true],
    [{ $or: [{ age: 1 }, { name: 'Max' }] }, false],
    [{ $and: [{ age: 3 }, { $or: [{ name: 'Rex' }, { age: 9 }] }] }, true],
    [{ $and: [{ age: 3 }, { name: 'Max' }] }, false],
    [{ $nor: [{ age: 1 }, { name: 'Max' }] }, true],
    [{ $nor: [{ age: 1 }, { name: 'Rex' }] }, false],
    [{ age: 3, $or: [{ tags: 'small' }] }, true],
  ])('%j: %s', (where, expected) => {
    const filter = compile(where);
    expect(filter.matches(object)).toBe(expected);
    // Twice: sift's operations hold state between calls.
    expect(filter.matches(object)).toBe(expected);
    const forLiveQuery = structuredClone(object) as Record<string, JsonObject>;
    expect(matchesQuery(forLiveQuery, structuredClone(where))).toBe(expected);
  });
});

describe("a filter differs on purpose from LiveQuery's matcher, and goes with the database", () => {
  // [where, the filter, LiveQuery]. LiveQuery compares undefined with everything, does not search arrays except for
  // plain equality, and does not decode dates below an object or in createdAt.
  test.each<[string, unknown, boolean, boolean | 'throws']>([
    ['an absent field is not less', { missing: { $lt: 5 } }, false, true],
    ['an absent field is not greater', { missing: { $gte: 5 } }, false, true],
    ['null is not less', { nothing: { $lt: 5 } }, false, true],
    ['an absent field has no text', { missing: { $regex: 'undef' } }, false, true],
    ['a number has no text', { age: { $regex: '3' } }, false, true],
    ['null equals absent', { missing: null }, true, false],
    ['null equals null', { nothing: null }, true, false],
    ['not null means present', { missing: { $ne: null } }, false, true],
    ['$eq looks into arrays', { tags: { $eq: 'small' } }, true, false],
    ['$ne looks into arrays', { tags: { $ne: 'small' } }, false, true],
    ['orders look into arrays', { scores: { $gt: 9 } }, false, true],
    ['$regex looks into each element', { tags: { $regex: '^brown' } }, true, false],
    ['$all takes pointers', { friends: { $all: [pointer('p2', 'Puppy')] } }, true, false],
    ['$all takes prefixes', { tags: { $all: [{ $regex: '^sma' }, { $regex: '^bro' }] } }, true, false],
    ['paths go through arrays', { 'visits.n': 2 }, true, false],
    ['dates below arrays', { 'visits.at': { $lt: date('2019-01-01T00:00:00.000Z') } }, false, true],
    ['createdAt is a date', { createdAt: { $gt: date('2021-01-01T00:00:00.000Z') } }, false, true],
    ['createdAt equals a date', { createdAt: date('2020-01-01T00:00:00.000Z') }, true, false],
    ['createdAt takes text in any zone', { createdAt: { $lt: '2020-01-01T01:00:00+02:00' } }, false, true],
    ['dates are no numbers', { born: { $gt: 5 } }, false, true],
    ['a pointer takes its id', { owner: 'u1' }, true, false],
    ['$eq takes an included object', { vet: { $eq: pointer('v1', 'Vet') } }, true, false],
    ['$ne takes an included object', { vet: { $ne: pointer('v1', 'Vet') } }, false, true],
    ['files by name', { photo: { __type: 'File', name: 'a.png' } }, true, false],
    ['objects by content', { address: { floor: 2, zip: '00100', city: 'Rome' } }, true, false],
    ['arrays by content', { tags: ['small', 'brown'] }, true, false],
    ['only an array can be contained', { age: { $containedBy: [3] } }, false, 'throws'],
  ])('%s', (_name, where, filter, liveQuery) => {
    expect(compile(where).matches(object)).toBe(filter);
    let own: boolean | 'throws';
    try {
      own = matchesQuery(structuredClone(object), structuredClone(where));
    } catch {
      own = 'throws';
    }
    expect(own).toBe(liveQuery);
  });
});

describe('refused, naming path and operator:', () => {
  test.each<[unknown, string]>([
    [{ owner: { $inQuery: {} } }, 'owner: $inQuery needs the database'],
    [{ owner: { $notInQuery: {} } }, 'owner: $notInQuery needs the database'],
    [{ a: { $select: {} } }, 'a: $select needs the database'],
    [{ a: { $dontSelect: {} } }, 'a: $dontSelect needs the database'],
    [{ $relatedTo: {} }, 'where: $relatedTo needs the database'],
    [{ home: { $nearSphere: {} } }, 'home: $nearSphere is not supported'],
    [{ home: { $within: {} } }, 'home: $within is not supported'],
    [{ home: { $geoWithin: {} } }, 'home: $geoWithin is not supported'],
    [{ home: { $geoIntersects: {} } }, 'home: $geoIntersects is not supported'],
    [{ a: { $text: {} } }, 'a: $text is not supported'],
    [{ $where: 'process.exit()' }, 'where: $where is not an operator'],
    [{ a: { $where: 'true' } }, 'a: $where is not an operator'],
    [{ $or: [{ 'a.b': { $where: 'true' } }] }, 'where.$or[0].a.b: $where is not an operator'],
    [{ $or: [{ $or: [{ $where: 'true' }] }] }, 'where.$or[0].$or[0]: $where is not an operator'],
    [{ a: { $all: [{ $where: 'true' }] } }, 'a: $where inside a value'],
    [{ a: { $in: [{ $where: 'true' }] } }, 'a: $where inside a value'],
    [{ a: { $eq: { $where: 'true' } } }, 'a: $where inside a value'],
    [{ a: { b: { $gt: 1 } } }, 'a: $gt inside a value'],
    [{ a: { $size: 1 } }, 'a: $size is not an operator'],
    [{ a: { $not: {} } }, 'a: $not is not an operator'],
    [{ a: { $elemMatch: {} } }, 'a: $elemMatch is not an operator'],
    [{ a: { $type: 'Function' } }, 'a: $type is not an operator'],
    [{ a: { $mod: [1, 2] } }, 'a: $mod is not an operator'],
    [{ a: { $and: [] } }, 'a: $and is not an operator'],
    [{ $eq: 1 }, 'where: $eq is not an operator'],
    [{ a: { $gt: 1, b: 2 } }, 'a: operators and plain keys'],
    [{ a: { $in: 5 } }, 'a: $in must be an array'],
    [{ a: { $all: [] } }, 'a: $all needs at least one value'],
    [{ a: { $all: ['x', { $regex: 'y' }] } }, 'a: $all must hold only $regex values or none'],
    [{ a: { $exists: 1 } }, 'a: $exists must be true or false'],
    [{ a: { $lt: null } }, 'a: $lt must be'],
    [{ a: { $lt: pointer('x') } }, 'a: $lt must be'],
    [{ a: { $gt: date('yesterday') } }, 'a: a Date needs iso'],
    [{ a: date('yesterday') }, 'a: a Date needs iso'],
    [{ a: { $regex: '(' } }, 'a: $regex is no valid'],
    [{ a: { $regex: '(?=b)' } }, 'a: $regex uses what RE2 does not have, such as lookaround, backreferences'],
    [{ a: { $regex: '(?<!b)c' } }, 'a: $regex uses what RE2 does not have'],
    [{ a: { $regex: '(b)\\1' } }, 'a: $regex uses what RE2 does not have'],
    [{ a: { $regex: '(b{1,100}){1,100}' } }, 'a: $regex uses what RE2 does not have'],
    [{ a: { $regex: '((b{1,9}){1,9}){1,9}' } }, 'a: $regex is too large: at most 500 steps'],
    [{ a: { $regex: 5 } }, 'a: $regex must be a string'],
    [{ a: { $regex: 'a', $options: 'g' } }, 'a: $options must be letters'],
    [{ a: { $regex: 'a', $options: 'ix' } }, 'a: $options x is not supported'],
    [{ a: { $options: 'i' } }, 'a: $options without $regex'],
    [{ $or: [] }, 'where.$or must be an array'],
    [{ $and: {} }, 'where.$and must be an array'],
    [{ $nor: [1] }, 'where.$nor[0] must be an object'],
    [{ _rperm: 1 }, 'where: "_rperm" is no valid key'],
    [{ 'a.constructor.name': 'Object' }, 'is no valid key'],
    [{ 'a.__proto__': 1 }, 'is no valid key'],
    [{ toJSON: 1 }, 'where must be JSON'],
    [{ 'a b': 1 }, 'is no valid key'],
    [{ ACL: 1 }, 'where: ACL cannot be queried'],
    [JSON.parse('{"__proto__":1}'), 'forbidden key'],
    [JSON.parse('{"a":{"__proto__":{"b":1}}}'), 'forbidden key'],
    [null, 'where must be an object'],
    [[], 'where must be an object'],
    ['x', 'where must be an object'],
    [undefined, 'where must be JSON'],
    [{ a: undefined }, 'where must be JSON'],
    [{ a: () => true }, 'where must be JSON'],
    [{ a: { $where: () => true } }, 'where must be JSON'],
    [{ a: /x/ }, 'where must be JSON'],
    [{ a: new Date(0) }, 'where must be JSON'],
    [{ a: NaN }, 'where must be JSON'],
    [{ a: { toJSON: 1 } }, 'where must be JSON'],
    [{ a: 'x'.repeat(maxWhereBytes) }, 'at most 10240 bytes'],
  ])('%j', (where, detail) => {
    expect(detailOf(where)).toContain(detail);
  });

  test('more than 20 levels, cycles included', () => {
    const nested = (levels: number): unknown => (levels === 0 ? 1 : { a: nested(levels - 1) });
    expect(detailOf(nested(20))).toBe('compiled');
    expect(detailOf(nested(21))).toContain('20 levels');
    const cycle: Record<string, unknown> = {};
    cycle.a = cycle;
    expect(detailOf(cycle)).toContain('20 levels');
  });
});

describe('a compiled filter', () => {
  test('does not follow later changes of the where', () => {
    const where = { age: { $in: [3] } };
    const filter = compile(where);
    where.age.$in = [];
    expect(filter.matches(object)).toBe(true);
  });

  test('counts an object that it cannot judge as a match', () => {
    const deep = JSON.parse(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`) as JsonObject;
    expect(compile({ a: 5 }).matches(deep)).toBe(true);
    const trap = new Proxy<JsonObject>(
      {},
      {
        get() {
          throw new Error('trap');
        },
      },
    );
    const filter = compile({ a: 5 });
    expect(filter.matches(trap)).toBe(true);
    expect(filter.matches({ a: 4 })).toBe(false);
  });

  test.each(['(a+)+$', '^(a|a)*$', '(a|aa)+$', '(.*a){12}$'])(
    'judges %s on text that makes backtracking endless in about the time of text that does not',
    pattern => {
      const filter = compile({ n: { $regex: pattern } });
      const length = 5000;
      const timeOf = (n: string): number => {
        const begun = performance.now();
        filter.matches({ n });
        return performance.now() - begun;
      };
      const benign = `${'b'.repeat(length)}a!`;
      const evil = `${'a'.repeat(length)}!`;
      expect(compile({ n: { $regex: '(a+)+$' } }).matches({ n: `${'a'.repeat(30)}!` })).toBe(false);
      // The least of some: others use the machine too. Backtracking takes 2 ** 5000 steps, or 5000 ** 12.
      const least = (text: string): number => Math.min(...Array.from({ length: 5 }, () => timeOf(text)));
      expect(least(evil)).toBeLessThan(100 * Math.max(least(benign), 1));
    },
  );

  test('never throws, whatever compiles and whatever it judges', () => {
    const key = fc.constantFrom('a', 'b', 'a.b', 'a.0', '__proto__', 'constructor', 'createdAt');
    const operator = fc.constantFrom(
      ...['$lt', '$lte', '$gt', '$gte', '$eq', '$ne', '$in', '$nin', '$all', '$exists', '$regex', '$options'],
      ...['$containedBy', '$and', '$or', '$nor', '$where', '$not', '$x'],
    );
    const value = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      fc.constantFrom<unknown>(date('2020-01-01T00:00:00Z'), pointer('x'), ['a'], 'a'),
    );
    const { where } = fc.letrec<{ where: unknown; branch: unknown }>(tie => ({
      branch: fc.oneof({ maxDepth: 3 }, value, fc.dictionary(operator, value, { maxKeys: 2 }), tie('where')),
      where: fc.dictionary(
        fc.oneof(key, operator),
        fc.oneof(tie('branch'), fc.array(tie('where'), { maxLength: 2 })),
        {
          maxKeys: 3,
        },
      ),
    }));
    const judged = fc
      .dictionary(fc.constantFrom('a', 'b', 'createdAt', '__proto__', 'hasOwnProperty'), value)
      .map(entries => JSON.parse(JSON.stringify(entries)) as JsonObject);
    fc.assert(
      fc.property(fc.oneof(where, fc.jsonValue()), judged, (candidate, item) => {
        const before = JSON.stringify(item);
        const filter = compileWhere(candidate);
        if (filter.kind === 'filter') expect(typeof filter.matches(item)).toBe('boolean');
        else expect(filter.detail.length).toBeLessThan(400);
        expect(JSON.stringify(item)).toBe(before);
        expect(Object.keys(Object.prototype)).toEqual([]);
      }),
      propertyRuns,
    );
  });
});

describe('a list of changed keys', () => {
  test.each<[string[], string[], boolean]>([
    [['a'], ['a'], true],
    [['a'], ['b'], false],
    [['a'], ['a.b'], true],
    [['a.b'], ['a'], true],
    [['a.b'], ['a.c'], false],
    [['a'], ['ab'], false],
    [['ab'], ['a'], false],
    [['x', 'a'], ['b', 'a.b.c'], true],
    [['a'], [], false],
    [[], ['a'], false],
  ])('%j against a save of %j: %s', (changed, keys, expected) => {
    expect(changedMatches(changed, keys)).toBe(expected);
  });
});
