import fc from 'fast-check';
import { computeOverrides, mergeIntoSave, nestDottedKeys } from '../../src/blocking/apply-before-save';
import type { JsonObject, JsonValue } from '../../src/shared/json';
import { isRestEqual } from '../../src/shared/rest-equality';
import { propertyRuns } from '../support/property-runs';

const sent: JsonObject = {
  className: 'Puppy',
  objectId: 'p1',
  createdAt: '2020-01-01T00:00:00.000Z',
  updatedAt: '2020-01-02T00:00:00.000Z',
  name: 'Rex',
  age: 3,
  born: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
  owner: { __type: 'Pointer', className: '_User', objectId: 'u1' },
  photo: { __type: 'File', name: 'a.png', url: 'http://x/a.png' },
  home: { __type: 'GeoPoint', latitude: 1, longitude: 2 },
  friends: { __type: 'Relation', className: 'Puppy' },
  ACL: { '*': { read: true }, u1: { read: true, write: true } },
  tags: ['a', { b: 1 }],
  obj: { x: 5, y: { z: 1 } },
  gone: null,
};

function merge(reply: JsonObject): unknown {
  const overrides = computeOverrides({ reply, sent, mode: 'merge' });
  return overrides.kind === 'overrides' ? overrides.values : overrides.kind;
}

const deleteOp = { __op: 'Delete' };

