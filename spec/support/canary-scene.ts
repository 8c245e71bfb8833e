// A server whose every secret is a canary, and a record of all that it told anybody.
import { randomBytes } from 'node:crypto';
import type { WebhooksOptions } from '../../src/index';
import { deriveKey } from '../../src/hooks/derive-key';
import { createSecretBox } from '../../src/hooks/secret-box';
import { systemClock } from '../../src/shared/clock';
import { createCanary, createRecordingLogger, type Canary, type LogLine } from './canaries';
import { startCanaryReceiver, type CanaryReceiver } from './canary-receiver';
import { startConnectProxy, type ConnectProxy } from './connect-proxy';
import type { FreshDatabase, TestDatabase } from './databases';
import { readRawRows } from './hook-rows';
import { startParseApplication, type ParseApplication } from './parse-application';

export const appId = 'canary-app';
const random = (): string => randomBytes(20).toString('hex');
export const newSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`;
const json = 'application/json';

export interface SeenAnswer {
  readonly route: string;
  readonly text: string;
}

export type Caller = Readonly<Record<string, string>>;

/** One server with everything that is secret about it, and a record of all it told anybody. */
export class Scene {
  readonly canaries: Canary[] = [];
  readonly answers: SeenAnswer[] = [];
  readonly lines: LogLine[] = [];
  /** Paths of hooks that were moved, and where they were before. */
  readonly moved = new Map<string, string>();
  readonly keys = {
    masterKey: this.secret('master key'),
    readOnlyMasterKey: this.secret('read-only master key'),
    maintenanceKey: this.secret('maintenance key'),
    restAPIKey: this.secret('REST API key'),
    javascriptKey: this.secret('JavaScript key'),
    clientKey: this.secret('client key'),
    dotNetKey: this.secret('.NET key'),
    webhookKey: this.secret('webhook key'),
  };
  /** Under which secrets are kept. */
  encryptionKey = this.secret('encryptionKey');
  readonly metricsToken = this.secret('metricsToken');
  readonly passwords = [this.secret('password'), this.secret('password')];
  routerURL = '';
  master: Caller = {};
  /** A client that sends every key, a cookie and an Authorization header, whether Parse Server wants them or not. */
  client: Caller = {};
  user: Caller = {};
  callers: readonly Caller[] = [];
  #parse: ParseApplication | undefined;
  #paths = 0;

  constructor(
    readonly kind: TestDatabase['kind'],
    readonly database: FreshDatabase,
    readonly receiver: CanaryReceiver,
    readonly proxy: ConnectProxy,
    readonly logLevel: string,
  ) {}

  get parse(): ParseApplication {
    if (!this.#parse) throw new Error('the server has not started');
    return this.#parse;
  }

  set parse(started: ParseApplication) {
    this.#parse = started;
  }

  secret(name: string): string {
    const text = random();
    this.canaries.push(createCanary(name, text));
    return text;
  }

  found(name: string, core: string, owner?: string): void {
    this.canaries.push(createCanary(name, core, owner));
  }

  async call(
    method: string,
    path: string,
    headers: Caller,
    body?: unknown,
    base = this.parse.serverURL,
    // Tests look into answers as they please.
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
  ): Promise<any> {
    const raw = typeof body === 'string' || body instanceof FormData || body instanceof Uint8Array;
    const response = await fetch(base + path, {
      method,
      redirect: 'manual',
      headers: {
        Connection: 'close',
        ...(body instanceof FormData ? {} : { 'Content-Type': json }),
        ...headers,
      },
      ...(body !== undefined && {
        body: raw ? (body as string | FormData | Uint8Array<ArrayBuffer>) : JSON.stringify(body),
      }),
    });
    const text = await response.text();
    const route = `${method} ${path.replace(/\?.*$/, '')}`;
    this.answers.push({ route, text });
    for (const header of response.headers)
      this.answers.push({ route: `${route}, header`, text: header.join(': ') });
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }

  /** Registers a hook whose headers hold a secret of its own, and learns the secret that signs. */
  async hook(target: object, answer: string, settings: object = {}, url?: string): Promise<string> {
    const path = url === undefined ? `/h/${(this.#paths += 1)}/${answer}` : new URL(url).pathname;
    const value = random();
    this.found('header value of a hook', value, path);
    const body = {
      ...target,
      url: url ?? this.receiver.url(path),
      headers: { 'x-own-secret': value },
      ...settings,
    };
    const kind = 'functionName' in target ? 'functions' : 'triggers';
    const { secret } = await this.call('POST', `/hooks/${kind}`, this.master, body);
    if (typeof secret !== 'string') throw new Error(`no secret for ${JSON.stringify(target)}`);
    this.found('secret of a hook', secret.slice('whsec_'.length));
    this.found('secret of a hook', Buffer.from(secret.slice('whsec_'.length), 'base64').toString('hex'));
    return path;
  }

  /** The same for a subscription; gives its objectId. */
  async subscription(answer: string, settings: object, url?: string): Promise<string> {
    const path = url === undefined ? `/s/${(this.#paths += 1)}/${answer}` : new URL(url).pathname;
    const value = random();
    this.found('header value of a subscription', value, path);
    const { basicAuth } = settings as { readonly basicAuth?: { readonly password: string } };
    if (basicAuth) this.found('basicAuth password of a subscription', basicAuth.password, path);
    const { objectId, secret } = await this.call('POST', '/webhooks/subscriptions', this.master, {
      name: path.replaceAll('/', '.').slice(1),
      url: url ?? this.receiver.url(path),
      events: ['*'],
      classes: ['Puppy'],
      headers: { 'x-own-secret': value },
      ...settings,
    });
    if (typeof secret !== 'string') throw new Error(`no secret for ${path}`);
    this.found('secret of a subscription', secret.slice('whsec_'.length));
    this.found(
      'secret of a subscription',
      Buffer.from(secret.slice('whsec_'.length), 'base64').toString('hex'),
    );
    return String(objectId);
  }

  /** Signs a user up and gives headers with the session token. */
  async signUp(username: string, fields: object): Promise<{ headers: Caller; objectId: string }> {
    const { sessionToken, objectId } = await this.call('POST', '/users', this.client, {
      username,
      ...fields,
    });
    if (typeof sessionToken !== 'string') throw new Error('no session token');
    this.found('session token', sessionToken.slice(2));
    return { headers: { ...this.client, 'X-Parse-Session-Token': sessionToken }, objectId };
  }
}

