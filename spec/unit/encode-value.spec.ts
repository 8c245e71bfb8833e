// From the SDK's values to REST JSON: types kept, secrets out, whatever a value holds.
import * as sdk from 'parse/node';
import { RestEncoder } from '../../src/parse/encode-value';
import { guardObject } from '../../src/parse/guard-object';
import type { ParseObject, ParseSdk } from '../../src/parse/internals';

// The SDK has no types for what this package uses of it.
const Parse = ((sdk as { default?: unknown }).default ?? sdk) as ParseSdk & {
  File: { fromJSON(json: object): unknown };
  GeoPoint: new (latitude: number, longitude: number) => unknown;
  ACL: new (json: object) => unknown;
};
const encoder = new RestEncoder(Parse);
const fromJSON = (json: object): ParseObject => Parse.Object.fromJSON(json);

describe('RestEncoder', () => {
  it('writes an object in REST form with className', () => {
    const json = {
      className: 'A',
      objectId: 'x',
      createdAt: '2020-01-01T00:00:00.000Z',
      updatedAt: '2020-01-02T00:00:00.000Z',
      text: 'ö',
      zero: 0,
      no: false,
      nothing: null,
      list: [1, [null], { a: {} }],
      when: { __type: 'Date', iso: '2020-01-01T00:00:00.000Z' },
      at: { __type: 'GeoPoint', latitude: 1, longitude: 2 },
      area: {
        __type: 'Polygon',
        coordinates: [
          [0, 0],
          [0, 1],
          [1, 1],
          [0, 0],
        ],
      },
      bytes: { __type: 'Bytes', base64: 'AAEC' },
      file: { __type: 'File', name: 'a.png', url: 'http://127.0.0.1/a.png' },
      to: { __type: 'Pointer', className: 'B', objectId: 'y' },
      included: { __type: 'Object', className: 'B', objectId: 'z', n: 1 },
      members: { __type: 'Relation', className: 'B' },
      ACL: { '*': { read: true } },
    };
    expect(encoder.object(fromJSON(json))).toEqual(json);
  });

  it('writes pending operations as the values they lead to', () => {
    const object = fromJSON({ className: 'A', objectId: 'x', n: 1, tags: ['a'], gone: 1 });
    object.set('n', { __op: 'Increment', amount: 4 });
    object.set('tags', { __op: 'Add', objects: ['b'] });
    object.set('gone', { __op: 'Delete' });
    expect(encoder.object(object)).toEqual({ className: 'A', objectId: 'x', n: 5, tags: ['a', 'b'] });
    expect(encoder.update(object, object._getSaveJSON())).toEqual({
      n: { __op: 'Increment', amount: 4 },
      tags: { __op: 'Add', objects: ['b'] },
      gone: { __op: 'Delete' },
    });
  });

  it('writes what JSON has no word for as null, or leaves it out', () => {
    expect(
      encoder.value({ nan: NaN, inf: Infinity, none: undefined, fn: () => 1, symbol: Symbol('x') }),
    ).toEqual({
      nan: null,
      inf: null,
    });
    expect(encoder.value([undefined, new Date(NaN)])).toEqual([null, null]);
    expect(encoder.value(Buffer.from([0, 1, 2]))).toEqual({ __type: 'Bytes', base64: 'AAEC' });
  });

  it.each([
    [
      '_User',
      { password: 'p', sessionToken: 's', authData: { x: 1 }, hashed_password: 'h', _hashed_password: 'h' },
    ],
    ['_Session', { sessionToken: 's' }],
    ['_Installation', { deviceToken: 'd' }],
    ['Other', { _anything: 1 }],
  ])('keeps the secrets of %s, wherever its objects are', (className, secrets) => {
    const user = { className, objectId: 'u', name: 'shown', ...secrets };
    const shown = { className, objectId: 'u', name: 'shown' };
    expect(encoder.object(fromJSON(user))).toEqual(shown);
    const holder = fromJSON({
      className: 'A',
      one: { __type: 'Object', ...user },
      many: [{ __type: 'Object', ...user }],
    });
    const nested = { __type: 'Object', ...shown };
    expect(encoder.object(holder)).toEqual({ className: 'A', one: nested, many: [nested] });
    expect(encoder.update(fromJSON({ className }), { ...secrets, name: 'x' })).toEqual({ name: 'x' });
  });

  it('takes names of prototypes for ordinary names', () => {
    const value = JSON.parse(
      '{"className":"constructor","toString":1,"__proto__":{"polluted":true}}',
    ) as unknown;
    expect(encoder.value(value)).toEqual({ className: 'constructor', toString: 1 });
    expect(encoder.object(fromJSON({ className: 'toString', objectId: 'x', a: 1 }))).toEqual({
      className: 'toString',
      objectId: 'x',
      a: 1,
    });
  });

  it('ends at an object that holds itself', () => {
    const object = fromJSON({ className: 'A', objectId: 'x', n: 1 });
    object.set('self', object);
    object.set('list', [
      fromJSON({
        className: 'B',
        objectId: 'y',
        back: { __type: 'Object', className: 'A', objectId: 'x', n: 1 },
      }),
    ]);
    expect(encoder.object(object)).toEqual({
      className: 'A',
      objectId: 'x',
      n: 1,
      self: { __type: 'Pointer', className: 'A', objectId: 'x' },
      list: [
        {
          __type: 'Object',
          className: 'B',
          objectId: 'y',
          back: { __type: 'Pointer', className: 'A', objectId: 'x' },
        },
      ],
    });
  });

  it('refuses more than 200 levels', () => {
    let deep: unknown = 1;
    for (let n = 0; n < 200; n++) deep = [deep];
    expect(() => encoder.value(deep)).not.toThrow();
    expect(() => encoder.value([deep])).toThrow(RangeError);
    let deeper: unknown = 1;
    for (let n = 0; n < 100_000; n++) deeper = [deeper];
    expect(() => encoder.value(deeper)).toThrow('a value is nested deeper than 200 levels');
  });
});

