// A PostgreSQL of a test's own that can be stopped and started again, on the same data and port. It runs in a process of its
// own: what starts it tells errors of files by `instanceof Error`, which those of Node are not inside jest.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';

export type PostgresOrder =
  { readonly kind: 'stop' } | { readonly kind: 'start'; readonly settings: Readonly<Record<string, string>> };

/** It survives a stop in order without, and that is what happens here. */
const settings = { fsync: 'off' };

export class RestartablePostgres {
  readonly #folder: string;
  readonly #owner: ChildProcess;
  #uri = '';

  private constructor(folder: string, owner: ChildProcess) {
    this.#folder = folder;
    this.#owner = owner;
  }

  static async start(): Promise<RestartablePostgres> {
    const folder = await mkdtemp(join(tmpdir(), 'parse-server-webhooks-restart-'));
    const owner = fork(join(__dirname, 'restartable-postgres-main.ts'), [folder], {
      execArgv: ['--import', 'tsx'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const server = new RestartablePostgres(folder, owner);
    try {
      await server.#order({ kind: 'start', settings });
      return server;
    } catch (error) {
      await server.dispose();
      throw error;
    }
  }

  /** Of the superuser; the same after each start. */
  get uri(): string {
    return this.#uri;
  }

  /** Ends what sessions are left after a second, and resolves when the server is gone. */
  async stop(): Promise<void> {
    await this.#order({ kind: 'stop' });
  }

  /**
   * Starts it again, and keeps it starting up until `letGo` is called: PostgreSQL believes that it is restored from an
   * archive, whose command waits for a file and then has nothing.
   */
  async beginStart(): Promise<{ readonly started: Promise<void>; readonly letGo: () => Promise<void> }> {
    const cluster = join(this.#folder, 'cluster');
    await writeForAll(join(cluster, 'recovery.signal'));
    const started = this.#order({
      kind: 'start',
      settings: {
        ...settings,
        hot_standby: 'off',
        restore_command: 'until [ -e let-go ]; do sleep 0.05; done; false',
      },
    });
    return { started, letGo: () => writeForAll(join(cluster, 'let-go')) };
  }

  /** What a new connection meets: an SQLSTATE or the code of a system error; undefined when it is served. */
  async meet(): Promise<string | undefined> {
    const client = new Client({ connectionString: this.#uri });
    client.on('error', () => undefined);
    try {
      await client.connect();
      return undefined;
    } catch (error) {
      return error instanceof Error && 'code' in error ? String(error.code) : String(error);
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async dispose(): Promise<void> {
    if (this.#owner.exitCode === null) {
      const gone = once(this.#owner, 'exit');
      this.#owner.disconnect();
      await gone;
    }
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #order(order: PostgresOrder): Promise<void> {
    const answered = once(this.#owner, 'message');
    this.#owner.send(order);
    const [answer] = (await answered) as [{ readonly uri?: string; readonly error?: string }];
    if (answer.error !== undefined) throw new Error(answer.error);
    if (answer.uri !== undefined) this.#uri = answer.uri;
  }
}

/** PostgreSQL runs as another account where the tests run as root, and wants to write to it. */
async function writeForAll(path: string): Promise<void> {
  await writeFile(path, '');
  await chmod(path, 0o666);
}
