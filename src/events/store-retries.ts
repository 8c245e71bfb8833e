// What is done about a store that fails again and again: delays that grow, and one log line when it begins and one when
// it is over.
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';

export interface StoreRetriesParts {
  readonly logger: Logger;
  /** What fails, as a clause: `deliveries cannot be claimed`. */
  readonly trouble: string;
  /** In milliseconds. Default 100. */
  readonly firstDelayMs?: number;
  /** In milliseconds. Default 5000. */
  readonly longestDelayMs?: number;
}

export class StoreRetries {
  readonly #parts: StoreRetriesParts;
  #failures = 0;

  constructor(parts: StoreRetriesParts) {
    this.#parts = parts;
  }

  /** Counts a failure; answers how long to wait before the next try, in milliseconds. */
  failed(error: unknown): number {
    const { logger, trouble, firstDelayMs = 100, longestDelayMs = 5000 } = this.#parts;
    if (this.#failures === 0)
      logger.error(`webhooks: ${trouble}, tried again until it works: ${messageOf(error)}`);
    this.#failures += 1;
    return Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(this.#failures - 1, 16));
  }

  succeeded(): void {
    if (this.#failures === 0) return;
    this.#parts.logger.info(
      `webhooks: no longer so: ${this.#parts.trouble} (${this.#failures} tries failed)`,
    );
    this.#failures = 0;
  }
}

/** A call that did not end in time. It may still take effect. */
export class StoreTimeout extends Error {
  constructor(limitMs: number) {
    super(`no answer within ${limitMs} ms`);
    this.name = 'StoreTimeout';
  }
}

/**
 * The answer of `call`, or a StoreTimeout after `limitMs`: a database that is away may answer never. What comes after
 * that goes to `onLate`; a late error goes nowhere.
 */
export function within<Answer>(
  clock: Clock,
  limitMs: number,
  call: Promise<Answer>,
  onLate: (answer: Answer) => void = () => undefined,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let isLate = false;
    const cancel = clock.schedule(limitMs, () => {
      isLate = true;
      reject(new StoreTimeout(limitMs));
    });
    call.then(
      answer => {
        cancel();
        if (isLate) onLate(answer);
        else resolve(answer);
      },
      (error: unknown) => {
        cancel();
        reject(error instanceof Error ? error : new Error('the store failed', { cause: error }));
      },
    );
  });
}

/** Longest that the end of a store's connections is waited for, in milliseconds. */
const closeMs = 5000;

/** Connections that are dead answer no farewell: what is left of them then is the operating system's. */
export async function closeInTime(
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
  closing: Promise<void>,
): Promise<void> {
  try {
    await within(clock, closeMs, closing);
  } catch (error) {
    if (!(error instanceof StoreTimeout)) throw error;
    logger.warn(`webhooks: connections to the deliveries did not end within ${closeMs} ms and are given up`);
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown error';
}
