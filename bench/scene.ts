// What all parts of a benchmark share: databases, a receiver and a load process, Parse Servers, and progress on stderr.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchOptions, Part } from './command-line';
import { openDatabases, type DatabaseKind, type Databases } from './databases';
import { loadProtocol, type Load } from './load-protocol';
import { startProcess, type BenchProcess, type Protocol } from './processes';
import { receiverProtocol, type Receiver } from './receiver-protocol';
import { startRedis, type RedisServer } from './redis';
import { serverProtocol, type ServerProcess, type Variant } from './server-protocol';

export interface BenchServer {
  readonly variant: Variant;
  readonly origin: string;
  readonly databaseURI: string;
  readonly process: ServerProcess;
  /** CPU time so far, in microseconds. */
  cpuUs(): Promise<number>;
}

export interface ServerOptions {
  /** Default: the one of the command line, an empty database. */
  readonly database?: DatabaseKind;
  readonly databaseURI?: string;
  readonly webhooks?: Readonly<Record<string, unknown>>;
}

export interface Scene {
  readonly options: BenchOptions;
  readonly databases: Databases;
  readonly receiver: Receiver;
  readonly load: Load;
  /** What could not be measured, and why. */
  readonly skipped: string[];
  skip(what: string, why: string): void;
  log(line: string): void;
  /** True when `--only` does not leave this scenario out. */
  includes(scenario: string): boolean;
  /** Starts `<name>.ts` of this folder, compiled. What still runs at `close` is stopped then. */
  startProcess<Ready, Request extends object, Answer>(
    name: string,
    protocol: Protocol<Ready, Request, Answer>,
    settings?: object,
  ): Promise<BenchProcess<Ready, Request, Answer>>;
  startServer(variant: Variant, options?: ServerOptions): Promise<BenchServer>;
  /** A Redis of the run's own. What still runs at `close` is stopped then. Throws when there is no redis-server. */
  startRedis(): Promise<RedisServer>;
  /** Stops these servers; the rest is stopped by `close`. */
  stopServers(servers: readonly BenchServer[]): Promise<void>;
  close(): Promise<void>;
}

/** Where compileProcesses has put the processes; `before` with the package of the tree that `--against` names. */
export interface CompiledFolders {
  readonly now: string;
  readonly before: string | undefined;
}

export async function openScene(options: BenchOptions, folders: CompiledFolders): Promise<Scene> {
  const log = (line: string): void => void process.stderr.write(`${line}\n`);
  const databases = await openDatabases();
  // A void run must end, whatever was under way.
  const started: { stop(): Promise<void> }[] = [];
  const startIn = async <Ready, Request extends object, Answer>(
    folder: string,
    name: string,
    protocol: Protocol<Ready, Request, Answer>,
    settings?: object,
  ): Promise<BenchProcess<Ready, Request, Answer>> => {
    const child = await startProcess(join(folder, `${name}.js`), protocol, settings);
    started.push(child);
    return child;
  };
  const start: Scene['startProcess'] = (name, protocol, settings) =>
    startIn(folders.now, name, protocol, settings);
  const receiver = await start('receiver', receiverProtocol);
  const load = await start('load', loadProtocol);
  const skipped: string[] = [];
  const stopServers = async (servers: readonly BenchServer[]): Promise<void> => {
    for (const server of servers) await server.process.stop();
  };
  return {
    options,
    databases,
    receiver,
    load,
    skipped,
    log,
    skip: (what, why) => {
      skipped.push(`${what}: ${why}`);
      log(`skipped: ${what}: ${why}`);
    },
    includes: scenario => options.only === undefined || scenario.includes(options.only),
    stopServers,
    startProcess: start,
    startRedis: async () => {
      const redis = await startRedis();
      started.push(redis);
      return redis;
    },
    startServer: async (variant, { database = options.database, databaseURI, webhooks = {} } = {}) => {
      const uri = databaseURI ?? (await databases.create(database));
      const folder = variant === 'before' ? folders.before : folders.now;
      if (folder === undefined) throw new Error('there is no tree before: see --against');
      const settings = { variant, databaseURI: uri, webhooks };
      const child = await startIn(folder, 'server', serverProtocol, settings);
      return {
        variant,
        origin: `http://127.0.0.1:${child.ready.port}`,
        databaseURI: uri,
        process: child,
        cpuUs: async () => (await child.ask({})).cpuUs,
      };
    },
    close: async () => {
      // The last first: servers before what they call.
      for (const one of started.reverse()) await one.stop();
      await databases.close();
    },
  };
}

/** Runs `work` on each server under a profiler and writes `<part>/<variant>.cpuprofile` files. */
export async function profileServers(
  scene: Scene,
  part: Part,
  servers: readonly BenchServer[],
  work: (server: BenchServer) => Promise<void>,
): Promise<readonly string[]> {
  if (scene.options.profile === undefined) return [];
  const folder = join(scene.options.profile, part);
  mkdirSync(folder, { recursive: true });
  const paths: string[] = [];
  for (const server of servers) {
    const path = join(folder, `${server.variant}.cpuprofile`);
    await server.process.ask({ profile: 'start' });
    await work(server);
    await server.process.ask({ profile: { path } });
    paths.push(path);
  }
  return paths;
}