describe('guardObject', () => {
  const parts = { sdk: Parse, encoder };
  const config = {
    applicationId: 'app',
    mount: 'http://127.0.0.1/parse',
    filesController: {
      adapter: { getFileLocation: (_config: unknown, name: string) => `http://files/${name}` },
    },
  };
  const withFile = (): ParseObject => {
    const object = fromJSON({ className: 'A' });
    object.set('file', Parse.File.fromJSON({ __type: 'File', name: 'a b' }));
    object.set('list', [{ deep: Parse.File.fromJSON({ __type: 'File', name: 'c', url: 'http://kept/c' }) }]);
    return object;
  };

  it('gives files without url the one of the adapter', () => {
    const object = withFile();
    expect(() => object.toJSON()).toThrow();
    guardObject(object, config, parts);
    expect(object.toJSON()).toEqual({
      file: { __type: 'File', name: 'a b', url: 'http://files/a b' },
      list: [{ deep: { __type: 'File', name: 'c', url: 'http://kept/c' } }],
    });
    expect(object._getSaveJSON()).toMatchObject({ file: { name: 'a b' } });
  });

  it.each([
    ['answers later', { getFileLocation: () => Promise.reject(new Error('later')) }],
    [
      'throws',
      {
        getFileLocation: () => {
          throw new Error('no');
        },
      },
    ],
    ['is not there', undefined],
  ])('gives the route of Parse Server when the adapter %s', (_what, adapter) => {
    const object = withFile();
    guardObject(object, { ...config, filesController: { adapter } }, parts);
    expect(object.toJSON()).toMatchObject({ file: { url: 'http://127.0.0.1/parse/files/app/a%20b' } });
  });

  it('lets toJSON answer for what the SDK cannot write', () => {
    const object = fromJSON({ className: 'A', objectId: 'x' });
    object.set('never', new Date(NaN));
    object.set('to', fromJSON({ className: 'B' }));
    guardObject(object, config, parts);
    expect(object.toJSON()).toEqual({
      className: 'A',
      objectId: 'x',
      never: null,
      to: { __type: 'Pointer', className: 'B', objectId: null },
    });
  });
});
