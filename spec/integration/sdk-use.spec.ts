// The JavaScript SDK in a process of its own, and in the server's: saves, deletes and queries through hooks, without
// the master key. sdk-functions.spec.ts has its calls of functions.
import { describeOnEachDatabase } from '../support/databases';
import { startSdkApplication, type SdkApplication } from '../support/sdk-application';
import type { Sdk } from '../support/sdk-client';

function cloud(Parse: Sdk): void {
  // A request has headers only if it came over HTTP.
  Parse.Cloud.beforeSave('Walk', ({ object, headers }) => {
    object.set('overHttp', (headers as unknown) !== undefined);
  });
  Parse.Cloud.define('walk', async ({ user }) => {
    const sessionToken = user?.getSessionToken() ?? '';
    const walk = new Parse.Object('Walk');
    await walk.save({ name: 'home' }, { sessionToken });
    const [found] = await new Parse.Query('Walk').equalTo('name', 'HOME').find({ sessionToken });
    await walk.destroy({ sessionToken });
    const { name, overHttp } = walk.attributes as Record<string, unknown>;
    return { name, overHttp, found: found?.id === walk.id };
  });
  Parse.Cloud.define('relay', ({ params }) => Parse.Cloud.run('relayed', params));
}

describeOnEachDatabase('an app', database => {
  let server: SdkApplication;

  beforeAll(async () => {
    server = await startSdkApplication(database, cloud);
  });

  afterAll(() => server.stop());

  describe('with the JavaScript SDK', () => {
    it('has in its object what the receiver made of it after a save', async () => {
      const url = await server.hook('Puppy', 'beforeSave', 'shout');
      const puppy = await server.app.run(async Parse => {
        const puppy = new Parse.Object('Puppy');
        puppy.set({ name: 'rex', age: 1, secretWish: 'a cat', born: new Date('2020-02-03T04:05:06.789Z') });
        puppy.increment('age', 2);
        await puppy.save();
        const { createdAt: _createdAt, updatedAt: _updatedAt, ...rest } = puppy.toJSON();
        return { id: puppy.id, isNew: puppy.isNew(), dirty: puppy.dirty(), rest };
      });
      const values = {
        objectId: puppy.id,
        name: 'REX',
        seen: true,
        age: 3,
        born: { __type: 'Date', iso: '2020-02-03T04:05:06.789Z' },
      };
      expect(puppy).toEqual({ id: expect.any(String), isNew: false, dirty: false, rest: values });
      const { body: stored } = await server.parse.master('GET', `/classes/Puppy/${puppy.id}`);
      expect(stored).toEqual({ ...values, createdAt: stored.createdAt, updatedAt: stored.updatedAt });
      const [call] = await server.receiver.received(url, 1);
      expect(call?.body).toMatchObject({
        triggerName: 'beforeSave',
        object: { className: 'Puppy', name: 'rex', age: 3 },
        master: false,
        user: server.sentUser,
        installationId: server.user.installationId,
      });
      expect(JSON.stringify(call)).not.toContain(server.user.sessionToken);
    });

    it('has in its object what the receiver made of it after an update', async () => {
      const url = await server.hook('Updated', 'beforeSave', 'shout');
      const values = await server.app.run(async Parse => {
        const puppy = await new Parse.Object('Updated').save({ name: 'rex', toys: ['ball'], age: 1 });
        puppy.set('name', 'max');
        puppy.addUnique('toys', 'bone');
        await puppy.save();
        // Parse Server keeps no order in AddUnique on PostgreSQL.
        const toys = [...puppy.get('toys')].sort();
        return { name: puppy.get('name'), toys, age: puppy.get('age'), dirty: puppy.dirty() };
      });
      expect(values).toEqual({ name: 'MAX', toys: ['ball', 'bone'], age: 1, dirty: false });
      const [, update] = await server.receiver.received(url, 2);
      expect(update?.body).toMatchObject({
        object: { name: 'max', toys: ['ball', 'bone'], age: 1 },
        original: { name: 'REX', toys: ['ball'] },
        update: { name: 'max', toys: { __op: 'AddUnique', objects: ['bone'] } },
      });
    });

    it('keeps its relations', async () => {
      const url = await server.hook('Related', 'beforeSave', 'shout');
      const friends = await server.app.run(async Parse => {
        const puppy = new Parse.Object('Related');
        puppy.set('name', 'rex');
        const owner = Parse.User.current();
        if (owner) puppy.relation('friends').add(owner);
        await puppy.save();
        const found = await puppy.relation('friends').query().find();
        return { name: puppy.get('name'), ids: found.map(({ id }) => id) };
      });
      expect(friends).toEqual({ name: 'REX', ids: [server.user.id] });
      const [call] = await server.receiver.received(url, 1);
      expect(call?.body.object.friends).toEqual({ __type: 'Relation', className: '_User' });
    });

    it('keeps the ACL of an object that only its owner may read', async () => {
      const url = await server.hook('Private', 'beforeSave', 'shout');
      const id = await server.app.run(async Parse => {
        const puppy = new Parse.Object('Private', { name: 'rex' });
        const owner = Parse.User.current();
        if (owner) puppy.setACL(new Parse.ACL(owner));
        await puppy.save();
        await puppy.save({ name: 'max' });
        return puppy.id;
      });
      const path = `/classes/Private/${id}`;
      const ACL = { [server.user.id]: { read: true, write: true } };
      const stored = await server.parse.client('GET', path, { sessionToken: server.user.sessionToken });
      expect(stored.body).toMatchObject({ name: 'MAX', ACL });
      const { sessionToken } = await server.parse.signUp();
      expect(await server.parse.client('GET', path, { sessionToken })).toMatchObject({ body: { code: 101 } });
      const stranger = await server.parse.client('PUT', path, { sessionToken, body: { name: 'mine' } });
      expect(stranger.body).toMatchObject({ code: 101 });
      const calls = await server.receiver.received(url, 2);
      expect(calls.map(({ body }) => body.object.ACL as unknown)).toEqual([ACL, ACL]);
    });

    it('saves what it made while it was offline in batches', async () => {
      const url = await server.hook('Offline', 'beforeSave', 'shout');
      const names = await server.app.run(async Parse => {
        const puppies = ['ada', 'bea', 'cleo', 'dot', 'eve'].map(
          name => new Parse.Object('Offline', { name }),
        );
        await Parse.Object.pinAll(puppies);
        await Parse.Object.saveAll(puppies, { batchSize: 2 });
        const pinned = await new Parse.Query('Offline').fromLocalDatastore().ascending('name').find();
        return {
          saved: puppies.map(it => it.get('name')),
          pinned: pinned.map(it => it.get('name') as unknown),
        };
      });
      const shouted = ['ADA', 'BEA', 'CLEO', 'DOT', 'EVE'];
      expect(names).toEqual({ saved: shouted, pinned: shouted });
      const { body } = await server.parse.client('GET', '/classes/Offline?order=name');
      expect((body.results as { name: string }[]).map(({ name }) => name)).toEqual(shouted);
      expect(await server.receiver.received(url, 5)).toHaveLength(5);
    });

    it('learns from a Parse.Error why a save was refused, after one call', async () => {
      const url = await server.hook('Refused', 'beforeSave', 'shout');
      const refusal = await server.app.run(async Parse => {
        const puppy = new Parse.Object('Refused', { age: 1 });
        const error: unknown = await puppy.save().catch((reason: unknown) => reason);
        if (!(error instanceof Parse.Error)) return 'no Parse.Error';
        return { code: error.code, message: error.message, isNew: puppy.isNew(), dirty: puppy.dirty('age') };
      });
      expect(refusal).toEqual({ code: 4711, message: 'a puppy needs a name', isNew: true, dirty: true });
      expect(await server.receiver.received(url, 1)).toHaveLength(1);
    });

    it('saves the others of a batch when one is refused', async () => {
      await server.hook('Mixed', 'beforeSave', 'shout');
      const refusal = await server.app.run(async Parse => {
        const puppies = [{ name: 'ada' }, { age: 1 }, { name: 'bea' }].map(
          it => new Parse.Object('Mixed', it),
        );
        const error: unknown = await Parse.Object.saveAll(puppies).catch((reason: unknown) => reason);
        const names = puppies.map(puppy => (puppy.isNew() ? null : (puppy.get('name') as unknown)));
        return error instanceof Parse.Error ? { code: error.code, names } : 'no Parse.Error';
      });
      expect(refusal).toEqual({ code: 4711, names: ['ADA', null, 'BEA'] });
    });

    it('may destroy only what the receiver lets go', async () => {
      const url = await server.hook('Locked', 'beforeDelete', 'keep-locked');
      const outcome = await server.app.run(async Parse => {
        const puppy = await new Parse.Object('Locked').save({ name: 'rex', locked: true });
        const error: unknown = await puppy.destroy().catch((reason: unknown) => reason);
        const stillThere = await new Parse.Query('Locked').count();
        await puppy.save({ locked: false });
        await puppy.destroy();
        return {
          refusal: error instanceof Parse.Error && [error.code, error.message],
          counts: [stillThere, await new Parse.Query('Locked').count()],
        };
      });
      expect(outcome).toEqual({ refusal: [4712, 'rex is locked'], counts: [1, 0] });
      const calls = await server.receiver.received(url, 2);
      expect(calls[0]?.body).toMatchObject({
        triggerName: 'beforeDelete',
        object: { className: 'Locked', name: 'rex', locked: true },
        user: server.sentUser,
        installationId: server.user.installationId,
      });
    });

    it('learns for each object of destroyAll whether it is gone', async () => {
      await server.hook('Several', 'beforeDelete', 'keep-locked');
      const outcome = await server.app.run(async Parse => {
        const puppies = [false, true].map(locked => new Parse.Object('Several', { name: 'rex', locked }));
        await Parse.Object.saveAll(puppies);
        const error: unknown = await Parse.Object.destroyAll(puppies).catch((reason: unknown) => reason);
        if (!(error instanceof Parse.Error)) return 'no Parse.Error';
        const { errors } = error as unknown as { errors: { code: number; message: string }[] };
        const left = await new Parse.Query('Several').find();
        return {
          code: error.code,
          errors: errors.map(({ code, message }) => [code, message]),
          left: left.map(puppy => puppy.get('locked') as unknown),
        };
      });
      expect(outcome).toEqual({ code: 600, errors: [[4712, 'rex is locked']], left: [true] });
    });
  });

  describe('whose cloud code uses the SDK inside the server', () => {
    it('has its saves, queries and deletes go through the hooks', async () => {
      const urls = [
        await server.hook('Walk', 'beforeSave', 'shout'),
        await server.hook('Walk', 'beforeFind', 'accept'),
        await server.hook('Walk', 'beforeDelete', 'keep-locked'),
      ];
      const walked = await server.app.run(
        async Parse => Parse.Cloud.run('walk') as Promise<unknown>,
        undefined,
      );
      expect(walked).toEqual({ name: 'HOME', overHttp: false, found: true });
      for (const url of urls) {
        const [call] = await server.receiver.received(url, 1);
        expect(call?.body).toMatchObject({ user: server.sentUser, master: false });
      }
    });

    it('has its calls of functions answered by the hook', async () => {
      const url = await server.functionHook('relayed', 'types');
      const isDate = await server.app.run(async Parse => {
        const result = (await Parse.Cloud.run('relay', { when: new Date(0) })) as { date: unknown };
        return result.date instanceof Date;
      });
      expect(isDate).toBe(true);
      const [call] = await server.receiver.received(url, 1);
      expect(call?.body.params).toEqual({ when: { __type: 'Date', iso: '1970-01-01T00:00:00.000Z' } });
    });
  });
});
