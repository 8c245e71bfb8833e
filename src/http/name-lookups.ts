// Look-ups of names for the whole process: one of a name at a time, and names that get no answer hold up no others.
// Leaves the judgement of what is found to the address guard.
import { promises as dns, type LookupAddress } from 'node:dns';
import { systemClock, type Clock } from '../shared/clock';
import { ConnectFailure } from './connect-failure';

/** Finds every address of a name; `hints` are those of dns.lookup. Rejects as dns.lookup does. */
export type ResolveName = (hostname: string, hints: number) => Promise<readonly LookupAddress[]>;

export interface NameLookupsOptions {
  /** Default: dns.lookup with `all: true`, which is getaddrinfo: nsswitch.conf and /etc/hosts hold. */
  readonly resolve?: ResolveName;
  /** Look-ups that run at once, 1 or more. Default: as many as libuv runs at once, 2 unless UV_THREADPOOL_SIZE is set. */
  readonly maxRunning?: number;
  /** Names that are remembered as suspect, 1 or more; of more the oldest is forgotten. Default 1000. */
  readonly maxSuspects?: number;
  /** Default: the system's. */
  readonly clock?: Clock;
}

export interface LookupRequest {
  readonly hostname: string;
  readonly hints: number;
  /** How long the caller waits, in milliseconds. */
  readonly timeoutMs: number;
}

interface Waiter {
  readonly cancelTimer: () => void;
  readonly resolve: (addresses: readonly LookupAddress[]) => void;
  readonly reject: (error: unknown) => void;
}

interface Lookup {
  readonly key: string;
  readonly name: string;
  readonly request: LookupRequest;
  readonly waiters: Set<Waiter>;
  /** By the monotonic clock, in milliseconds; set when its turn has come. */
  startedAt: number;
  /** Of a name that was suspect when this one began, or late by itself. */
  isSuspect: boolean;
}

/**
 * getaddrinfo cannot be ended: it takes a thread until the resolver gives up, by default after 10 s and more for each
 * name server. libuv lets it have (threads + 1) / 2 of the threads at once (`slow_work_thread_threshold`), 2 of the usual
 * 4, so two names whose servers are silent would hold up every other name in the process.
 * Seen with glibc, and two look-ups of one silent name under way: no other name was resolved for 8 s.
 *
 * Therefore a name whose last look-up was late, running longer than its caller waited, is suspect until one comes in
 * time. All suspect names together have one running look-up; the others have their turn when that ends. A name that is
 * not suspect may use whatever is free.
 */
export class NameLookups {
  readonly #resolve: ResolveName;
  readonly #maxRunning: number;
  readonly #maxSuspects: number;
  readonly #clock: Clock;
  /** Those that run and those that wait. */
  readonly #lookups = new Map<string, Lookup>();
  /** Oldest first, in both. */
  readonly #waiting = new Set<Lookup>();
  readonly #running = new Set<Lookup>();
  /** Late last: last. */
  readonly #suspects = new Set<string>();

  constructor({
    resolve = resolveWithSystem,
    maxRunning = countSystemLookups(),
    maxSuspects = 1000,
    clock = systemClock,
  }: NameLookupsOptions = {}) {
    this.#resolve = resolve;
    this.#maxRunning = maxRunning;
    this.#maxSuspects = maxSuspects;
    this.#clock = clock;
  }

  /** How much is kept at this moment. */
  get size(): { readonly running: number; readonly waiting: number; readonly suspects: number } {
    return {
      running: this.#running.size,
      waiting: this.#waiting.size,
      suspects: this.#suspects.size,
    };
  }

  /**
   * The addresses of a name, of a look-up that callers of the same name share. Rejects as dns.lookup does, or, after
   * `timeoutMs`, with a ConnectFailure `dns`. What nobody waits for any more is not begun.
   */
  find(request: LookupRequest): Promise<readonly LookupAddress[]> {
    // A process has one value of hints: node:net gives ADDRCONFIG, tunnels through a proxy give none.
    const key = `${request.hints} ${request.hostname.toLowerCase()}`;
    const lookup = this.#lookups.get(key) ?? this.#add(key, request);
    const found = new Promise<readonly LookupAddress[]>((resolve, reject) => {
      const waiter: Waiter = {
        resolve,
        reject,
        cancelTimer: this.#clock.schedule(request.timeoutMs, () => this.#giveUp(lookup, waiter, request)),
      };
      lookup.waiters.add(waiter);
    });
    this.#startNext();
    return found;
  }

