// The program of parse-dashboard-app.ts: the published Parse Dashboard without users, as on a developer's machine.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import express from 'express';
import ParseDashboard from 'parse-dashboard';
import type { DashboardOptions } from './parse-dashboard-app';

async function main(): Promise<void> {
  const app = express();
  app.use(
    '/dashboard',
    new ParseDashboard(
      { apps: [JSON.parse(process.argv[2] ?? '') as DashboardOptions] },
      { allowInsecureHTTP: true, cookieSessionSecret: randomBytes(32).toString('hex') },
    ),
  );
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (typeof address === 'object') process.send?.({ port: address?.port });
  // Also ends the request to the npm registry, should it be under way still.
  process.once('disconnect', () => process.exit());
}

void main();
