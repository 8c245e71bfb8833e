// The published Parse Dashboard in a real Chromium: hooks registered, edited, refused and deleted as a person does it.
import type ParseSdk from 'parse/node';
import type { Browser, Page } from 'playwright-core';
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
    let page: Page;
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

    beforeEach(async () => {
      page = await browser.newPage();
      webhooks = new WebhooksPage(page, dashboard.webhooksUrl);
      await webhooks.open();
    });

    afterEach(async () => {
      await page.close();
    });

    const shot = async (name: string) => {
      await page.screenshot({ path: `/tmp/shots/${database.kind}-${name}.png` });
    };
    const run = async (name: string): Promise<unknown> =>
      (await parse.client('POST', `/functions/${name}`, { body: {} })).body;
    const stampOf = async (className: string): Promise<unknown> =>
      (await parse.client('POST', `/classes/${className}`, { body: { b: 2 } })).body.stamp;

    it('creates a function that clients can call', async () => {
      const url = receiver.url('word', 'hello');
      const answer = await webhooks.createFunction('greet', url);
      expect(await answer.json()).toEqual({ functionName: 'greet', url });
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWith('greet')).toEqual([['Function', '', 'greet', url]]);
      await shot('create-function');
      expect((await parse.master('GET', '/hooks/functions')).body).toEqual([{ functionName: 'greet', url }]);
      expect(await run('greet')).toEqual({ result: 'hello' });
    });

    it('creates a trigger that saves go through', async () => {
      const url = receiver.url('stamp', 'created');
      await webhooks.createTrigger('beforeSave', 'Created', url);
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWith(url)).toContainEqual(['Trigger', 'Created', 'beforeSave', url]);
      await shot('create-trigger');
      expect((await parse.master('GET', '/hooks/triggers/Created/beforeSave')).body).toEqual({
        className: 'Created',
        triggerName: 'beforeSave',
        url,
      });
      expect(await stampOf('Created')).toBe('created');
      await webhooks.reload();
      expect(await webhooks.rowsWith(url)).toContainEqual(['Trigger', 'Created', 'beforeSave', url]);
      await shot('create-trigger-reloaded');
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
      await shot('edit-trigger');
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
      const answer = await webhooks.createTrigger('beforeSave', '_User', receiver.url('accept', 'user'));
      expect(answer.status()).toBe(400);
      const { code, error } = (await answer.json()) as { code: number; error: string };
      expect(code).toBe(143);
      expect(error).toContain('_User');
      await shot('refusal-early');
      await webhooks.dialogSays(error);
      await shot('refusal');
      console.log(error);
      await webhooks.cancel();
      await webhooks.reload();
      expect((await webhooks.rows()).map(([, className]) => className)).not.toContain('_User');
      const { body } = await parse.master('GET', '/hooks/triggers');
      expect(body).not.toContainEqual(expect.objectContaining({ className: '_User' }));
    });

    it.each([
      ['a URL left as the dialog proposes it', 'unnamed', 'https://'],
      ['a name that is taken', 'taken', 'https://example.com/again'],
    ])('shows why it refuses %s', async (_what, functionName, url) => {
      await parse.master('POST', '/hooks/functions', {
        body: { functionName: 'taken', url: 'https://example.com/first' },
      });
      const answer = await webhooks.createFunction(functionName, url);
      const { error } = (await answer.json()) as { error: string };
      console.log(error);
      expect(answer.status()).toBe(400);
      await webhooks.dialogSays(error);
      await shot(`refusal-${functionName}`);
    });

    it('deletes a trigger and no other row', async () => {
      const url = receiver.url('stamp', 'kept-or-deleted');
      await parse.registerHook({ className: 'Deleted', triggerName: 'beforeSave', url });
      await parse.registerHook({ className: 'Kept', triggerName: 'beforeSave', url });
      await webhooks.reload();
      const before = await webhooks.rowsWith('Deleted');
      await shot('before-delete');
      await webhooks.delete('Deleted');
      await webhooks.dialogClosed();
      const rest = before.filter(([, className]) => className !== 'Deleted');
      expect(rest).toHaveLength(before.length - 1);
      expect(await webhooks.rowsWith('Kept')).toEqual(rest);
      await shot('after-delete');
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
      expect(await created.json()).toEqual({ functionName: 'own', url, warning });
      await webhooks.dialogClosed();
      expect(await webhooks.rowsWith('own')).toContainEqual(['Function', '', 'own', url]);
      await shot('warning');
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
      expect((await webhooks.rows()).map(([, , method]) => method)).not.toContain('own');
      await shot('warning-deleted');
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
