// The program `parse-server-webhooks` in a process of its own, with a configuration file that a test writes.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { WebhooksOptions } from '../../src/index';
import { startChildProgram, type ChildProgram } from './child-program';
import type { FreshDatabase } from './databases';
import { masterKey } from './parse-application';

const project = resolve(__dirname, '../..');

export interface ConfigFolder {
  /** Writes a module and gives its path. */
  write(name: string, code: string): Promise<string>;
  path(name: string): string;
  remove(): Promise<void>;
}

export async function createConfigFolder(): Promise<ConfigFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'parse-server-webhooks-worker-'));
  return {
    write: async (name, code) => {
      const path = join(folder, name);
      await writeFile(path, code);
      return path;
    },
    path: name => join(folder, name),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** The module that `--config` takes, for a worker beside the server at `serverURL`. `webhooks` without functions. */
export function createWorkerConfig(
  { databaseURI, databaseOptions }: FreshDatabase,
  serverURL: string,
  webhooks: WebhooksOptions = {},
): string {
  const parseServer = { appId: 'test-app', masterKey, serverURL, databaseURI, databaseOptions, silent: true };
  return `module.exports = ${JSON.stringify({ parseServer, webhooks })};`;
}

export function runProgram(...words: readonly string[]): ChildProgram {
  return startChildProgram({
    command: process.execPath,
    args: ['--import', 'tsx', join(project, 'src/cli/main.ts'), ...words],
    cwd: project,
    environment: { PARSE_SERVER_LOGS_FOLDER: 'null' },
  });
}
