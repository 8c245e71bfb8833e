// Parse Server with webhooks, as the image runs it. Every setting is a variable of the environment, under
// Parse Server's own names; see docker/compose.yaml for one that works.
const http = require('node:http');
const express = require('express');
const { default: ParseServer } = require('parse-server');
const { Webhooks } = require('parse-server-webhooks');

function required(name) {
  const value = process.env[name];
  if (value) return value;
  console.error(`${name} is not set`);
  process.exit(1);
}

const port = Number(process.env.PORT || 1337);
const mountPath = process.env.PARSE_SERVER_MOUNT_PATH || '/parse';
const { PARSE_SERVER_CLOUD, PARSE_SERVER_MASTER_KEY_IPS, PARSE_PUBLIC_SERVER_URL } = process.env;

const options = {
  databaseURI: required('PARSE_SERVER_DATABASE_URI'),
  appId: required('PARSE_SERVER_APPLICATION_ID'),
  masterKey: required('PARSE_SERVER_MASTER_KEY'),
  webhookKey: required('PARSE_SERVER_WEBHOOK_KEY'),
  serverURL: process.env.PARSE_SERVER_URL || `http://127.0.0.1:${port}${mountPath}`,
  allowClientClassCreation: process.env.PARSE_SERVER_ALLOW_CLIENT_CLASS_CREATION === 'true',
};
if (PARSE_PUBLIC_SERVER_URL) options.publicServerURL = PARSE_PUBLIC_SERVER_URL;
if (PARSE_SERVER_CLOUD) options.cloud = PARSE_SERVER_CLOUD;
if (PARSE_SERVER_MASTER_KEY_IPS) options.masterKeyIps = PARSE_SERVER_MASTER_KEY_IPS.split(',');

async function main() {
  const webhooks = new Webhooks();
  const server = new ParseServer(webhooks.configure(options));
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
