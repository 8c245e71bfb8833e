// A server with this plugin, a receiver process, and the app of one signed-up user who has not the master key.
import type { FreshDatabase, TestDatabase } from './databases';
import { startParseApplication, type ParseApplication } from './parse-application';
import { startReceiverProcess, type ReceiverProcess } from './receiver-process';
import { startSdkClient, type Sdk, type SdkClient } from './sdk-client';

export interface SdkApplication {
  readonly parse: ParseApplication;
  readonly receiver: ReceiverProcess;
  readonly app: SdkClient;
  /** Who is signed up and logged in in `app`. */
  readonly user: AppUser;
  /** The user as every hook request shows it. */
  readonly sentUser: unknown;
  /** Registers a trigger that the receiver answers by `rule`, and gives its address. */
  hook(className: string, triggerName: string, rule: string): Promise<string>;
  /** Registers a function that the receiver answers by `rule`, and gives its address. */
  functionHook(functionName: string, rule: string): Promise<string>;
  stop(): Promise<void>;
}

export interface AppUser {
  readonly id: string;
  readonly sessionToken: string;
  readonly installationId: string;
}

export async function startSdkApplication(
  database: TestDatabase,
  cloud?: (sdk: Sdk) => void,
): Promise<SdkApplication> {
  const fresh: FreshDatabase = await database.create();
  const receiver = await startReceiverProcess();
  const parse = await startParseApplication({
    database: fresh,
    parse: { filesAdapter: new FilesInMemory(), ...(cloud && { cloud }) },
  });
  const app = await startSdkClient(parse);
  const user = await app.run(async Parse => {
    const owner = await Parse.User.signUp('owner', 'secret-password', {});
    return {
      id: owner.id ?? '',
      sessionToken: owner.getSessionToken() ?? '',
      installationId: await Parse._getInstallationId(),
    };
  });
  return {
    parse,
    receiver,
    app,
    user,
    sentUser: expect.objectContaining({
      __type: 'Object',
      className: '_User',
      objectId: user.id,
      username: 'owner',
    }),
    hook: async (className, triggerName, rule) => {
      const url = receiver.url(rule, `${className}-${triggerName}`);
      await parse.registerHook({ className, triggerName, url });
      return url;
    },
    functionHook: async (functionName, rule) => {
      const url = receiver.url(rule, functionName);
      await parse.registerHook({ functionName, url });
      return url;
    },
    stop: async () => {
      await app.stop();
      await parse.stop();
      await receiver.stop();
      await fresh.drop();
    },
  };
}

/** Keeps files in memory: Parse Server's own adapter needs MongoDB. */
class FilesInMemory {
  readonly #files = new Map<string, Buffer>();

  async createFile(name: string, data: Buffer): Promise<void> {
    this.#files.set(name, data);
  }

  async deleteFile(name: string): Promise<void> {
    this.#files.delete(name);
  }

  async getFileData(name: string): Promise<Buffer> {
    const data = this.#files.get(name);
    if (data === undefined) throw new Error(`no file ${name}`);
    return data;
  }

  getFileLocation(config: { mount: string; applicationId: string }, name: string): string {
    return `${config.mount}/files/${config.applicationId}/${encodeURIComponent(name)}`;
  }
}
