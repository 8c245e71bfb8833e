// A log that a test can wait for.
import { RecordingLogger } from './dispatching';

export class AwaitableLogger extends RecordingLogger {
  readonly #waiting = new Set<() => void>();

  override info(message: string): void {
    super.info(message);
    this.#wake();
  }

  override warn(message: string): void {
    super.warn(message);
    this.#wake();
  }

  override error(message: string): void {
    super.error(message);
    this.#wake();
  }

  /** Resolves once `count` lines match. */
  async logged(pattern: RegExp, count = 1): Promise<void> {
    while (this.matching(pattern).length < count) {
      await new Promise<void>(resolve => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
