// Runs look-ups as libuv runs getaddrinfo: so many at once, the others in the order in which they came, and none is ended.
import type { ResolveName } from '../../src/http/name-lookups';

export interface LookupThreads {
  readonly resolve: ResolveName;
  /** The names that take a thread at this moment. */
  readonly busy: readonly string[];
}

/** `work` is what a thread does for a name. */
export function createLookupThreads(work: ResolveName, threads = 2): LookupThreads {
  const busy: string[] = [];
  const queue: (() => void)[] = [];

  function startNext(): void {
    if (busy.length < threads) queue.shift()?.();
  }

  return {
    busy,
    resolve: (hostname, hints) =>
      new Promise((resolve, reject) => {
        queue.push(() => {
          busy.push(hostname);
          void work(hostname, hints)
            .finally(() => {
              busy.splice(busy.indexOf(hostname), 1);
              startNext();
            })
            .then(resolve, reject);
        });
        startNext();
      }),
  };
}
