// The database cluster on disk: made once, by initdb, with a password of its own; checked at each later start.
import { execFile } from 'node:child_process';
import {
  access,
  chown,
  constants,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemClock } from '../shared/clock';
import type { PostgresBinaries } from './postgres-binaries';
import type { PostgresIdentity } from './postgres-identity';
import { describeError, errorCode, StartError } from './start-error';

export interface PostgresCluster {
  /** PostgreSQL's own data directory. */
  readonly directory: string;
  readonly password: string;
}

const run = promisify(execFile);
const passwordFile = 'superuser-password';

/**
 * Where PostgreSQL is told its data are. It is started inside that folder, before its privileges are dropped: by
 * this name it reaches the folder again even below one that its uid may not traverse, such as /root (mode 0700).
 */
export function pathSeenByPostgres(directory: string, identity: PostgresIdentity): string {
  return identity !== undefined && process.platform === 'linux' ? '/proc/self/cwd' : directory;
}

/** A bare environment: no PG* variable of the user's, messages in English. */
export function postgresEnvironment(): NodeJS.ProcessEnv {
  const { PATH, TMPDIR, SystemRoot } = process.env;
  return { PATH, TMPDIR, SystemRoot, LC_ALL: 'C', TZ: 'UTC' };
}

/** Opens the cluster in `directory`, or makes it. `durable: false` skips the syncs of a cluster for tests. */
export async function openCluster(options: {
  readonly directory: string;
  readonly binaries: PostgresBinaries;
  readonly identity: PostgresIdentity;
  readonly durable: boolean;
}): Promise<PostgresCluster> {
  const { directory, binaries, identity } = options;
  const version = await readFile(join(directory, 'PG_VERSION'), 'utf8').catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw new StartError(`cannot read the database in ${directory}: ${describeError(error)}`, error);
  });
  if (version === undefined) await initialise(options);
  else if (Number(version) !== binaries.majorVersion)
    throw new StartError(
      `the data in ${directory} are of PostgreSQL ${version.trim()}, this is PostgreSQL ${binaries.majorVersion}: ` +
        'choose another DATA_DIR, or move that folder away',
    );
  else if (identity !== undefined && (await stat(directory)).uid !== identity.uid)
    await give(directory, identity);
  try {
    return { directory, password: (await readFile(join(directory, passwordFile), 'utf8')).trim() };
  } catch (error) {
    throw new StartError(`cannot read ${join(directory, passwordFile)}: ${describeError(error)}`, error);
  }
}

async function initialise(options: Parameters<typeof openCluster>[0]): Promise<void> {
  const { directory, binaries, identity, durable } = options;
  const parent = join(directory, '..');
  // Made under another name and renamed when complete: a start that was killed half-way leaves nothing to trip over.
  const staging = await mkdtemp(join(parent, 'initialising-'));
  const secrets = await mkdtemp(join(tmpdir(), 'parse-server-webhooks-'));
  try {
    const password = systemClock.randomBytes(24).toString('base64url');
    await writeFile(join(secrets, 'password'), password, { mode: 0o600 });
    await Promise.all([give(staging, identity), give(secrets, identity)]);
    await run(
      binaries.initdb,
      [
        `--pgdata=${pathSeenByPostgres(staging, identity)}`,
        `--pwfile=${join(secrets, 'password')}`,
        '--username=postgres',
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        // The built-in provider sorts the same on every machine, whatever locales it has.
        '--locale=C',
        '--locale-provider=builtin',
        '--builtin-locale=C.UTF-8',
        ...(durable ? [] : ['--no-sync']),
      ],
      { ...identity, cwd: staging, env: postgresEnvironment() },
    );
    await writeFile(join(staging, passwordFile), `${password}\n`, { mode: 0o600 });
    if (identity !== undefined) await chown(join(staging, passwordFile), identity.uid, identity.gid);
    await rename(staging, directory);
    for (const name of await readdir(parent))
      if (name.startsWith('initialising-')) await rm(join(parent, name), { recursive: true, force: true });
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    throw new StartError(`cannot create a database in ${directory}: ${describeError(error)}`, error);
  } finally {
    await rm(secrets, { recursive: true, force: true });
  }
}

/** Hands `directory` and all in it to the account that PostgreSQL runs as. */
async function give(directory: string, identity: PostgresIdentity): Promise<void> {
  if (identity === undefined) return;
  const entries = await readdir(directory, { recursive: true });
  for (const name of [...entries, '.']) await chown(join(directory, name), identity.uid, identity.gid);
}

/** Makes the folder that holds the cluster, or sees that it can be written to. */
export async function createDataDirectory(dataDirectory: string): Promise<void> {
  try {
    await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
    await access(dataDirectory, constants.W_OK);
  } catch (error) {
    throw new StartError(`cannot write to the data folder ${dataDirectory}: ${describeError(error)}`, error);
  }
}
