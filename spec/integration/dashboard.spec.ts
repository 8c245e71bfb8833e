// The published Parse Dashboard in a real Chromium: hooks registered, edited, refused and deleted as a person does it.
import type ParseSdk from 'parse/node';
import type { Browser } from 'playwright-core';
import { describeWithChromium } from '../support/chromium';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { masterKey, startParseApplication, type ParseApplication } from '../support/parse-application';
import { startDashboard, type DashboardProcess } from '../support/parse-dashboard-app';
import { startReceiverProcess, type ReceiverProcess } from '../support/receiver-process';
import { WebhooksPage } from '../support/webhooks-page';

function cloud({ Cloud }: typeof ParseSdk): void {
  Cloud.define('own', () => 'cloud code');
  Cloud.beforeSave('Own', ({ object }) => {
    object.set('sawCloudCode', true);
  });
}

describeWithChromium("the Dashboard's Webhooks page", chromium => {
  describeOnEachDatabase('with a real Parse Server', database => {
    let fresh: FreshDatabase;
    let parse: ParseApplication;
    let receiver: ReceiverProcess;
    let dashboard: DashboardProcess;
    let browser: Browser;
    let webhooks: WebhooksPage;

    beforeAll(async () => {
      fresh = await database.create();
      [receiver, browser] = await Promise.all([startReceiverProcess(), chromium.launch()]);
      parse = await startParseApplication({ database: fresh, parse: { cloud } });
      dashboard = await startDashboard({
        serverURL: parse.serverURL,
        appId: parse.appId,
        masterKey,
        appName: 'puppies',
      });
      const page = await browser.newPage();
      // Fonts, of which the page waits for the host to be found or not.
      await page.route(/^https:\/\/fonts\.googleapis\.com\//, route => route.abort());
      webhooks = new WebhooksPage(page, dashboard.webhooksUrl);
      // The dialog offers the classes that there are.
      for (const className of ['Created', 'Edited', 'Deleted', 'Kept', 'Own'])
        await parse.master('POST', `/classes/${className}`, { body: { a: 1 } });
    });

    afterAll(async () => {
      await browser.close();
      await dashboard.stop();
      await parse.stop();
      await receiver.stop();
      await fresh.drop();
    });

    beforeEach(() => webhooks.open());

    const run = async (name: string): Promise<unknown> =>
      (await parse.client('POST', `/functions/${name}`, { body: {} })).body;
    const stampOf = async (className: string): Promise<unknown> =>
      (await parse.client('POST', `/classes/${className}`, { body: { b: 2 } })).body.stamp;

    it('creates a function that clients can call', async () => {
      const url = receiver.url('word', 'hello');
      const answer = await webhooks.createFunction('greet', url);
      expect(await answer.json()).toMatchObject({ functionName: 'greet', url });
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWith('greet')).toContainEqual(['Function', '', 'greet', url]);
      expect((await parse.master('GET', '/hooks/functions/greet')).body).toEqual({
        functionName: 'greet',
        url,
      });
      expect(await run('greet')).toEqual({ result: 'hello' });
    });

    it('creates a trigger that saves go through', async () => {
      const url = receiver.url('stamp', 'created');
      await webhooks.createTrigger('beforeSave', 'Created', url);
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWith(url)).toContainEqual(['Trigger', 'Created', 'beforeSave', url]);
      expect((await parse.master('GET', '/hooks/triggers/Created/beforeSave')).body).toEqual({
        className: 'Created',
        triggerName: 'beforeSave',
        url,
      });
      expect(await stampOf('Created')).toBe('created');
      await webhooks.reload();
      expect(await webhooks.rowsWith(url)).toContainEqual(['Trigger', 'Created', 'beforeSave', url]);
    });

    it('edits the URL of a trigger and leaves its other settings alone', async () => {
      const [before, after] = [receiver.url('stamp', 'before'), receiver.url('stamp', 'after')];
      await parse.registerHook({ className: 'Edited', triggerName: 'beforeSave', url: before });
      const path = '/webhooks/hooks/triggers/Edited/beforeSave';
      const settings = { timeoutMs: 1234, failurePolicy: 'allow', where: { b: { $exists: true } } };
      expect((await parse.master('PATCH', path, { body: settings })).status).toBe(200);
      const unedited = (await parse.master('GET', path)).body;
      await webhooks.reload();
      await webhooks.rowsWith(before);
      await webhooks.edit(before, after);
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWith(after)).toContainEqual(['Trigger', 'Edited', 'beforeSave', after]);
      const edited = (await parse.master('GET', path)).body;
      expect(edited).toMatchObject(settings);
      expect(edited).toEqual({ ...unedited, url: after, updatedAt: edited.updatedAt });
      expect(await stampOf('Edited')).toBe('after');
      await webhooks.reload();
      const rows = await webhooks.rowsWith(after);
      expect(rows.filter(([, className]) => className === 'Edited')).toHaveLength(1);
    });

    it('edits the URL of a function', async () => {
      const [before, after] = [receiver.url('word', 'before'), receiver.url('word', 'after')];
      await webhooks.createFunction('edited', before);
      await webhooks.dialogClosed();
      await webhooks.rowsWith(before);
      await webhooks.edit('edited', after);
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWith(after)).toContainEqual(['Function', '', 'edited', after]);
      expect((await parse.master('GET', '/hooks/functions/edited')).body.url).toBe(after);
      expect(await run('edited')).toEqual({ result: 'after' });
    });

    it('shows why _User takes no trigger, in the dialog, and registers nothing', async () => {
      await parse.registerHook({ functionName: 'beside', url: receiver.url('word', 'beside') });
      const answer = await webhooks.createTrigger('beforeSave', '_User', receiver.url('accept', 'user'));
      const error = 'className _User is refused: webhooks are not allowed on _User and _Installation';
      expect(answer.status()).toBe(400);
      expect(await answer.json()).toEqual({ code: 143, error });
      await webhooks.dialogSays(error);
      await webhooks.cancel();
      await webhooks.reload();
      const rows = await webhooks.rowsWith('beside');
      expect(rows.map(([, className]) => className)).not.toContain('_User');
      const { body } = await parse.master('GET', '/hooks/triggers');
      expect(body).not.toContainEqual(expect.objectContaining({ className: '_User' }));
    });

    it('shows why it refuses a URL left as the dialog proposes it', async () => {
      const answer = await webhooks.createFunction('unnamed', 'https://');
      expect(answer.status()).toBe(400);
      await webhooks.dialogSays('url must be an absolute URL, got "https://"');
    });

    it('shows why it refuses a name that is taken', async () => {
      await parse.registerHook({ functionName: 'taken', url: receiver.url('word', 'taken') });
      const answer = await webhooks.createFunction('taken', receiver.url('word', 'again'));
      expect(answer.status()).toBe(400);
      await webhooks.dialogSays('function name: taken already exists');
    });

    it('deletes a trigger and no other row', async () => {
      const url = receiver.url('stamp', 'kept-or-deleted');
      await parse.registerHook({ className: 'Deleted', triggerName: 'beforeSave', url });
      await parse.registerHook({ className: 'Kept', triggerName: 'beforeSave', url });
      await webhooks.reload();
      const before = await webhooks.rowsWith('Deleted');
      await webhooks.delete('Deleted');
      await webhooks.dialogClosed();
      const rest = before.filter(([, className]) => className !== 'Deleted');
      expect(rest).toHaveLength(before.length - 1);
      expect(await webhooks.rowsWithout('Deleted')).toEqual(rest);
      await webhooks.reload();
      expect(await webhooks.rowsWith('Kept')).toEqual(rest);
      expect(await parse.master('GET', '/hooks/triggers/Deleted/beforeSave')).toMatchObject({
        status: 400,
        body: { code: 143 },
      });
      expect(await stampOf('Deleted')).toBeUndefined();
      expect(await stampOf('Kept')).toBe('kept-or-deleted');
    });

    it('works where cloud code of the same name earns a warning', async () => {
      const url = receiver.url('word', 'webhook');
      const warning = 'a cloudcode function with name: own already exists';
      const created = await webhooks.createFunction('own', url);
      expect(await created.json()).toMatchObject({ functionName: 'own', url, warning });
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWith('own')).toContainEqual(['Function', '', 'own', url]);
      expect(await run('own')).toEqual({ result: 'webhook' });

      const edited = receiver.url('word', 'edited-webhook');
      expect(await (await webhooks.edit('own', edited)).json()).toEqual({
        functionName: 'own',
        url: edited,
        warning,
      });
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWith(edited)).toContainEqual(['Function', '', 'own', edited]);
      expect(await run('own')).toEqual({ result: 'edited-webhook' });

      await webhooks.delete('own');
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWithout('own')).not.toContainEqual(expect.arrayContaining([edited]));
      expect(await run('own')).toEqual({ result: 'cloud code' });
    });

    it('registers a trigger beside one in cloud code, and both run', async () => {
      const url = receiver.url('stamp', 'beside');
      const answer = await webhooks.createTrigger('beforeSave', 'Own', url);
      expect(await answer.json()).toMatchObject({
        warning: 'beforeSave trigger already defined for class Own in cloud code',
      });
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWith(url)).toContainEqual(['Trigger', 'Own', 'beforeSave', url]);
      const { body } = await parse.client('POST', '/classes/Own', { body: { b: 2 } });
      expect(body).toMatchObject({ sawCloudCode: true, stamp: 'beside' });
    });
  });
});
