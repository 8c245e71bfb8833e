// A real Parse Server with this plugin on a port of its own, and REST calls to it as clients make them.
import { once } from 'node:events';
import { createServer } from 'node:http';
import express from 'express';
import ParseServer from 'parse-server';
import { Webhooks, type WebhooksOptions } from '../../src/index';
import type { FreshDatabase } from './databases';

export const masterKey = 'test-master-key';
export const readOnlyMasterKey = 'test-read-only-master-key';
export const webhookKey = 'test-webhook-key';

export interface Answer {
  readonly status: number;
  // Tests look into answers as they please.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly body: any;
  readonly headers: Headers;
}

export interface CallOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly sessionToken?: string;
}

export interface ParseApplication {
  readonly appId: string;
  readonly serverURL: string;
  readonly webhooks: Webhooks;
  /** Every line that was logged. */
  readonly logs: readonly string[];
  /** As a client without any key but the application id. */
  client(method: string, path: string, options?: CallOptions): Promise<Answer>;
  /** With the master key in a header. */
  master(method: string, path: string, options?: CallOptions): Promise<Answer>;
  /** Registers a hook through the REST API and fails unless it was taken. */
  registerHook(hook: Readonly<Record<string, unknown>>): Promise<Answer>;
  removeHook(hook: { functionName: string } | { className: string; triggerName: string }): Promise<Answer>;
  /** Signs a new user up and gives the session token and objectId. */
  signUp(username?: string): Promise<{ sessionToken: string; objectId: string }>;
  stop(): Promise<void>;
}

export interface ApplicationOptions {
  readonly database: FreshDatabase;
  readonly appId?: string;
  readonly webhooks?: WebhooksOptions;
  /** More options of Parse Server, `cloud` among them. */
  readonly parse?: Readonly<Record<string, unknown>>;
}

/**
 * Parse Server replaces a function of the database at every start, with or without this plugin, and of several that start
 * at once on PostgreSQL only one may: the others start again, as a process manager would have them do.
 */
async function startBesideOthers(server: ParseServer): Promise<void> {
  for (;;) {
    try {
      await server.start();
      return;
    } catch (error) {
      if (!(error instanceof Error) || error.message !== 'tuple concurrently updated') throw error;
    }
  }
}

export async function startParseApplication(options: ApplicationOptions): Promise<ParseApplication> {
  const { database, appId = 'test-app' } = options;
  const logs: string[] = [];
  const app = express();
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const serverURL = `http://127.0.0.1:${address.port}/parse`;
  const webhooks = new Webhooks(options.webhooks);
  const parseServer = new ParseServer(
    webhooks.configure({
      appId,
      masterKey,
      readOnlyMasterKey,
      webhookKey,
      maintenanceKey: 'test-maintenance-key',
      serverURL,
      databaseURI: database.databaseURI,
      databaseOptions: database.databaseOptions,
      allowClientClassCreation: true,
      loggerAdapter: {
        log: (level: string, message: unknown) =>
          logs.push(`${level} ${typeof message === 'string' ? message : JSON.stringify(message)}`),
      },
      ...options.parse,
    }),
  );
  let forgetExceptions = (): void => undefined;
  const stop = async (): Promise<void> => {
    forgetExceptions();
    server.close();
    server.closeAllConnections();
    await webhooks.stop();
    await parseServer.config.databaseController.adapter.handleShutdown();
  };
  try {
    await startBesideOthers(parseServer);
  } catch (error) {
    await stop();
    throw error;
  }
  // The getter adds a listener to the process, which Parse Server never takes away.
  const before = process.listeners('uncaughtException');
  app.use('/parse', parseServer.app);
  const added = process.listeners('uncaughtException').filter(listener => !before.includes(listener));
  forgetExceptions = () => {
    for (const listener of added) process.removeListener('uncaughtException', listener);
  };

  async function call(
    method: string,
    path: string,
    { body, headers, sessionToken }: CallOptions,
  ): Promise<Answer> {
    const response = await fetch(`${serverURL}${path}`, {
      method,
      redirect: 'manual',
      headers: {
        'X-Parse-Application-Id': appId,
        'Content-Type': 'application/json',
        Connection: 'close',
        ...(sessionToken !== undefined && { 'X-Parse-Session-Token': sessionToken }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: parseBody(text), headers: response.headers };
  }
  const client: ParseApplication['client'] = (method, path, given = {}) => call(method, path, given);
  const master: ParseApplication['master'] = (method, path, given = {}) =>
    call(method, path, { ...given, headers: { 'X-Parse-Master-Key': masterKey, ...given.headers } });
  return {
    appId,
    serverURL,
    webhooks,
    logs,
    client,
    master,
    registerHook: async hook => {
      const answer = await master('POST', 'functionName' in hook ? '/hooks/functions' : '/hooks/triggers', {
        body: hook,
      });
      if (answer.status !== 200) throw new Error(`hook refused: ${JSON.stringify(answer.body)}`);
      return answer;
    },
    removeHook: hook =>
      master(
        'PUT',
        'functionName' in hook
          ? `/hooks/functions/${hook.functionName}`
          : `/hooks/triggers/${hook.className}/${hook.triggerName}`,
        { body: { __op: 'Delete' } },
      ),
    signUp: async (username = `user-${process.hrtime.bigint()}`) => {
      const { body } = await call('POST', '/users', { body: { username, password: 'secret-password' } });
      return { sessionToken: body.sessionToken as string, objectId: body.objectId as string };
    },
    stop,
  };
}

function parseBody(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
