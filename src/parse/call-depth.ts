// How many webhooks deep this work is: read from the header that receivers pass on, kept over cloud code's own saves.
import { AsyncLocalStorage } from 'node:async_hooks';
import { depthHeader } from '../wire/request-headers';

type Headers = Readonly<Record<string, unknown>> | undefined;

interface Claim {
  readonly depth: number;
  /** The request came with the master key. */
  readonly isMaster: boolean;
}

/**
 * Anybody can send the header. For a blocking hook that does no harm: too deep is refused, whatever the failure policy.
 * A notification that is too deep is not sent, so there only the master key is believed: a client could keep an
 * `after*` hook from hearing of its change otherwise.
 */
export class CallDepth {
  readonly #storage = new AsyncLocalStorage<Claim>();

  /** Runs `work` as part of a client's request. */
  runRequest<T>(request: { readonly headers: Headers; readonly isMaster: boolean }, work: () => T): T {
    const depth = depthOf(request.headers);
    return depth === 0 ? work() : this.#storage.run({ depth, isMaster: request.isMaster }, work);
  }

  /** The depth of a call made now: 1 when a client caused it. */
  next(call: {
    readonly headers: Headers;
    readonly isMaster: boolean;
    readonly isBlocking: boolean;
  }): number {
    const claim = this.#storage.getStore() ?? { depth: depthOf(call.headers), isMaster: call.isMaster };
    return (call.isBlocking || claim.isMaster ? claim.depth : 0) + 1;
  }
}

function depthOf(headers: Headers): number {
  const value = headers?.[depthHeader];
  return typeof value === 'string' && /^\d{1,4}$/.test(value) ? Number(value) : 0;
}