describe('in merge mode', () => {
  test('an echo of the object changes nothing', () => {
    expect(merge(structuredClone(sent))).toEqual({});
  });

  test.each<[string, JsonObject]>([
    ['the same instant in another zone', { born: { iso: '2020-01-01T01:00:00+01:00', __type: 'Date' } }],
    ['the same instant without milliseconds', { born: { __type: 'Date', iso: '2020-01-01T00:00:00Z' } }],
    ['the same instant as a plain string', { born: '2020-01-01T00:00:00.000Z' }],
    [
      'the owner in full',
      { owner: { __type: 'Object', className: '_User', objectId: 'u1', username: 'a', n: 1 } },
    ],
    ['the file with another url', { photo: { __type: 'File', name: 'a.png', url: 'https://cdn/a.png' } }],
    ['the point with keys in another order', { home: { longitude: 2, latitude: 1, __type: 'GeoPoint' } }],
    ['the relation', { friends: { __type: 'Relation', className: 'Puppy' } }],
    ['the ACL with keys in another order', { ACL: { u1: { write: true, read: true }, '*': { read: true } } }],
    ['nested objects with keys in another order', { obj: { y: { z: 1 }, x: 5 } }],
    ['a dotted key of the same value', { 'obj.y.z': 1, 'tags.1': { b: 1 } }],
    [
      'class, id and times',
      { className: 'X', objectId: 'q', createdAt: 'x', updatedAt: 5, __type: 'Object' },
    ],
    ['a deletion of what is not there', { nickname: deleteOp, 'obj.q': deleteOp, 'age.x': deleteOp }],
    ['null for what is not there', { nickname: null }],
  ])('%s is left alone', (_name, reply) => {
    expect(merge(reply)).toEqual({});
  });

  test.each<[string, JsonObject, JsonObject?]>([
    ['a new value', { name: 'Max' }],
    ['a new key', { nickname: 'M' }],
    ['another type', { age: '3' }],
    ['another instant', { born: { __type: 'Date', iso: '2020-01-01T00:00:00.001Z' } }],
    ['another pointer', { owner: { __type: 'Pointer', className: '_User', objectId: 'u2' } }],
    [
      'another object in full, as a pointer',
      { owner: { __type: 'Object', className: '_User', objectId: 'u2', username: 'b' } },
      { owner: { __type: 'Pointer', className: '_User', objectId: 'u2' } },
    ],
    [
      'objects in an array, as pointers',
      { tags: [1, { __type: 'Object', className: 'T', objectId: 't', x: 1 }] },
      { tags: [1, { __type: 'Pointer', className: 'T', objectId: 't' }] },
    ],
    ['an ACL with a right less', { ACL: { '*': { read: true }, u1: { read: true } } }],
    ['a list in another order', { tags: [{ b: 1 }, 'a'] }],
    ['a shorter list', { tags: ['a'] }],
    ['an object with a key less', { obj: { x: 5 } }],
    ['a dotted key', { 'obj.x': 6 }],
    ['a deletion of what is there', { name: deleteOp, 'obj.x': deleteOp }],
    ['null for what is there', { name: null }],
    ['an op', { age: { __op: 'Increment', amount: 1 } }],
    [
      'a relation op',
      {
        friends: {
          __op: 'AddRelation',
          objects: [{ __type: 'Pointer', className: '_User', objectId: 'u2' }],
        },
      },
    ],
    ['0 for absent', { count: 0 }],
  ])('%s overrides', (_name, reply, values = reply) => {
    expect(merge(reply)).toEqual(values);
  });

  test.each([
    ...['_rperm', '_wperm', '__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'length'],
    ...[
      '',
      '1a',
      'a b',
      'a-b',
      'a.',
      '.a',
      'a..b',
      'a.__proto__',
      'a._b',
      'a.constructor.prototype',
      '$inc',
      'é',
    ],
  ])('a key %j makes the reply invalid', key => {
    const reply = JSON.parse(JSON.stringify({ name: 'x' }).replace('name', key)) as JsonObject;
    for (const mode of ['merge', 'replace'] as const) {
      const result = computeOverrides({ reply, sent, mode });
      expect(result).toEqual({ kind: 'invalid', detail: expect.stringContaining('no valid field name') });
    }
  });

  test.each<JsonValue>(['Explode', 5, null])('an op %j makes the reply invalid', op => {
    expect(merge({ age: { __op: op } })).toBe('invalid');
  });

  test('the detail of an invalid reply is short', () => {
    const result = computeOverrides({ reply: { [`_${'x'.repeat(500)}`]: 1 }, sent, mode: 'merge' });
    expect(result.kind === 'invalid' && result.detail.length < 120).toBe(true);
  });
});

describe('in replace mode', () => {
  test('the save is exactly the keys of the reply, without those that Parse sets', () => {
    const result = computeOverrides({ reply: { ...sent, nickname: deleteOp }, sent, mode: 'replace' });
    const { className: _1, objectId: _2, createdAt: _3, updatedAt: _4, ...rest } = sent;
    expect(result).toEqual({ kind: 'overrides', values: { ...rest, nickname: deleteOp } });
  });
});

describe('merging into the save', () => {
  const increment = { __op: 'Increment', amount: 2 };
  test.each<[string, JsonObject, Record<string, JsonValue>, JsonObject]>([
    ['keys not named keep their ops', { n: increment, a: 1 }, { b: 2 }, { n: increment, a: 1, b: 2 }],
    ['a named key loses its op', { n: increment }, { n: 7 }, { n: 7 }],
    [
      'a whole object takes the place of its dotted keys',
      { 'obj.x': 1, 'obj.y.z': 2, object: 3 },
      { obj: { q: 1 } },
      { obj: { q: 1 }, object: 3 },
    ],
    ['a dotted key stands beside others', { 'obj.x': 1 }, { 'obj.y': 2 }, { 'obj.x': 1, 'obj.y': 2 }],
    ['a dotted key replaces the same', { 'obj.x': increment }, { 'obj.x': 2 }, { 'obj.x': 2 }],
    ['a dotted key replaces deeper ones', { 'obj.x.y': 1 }, { 'obj.x': 2 }, { 'obj.x': 2 }],
    [
      'a dotted key is set inside a pending object',
      { obj: { x: 1, y: 1 } },
      { 'obj.x': 2 },
      { obj: { x: 2, y: 1 } },
    ],
    ['a deep one too', { obj: { y: 1 } }, { 'obj.a.b': 2 }, { obj: { y: 1, a: { b: 2 } } }],
    ['inside the nearest pending one', { 'obj.a': { c: 1 } }, { 'obj.a.b': 2 }, { 'obj.a': { c: 1, b: 2 } }],
    ['into a pending deletion', { obj: deleteOp }, { 'obj.x': 2 }, { obj: { x: 2 } }],
    ['into a pending null', { obj: null }, { 'obj.x': 2 }, { obj: { x: 2 } }],
    [
      'a dotted deletion removes from a pending object',
      { obj: { x: 1, y: 1 } },
      { 'obj.x': deleteOp },
      { obj: { y: 1 } },
    ],
    [
      'a deep deletion of nothing changes nothing',
      { obj: { y: 1 } },
      { 'obj.a.b': deleteOp },
      { obj: { y: 1 } },
    ],
    ['a deletion in a deletion is one', { obj: deleteOp }, { 'obj.x': deleteOp }, { obj: deleteOp }],
    [
      'what cannot be combined is left to Parse',
      { obj: { __type: 'Pointer', className: 'A', objectId: 'a' } },
      { 'obj.x': 2 },
      { obj: { __type: 'Pointer', className: 'A', objectId: 'a' }, 'obj.x': 2 },
    ],
    [
      'nor an op inside a value',
      { obj: { x: 1 } },
      { 'obj.x': increment },
      { obj: { x: 1 }, 'obj.x': increment },
    ],
  ])('%s', (_name, save, overrides, expected) => {
    const before = structuredClone(save);
    expect(mergeIntoSave({ save, overrides })).toEqual(expected);
    expect(save).toEqual(before);
  });
});

describe('whatever arrives', () => {
  const key = fc.oneof(
    fc.stringMatching(/^[A-Za-z][0-9A-Za-z_]{0,6}(\.[a-z0-9]{1,3})?$/),
    fc.constantFrom(
      '__proto__',
      'constructor',
      'prototype',
      'a.__proto__',
      'obj',
      'obj.x',
      'toString',
      '__type',
    ),
  );
  const value = fc.oneof(
    fc.constantFrom<unknown>(
      ...Object.values(sent),
      deleteOp,
      { __op: 'Add', objects: [1] },
      { __type: 'Date' },
    ),
    fc.jsonValue({ maxDepth: 4 }),
  );
  const json = fc
    .array(fc.tuple(key, value), { maxLength: 8 })
    // Through JSON text, so that __proto__ is an own key as in a real reply.
    .map(
      entries =>
        JSON.parse(`{${entries.map(([k, v]) => `"${k}":${JSON.stringify(v)}`).join()}}`) as JsonObject,
    );

  test('nothing throws and no prototype is touched', () => {
    fc.assert(
      fc.property(json, json, json, fc.constantFrom('merge', 'replace'), (reply, object, save, mode) => {
        const result = computeOverrides({ reply, sent: object, mode });
        if (result.kind !== 'overrides') return;
        const merged = mergeIntoSave({ save, overrides: result.values });
        for (const made of [result.values, merged])
          expect(Object.getPrototypeOf(made)).toBe(Object.prototype);
        expect(JSON.parse(JSON.stringify(result.values))).toEqual(result.values);
        expect(Object.keys(Object.prototype)).toEqual([]);
        expect(({} as Record<string, unknown>).polluted).toBeUndefined();
      }),
      propertyRuns,
    );
  });

  test('an echo of arbitrary objects yields no overrides', () => {
    const field = fc
      .stringMatching(/^[a-z][0-9A-Za-z_]{0,6}$/)
      .filter(name => !(name in {}) && name !== 'length');
    fc.assert(
      fc.property(fc.dictionary(field, fc.jsonValue({ maxDepth: 5 }), { noNullPrototype: true }), object => {
        const copy = JSON.parse(JSON.stringify(object)) as JsonObject;
        const echo = Object.fromEntries(Object.entries(copy).reverse());
        expect(computeOverrides({ reply: echo, sent: copy, mode: 'merge' })).toEqual({
          kind: 'overrides',
          values: {},
        });
      }),
      propertyRuns,
    );
  });

  test('what was applied once is left alone the second time', () => {
    const field = fc.stringMatching(/^[a-d]$/);
    const plain = fc.dictionary(field, fc.jsonValue({ maxDepth: 3 }), { noNullPrototype: true });
    fc.assert(
      fc.property(plain, plain, (first, second) => {
        const object = JSON.parse(JSON.stringify(first)) as JsonObject;
        const reply = JSON.parse(JSON.stringify(second)) as JsonObject;
        const once = computeOverrides({ reply, sent: object, mode: 'merge' });
        if (once.kind !== 'overrides') return;
        const after = mergeIntoSave({ save: object, overrides: once.values });
        expect(computeOverrides({ reply, sent: after, mode: 'merge' })).toEqual({
          kind: 'overrides',
          values: {},
        });
      }),
      propertyRuns,
    );
  });

  test('equality is reflexive and symmetric', () => {
    fc.assert(
      fc.property(value, value, (a, b) => {
        expect(isRestEqual(a as JsonValue, structuredClone(a) as JsonValue)).toBe(true);
        expect(isRestEqual(a as JsonValue, b as JsonValue)).toBe(isRestEqual(b as JsonValue, a as JsonValue));
      }),
      propertyRuns,
    );
  });
});

describe('nesting the dotted keys of a new object', () => {
  it('sets them below objects that are there or made for them', () => {
    expect(nestDottedKeys({ 'a.b': 1, 'a.c.d': 2, e: { f: 3 }, 'e.g': 4 })).toEqual({
      a: { b: 1, c: { d: 2 } },
      e: { f: 3, g: 4 },
    });
  });

  it('leaves a key alone where something else is in the way, and drops what deletes nothing', () => {
    expect(nestDottedKeys({ a: 5, 'a.b': 1, 'c.d': { __op: 'Delete' } })).toEqual({ a: 5, 'a.b': 1 });
  });

  it('gives back the same change when there is none', () => {
    const change = { a: 1 };
    expect(nestDottedKeys(change)).toBe(change);
  });
});
