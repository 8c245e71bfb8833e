// A Parse Server process, built in one of the ways that are compared.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import ParseServer from 'parse-server';
import { Webhooks } from '../src/index';
import { serve } from './processes';

async function main(): Promise<void> {
  const { VARIANT = 'none', DATABASE_URI = '' } = process.env;
  const app = express();
  const server = createServer(app);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const webhooks = VARIANT === 'plugin' ? new Webhooks() : undefined;
  const options = {
    appId: `bench-${VARIANT}`,
    masterKey: 'bench',
    maintenanceKey: 'bench-maintenance',
    webhookKey: 'bench-webhook',
    serverURL: `http://127.0.0.1:${port}/parse`,
    databaseURI: DATABASE_URI,
    databaseOptions: { application_name: `bench-${VARIANT}` },
    allowClientClassCreation: true,
    silent: true,
    logsFolder: null,
    logLevels: {
      triggerAfter: 'silent',
      triggerBeforeSuccess: 'silent',
      triggerBeforeError: 'silent',
      cloudFunctionSuccess: 'silent',
    },
  };
  const parse = new ParseServer((webhooks ? webhooks.configure(options) : options) as never);
  await parse.start();
  app.use('/parse', parse.app as never);
  serve(
    { port },
    () => {
      const { user, system } = process.cpuUsage();
      return { cpuUs: user + system, rssBytes: process.memoryUsage.rss() };
    },
    async () => {
      server.close();
      await webhooks?.stop();
    },
  );
}

void main();
