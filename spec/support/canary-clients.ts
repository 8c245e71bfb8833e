// What clients do with the server of a canary scene: users, objects, functions, files, batches, LiveQuery.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import ParseServer from 'parse-server';
import { WebSocket } from 'undici';
import { appId, type Scene } from './canary-scene';

/** Users with passwords and auth data, logged in and out, and passwords that change. */
export async function makeUsers(scene: Scene): Promise<string> {
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

export async function useObjects(scene: Scene, ownerId: string): Promise<void> {
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

export async function useTheRest(scene: Scene): Promise<void> {
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
