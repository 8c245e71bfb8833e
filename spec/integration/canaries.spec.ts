// Secrets never leave: every secret of a server, its clients and its hooks is a canary, everything is called in every
// way that succeeds or fails, and then all that anybody got is searched. What is found must be in docs/security.md.
import { once } from 'node:events';
import type { Server } from 'node:http';
import express from 'express';
import {
  allowedPlaces,
  createRecordingLogger,
  createSearch,
  findInJson,
  type Canary,
  type LogLine,
  type Search,
} from '../support/canaries';
import { makeUsers, useObjects, useTheRest } from '../support/canary-clients';
import { failInEveryWay, objectTriggers, registerHooks, useRoutes } from '../support/canary-hooks';
import { learnStoredSecrets, startScene, type Scene, type SeenAnswer } from '../support/canary-scene';
import { startAnew, startWrongly } from '../support/canary-starts';
import { registerSubscriptions, useSubscriptions } from '../support/canary-subscriptions';
import { describeOnEachDatabase } from '../support/databases';
import { listRows } from '../support/hook-rows';

interface Sighting {
  readonly secret: string;
  readonly place: string;
}

interface Searched {
  readonly sightings: readonly Sighting[];
  readonly parseLog: readonly { readonly secret: string; readonly line: string; readonly level: string }[];
  readonly bytes: Readonly<Record<string, number>>;
}

/** What a hook or a subscription sends of its own. */
function ownPlace({ secret }: Canary): string {
  return secret.endsWith('subscription') ? ", in the subscription's own" : ", in the hook's own";
}

function searchConnects({ proxy }: Scene, find: Search): Sighting[] {
  const sightings = proxy.rawHeaders.flatMap(headers =>
    headers.flatMap((value, at) => {
      const place = at % 2 === 0 ? 'CONNECT: name' : `CONNECT: header ${headers[at - 1]?.toLowerCase()}`;
      return find(value).map(({ secret }) => ({ secret, place }));
    }),
  );
  const targets = [...proxy.asked.map(({ authority }) => authority), ...proxy.others].join('\n');
  return [...sightings, ...find(targets).map(({ secret }) => ({ secret, place: 'CONNECT: target' }))];
}

function searchRequests({ receiver, moved }: Scene, find: Search): Sighting[] {
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
        const own = canary.owner === (moved.get(path) ?? path);
        if (own && name === 'x-own-secret') add(canary, `request: that header${ownPlace(canary)}`);
        else add(canary, `request: header ${name}${own ? ownPlace(canary) : ''}`);
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

/** A new secret is told under this name, alone. */
const shownSecret = /"secret":"whsec_[^"]*"/;

function searchAnswer({ route, text }: SeenAnswer, find: Search): Sighting[] {
  const tells = /^POST \/(hooks\/\w+|batch)$/.test(route)
    ? 'answer: secret, of POST /hooks/...'
    : route === 'POST /webhooks/subscriptions'
      ? 'answer: secret, of POST /webhooks/subscriptions'
      : route.endsWith('/secret/rotate') && 'answer: secret, of POST .../secret/rotate';
  const told = (tells !== false && shownSecret.exec(text)?.[0]) || '';
  // Of the master key's: it may read sessions and devices, included ones too.
  const own = /^\w+ \/(users|login|logout|sessions|installations|classes\/Puppy|classes\/Trusted)\b/;
  const place = own.test(route) ? "answer: Parse Server's own" : `answer: ${route}`;
  return [
    ...find(told).map(({ secret }) => ({ secret, place: String(tells) })),
    // In the rest of the text, nothing of it is left.
    ...find(told === '' ? text : text.replace(told, '')).map(({ secret }) => ({ secret, place })),
  ];
}

async function search(scene: Scene): Promise<Searched> {
  const find = createSearch(scene.canaries);
  const sightings = searchRequests(scene, find);
  sightings.push(...searchConnects(scene, find));
  sightings.push(...scene.answers.flatMap(answer => searchAnswer(answer, find)));
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
      connects: sizeOf(scene.proxy.rawHeaders.flat()),
      answers: sizeOf(scene.answers.map(({ text }) => text)),
      log: sizeOf(scene.lines.map(({ text }) => text)),
      rows: sizeOf(rows.map(({ text }) => text)),
    },
  };
}

const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)].sort();
const asText = ({ secret, place }: Sighting): string => `${secret} | ${place}`;

describe.each(['info', 'debug', 'verbose', 'silly'])('with the log level %s', logLevel => {
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
        await registerSubscriptions(scene);
        const ownerId = await makeUsers(scene);
        await useObjects(scene, ownerId);
        await useTheRest(scene);
        await failInEveryWay(scene);
        await useRoutes(scene);
        await useSubscriptions(scene);
      } finally {
        routers.close();
        routers.closeAllConnections();
        // Waits for notifications under way.
        await scene.parse.stop();
      }
      await startAnew(scene);
      await startWrongly(scene);
      await learnStoredSecrets(scene);
      searched = await search(scene);
    }, 120_000);

    afterAll(async () => {
      await scene.receiver.close();
      await scene.proxy.close();
      await scene.database.drop();
    });

    it('are found only where the documentation says, and everywhere it says', () => {
      const allowed = unique(allowedPlaces.map(([secret, place]) => `${secret} | ${place}`));
      expect(unique(searched.sightings.map(asText))).toEqual(allowed);
    });

    it('had every hook called, and calls fail in every way', () => {
      const called = new Set(
        scene.receiver.requests.map(({ raw }) => {
          const body = JSON.parse(raw) as Readonly<Record<string, string | undefined>>;
          const { className } = (body.object ?? body) as { className?: string };
          return body.functionName ?? `${body.triggerName} ${className}`;
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
      expect(shown.some(each => each.includes('| verbose REQUEST'))).toBe(
        logLevel === 'verbose' || logLevel === 'silly',
      );
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
