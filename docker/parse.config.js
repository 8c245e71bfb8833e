// The options of Parse Server and of webhooks, for the server and for `parse-server-webhooks worker`. Every setting is a
// variable of the environment, under Parse Server's own names; see docker/compose.yaml for one that works.
function required(name) {
  const value = process.env[name];
  if (value) return value;
  console.error(`${name} is not set`);
  process.exit(1);
}

const port = Number(process.env.PORT || 1337);
const mountPath = process.env.PARSE_SERVER_MOUNT_PATH || '/parse';
const { PARSE_SERVER_CLOUD, PARSE_SERVER_MASTER_KEY_IPS, PARSE_PUBLIC_SERVER_URL, WEBHOOKS_QUEUE_REDIS } =
  process.env;

const parseServer = {
  databaseURI: required('PARSE_SERVER_DATABASE_URI'),
  appId: required('PARSE_SERVER_APPLICATION_ID'),
  masterKey: required('PARSE_SERVER_MASTER_KEY'),
  webhookKey: required('PARSE_SERVER_WEBHOOK_KEY'),
  serverURL: process.env.PARSE_SERVER_URL || `http://127.0.0.1:${port}${mountPath}`,
  allowClientClassCreation: process.env.PARSE_SERVER_ALLOW_CLIENT_CLASS_CREATION === 'true',
};
if (PARSE_PUBLIC_SERVER_URL) parseServer.publicServerURL = PARSE_PUBLIC_SERVER_URL;
if (PARSE_SERVER_CLOUD) parseServer.cloud = PARSE_SERVER_CLOUD;
if (PARSE_SERVER_MASTER_KEY_IPS) parseServer.masterKeyIps = PARSE_SERVER_MASTER_KEY_IPS.split(',');

// With a queue the server only saves, and workers deliver.
const webhooks = WEBHOOKS_QUEUE_REDIS ? { queue: { redis: WEBHOOKS_QUEUE_REDIS } } : {};

module.exports = { parseServer, webhooks, port, mountPath };