/** Parse Server's own adapter keeps a connection to MongoDB that it never closes. */
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
    if (!data) throw new Error(`there is no file ${name}`);
    return data;
  }

  getFileLocation(config: { readonly mount: string; readonly applicationId: string }, name: string): string {
    return `${config.mount}/files/${config.applicationId}/${encodeURIComponent(name)}`;
  }
}

/** A server on the database of the scene, whose lines are recorded. */
export async function startServer(scene: Scene, webhooks: WebhooksOptions): Promise<ParseApplication> {
  const { database, keys, logLevel, lines } = scene;
  return startParseApplication({
    database,
    appId,
    webhooks,
    parse: {
      ...keys,
      logLevel,
      verbose: logLevel === 'verbose',
      logLevels: {
        triggerAfter: 'info',
        triggerBeforeSuccess: 'info',
        triggerBeforeError: 'error',
        cloudFunctionSuccess: 'info',
        cloudFunctionError: 'error',
      },
      loggerAdapter: createRecordingLogger(lines),
      liveQuery: { classNames: ['Ball'] },
      filesAdapter: new FilesInMemory(),
      maintenanceKeyIps: ['127.0.0.1', '::1'],
      fileUpload: { enableForAnonymousUser: true, enableForAuthenticatedUser: true, enableForPublic: true },
      auth: { canary: { validateAppId: async () => undefined, validateAuthData: async () => undefined } },
    },
  });
}

export async function startScene(database: TestDatabase, logLevel: string): Promise<Scene> {
  const receiver = await startCanaryReceiver();
  const proxy = await startConnectProxy();
  const scene = new Scene(database.kind, await database.create(), receiver, proxy, logLevel);
  const { keys } = scene;
  scene.parse = await startServer(scene, {
    encryptionKey: scene.encryptionKey,
    metricsToken: scene.metricsToken,
    breakerFailures: 2,
    breakerOpenMs: 600_000,
    network: { deny: ['10.9.9.9'] },
  });
  const app = { 'X-Parse-Application-Id': appId };
  scene.client = {
    ...app,
    'X-Parse-REST-API-Key': keys.restAPIKey,
    'X-Parse-Javascript-Key': keys.javascriptKey,
    'X-Parse-Client-Key': keys.clientKey,
    'X-Parse-Windows-Key': keys.dotNetKey,
    Cookie: `sid=${scene.secret('cookie')}`,
    Authorization: `Bearer ${scene.secret('authorization header')}`,
    'X-Parse-Installation-Id': 'phone-1',
  };
  scene.master = { ...scene.client, 'X-Parse-Master-Key': keys.masterKey };
  return scene;
}

/** What only the database knows: hashed passwords, and the keys of the server. */
export async function learnStoredSecrets(scene: Scene): Promise<void> {
  for (const row of await readRawRows(scene.kind, scene.database, '_User')) {
    const hash = row._hashed_password;
    // `$2b$10$`, then salt and hash.
    if (typeof hash === 'string') scene.found('hashed password', hash.slice(7));
  }
  const states = await readRawRows(scene.kind, scene.database, 'WebhookState');
  const state = states.find(row => (row.objectId ?? row._id) === 'registry');
  const box = createSecretBox(await deriveKey(scene.encryptionKey), systemClock);
  const text = box.open(String(state?.keys), 'signing keys');
  for (const [, seed = ''] of text.matchAll(/whsk_([A-Za-z0-9+/]+)/g)) scene.found('ed25519 key', seed);
  for (const [, pem = ''] of text.matchAll(/-----BEGIN PRIVATE KEY-----([^-]+)-----END/g)) {
    const body = pem.replace(/\\+n/g, '');
    // PKCS #8: of P-256 the scalar is in the bytes 36..67; of RSA what lies behind the modulus is secret.
    scene.found('private key of tokens', body.length > 500 ? body.slice(600, 640) : body.slice(50, 90));
  }
}
