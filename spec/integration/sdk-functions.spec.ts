// Parse.Cloud.run of the JavaScript SDK, in a process of its own, on functions that a receiver answers.
import { describeOnEachDatabase } from '../support/databases';
import { startSdkApplication, type SdkApplication } from '../support/sdk-application';

describeOnEachDatabase('an app', database => {
  let server: SdkApplication;

  beforeAll(async () => {
    server = await startSdkApplication(database);
  });

  afterAll(() => server.stop());

  describe('that calls functions', () => {
    it("sends Parse's types to the receiver and gets them back", async () => {
      const url = await server.functionHook('echo', 'echo');
      const outcome = await server.app.run(async Parse => {
        const file = new Parse.File('bone.txt', { base64: 'Ym9uZQ==' }, 'text/plain');
        await file.save();
        const date = new Date('2020-02-03T04:05:06.789Z');
        const puppy = Parse.Object.fromJSON({ className: 'Puppy', objectId: 'abc1234567' });
        // The SDK lets no objects into params, only pointers.
        const pointer = puppy.toPointer();
        const owner = Parse.User.current()?.toPointer();
        const place = new Parse.GeoPoint(12.5, -7.25);
        const list = [date, pointer, null, 1, 'x', { deep: { place, file } }];
        const params = { date, pointer, place, file, list, owner, empty: [] };
        const result = (await Parse.Cloud.run('echo', params)) as Record<keyof typeof params, unknown>;
        return {
          fileUrl: file.url(),
          fileName: file.name(),
          isDate: result.date instanceof Date && result.date.getTime() === date.getTime(),
          isPointer: result.pointer instanceof Parse.Object && result.pointer.equals(puppy),
          isPlace: result.place instanceof Parse.GeoPoint && result.place.equals(place),
          isFile: result.file instanceof Parse.File && result.file.equals(file),
          isUser: result.owner instanceof Parse.User && result.owner.id === owner?.objectId,
          isNested: Array.isArray(result.list) && result.list[1] instanceof Parse.Object,
          empty: result.empty,
        };
      });
      const { fileUrl, fileName, empty, ...decoded } = outcome;
      expect(Object.entries(decoded).filter(([, right]) => !right)).toEqual([]);
      expect(empty).toEqual([]);
      const date = { __type: 'Date', iso: '2020-02-03T04:05:06.789Z' };
      const pointer = { __type: 'Pointer', className: 'Puppy', objectId: 'abc1234567' };
      const place = { __type: 'GeoPoint', latitude: 12.5, longitude: -7.25 };
      const file = { __type: 'File', name: fileName, url: fileUrl };
      const [call] = await server.receiver.received(url, 1);
      expect(call?.body).toMatchObject({ functionName: 'echo', user: server.sentUser });
      expect(call?.body.params).toEqual({
        date,
        pointer,
        place,
        file,
        list: [date, pointer, null, 1, 'x', { deep: { place, file } }],
        owner: { __type: 'Pointer', className: '_User', objectId: server.user.id },
        empty: [],
      });
    });

    it('gets the types that the receiver made up', async () => {
      await server.functionHook('types', 'types');
      const types = await server.app.run(async Parse => {
        const result = (await Parse.Cloud.run('types')) as Record<string, unknown>;
        const describe = (value: unknown): unknown => {
          if (value instanceof Date) return `Date ${value.toISOString()}`;
          if (value instanceof Parse.Object) return `${value.className} ${value.id ?? ''}`;
          if (value instanceof Parse.GeoPoint) return `GeoPoint ${value.latitude} ${value.longitude}`;
          if (value instanceof Parse.File) return `File ${value.name()} ${value.url() ?? ''}`;
          if (Array.isArray(value)) return value.map(describe);
          if (typeof value !== 'object' || value === null) return value;
          return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, describe(inner)]));
        };
        return describe(result);
      });
      const date = 'Date 2021-03-04T05:06:07.089Z';
      expect(types).toEqual({
        date,
        pointer: 'Puppy abc1234567',
        place: 'GeoPoint 12.5 -7.25',
        file: 'File bone.txt http://files.example/bone.txt',
        nested: { list: [date, 'Puppy abc1234567', null, 1, 'x', { deep: { date } }] },
      });
    });

    it.each([
      ['a list', 'list', '[1,null,"2021-03-04T05:06:07.089Z"] true'],
      ['null', 'null', 'null false'],
      ['zero', 'zero', '0 false'],
      ['an empty 204 as undefined', 'silent', 'undefined false'],
    ])('gets %s', async (_what, rule, expected) => {
      await server.functionHook(`gives_${rule}`, rule);
      const result = await server.app.run(async (Parse, name) => {
        const value: unknown = await Parse.Cloud.run(name);
        return `${JSON.stringify(value)} ${Array.isArray(value) && value[2] instanceof Date}`;
      }, `gives_${rule}`);
      expect(result).toBe(expected);
    });

    it.each([
      ['with its code', 'refuse', [4713, 'not today']],
      ['in words alone as script failed', 'refuse-in-words', [141, 'not in these words']],
    ])("gets the receiver's error %s, after one call", async (_what, rule, expected) => {
      const name = rule.replaceAll('-', '_');
      const url = await server.functionHook(name, rule);
      const refusal = await server.app.run(async (Parse, name) => {
        const error: unknown = await Parse.Cloud.run(name).catch((reason: unknown) => reason);
        return error instanceof Parse.Error && [error.code, error.message];
      }, name);
      expect(refusal).toEqual(expected);
      expect(await server.receiver.received(url, 1)).toHaveLength(1);
    });
  });
});
