// Parse Server with this plugin and the sample cloud code, and the Dashboard: what `npm start` serves.
// Loaded only after PARSE_SERVER_LOGS_FOLDER is set: parse-server makes its logs folder when it is imported.
import express, { type Express, type RequestHandler } from 'express';
import ParseDashboard from 'parse-dashboard';
import ParseServer from 'parse-server';
import { join } from 'node:path';
import { z } from 'zod';
import { systemClock } from '../shared/clock';
import { Webhooks } from '../index';
import { describeError, StartError } from './start-error';

export interface ParseAppOptions {
  readonly databaseUri: string;
  readonly appId: string;
  readonly masterKey: string;
  readonly webhookKey: string;
  readonly serverUrl: string;
  readonly mountPath: string;
  readonly logsDirectory: string;
}

export interface ParseApp {
  /** Connects to the database and answers what to serve. Throws a StartError if Parse Server does not start. */
  start(): Promise<Express>;
  /** Waits for the plugin's calls under way, then gives the database's connections back. Also right after a failed start. */
  stop(): Promise<void>;
}

/** Sets Parse Server up. Nothing is connected until `start()`. */
export function createParseApp(options: ParseAppOptions): ParseApp {
  const webhooks = new Webhooks();
  const server = new ParseServer(
    webhooks.configure({
      databaseURI: options.databaseUri,
      ...(options.databaseUri.startsWith('mongodb')
        ? { databaseOptions: { serverSelectionTimeoutMS: 10_000 } }
        : {}),
      appId: options.appId,
      masterKey: options.masterKey,
      webhookKey: options.webhookKey,
      // Its typings require one; nobody is told it.
      maintenanceKey: systemClock.randomBytes(32).toString('base64url'),
      serverURL: options.serverUrl,
      // A path, as a user gives it. Without extension: cloud/main.ts under tsx, cloud/main.js in dist/.
      cloud: join(__dirname, '../../cloud/main'),
      logsFolder: options.logsDirectory,
      // An SDK's first save of a new class makes the class.
      allowClientClassCreation: true,
      ...defaultsOfTheNextRelease,
    }),
  );
  return {
    start: async () => {
      try {
        // MongoDB's own reason is here (`Authentication failed.`); from start() it would be `Database error`.
        await partsOf(server).databaseController.adapter.connect?.();
        await withoutConsoleErrors(() => server.start());
      } catch (error) {
        throw new StartError(`Parse Server does not start: ${describeError(error)}`, error);
      }
      return composeApp(options, server, webhooks);
    },
    stop: async () => {
      await webhooks.stop();
      await closeParseServer(server);
    },
  };
}

function composeApp(options: ParseAppOptions, server: ParseServer, webhooks: Webhooks): Express {
  const { serverUrl, appId, masterKey } = options;
  const dashboard = new ParseDashboard(
    { apps: [{ serverURL: serverUrl, appId, masterKey, appName: appId }] },
    { allowInsecureHTTP: true, cookieSessionSecret: systemClock.randomBytes(32).toString('hex') },
  );
  const app = express();
  app.disable('x-powered-by');
  app.use(
    options.mountPath,
    z.custom<RequestHandler>(value => typeof value === 'function').parse(server.app),
  );
  app.use('/webhooks', webhooks.router());
  app.use('/dashboard', refuseForeignHosts, dashboard);
  return app;
}

/**
 * What Parse Server 9.10 warns of at a start unless it is said: each is set to the value that it announces as the
 * next default (parse-server/lib/Deprecator/Deprecations.js), so the stack behaves the same after that release.
 */
const defaultsOfTheNextRelease = {
  fileUpload: { allowedFileUrlDomains: [] },
  // The typings lack the first; the second is the default.
  pages: { encodePageParamHeaders: true, enableLocalization: false },
  readOnlyMasterKeyIps: ['127.0.0.1', '::1'],
  requestComplexity: {
    includeDepth: 10,
    includeCount: 100,
    subqueryDepth: 10,
    queryDepth: 10,
    graphQLDepth: 20,
    graphQLFields: 200,
    batchRequestLimit: 100,
  },
  protectedFieldsOwnerExempt: false,
  protectedFieldsTriggerExempt: true,
  protectedFieldsSaveResponseExempt: false,
  installation: { duplicateDeviceTokenActionEnforceAuth: true },
  allowAggregationForReadOnlyMasterKey: false,
};

/**
 * The Dashboard gives its page the master key, to anyone on this machine: a page elsewhere whose name is made to
 * resolve to 127.0.0.1 (DNS rebinding) comes from this machine too, but says another Host.
 */
const refuseForeignHosts: RequestHandler = (request, response, next) => {
  if (['127.0.0.1', 'localhost'].includes(request.hostname)) next();
  else
    response.status(403).type('text/plain').send('the Dashboard answers on 127.0.0.1 and localhost only\n');
};

interface Adapter {
  connect?: () => unknown;
  handleShutdown?: () => unknown;
}

const adapter = z.custom<Adapter>(value => typeof value === 'object' && value !== null);
const serverParts = z.looseObject({
  databaseController: z.looseObject({ adapter }),
  cacheController: z.looseObject({ adapter }),
});

function partsOf(server: ParseServer): z.infer<typeof serverParts> {
  return serverParts.parse(server.config);
}

/** ParseServer.handleShutdown() does this, but only for a server that startApp() made listen. */
async function closeParseServer(server: ParseServer): Promise<void> {
  const { databaseController, cacheController } = partsOf(server);
  await databaseController.adapter.handleShutdown?.();
  await cacheController.adapter.handleShutdown?.();
}

/** Parse Server prints the error of a failed start, with its stack, and throws it too: here one line is enough. */
async function withoutConsoleErrors<T>(task: () => Promise<T>): Promise<T> {
  const { console } = globalThis;
  const print = console.error.bind(console);
  console.error = () => undefined;
  try {
    return await task();
  } finally {
    console.error = print;
  }
}
