// Secrets never leave: every secret of a server, its clients and its hooks is a canary, everything is called in every
// way that succeeds or fails, and then all that anybody got is searched. What is found must be in docs/security.md.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import express from 'express';
import { inspect } from 'node:util';
import ParseServer from 'parse-server';
import { WebSocket } from 'undici';
import { Webhooks, type WebhooksOptions } from '../../src/index';
import { createSecretBox } from '../../src/hooks/secret-box';
import { systemClock } from '../../src/shared/clock';
import {
  allowedPlaces,
  createCanary,
  createRecordingLogger,
  createSearch,
  findInJson,
  type Canary,
  type LogLine,
  type Search,
} from '../support/canaries';
import { answers, startCanaryReceiver, type CanaryReceiver } from '../support/canary-receiver';
import { describeOnEachDatabase, type FreshDatabase, type TestDatabase } from '../support/databases';
import { listRows, readRawRows, replaceInRow } from '../support/hook-rows';
import { readCertificate, reservePort } from '../support/misbehaving-receiver';
import { startParseApplication, type ParseApplication } from '../support/parse-application';

const appId = 'canary-app';
const random = (): string => randomBytes(20).toString('hex');
const newSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`;
const json = 'application/json';

interface SeenAnswer {
  readonly route: string;
  readonly text: string;
}

type Caller = Readonly<Record<string, string>>;

/** One server with everything that is secret about it, and a record of all it told anybody. */
class Scene {
  readonly canaries: Canary[] = [];
  readonly answers: SeenAnswer[] = [];
  readonly lines: LogLine[] = [];
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
  readonly encryptionKey = this.secret('encryptionKey');
  readonly metricsToken = this.secret('metricsToken');
  readonly passwords = [this.secret('password'), this.secret('password')];
  #hooks = 0;

  constructor(
    readonly kind: TestDatabase['kind'],
    readonly database: FreshDatabase,
    readonly receiver: CanaryReceiver,
  ) {}

  parse!: ParseApplication;
  routerURL = '';
  master: Caller = {};
  /** A client that sends every key, a cookie and an Authorization header, whether Parse Server wants them or not. */
  client: Caller = {};
  user: Caller = {};
  callers: readonly Caller[] = [];

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
    const path = url === undefined ? `/h/${(this.#hooks += 1)}/${answer}` : new URL(url).pathname;
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

async function startScene(database: TestDatabase, logLevel: string): Promise<Scene> {
  const scene = new Scene(database.kind, await database.create(), await startCanaryReceiver());
  const { keys } = scene;
  scene.parse = await startParseApplication({
    database: scene.database,
    appId,
    webhooks: {
      encryptionKey: scene.encryptionKey,
      metricsToken: scene.metricsToken,
      breakerFailures: 2,
      breakerOpenMs: 600_000,
      network: { deny: ['10.9.9.9'] },
    },
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
      loggerAdapter: createRecordingLogger(scene.lines),
      liveQuery: { classNames: ['Ball'] },
      filesAdapter: new FilesInMemory(),
      maintenanceKeyIps: ['127.0.0.1', '::1'],
      fileUpload: { enableForAnonymousUser: true, enableForAuthenticatedUser: true, enableForPublic: true },
      auth: { canary: { validateAppId: async () => undefined, validateAuthData: async () => undefined } },
    },
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

/** Users with passwords and auth data, logged in and out, and passwords that change. */
async function makeUsers(scene: Scene): Promise<string> {
  const [first = '', second = ''] = scene.passwords;
  const owner = await scene.signUp('owner', { password: first, nick: 'o' });
  const authData = { canary: { id: 'c1', access_token: scene.secret('auth data') } };
  const other = await scene.signUp('other', { password: first, authData });
  const changed = await scene.call('PUT', `/users/${other.objectId}`, other.headers, { password: second });
  if (typeof changed.sessionToken === 'string') scene.found('session token', changed.sessionToken.slice(2));
  const again = await scene.call('POST', '/login', scene.client, { username: 'other', password: second });
  scene.found('session token', again.sessionToken.slice(2));
  scene.user = owner.headers;
  const { keys } = scene;
  scene.callers = [
    scene.user,
    scene.client,
    scene.master,
    { ...scene.user, 'X-Parse-Master-Key': keys.masterKey },
    { Authorization: `Basic ${Buffer.from(`${appId}:${keys.masterKey}`).toString('base64')}` },
    {
      Authorization: `Basic ${Buffer.from(`${appId}:javascript-key=${keys.javascriptKey}`).toString('base64')}`,
    },
    { ...scene.client, 'X-Parse-Maintenance-Key': keys.maintenanceKey },
    { ...scene.client, 'X-Parse-Master-Key': keys.readOnlyMasterKey },
  ];
  const leaving = { ...scene.client, 'X-Parse-Session-Token': String(again.sessionToken) };
  await scene.call('GET', '/users/me', leaving);
  await scene.call('POST', '/logout', leaving);
  return owner.objectId;
}

const objectTriggers = ['beforeSave', 'afterSave', 'beforeDelete', 'afterDelete', 'beforeFind', 'afterFind'];

async function registerHooks(scene: Scene): Promise<void> {
  for (const triggerName of objectTriggers)
    await scene.hook({ className: 'Puppy', triggerName }, triggerName === 'beforeSave' ? 'object' : 'yes');
  const trusted = { includeSessionToken: true, forwardHeaders: ['user-agent', 'x-parse-installation-id'] };
  await scene.hook({ className: 'Trusted', triggerName: 'beforeSave' }, 'yes', trusted);
  for (const triggerName of objectTriggers) await scene.hook({ className: '@File', triggerName }, 'yes');
  for (const triggerName of ['beforeSave', 'afterSave'])
    await scene.hook({ className: '@Config', triggerName }, 'yes');
  await scene.hook({ className: '_Session', triggerName: 'afterLogout' }, 'yes');
  await scene.hook({ className: '_Role', triggerName: 'beforeSave' }, 'yes');
  await scene.hook({ className: '@Connect', triggerName: 'beforeConnect' }, 'yes');
  for (const triggerName of ['beforeSubscribe', 'afterEvent'])
    await scene.hook({ className: 'Ball', triggerName }, 'yes');
  await scene.hook({ functionName: 'echo' }, 'object');
  await scene.hook({ functionName: 'given' }, 'yes', { secret: newSecret(), signatures: ['v1', 'v1a'] });
  for (const algorithm of ['HS256', 'RS256', 'ES256'])
    await scene.hook({ functionName: `bearer${algorithm}` }, 'yes', { bearer: { algorithm } });
  const password = random();
  const basicPath = await scene.hook({ functionName: 'basic' }, 'yes', {
    basicAuth: { username: 'me', password },
  });
  scene.found('basicAuth password of a hook', password, basicPath);
  const key = readCertificate('receiver.key');
  // SEC 1, C.4: 7 bytes of header, then the 32 bytes that are secret.
  scene.found('tls key of a hook', (key.split('\n')[1] ?? '').slice(10, 52));
  const tls = { ca: readCertificate('ca'), cert: readCertificate('trusted'), key };
  await scene.hook({ functionName: 'mutual' }, 'yes', { tls }, scene.receiver.url('/mutual/yes', 'https'));
}

/** One function and one class per way to fail, under both policies and in shadow. */
async function failInEveryWay(scene: Scene): Promise<void> {
  const elsewhere = {
    refused: `http://127.0.0.1:${await reservePort()}/`,
    unresolvable: 'http://name.invalid/',
    plainOnTls: scene.receiver.url('/plain/yes').replace('http:', 'https:'),
    untrusted: scene.receiver.url('/untrusted/yes', 'https'),
    forbidden: scene.receiver.url('/forbidden/yes').replace('127.0.0.1', 'localhost'),
  };
  const ways = [...Object.keys(answers), ...Object.keys(elsewhere)];
  for (const [at, way] of ways.entries()) {
    const url = (elsewhere as Readonly<Record<string, string>>)[way];
    const policy = [{}, { failurePolicy: 'allow' }, { mode: 'shadow' }][at % 3];
    const settings = {
      timeoutMs: way === 'late' ? 60 : 3000,
      maxReplyBytes: 100_000,
      ...policy,
      ...(way === 'forbidden' && { network: { allowPrivate: false } }),
    };
    // To a function any value is a result, which the receiver gives to the client.
    if (way !== 'wrong-type' && way !== 'bad-key')
      await scene.hook({ functionName: `fail${at}` }, way, settings, url);
    for (const triggerName of ['beforeSave', 'beforeFind', 'afterFind', 'afterSave'])
      await scene.hook({ className: `Fail${at}`, triggerName }, way, settings, url);
    // The third call finds the breaker open.
    for (let call = 0; call < 3; call += 1)
      await scene.call('POST', `/functions/fail${at}`, scene.user, { a: call });
    await scene.call('POST', `/classes/Fail${at}`, scene.user, { a: 1 });
    await scene.call('GET', `/classes/Fail${at}`, scene.master);
  }
  await scene.hook({ functionName: 'small' }, 'yes', { maxRequestBytes: 100 });
  await scene.call('POST', '/functions/small', scene.user, { a: 'x'.repeat(200) });
  const deep = { ...scene.user, 'X-Parse-Webhook-Depth': '5' };
  await scene.call('POST', '/functions/echo', deep, { a: 1 });
}

async function useObjects(scene: Scene, ownerId: string): Promise<void> {
  const pointer = { __type: 'Pointer', className: '_User', objectId: ownerId };
  const sessions = await scene.call('GET', '/sessions', scene.master);
  const session = { __type: 'Pointer', className: '_Session', objectId: sessions.results[0].objectId };
  const deviceToken = scene.secret('device token');
  const device = { deviceType: 'ios', installationId: 'phone-1', deviceToken };
  const made = await scene.call('POST', '/installations', scene.client, device);
  const phone = { __type: 'Pointer', className: '_Installation', objectId: made.objectId };
  // A client that sends a user's secrets where it means a user.
  const sessionToken = scene.user['X-Parse-Session-Token'];
  const authData = { canary: { id: 'c2', access_token: scene.secret('auth data of a parameter') } };
  const password = scene.passwords[0];
  const embedded = { ...pointer, __type: 'Object', sessionToken, password, authData };
  const credentials = {
    _MasterKey: scene.keys.masterKey,
    _SessionToken: scene.user['X-Parse-Session-Token'],
    _JavaScriptKey: scene.keys.javascriptKey,
    _MaintenanceKey: scene.keys.maintenanceKey,
  };
  for (const caller of scene.callers) {
    for (const className of ['Puppy', 'Trusted']) {
      const path = `/classes/${className}`;
      const { objectId } = await scene.call('POST', path, caller, {
        name: 'a',
        owner: pointer,
        session,
        phone,
      });
      await scene.call('PUT', `${path}/${objectId}`, caller, { name: 'b' });
      await scene.call('GET', `${path}?include=owner,session,phone`, caller);
      await scene.call('GET', `${path}/${objectId}?include=owner`, caller);
      await scene.call('GET', `${path}?count=1&limit=0`, caller);
      await scene.call('DELETE', `${path}/${objectId}`, caller);
    }
    await scene.call('GET', '/users', caller);
    await scene.call('POST', '/functions/echo?q=1', caller, { a: 1, owner: pointer, embedded });
    await scene.call('POST', '/functions/echo', caller, { ...credentials, a: 1 });
    await scene.call('POST', '/classes/Puppy', caller, { ...credentials, name: 'c' });
    const form = new FormData();
    for (const [name, value] of Object.entries({ ...credentials, title: 'x' })) form.set(name, String(value));
    form.set('upload', new Blob([Buffer.from([0, 1, 255])]), 'odd.bin');
    await scene.call('POST', '/functions/echo', caller, form);
    for (const name of ['given', 'basic', 'mutual', 'bearerHS256', 'bearerRS256', 'bearerES256', 'nope'])
      await scene.call('POST', `/functions/${name}`, caller, {});
  }
  // As the JavaScript SDK sends it: everything in a text/plain body.
  const sdk = { _ApplicationId: appId, _ClientVersion: 'js8', ...credentials };
  for (const [path, body] of [
    ['/functions/echo', { ...sdk, a: 1 }],
    ['/classes/Puppy', { ...sdk, name: 'sdk' }],
    ['/classes/Puppy', { ...sdk, _method: 'GET', where: {}, include: 'owner' }],
  ] as const)
    await scene.call('POST', path, { 'Content-Type': 'text/plain' }, body);
}

async function useTheRest(scene: Scene): Promise<void> {
  const { user, master, client } = scene;
  const file = await scene.call('POST', '/files/a.txt', { ...user, 'Content-Type': 'text/plain' }, 'hello');
  await scene.call('GET', `/files/${appId}/${file.name}`, user);
  await scene.call('DELETE', `/files/${file.name}`, master);
  await scene.call('PUT', '/config', master, { params: { a: 1 } });
  await scene.call('GET', '/config', client);
  const ACL = { '*': { read: true } };
  await scene.call('POST', '/roles', user, { name: 'r', ACL });
  const leaver = await scene.signUp('leaver', { password: scene.secret('password') });
  await scene.call('POST', '/logout', leaver.headers);
  await scene.call('POST', '/logout', scene.client);
  const url = scene.receiver.url('/batched/yes');
  const batch = await scene.call(
    'POST',
    '/batch',
    { ...user, 'X-Parse-Master-Key': scene.keys.masterKey },
    {
      requests: [
        { method: 'POST', path: '/parse/classes/Puppy', body: { name: 'batch' } },
        { method: 'GET', path: '/parse/hooks/triggers' },
        { method: 'POST', path: '/parse/hooks/functions', body: { functionName: 'batched', url } },
        { method: 'POST', path: '/parse/functions/echo', body: { a: 1 } },
      ],
    },
  );
  scene.found('secret of a hook', batch[2].success.secret.slice('whsec_'.length));
  await useLiveQuery(scene);
}

async function useLiveQuery(scene: Scene): Promise<void> {
  const server: Server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const live = await ParseServer.createLiveQueryServer(
    server,
    { appId, serverURL: scene.parse.serverURL, masterKey: scene.keys.masterKey, websocketTimeout: 1000 },
    {} as never,
  );
  const address = server.address();
  const socket = new WebSocket(`ws://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`);
  const messages: string[] = [];
  let wake = (): void => undefined;
  socket.addEventListener('message', ({ data }) => {
    messages.push(String(data));
    scene.answers.push({ route: 'LiveQuery', text: String(data) });
    wake();
  });
  const until = async (op: string): Promise<void> => {
    while (!messages.some(message => message.includes(`"op":"${op}"`)))
      await new Promise<void>(resolve => (wake = resolve));
  };
  await once(socket as unknown as EventTarget, 'open');
  const sessionToken = scene.user['X-Parse-Session-Token'];
  const { masterKey, restAPIKey, javascriptKey } = scene.keys;
  const keys = { masterKey, restAPIKey, javascriptKey };
  socket.send(JSON.stringify({ op: 'connect', applicationId: appId, ...keys, sessionToken }));
  await until('connected');
  const query = { className: 'Ball', where: {} };
  socket.send(JSON.stringify({ op: 'subscribe', requestId: 1, query, sessionToken }));
  await until('subscribed');
  await scene.call('POST', '/classes/Ball', scene.user, { n: 1 });
  await until('create');
  const closed = once(socket as unknown as EventTarget, 'close');
  socket.close();
  await closed;
  await live.shutdown();
  server.close();
  server.closeAllConnections();
}

/** Every route of the plugin with every caller, and every refusal that could quote a secret. */
async function useRoutes(scene: Scene): Promise<void> {
  const puppy = '/webhooks/hooks/triggers/Puppy/beforeSave';
  const declared = { className: 'Bad', triggerName: 'beforeSave', url: scene.receiver.url('/bad/yes') };
  const reading = ['', '/functions/echo', '/triggers/Puppy/beforeSave', '/functions/nope'];
  for (const caller of scene.callers) {
    for (const path of reading) await scene.call('GET', `/webhooks/hooks${path}`, caller);
    for (const path of ['/functions', '/triggers', '/functions/echo', '/triggers/Puppy/beforeSave'])
      await scene.call('GET', `/hooks${path}`, caller);
    for (const path of ['jwks.json', 'ed25519.json', 'metrics', 'health', 'nope'])
      await scene.call('GET', `/webhooks/${path}`, caller);
    for (const className of ['WebhookSetting', 'WebhookState', '_Hooks'])
      await scene.call('GET', `/classes/${className}`, caller);
  }
  for (const path of ['jwks.json', 'ed25519.json', 'metrics', 'health', 'nope']) {
    await scene.call('GET', `/${path}`, {}, undefined, scene.routerURL);
    const token = { Authorization: `Bearer ${scene.metricsToken}` };
    await scene.call('GET', `/${path}`, token, undefined, scene.routerURL);
    await scene.call('GET', `/${path}`, scene.master, undefined, scene.routerURL);
  }
  await scene.call('PATCH', puppy, scene.master, {
    timeoutMs: 4000,
    headers: { 'x-own-secret': '********' },
  });
  await scene.call('PUT', '/hooks/triggers/Puppy/afterFind', scene.master, {
    url: scene.receiver.url('/put/yes'),
  });
  for (const key of ['ed25519', 'RS256', 'ES256', 'nope'])
    await scene.call('POST', '/webhooks/keys/rotate', scene.master, { key });
  const given = newSecret();
  for (const body of [{}, { secret: given, graceMs: 1000 }]) {
    const { secret } = await scene.call('POST', `${puppy}/secret/rotate`, scene.master, body);
    scene.found('secret of a hook', String(secret).slice('whsec_'.length));
  }
  const bad = (name: string): string => scene.secret(`${name} that is refused`);
  for (const settings of [
    { headers: { 'x-a': `${bad('header value')}\n` } },
    { headers: { 'x-a': { nested: bad('header value') } } },
    { headers: bad('header value') },
    { headers: [bad('header value')] },
    { basicAuth: { username: 'me', password: `${bad('password')}\u0001` } },
    { basicAuth: { username: 'me', password: bad('password'), more: 1 } },
    { basicAuth: bad('password') },
    { bearer: { algorithm: 'HS256', secret: bad('secret') } },
    { bearer: { algorithm: 'HS256' }, headers: { authorization: bad('header value') } },
    { tls: { key: bad('tls key') } },
    { tls: { cert: readCertificate('trusted'), key: `-----BEGIN KEY-----\n${bad('tls key')}` } },
    { tls: bad('tls key') },
    { secret: `whsec_!${bad('secret')}` },
    { secret: bad('secret') },
    { secret: { nested: bad('secret') } },
  ]) {
    await scene.call('POST', '/hooks/triggers', scene.master, { ...declared, ...settings });
    await scene.call('PATCH', puppy, scene.master, settings);
    await scene.call('POST', `${puppy}/secret/rotate`, scene.master, settings);
  }
  const withPassword = scene.receiver.url('/x').replace('http://', `http://me:${bad('password')}@`);
  for (const url of [withPassword, `ftp://me:${bad('password')}@h/`, `http://me:${bad('password')}@h :1/`]) {
    await scene.call('POST', '/hooks/triggers', scene.master, { ...declared, url });
    await scene.call('PATCH', puppy, scene.master, { url });
  }
  await scene.call('POST', '/hooks/triggers', scene.master, '{"className": "Bad", "headers"');
  await breakStoredSettings(scene);
  await scene.call('DELETE', '/webhooks/hooks/functions/echo', scene.master);
  await scene.call('PUT', '/hooks/functions/given', scene.master, { __op: 'Delete' });
}

/** A row that a later version wrote, with a field that this one does not know. */
async function breakStoredSettings(scene: Scene): Promise<void> {
  await scene.hook({ functionName: 'later' }, 'yes');
  await replaceInRow(scene.kind, scene.database, {
    className: 'WebhookSetting',
    where: { hook: 'function/later' },
    column: 'settings',
    change: text => text.replace('{', '{"fromLater":1,'),
  });
  // Registering anything makes this node read again.
  await scene.hook({ functionName: 'another' }, 'yes');
  await scene.call('POST', '/functions/later', scene.user, {});
  await scene.call('GET', '/webhooks/hooks/functions/later', scene.master);
  await scene.call('GET', '/webhooks/health', scene.master);
}

/** What only the database knows: hashed passwords, and the keys of the server. */
async function learnStoredSecrets(scene: Scene): Promise<void> {
  for (const row of await readRawRows(scene.kind, scene.database, '_User')) {
    const hash = row._hashed_password;
    // `$2b$10$`, then salt and hash.
    if (typeof hash === 'string') scene.found('hashed password', hash.slice(7));
  }
  const [state] = await readRawRows(scene.kind, scene.database, 'WebhookState');
  const box = createSecretBox(scene.encryptionKey, systemClock);
  const text = box.open(String(state?.keys), 'signing keys');
  for (const [, seed = ''] of text.matchAll(/whsk_([A-Za-z0-9+/]+)/g)) scene.found('ed25519 key', seed);
  for (const [, pem = ''] of text.matchAll(/-----BEGIN PRIVATE KEY-----([^-]+)-----END/g)) {
    const body = pem.replace(/\\+n/g, '');
    // PKCS #8: of P-256 the scalar is in the bytes 36..67; of RSA what lies behind the modulus is secret.
    scene.found('private key of tokens', body.length > 500 ? body.slice(600, 640) : body.slice(50, 90));
  }
}

/** Options and starts that are refused: errors are printed with their causes. */
async function startWrongly(scene: Scene): Promise<void> {
  const { encryptionKey, metricsToken } = scene;
  const see = (...said: readonly unknown[]): void => {
    scene.answers.push({ route: 'start', text: inspect(said, { depth: 10 }) });
  };
  // Parse Server prints what a start fails with.
  const printed = jest.spyOn(console, 'error').mockImplementation(see);
  const attempt = async (work: () => unknown): Promise<void> => {
    try {
      await work();
    } catch (error) {
      see(error);
      return;
    }
    throw new Error('what should be refused was taken');
  };
  const bad = (name: string): string => scene.secret(`${name} that is refused`);
  const url = scene.receiver.url('/declared/yes');
  for (const options of [
    { encryptionKey, metricsToken, encryptionkey: 1 },
    { encryptionKey: [encryptionKey] },
    { metricsToken: { metricsToken } },
    { hooks: bad('header value') },
    { hooks: [bad('header value')] },
    { defaults: { headers: { 'x-a': bad('header value') } } },
  ])
    await attempt(() => new Webhooks(options as unknown as WebhooksOptions));
  const start = async (webhooks: WebhooksOptions): Promise<void> => {
    const { database, keys, lines } = scene;
    const loggerAdapter = createRecordingLogger(lines);
    const parse = { ...keys, loggerAdapter };
    const started = await startParseApplication({ database, appId, webhooks, parse });
    await started.stop();
  };
  for (const declared of [
    { headers: { 'x-a': `${bad('header value')}\n` } },
    { headers: { 'x-a': bad('header value') }, timeoutms: 1 },
    { basicAuth: { username: 'a', password: bad('password'), more: 1 } },
    { secret: bad('secret') },
    { url: `http://me:${bad('password')}@h :1/` },
  ])
    await attempt(() => start({ encryptionKey, hooks: [{ functionName: 'declared', url, ...declared }] }));
  await attempt(() => start({ encryptionKey: scene.secret('encryptionKey') }));
  expect(printed).toHaveBeenCalled();
  printed.mockRestore();
}

interface Sighting {
  readonly secret: string;
  readonly place: string;
}

interface Searched {
  readonly sightings: readonly Sighting[];
  readonly parseLog: readonly { readonly secret: string; readonly line: string; readonly level: string }[];
  readonly bytes: Readonly<Record<string, number>>;
}

function searchRequests({ receiver }: Scene, find: Search): Sighting[] {
  const sightings: Sighting[] = [];
  const located = new Set<Canary>();
  const add = (canary: Canary, place: string): void => {
    located.add(canary);
    sightings.push({ secret: canary.secret, place });
  };
  for (const { path, rawHeaders, raw } of receiver.requests) {
    for (const canary of find(path)) add(canary, 'request: URL');
    for (let at = 0; at < rawHeaders.length; at += 2) {
      const name = String(rawHeaders[at]).toLowerCase();
      for (const canary of find(rawHeaders.slice(at, at + 2).join(': '))) {
        const own = canary.owner === path;
        if (own && name === 'x-own-secret') add(canary, "request: that header, in the hook's own");
        else add(canary, `request: header ${name}${own ? ", in the hook's own" : ''}`);
      }
    }
    for (const canary of find(raw)) {
      const places = findInJson(canary, JSON.parse(raw));
      const trusted = raw.includes('"className":"Trusted"') ? ', with includeSessionToken' : '';
      for (const place of places.length > 0 ? places : ['']) add(canary, `request: body ${place}${trusted}`);
    }
  }
  // Also what never became a request.
  for (const canary of find(receiver.bytes().toString('latin1')))
    if (!located.has(canary)) add(canary, 'request: other bytes');
  return sightings;
}

function placeOfAnswer(secret: string, { route, text }: SeenAnswer): string {
  if (secret === 'secret of a hook') {
    // Once, under its name: in the whole text, nothing else is left of it.
    const shown = /"secret":"whsec_[^"]*"/g;
    if (/^POST \/(hooks\/\w+|batch)$/.test(route) && text.match(shown)?.length === 1)
      return 'answer: secret, of POST /hooks/...';
    if (route.endsWith('/secret/rotate') && text.match(shown)?.length === 1)
      return 'answer: secret, of POST .../secret/rotate';
  }
  // Of the master key's: it may read sessions, included ones too.
  return /^\w+ \/(users|login|logout|sessions|installations|classes\/Puppy|classes\/Trusted)\b/.test(route)
    ? "answer: Parse Server's own"
    : `answer: ${route}`;
}

async function search(scene: Scene): Promise<Searched> {
  const find = createSearch(scene.canaries);
  const sightings = searchRequests(scene, find);
  for (const answer of scene.answers)
    for (const { secret } of find(answer.text))
      sightings.push({ secret, place: placeOfAnswer(secret, answer) });
  const parseLog: { secret: string; line: string; level: string }[] = [];
  for (const { level, text, source } of scene.lines) {
    for (const { secret } of find(text)) {
      if (source === 'parse-server') parseLog.push({ secret, level, line: text.slice(0, 300) });
      else sightings.push({ secret, place: `log: ${source}: ${text.slice(0, 200)}` });
    }
  }
  const rows = await listRows(scene.kind, scene.database);
  for (const { table, text } of rows) {
    for (const { secret } of find(text)) {
      const own = ['_User', '_Session', '_Installation'].includes(table) ? "Parse Server's " : '';
      sightings.push({ secret, place: `row: ${own}${table}` });
    }
  }
  const sizeOf = (texts: readonly string[]): number =>
    texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  return {
    sightings,
    parseLog,
    bytes: {
      requests: scene.receiver.bytes().length,
      answers: sizeOf(scene.answers.map(({ text }) => text)),
      log: sizeOf(scene.lines.map(({ text }) => text)),
      rows: sizeOf(rows.map(({ text }) => text)),
    },
  };
}

const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)].sort();
const asText = ({ secret, place }: Sighting): string => `${secret} | ${place}`;

describe.each(['info', 'verbose'])('with the log level %s', logLevel => {
  describeOnEachDatabase('the secrets of a server', database => {
    let scene: Scene;
    let searched: Searched;
    let routers: Server;

    beforeAll(async () => {
      scene = await startScene(database, logLevel);
      routers = express().use('/webhooks', scene.parse.webhooks.router()).listen(0, '127.0.0.1');
      await once(routers, 'listening');
      const address = routers.address();
      scene.routerURL = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}/webhooks`;
      try {
        // First, so that users sign up, change passwords and log out under hooks.
        await registerHooks(scene);
        const ownerId = await makeUsers(scene);
        await useObjects(scene, ownerId);
        await useTheRest(scene);
        await failInEveryWay(scene);
        await useRoutes(scene);
      } finally {
        routers.close();
        routers.closeAllConnections();
        // Waits for notifications under way.
        await scene.parse.stop();
      }
      await startWrongly(scene);
      await learnStoredSecrets(scene);
      searched = await search(scene);
    }, 120_000);

    afterAll(async () => {
      await scene.receiver.close();
      await scene.database.drop();
    });

    it('are found only where the documentation says, and everywhere it says', () => {
      const allowed = unique(allowedPlaces.map(([secret, place]) => `${secret} | ${place}`));
      expect(unique(searched.sightings.map(asText))).toEqual(allowed);
    });

    it('had every hook called, and calls fail in every way', () => {
      const called = new Set(
        scene.receiver.requests.map(({ raw }) => {
          const body = JSON.parse(raw) as Record<string, unknown>;
          const { className } = (body.object ?? body) as { className?: string };
          return body.functionName === undefined
            ? `${String(body.triggerName)} ${String(className)}`
            : String(body.functionName);
        }),
      );
      const uncalled = [
        ...objectTriggers.flatMap(trigger => [`${trigger} Puppy`, `${trigger} @File`]),
        ...['beforeSave @Config', 'afterSave @Config', 'afterLogout _Session', 'beforeSave _Role'],
        ...['beforeConnect @Connect', 'beforeSubscribe Ball', 'afterEvent Ball', 'beforeSave Trusted'],
        ...['echo', 'given', 'basic', 'mutual', 'bearerHS256', 'bearerRS256', 'bearerES256'],
      ].filter(each => !called.has(each));
      expect(uncalled).toEqual([]);
      // An open breaker is told to clients.
      expect(scene.answers.some(({ text }) => text.includes('is given a rest'))).toBe(true);
      const failures = scene.lines.flatMap(({ text, source }) =>
        source === 'plugin' ? (/ failed: ([a-zA-Z ]+?)(?: after \d+ ms)? \(/.exec(text)?.[1] ?? []) : [],
      );
      expect(unique(failures)).toEqual([
        'TLS failed',
        'address is not allowed',
        'answer cannot be used',
        'answer has a forbidden key',
        'answer has an error status',
        'answer has neither success nor error',
        'answer is a redirect',
        'answer is not JSON',
        'answer is not valid HTTP',
        'answer is too large',
        'connection failed',
        'connection was cut',
        'its settings cannot be read',
        'name does not resolve',
        'request is too large',
        'timed out',
        'webhooks call each other in a loop',
      ]);
    });

    it('were searched for in everything that anybody got', () => {
      const { bytes, sightings } = searched;
      const kinds = unique(scene.canaries.map(({ secret }) => secret));
      const count = (name: LogLine['source']): number =>
        scene.lines.filter(({ source }) => source === name).length;
      process.stdout.write(
        `canaries (${database.kind}, ${logLevel}): ${scene.canaries.length} of ${kinds.length} kinds, ` +
          `${scene.canaries.reduce((sum, { needles }) => sum + needles.length, 0)} forms; ` +
          `${scene.receiver.requests.length} requests, ${scene.answers.length} answers and headers, ` +
          `${count('plugin')} log lines of the plugin and ${count('parse-server')} of Parse Server; ` +
          `bytes searched: ${Object.entries(bytes)
            .map(([name, size]) => `${name} ${size}`)
            .join(', ')}; ` +
          `found ${sightings.length} times in ${unique(sightings.map(asText)).length} allowed places\n`,
      );
      for (const size of Object.values(bytes)) expect(size).toBeGreaterThan(10_000);
      expect(scene.canaries.length).toBeGreaterThan(50);
      // Who wrote a line was read from the stack; the plugin's all begin alike.
      expect(count('plugin')).toBeGreaterThan(20);
      const ours = scene.lines.filter(({ text }) => /^webhooks?\b/.test(text));
      expect(ours.filter(({ source }) => source !== 'plugin')).toEqual([]);
      expect(count('other')).toBe(0);
    });

    it('are in the log of Parse Server itself only where it logs requests, functions and triggers', () => {
      const shown = unique(
        searched.parseLog.map(({ secret, level, line }) => `${secret} | ${level} ${line}`),
      );
      const itsOwn = [
        /^[^|]+ \| verbose (REQUEST for|RESPONSE from|Request: )/,
        /^[^|]+ \| (info Ran|error Failed running) cloud function /,
        /^(session|device) token \| info (afterFind|afterLogout) triggered for /,
      ];
      expect(shown.filter(each => !itsOwn.some(line => line.test(each)))).toEqual([]);
      expect(shown.some(each => each.includes('| verbose REQUEST'))).toBe(logLevel === 'verbose');
    });

    it('are found when one is planted, in any form and at any place', async () => {
      const planted = scene.canaries[0];
      if (!planted) throw new Error('there is no canary');
      const { masterKey } = scene.keys;
      const find = createSearch(scene.canaries);
      for (const form of [
        masterKey,
        Buffer.from(masterKey).toString('hex'),
        Buffer.from(`a${masterKey}`).toString('base64'),
        Buffer.from(`ab${masterKey}`).toString('base64url'),
        Buffer.from(masterKey).toString('hex').replace(/../g, '%$&'),
        masterKey.slice(0, 14),
        masterKey.slice(-14),
      ]) {
        expect(find(`x${form}x`)).toContain(planted);
      }
      await fetch(scene.receiver.url('/planted/yes'), {
        method: 'POST',
        headers: {
          Connection: 'close',
          'X-Planted': `Basic ${Buffer.from(`a:${masterKey}`).toString('base64')}`,
        },
        body: JSON.stringify({ deep: [{ key: masterKey.slice(0, 20) }] }),
      });
      createRecordingLogger(scene.lines).log('info', { deep: { masterKey } });
      scene.answers.push({ route: 'GET /planted', text: masterKey });
      const found = unique((await search(scene)).sightings.map(asText));
      expect(found.filter(each => each.startsWith('master key'))).toEqual([
        'master key | answer: GET /planted',
        `master key | log: other: { deep: { masterKey: '${masterKey}' } }`,
        'master key | request: body deep.0.key',
        'master key | request: header x-planted',
      ]);
    });
  });
});
