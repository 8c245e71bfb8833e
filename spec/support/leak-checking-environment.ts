// Node's environment for jest, which fails a test file that leaves a socket, server, timer or process behind.
import { TestEnvironment } from 'jest-environment-node';
import { setTimeout as delay } from 'node:timers/promises';

/** Closing takes a few turns of the event loop: the far side of a socket answers, a child process is reaped. */
const graceMs = 5000;
const pollMs = 10;

export default class LeakCheckingEnvironment extends TestEnvironment {
  #openBefore: readonly string[] = [];
  #failed = false;

  override async setup(): Promise<void> {
    await super.setup();
    this.#openBefore = process.getActiveResourcesInfo();
  }

  /** An event of jest-circus. */
  handleTestEvent(event: { readonly name: string }): void {
    if (['test_fn_failure', 'hook_failure', 'error'].includes(event.name)) this.#failed = true;
  }

  override async teardown(): Promise<void> {
    await super.teardown();
    // An error here takes the place of the file's results, and a test that failed has often left things open.
    if (this.#failed) return;
    const giveUpAt = performance.now() + graceMs;
    while (this.#listLeftOpen().length > 0 && performance.now() < giveUpAt) await delay(pollMs);
    const open = this.#listLeftOpen();
    if (open.length === 0) return;
    const error = new Error(`the test file left open: ${open.join(', ')}`);
    // jest would print the lines of this file that made the error, which say nothing about the test file.
    error.stack = error.message;
    throw error;
  }

  /** What keeps the event loop alive now and did not before the file ran, such as `TCPServerWrap` or `Timeout`. */
  #listLeftOpen(): readonly string[] {
    const before = [...this.#openBefore];
    return process.getActiveResourcesInfo().filter(kind => {
      const index = before.indexOf(kind);
      if (index >= 0) before.splice(index, 1);
      return index < 0;
    });
  }
}
