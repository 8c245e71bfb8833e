// Parse Server with webhooks, as the image runs it. Its settings: docker/parse.config.js.
const http = require('node:http');
const express = require('express');
const { default: ParseServer } = require('parse-server');
const { Webhooks } = require('parse-server-webhooks');
const { parseServer, webhooks: webhooksOptions, port, mountPath } = require('./parse.config.js');

async function main() {
  const webhooks = new Webhooks(webhooksOptions);
  const server = new ParseServer(webhooks.configure(parseServer));
  await server.start();
  const app = express();
  app.use(mountPath, server.app);
  app.use('/webhooks', webhooks.router());
  const listener = http.createServer(app).listen(port, () => console.log(`ready on port ${port}`));

  // `docker stop` sends SIGTERM: no new requests, those under way are answered, calls are drained, the database is left.
  const stop = async () => {
    const closed = new Promise(resolve => listener.close(resolve));
    listener.closeIdleConnections();
    const impatience = setTimeout(() => listener.closeAllConnections(), 5000);
    await closed;
    clearTimeout(impatience);
    await webhooks.stop();
    await server.config.databaseController.adapter.handleShutdown();
    process.exit(0);
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
