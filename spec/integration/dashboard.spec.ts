import { mkdtempSync, writeFileSync } from 'node:fs';
import { describeWithChromium } from '../support/chromium';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { masterKey, startParseApplication, type ParseApplication } from '../support/parse-application';
import { startDashboard, type DashboardProcess } from '../support/parse-dashboard-app';

describeOnEachDatabase('x', database => {
  describeWithChromium('y', chromium => {
    it('explores', async () => {
      const dir = '/tmp/shots-explore';
      const fresh = await database.create();
      const parse = await startParseApplication({ database: fresh });
      await parse.master('POST', '/classes/Puppy', { body: { name: 'a' } });
      const dash = await startDashboard({ serverURL: parse.serverURL, appId: parse.appId, masterKey, appName: 'App' });
      const browser = await chromium.launch();
      const page = await browser.newPage({ viewport: { width: 1300, height: 800 } });
      const urls: string[] = [];
      page.on('request', r => urls.push(r.method() + ' ' + r.url()));
      page.on('console', m => urls.push('CONSOLE ' + m.text()));
      await page.goto(dash.webhooksUrl);
      await page.waitForTimeout(3000);
      await page.screenshot({ path: dir + '/1.png' });
      writeFileSync(dir + '/1.html', await page.content());
      await page.getByText('Create a webhook').first().click().catch(e => urls.push(String(e)));
      await page.waitForTimeout(1000);
      await page.screenshot({ path: dir + '/2.png' });
      writeFileSync(dir + '/2.html', await page.content());
      writeFileSync(dir + '/urls.txt', urls.join('\n'));
      await browser.close();
      await dash.stop();
      await parse.stop();
      await fresh.drop();
    });
  });
});