  #add(key: string, request: LookupRequest): Lookup {
    const name = request.hostname.toLowerCase().replace(/\.$/, '');
    const lookup: Lookup = {
      key,
      name,
      request,
      waiters: new Set(),
      startedAt: Infinity,
      isSuspect: false,
    };
    this.#lookups.set(key, lookup);
    this.#waiting.add(lookup);
    return lookup;
  }

  #giveUp(lookup: Lookup, waiter: Waiter, { hostname, timeoutMs }: LookupRequest): void {
    const isWaiting = this.#waiting.has(lookup);
    lookup.waiters.delete(waiter);
    if (isWaiting && lookup.waiters.size === 0) this.#forget(lookup);
    const message = isWaiting
      ? `${hostname} was not looked up within ${timeoutMs} ms: names without an answer were in its way`
      : `no answer from DNS for ${hostname} within ${timeoutMs} ms`;
    waiter.reject(new ConnectFailure('dns', message, { retryable: true, timedOut: true }));
  }

  #startNext(): void {
    this.#noteLate();
    for (const lookup of this.#waiting) {
      if (this.#running.size >= this.#maxRunning) return;
      const isSuspect = this.#suspects.has(lookup.name);
      if (isSuspect && [...this.#running].some(running => running.isSuspect)) continue;
      lookup.isSuspect = isSuspect;
      this.#start(lookup);
    }
  }

  #noteLate(): void {
    for (const lookup of this.#running) {
      if (lookup.isSuspect || !this.#isLate(lookup)) continue;
      lookup.isSuspect = true;
      this.#suspect(lookup.name);
    }
  }

  #isLate({ startedAt, request }: Lookup): boolean {
    return this.#clock.monotonicMs() - startedAt >= request.timeoutMs;
  }

  #suspect(name: string): void {
    this.#suspects.delete(name);
    this.#suspects.add(name);
    const [oldest] = this.#suspects;
    if (oldest !== undefined && this.#suspects.size > this.#maxSuspects) this.#suspects.delete(oldest);
  }

  #start(lookup: Lookup): void {
    this.#waiting.delete(lookup);
    this.#running.add(lookup);
    lookup.startedAt = this.#clock.monotonicMs();
    void this.#run(lookup);
  }

  async #run(lookup: Lookup): Promise<void> {
    const { hostname, hints } = lookup.request;
    let settle: (waiter: Waiter) => void;
    try {
      const addresses = await this.#resolve(hostname, hints);
      settle = ({ resolve }) => resolve(addresses);
    } catch (error) {
      settle = ({ reject }) => reject(error);
    }
    this.#forget(lookup);
    if (this.#isLate(lookup)) this.#suspect(lookup.name);
    else this.#suspects.delete(lookup.name);
    for (const waiter of lookup.waiters) {
      waiter.cancelTimer();
      settle(waiter);
    }
    this.#startNext();
  }

  #forget(lookup: Lookup): void {
    this.#lookups.delete(lookup.key);
    this.#waiting.delete(lookup);
    this.#running.delete(lookup);
  }
}

let ofProcess: NameLookups | undefined;

/** Those of all guards that are given no others: the threads are the process's, too. */
export function processLookups(): NameLookups {
  return (ofProcess ??= new NameLookups());
}

/** What libuv lets run at once; it reads the variable in the same way (threadpool.c). */
function countSystemLookups(): number {
  const { UV_THREADPOOL_SIZE: given = '4' } = process.env;
  const threads = Math.min(Math.max(Number.parseInt(given, 10) || 1, 1), 1024);
  return Math.floor((threads + 1) / 2);
}

function resolveWithSystem(hostname: string, hints: number): Promise<readonly LookupAddress[]> {
  return dns.lookup(hostname, { all: true, hints });
}
