// How many webhooks deep this work is: read from the header that receivers pass on, kept over cloud code's own saves.
import { AsyncLocalStorage } from 'node:async_hooks';
import { depthHeader } from '../wire/request-headers';

export class CallDepth {
  readonly #storage = new AsyncLocalStorage<number>();

  /** Runs `work` as part of a client's request with these headers. */
  runRequest<T>(headers: Readonly<Record<string, unknown>> | undefined, work: () => T): T {
    const depth = depthOf(headers);
    return depth === 0 ? work() : this.#storage.run(depth, work);
  }

  /** The depth of a call made now: 1 when a client caused it. */
  next(headers: Readonly<Record<string, unknown>> | undefined): number {
    return (this.#storage.getStore() ?? depthOf(headers)) + 1;
  }
}

function depthOf(headers: Readonly<Record<string, unknown>> | undefined): number {
  const value = headers?.[depthHeader];
  return typeof value === 'string' && /^\d{1,4}$/.test(value) ? Number(value) : 0;
}
