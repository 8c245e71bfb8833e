// The worker program beside servers that only save, which a run kills and starts again.
import type { WebhooksOptions } from '../../src/index';
import type { ChildProgram } from '../support/child-program';
import type { FreshDatabase } from '../support/databases';
import {
  createConfigFolder,
  createWorkerConfig,
  runProgram,
  type ConfigFolder,
} from '../support/worker-program';

export class WorkerSlot {
  readonly #folder: ConfigFolder;
  readonly #config: string;
  /** Undefined while it is dead. */
  #program: ChildProgram | undefined;

  private constructor(folder: ConfigFolder, config: string) {
    this.#folder = folder;
    this.#config = config;
  }

  /** `serverURL`: of any server on the same database; nothing is sent there. */
  static async start(
    database: FreshDatabase,
    serverURL: string,
    webhooks: WebhooksOptions,
  ): Promise<WorkerSlot> {
    const folder = await createConfigFolder();
    const config = await folder.write('config.cjs', createWorkerConfig(database, serverURL, webhooks));
    const slot = new WorkerSlot(folder, config);
    await slot.revive();
    return slot;
  }

  /** With SIGKILL. */
  async kill(): Promise<void> {
    const program = this.#program;
    this.#program = undefined;
    program?.kill('SIGKILL');
    await program?.exited;
  }

  async revive(): Promise<void> {
    this.#program = runProgram('worker', '--config', this.#config);
    await this.#program.waitForLine(/delivers for/);
  }

  async dispose(): Promise<void> {
    await this.#program?.dispose();
    await this.#folder.remove();
  }
}
