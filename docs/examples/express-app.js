// Webhooks in an Express app of your own: node express-app.js
const express = require('express');
const { ParseServer } = require('parse-server');
const { Webhooks } = require('parse-server-webhooks');

const port = Number(process.env.PORT || 1337);

async function main() {
  const webhooks = new Webhooks();
  const server = new ParseServer(
    webhooks.configure({
      databaseURI: process.env.DATABASE_URI || 'postgres://localhost:5432/parse',
      appId: process.env.APP_ID || 'my-app',
      masterKey: process.env.MASTER_KEY || 'change-me',
      webhookKey: process.env.WEBHOOK_KEY || 'change-me-too',
      serverURL: `http://127.0.0.1:${port}/parse`,
      // cloud: './cloud/main.js',   as before: cloud code and webhooks run together
      allowClientClassCreation: true,
    }),
  );
  await server.start();

  const app = express();
  app.use('/parse', server.app);
  // Public keys for receivers; metrics and health with a metricsToken.
  app.use('/webhooks', webhooks.router());
  const listener = app.listen(port, '127.0.0.1', () =>
    console.log(`ready on http://127.0.0.1:${port}/parse`),
  );

  process.once('SIGTERM', async () => {
    // Requests under way are answered, calls under way are drained, then the database is left.
    await new Promise(resolve => {
      listener.close(resolve);
      listener.closeIdleConnections();
    });
    await webhooks.stop();
    await server.config.databaseController.adapter.handleShutdown();
    process.exit(0);
  });
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
