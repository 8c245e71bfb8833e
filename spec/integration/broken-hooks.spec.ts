// Hooks whose stored settings cannot be read: nothing gets past them, whatever the plugin's defaults are.
import { describeOnEachDatabase } from '../support/databases';
import { readRawRows, replaceInRow } from '../support/hook-rows';
import { startParseApplication } from '../support/parse-application';
import { startWebhookReceiver } from '../support/webhook-receiver';

describeOnEachDatabase('a hook whose settings cannot be read', database => {
  it.each([
    ['shadow', { mode: 'shadow' }],
    ['allow', { failurePolicy: 'allow' }],
    ['both', { mode: 'shadow', failurePolicy: 'allow' }],
  ] as const)('rejects every call where the default is %s', async (_name, defaults) => {
    const fresh = await database.create();
    const receiver = await startWebhookReceiver();
    const parse = await startParseApplication({
      database: fresh,
      webhooks: { defaults, pollIntervalMs: 50 },
    });
    try {
      const url = receiver.on('/hook', () => ({ success: 'answered' }));
      await parse.registerHook({ functionName: 'f', url });
      await parse.registerHook({ className: 'Puppy', triggerName: 'beforeSave', url });
      const keys = (await readRawRows(database.kind, fresh, 'WebhookSetting')).map(({ hook }) =>
        String(hook),
      );
      expect(keys).toHaveLength(2);
      for (const key of keys) {
        await replaceInRow(database.kind, fresh, {
          className: 'WebhookSetting',
          where: { hook: key },
          column: 'settings',
          change: () => 'garbage',
        });
      }
      // Any change makes the node read again.
      await parse.registerHook({ functionName: 'other', url });
      expect((await parse.client('POST', '/functions/f', { body: {} })).body).toMatchObject({ code: 141 });
      expect((await parse.client('POST', '/classes/Puppy', { body: { name: 'x' } })).body).toEqual({
        code: 141,
        error: expect.stringContaining('webhook beforeSave Puppy failed'),
      });
      expect((await parse.master('GET', '/classes/Puppy')).body.results).toEqual([]);
      expect(receiver.calls).toEqual([]);
    } finally {
      await parse.stop();
      await receiver.close();
      await fresh.drop();
    }
  });
});
