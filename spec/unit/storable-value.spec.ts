// Which values of a reply a save can carry at all.
import { findUnstorable } from '../../src/blocking/storable-value';
import type { JsonValue } from '../../src/shared/json';

const pointer = { __type: 'Pointer', className: 'A', objectId: 'x' };
const triangle = { __type: 'Polygon', coordinates: [[0, 0], [0, 1], [1, 0]] }; // prettier-ignore

it.each<[string, JsonValue]>([
  ['null', null],
  ['text beyond ASCII', 'é😀'],
  ['nested plain values', { a: [1, { b: true, c: null }] }],
  ['Delete', { __op: 'Delete' }],
  ['Increment', { __op: 'Increment', amount: -1.5 }],
  ['Add', { __op: 'Add', objects: [] }],
  ['AddRelation', { __op: 'AddRelation', objects: [pointer] }],
  ['Batch', { __op: 'Batch', ops: [{ __op: 'RemoveRelation', objects: [pointer] }] }],
  ['a date', { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' }],
  ['a date without time', { __type: 'Date', iso: '2020-02-29' }],
  ['a date with an offset', { __type: 'Date', iso: '0001-12-31T23:59:59+02:00' }],
  ['a pointer in a list', [pointer]],
  ['a relation', { __type: 'Relation', className: 'A' }],
  ['a file', { __type: 'File', name: 'a.txt' }],
  ['bytes', { __type: 'Bytes', base64: '' }],
  ['a point at a pole', { __type: 'GeoPoint', latitude: -90, longitude: 180 }],
  ['a polygon', triangle],
  ['an unknown type, which Parse refuses by name', { __type: 'Wormhole' }],
])('%s passes', (_name, value) => {
  expect(findUnstorable('key', value)).toBeUndefined();
});

it.each<[string, JsonValue]>([
  ['an unknown op', { __op: 'Explode' }],
  ['an op that is no text', { __op: {} }],
  ['Increment by a text', { __op: 'Increment', amount: '1' }],
  ['SetOnInsert, which is for Parse alone', { __op: 'SetOnInsert', amount: 0 }],
  ['AddRelation of nothing', { __op: 'AddRelation', objects: [] }],
  ['Batch of nothing', { __op: 'Batch', ops: [] }],
  ['Remove of null', { __op: 'Remove', objects: null }],
  ['AddUnique of a broken date', { __op: 'AddUnique', objects: [{ __type: 'Date', iso: 1 }] }],
  ['AddRelation of no pointer', { __op: 'AddRelation', objects: [{ ...pointer, objectId: 1 }] }],
  ['Batch of other ops', { __op: 'Batch', ops: [{ __op: 'Delete' }] }],
])('%s is a malformed op', (_name, value) => {
  expect(findUnstorable('key', value)).toBe('has a malformed __op');
});

it.each<[string, JsonValue]>([
  ['a date that is none', { __type: 'Date', iso: 'never' }],
  ['a date of a number in text', { __type: 'Date', iso: '5' }],
  ['a date beyond the year 9999', { __type: 'Date', iso: '+275760-09-13T00:00:00.000Z' }],
  ['a date in the year 0', { __type: 'Date', iso: '0000-01-01T00:00:00.000Z' }],
  ['a 30th of February', { __type: 'Date', iso: '2020-02-30T00:00:00.000Z' }],
  ['a 29th of February 1900', { __type: 'Date', iso: '1900-02-29T00:00:00.000Z' }],
  ['a relation to a class that cannot be', { __type: 'Relation', className: 'a b' }],
  ['a relation to a number', { __type: 'Relation', className: 5 }],
  ['a pointer below a list', [{ a: { __type: 'Pointer' } }]],
  ['bytes of a number', { __type: 'Bytes', base64: 5 }],
  ['an unnamed file', { __type: 'File' }],
  ['a point beyond the poles', { __type: 'GeoPoint', latitude: 90.1, longitude: 0 }],
  ['a polygon of one point', { ...triangle, coordinates: [[0, 0], [0, 0], [0, 0]] }], // prettier-ignore
  ['a polygon of texts', { ...triangle, coordinates: [['a', 'b'], ['c', 'd'], ['e', 'f']] }], // prettier-ignore
])('%s is a malformed type', (_name, value) => {
  expect(findUnstorable('key', value)).toBe('holds a malformed __type');
});

it.each<[string, JsonValue]>([
  ['U+0000', 'a\0b'],
  ['half a surrogate pair', { a: ['\ud800'] }],
  ['U+0000 in a key', { 'a\0': 1 }],
])('%s is text that cannot be stored', (_name, value) => {
  expect(findUnstorable('key', value)).toBe('holds text that cannot be stored');
});

it('a number beyond all numbers is found', () => {
  expect(findUnstorable('key', [Number.POSITIVE_INFINITY])).toBe('holds a number beyond all numbers');
});

it.each<JsonValue>([null, {}, { '*': { read: true, write: false } }, { 'role:a': {} }, { __op: 'Delete' }])(
  '%j passes as ACL',
  value => {
    expect(findUnstorable('ACL', value)).toBeUndefined();
  },
);

it.each<JsonValue>([
  5,
  'x',
  [1],
  { '*': 'read' },
  { '*': null },
  { '*': { fly: true } },
  { '*': { read: 1 } },
])('%j is no ACL', value => {
  expect(findUnstorable('ACL', value)).toBe('is no ACL');
});
