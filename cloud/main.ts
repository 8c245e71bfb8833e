// Sample cloud code of `npm start`. It runs together with webhooks: a class's cloud trigger first, then its webhook.
// Parse Server loads this file with `Parse` as a global.
import type ParseNode from 'parse/node';

declare const Parse: typeof ParseNode;

/** `Parse.Cloud.run('puppyNames')` */
Parse.Cloud.define('puppyNames', async () => {
  const puppies = await new Parse.Query('Puppy').ascending('name').limit(100).find({ useMasterKey: true });
  return puppies.map(puppy => String(puppy.get('name')));
});

/** `Parse.Cloud.run('rename', { id, name })`: the validator stays in force if a webhook takes this function over. */
Parse.Cloud.define<{ id: string; name: string }>(
  'rename',
  async request => {
    const puppy = await new Parse.Query('Puppy').get(request.params.id, { useMasterKey: true });
    return puppy.save({ name: request.params.name }, { useMasterKey: true });
  },
  {
    requireUser: true,
    fields: { id: { type: String, required: true }, name: { type: String, required: true } },
  },
);

/** Trims what clients type, before the webhook sees it, and refuses names that fit on no collar. */
Parse.Cloud.beforeSave(
  'Puppy',
  request => {
    const name: unknown = request.object.get('name');
    if (typeof name === 'string') request.object.set('name', name.trim());
  },
  {
    fields: {
      name: {
        options: (name: unknown) => typeof name === 'string' && name.length <= 80,
        error: 'name must be a text of at most 80 characters',
      },
    },
  },
);
