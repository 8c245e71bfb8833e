// A Parse Server process, built in one of the ways that are compared.
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Session } from 'node:inspector/promises';
import { createRequire } from 'node:module';
import express from 'express';
import ParseServer from 'parse-server';
import type * as Plugin from '../src/index';
import { cells, classNameOf } from './blocking-cells';
import { readSettings, serve } from './processes';
import { appId, masterKey, serverProtocol, serverSettingsShape, type Variant } from './server-protocol';

/** Late and from one cache: a part of the package can be changed before the package is loaded. */
const load = createRequire(__filename);

/** No option leaves requests unsigned, so what signing costs is known only by taking the signer's place. */
function leaveUnsigned(): void {
  const path = load.resolve('../src/http/webhook-signature');
  const original: unknown = load(path);
  const cached = load.cache[path];
  if (typeof original !== 'object' || cached === undefined) throw new Error('webhook-signature is not there');
  cached.exports = { ...original, createSigner: () => ({ sign: () => 'v1,unsigned' }) };
}

/** Loaded late: `none` and `built-in` must not pay for it, and `plugin-unsigned` changes a part of it first. */
function loadWebhooks(
  variant: Variant,
  given: Readonly<Record<string, unknown>>,
): Plugin.Webhooks | undefined {
  if (variant === 'none' || variant === 'cloud-code' || variant === 'built-in') return undefined;
  if (variant === 'plugin-unsigned') leaveUnsigned();
  const plugin: typeof Plugin = load('../src/index');
  const network =
    variant === 'plugin-unsigned' ? { allowPrivate: true } : { allowPrivate: false, allow: ['127.0.0.0/8'] };
  return new plugin.Webhooks({ network, ...given });
}

interface CloudCode {
  define(name: string, run: (request: { readonly params: unknown }) => unknown): void;
  beforeSave(className: string, run: () => void): void;
  beforeDelete(className: string, run: () => void): void;
}

function defineCloudCode(cloud: CloudCode, variant: Variant): void {
  cloud.define('HelloHere', ({ params }) => params);
  if (variant !== 'cloud-code') return;
  for (const cell of cells) {
    if (cell.operation === 'save') cloud.beforeSave(classNameOf(cell), () => undefined);
    if (cell.operation === 'delete') cloud.beforeDelete(classNameOf(cell), () => undefined);
  }
}

const silent = {
  triggerAfter: 'silent',
  triggerBeforeSuccess: 'silent',
  triggerBeforeError: 'silent',
  cloudFunctionSuccess: 'silent',
};

async function main(): Promise<void> {
  const { variant, databaseURI, webhooks: given } = readSettings(serverSettingsShape);
  const app = express();
  const server = createServer(app);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const { port } = address;
  const webhooks = loadWebhooks(variant, given);
  const options = {
    appId,
    masterKey,
    maintenanceKey: 'bench-maintenance-key',
    webhookKey: 'bench-webhook-key',
    serverURL: `http://127.0.0.1:${port}/parse`,
    databaseURI,
    allowClientClassCreation: true,
    silent: true,
    logsFolder: null,
    logLevels: silent,
    cloud: (parse: { readonly Cloud: CloudCode }) => defineCloudCode(parse.Cloud, variant),
  };
  const startedAt = performance.now();
  const cpuBefore = process.cpuUsage();
  const parse = new ParseServer((webhooks ? webhooks.configure(options) : options) as never);
  await parse.start();
  const startMs = performance.now() - startedAt;
  const startCpu = process.cpuUsage(cpuBefore);
  app.use('/parse', parse.app as never);
  const inspector = new Session();
  serve(
    serverProtocol,
    { port, startMs, startCpuMs: (startCpu.user + startCpu.system) / 1000 },
    {
      answer: async ({ collect, profile }) => {
        if (profile === 'start') {
          inspector.connect();
          await inspector.post('Profiler.enable');
          await inspector.post('Profiler.start');
        } else if (profile !== undefined) {
          const stopped = await inspector.post('Profiler.stop');
          writeFileSync(profile.path, JSON.stringify(stopped.profile));
          inspector.disconnect();
        }
        if (collect) {
          // Twice: finalizers of the first pass let go of more.
          globalThis.gc?.();
          globalThis.gc?.();
        }
        const { user, system } = process.cpuUsage();
        const { heapUsed, external, rss } = process.memoryUsage();
        return { cpuUs: user + system, heapUsedBytes: heapUsed + external, rssBytes: rss };
      },
      stop: async () => {
        server.close();
        await webhooks?.stop();
      },
    },
  );
}

void main();
