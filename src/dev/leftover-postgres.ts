// A PostgreSQL that outlived the process that started it (kill -9): found by its postmaster.pid, stopped before a new start.
import { execFile } from 'node:child_process';
import { readFile, readlink, realpath, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { StartError } from './start-error';

const run = promisify(execFile);
const stopTimeoutMs = 15_000;
const pollMs = 25;

/** Notes in `dataDirectory` which process started the PostgreSQL of the cluster below it. */
export async function recordOwner(dataDirectory: string): Promise<void> {
  await writeFile(join(dataDirectory, 'owner.pid'), `${process.pid}\n`, { mode: 0o600 });
}

/** Clears the way for a start on `clusterDirectory`. Throws a StartError if a live process is using the cluster. */
export async function stopLeftoverPostgres(dataDirectory: string, clusterDirectory: string): Promise<void> {
  const pidFile = join(clusterDirectory, 'postmaster.pid');
  const pid = await readPid(pidFile);
  if (pid === undefined) return;
  if (!(await isPostgresOf(pid, clusterDirectory))) {
    // PostgreSQL itself would trust any live process of the same uid with that pid, and refuse to start.
    await rm(pidFile, { force: true });
    return;
  }
  const owner = await readPid(join(dataDirectory, 'owner.pid'));
  const parent = await parentOf(pid);
  // A process whose parent dies is given to another: while the parent is the one on record, it is alive.
  if (owner !== undefined && parent === owner)
    throw new StartError(`the data folder ${dataDirectory} is in use by process ${owner}`);
  process.kill(pid, 'SIGINT');
  // Asked as before: without an init process nobody reaps it, and a zombie would count as alive.
  for (let waitedMs = 0; await isPostgresOf(pid, clusterDirectory); waitedMs += pollMs) {
    if (waitedMs > stopTimeoutMs)
      throw new StartError(`PostgreSQL (process ${pid}), left by an earlier start, does not stop`);
    await delay(pollMs);
  }
}

async function readPid(file: string): Promise<number | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  return pid > 0 ? pid : undefined;
}

async function isPostgresOf(pid: number, clusterDirectory: string): Promise<boolean> {
  if (!isAlive(pid)) return false;
  // PostgreSQL's working directory is its data directory, for as long as it runs.
  if (process.platform === 'linux')
    return (await readlink(`/proc/${pid}/cwd`).catch(() => '')) === (await realpath(clusterDirectory));
  const { stdout } = await run('ps', ['-o', 'comm=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.trim().endsWith('postgres');
}

async function parentOf(pid: number): Promise<number | undefined> {
  if (process.platform === 'linux') {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    const found = /^PPid:\s*(\d+)/m.exec(status)?.[1];
    return found === undefined ? undefined : Number(found);
  }
  const { stdout } = await run('ps', ['-o', 'ppid=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return Number.parseInt(stdout, 10) || undefined;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
