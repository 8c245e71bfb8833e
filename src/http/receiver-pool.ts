// The connections to one origin: lends each to one exchange at a time and lets the others wait, in order.
import type { Client } from 'undici';

/** An exchange that needs a connection. */
export interface ConnectionTask {
  /** Uses the client, or gives it back at once, with `release`. */
  useClient(client: Client): void;
}

/**
 * A fixed number of undici Clients (one socket each), the one used last first, so that few sockets stay warm.
 *
 * undici's own Pool is not used: it drops a Client from its count when a connection fails but goes on sending
 * its queue through it (lib/dispatcher/pool.js, `connectionError`), so its limit does not hold when a receiver
 * flaps; and what waits in its queue cannot be taken out when its time is over.
 */
export class ReceiverPool {
  readonly #createClient: () => Client;
  readonly #maxConnections: number;
  readonly #clients: Client[] = [];
  readonly #free: Client[] = [];
  readonly #waiting = new Set<ConnectionTask>();

  constructor(options: { readonly createClient: () => Client; readonly maxConnections: number }) {
    this.#createClient = options.createClient;
    this.#maxConnections = options.maxConnections;
  }

  /** True when no connection is open or being made and nobody waits: the pool can be dropped. */
  get isUnused(): boolean {
    return (
      this.#free.length === this.#clients.length && this.#clients.every(client => !client.stats.connected)
    );
  }

  /** Lends a client to the task, now or when one is given back. */
  run(task: ConnectionTask): void {
    const client = this.#free.pop() ?? this.#addClient();
    if (client === undefined) this.#waiting.add(task);
    else task.useClient(client);
  }

  /** Takes a waiting task out of the queue. */
  cancel(task: ConnectionTask): void {
    this.#waiting.delete(task);
  }

  /** Gives a client back, once undici has said its last word on the request. */
  release(client: Client): void {
    for (const task of this.#waiting) {
      this.#waiting.delete(task);
      // Not within this call: it comes from undici's parser, and a chain of tasks that fail at once would nest.
      queueMicrotask(() => task.useClient(client));
      return;
    }
    this.#free.push(client);
  }

  async destroy(): Promise<void> {
    this.#waiting.clear();
    await Promise.all(this.#clients.map(client => client.destroy()));
  }

  #addClient(): Client | undefined {
    if (this.#clients.length >= this.#maxConnections) return undefined;
    const client = this.#createClient();
    this.#clients.push(client);
    return client;
  }
}
