// The MongoDB of a test run: the one at MONGODB_URI, a mongod on the PATH, or one that mongodb-memory-server downloads.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { MongoMemoryServer } from 'mongodb-memory-server-core';
import { findProgram } from './find-program';
import { withMongodb } from './mongodb-database';
import type { StartedService } from './start-services';

const run = promisify(execFile);
/** About 100 MB; on the first run only. */
const downloadTimeoutMs = 120_000;

/** Throws if there is none. */
export async function startMongodb(): Promise<StartedService> {
  const given = process.env['MONGODB_URI'];
  if (given !== undefined && given !== '') {
    await withMongodb(given, database => database.command({ ping: 1 }));
    return { address: given, label: 'MONGODB_URI', stop: async () => undefined };
  }
  const installed = findProgram(['mongod']);
  const systemBinary = installed ?? (await downloadMongod());
  const server = await MongoMemoryServer.create({ binary: { systemBinary, checkMD5: false } });
  return {
    address: server.getUri(),
    label: installed === undefined ? 'downloaded' : systemBinary,
    stop: async () => {
      await server.stop({ doCleanup: true, force: true });
    },
  };
}

/** In a process of its own, so that it can be cut short: it tells the path of the program that it has put in its cache. */
async function downloadMongod(): Promise<string> {
  const script = `require('mongodb-memory-server-core/lib/util/MongoBinary').MongoBinary.getPath({})
    .then(path => console.log(path), error => { console.error(error.message); process.exitCode = 1; })`;
  try {
    const { stdout } = await run(process.execPath, ['-e', script], {
      cwd: __dirname,
      timeout: downloadTimeoutMs,
      env: { MONGOMS_MAX_RETRIES: '0', ...process.env },
    });
    return stdout.trim();
  } catch (error) {
    throw new Error(
      `MONGODB_URI is not set, no mongod is on the PATH, and none could be downloaded within ${downloadTimeoutMs} ms`,
      { cause: error },
    );
  }
}
