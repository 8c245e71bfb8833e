// A program: Parse Server on a port of its own, with this plugin or with the webhooks it was born with. Told what to be
// by COMPARISON_SERVER (JSON, see ComparisonServerOptions); prints `ready <url>` and runs until SIGTERM.
import { once } from 'node:events';
import { createServer } from 'node:http';
import express from 'express';
import type Parse from 'parse/node';
import ParseServer from 'parse-server';
import { Webhooks } from '../../src/index';

export interface ComparisonServerOptions {
  readonly webhooks: 'built-in' | 'plugin';
  readonly databaseURI: string;
  readonly databaseOptions: Record<string, unknown>;
}

export const comparisonApp = { appId: 'comparison', masterKey: 'comparison-master-key' };

/** The application's own code, which webhooks come on top of. */
function runCloudCode(parse: typeof Parse): void {
  for (const name of ['own', 'guarded', 'spared']) {
    parse.Cloud.define(name, () => 'cloud', name === 'guarded' ? { requireUser: true } : {});
  }
  parse.Cloud.beforeSave('WithCode', ({ object }) => {
    object.set('byCode', true);
  });
}

/** Typed loosely: Parse Server takes a function, its types know paths only. */
const cloudCode: Readonly<Record<string, unknown>> = { cloud: runCloudCode };

async function main(options: ComparisonServerOptions): Promise<void> {
  const app = express();
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const serverURL = `http://127.0.0.1:${address.port}/parse`;
  const serverOptions = {
    ...comparisonApp,
    serverURL,
    databaseURI: options.databaseURI,
    databaseOptions: options.databaseOptions,
    maintenanceKey: 'comparison-maintenance-key',
    webhookKey: 'comparison-webhook-key',
    allowClientClassCreation: true,
    silent: true,
    ...cloudCode,
  };
  const webhooks = options.webhooks === 'plugin' ? new Webhooks() : undefined;
  const parseServer = new ParseServer(webhooks?.configure(serverOptions) ?? serverOptions);
  await parseServer.start();
  app.use('/parse', parseServer.app);
  process.once('SIGTERM', () => process.exit(0));
  process.stdout.write(`ready ${serverURL}\n`);
}

if (require.main === module) {
  const { COMPARISON_SERVER } = process.env;
  if (COMPARISON_SERVER === undefined) throw new Error('COMPARISON_SERVER is not set');
  void main(JSON.parse(COMPARISON_SERVER) as ComparisonServerOptions);
}
