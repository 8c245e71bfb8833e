// Webhooks with ParseServer.startApp, which makes the Express app itself: node start-app.js
const express = require('express');
const { ParseServer } = require('parse-server');
const { Webhooks } = require('parse-server-webhooks');

const port = Number(process.env.PORT || 1337);
const webhooks = new Webhooks();

ParseServer.startApp(
  webhooks.configure({
    databaseURI: process.env.DATABASE_URI || 'postgres://localhost:5432/parse',
    appId: process.env.APP_ID || 'my-app',
    masterKey: process.env.MASTER_KEY || 'change-me',
    webhookKey: process.env.WEBHOOK_KEY || 'change-me-too',
    serverURL: `http://127.0.0.1:${port}/parse`,
    // cloud: './cloud/main.js',   as before: cloud code and webhooks run together
    allowClientClassCreation: true,
    host: '127.0.0.1',
    port,
    mountPath: '/parse',
    // Public keys for receivers; metrics and health with a metricsToken.
    middleware: express.Router().use('/webhooks', webhooks.router()),
    // Parse Server shuts itself down on SIGTERM and SIGINT, and calls this when it has.
    serverCloseComplete: () => webhooks.stop().then(() => process.exit(0)),
  }),
).then(
  () => console.log(`ready on http://127.0.0.1:${port}/parse`),
  error => {
    console.error(error);
    process.exit(1);
  },
);
