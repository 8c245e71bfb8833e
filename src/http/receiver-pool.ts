// The connections of one lane to one origin: lends each to one exchange at a time and lets the others wait, in order.
import type { Client } from 'undici';
import type { ConnectionUse } from './exchange';

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
  readonly #clients = new Set<Client>();
  readonly #free: Client[] = [];
  /** Clients whose connection nobody has used yet. */
  readonly #fresh = new Set<Client>();
  readonly #waiting = new Set<ConnectionTask>();
  readonly #ending = new Set<Promise<void>>();

  constructor(options: { readonly createClient: () => Client; readonly maxConnections: number }) {
    this.#createClient = options.createClient;
    this.#maxConnections = options.maxConnections;
  }

  /** True when no connection is open or being made and nobody waits: the pool can be dropped. */
  get isUnused(): boolean {
    return this.#free.length === this.#clients.size && this.#free.every(client => !client.stats.connected);
  }

  /** Lends a client to the task, now or when one is given back. */
  run(task: ConnectionTask): void {
    const client = this.#free.pop() ?? this.#addClient();
    if (client === undefined) this.#waiting.add(task);
    else task.useClient(client);
  }

  /** How the client's open connection is being used, told once at the begin of each request on it. */
  useConnection(client: Client): ConnectionUse {
    return this.#fresh.delete(client) ? 'new' : 'reused';
  }

  /** Takes a waiting task out of the queue. */
  cancel(task: ConnectionTask): void {
    this.#waiting.delete(task);
  }

  /** Gives a client back, once undici has said its last word on the request. */
  release(client: Client): void {
    const task = this.#nextTask();
    if (task === undefined) this.#free.push(client);
    // Not within this call: it comes from undici's parser, and a chain of tasks that fail at once would nest.
    else queueMicrotask(() => task.useClient(client));
  }

  /**
   * Throws a client away with its connection, after the request on it was aborted.
   *
   * An aborted request stays in the queue of its Client, which connects anew for it alone and then drops it
   * (undici 7.30 lib/dispatcher/client-h1.js, onHttpSocketClose): every timeout would open one more connection to
   * a receiver that hangs.
   */
  discard(client: Client): void {
    this.#clients.delete(client);
    this.#fresh.delete(client);
    const ending = client.destroy().finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
    const task = this.#nextTask();
    if (task !== undefined) this.run(task);
  }

  async destroy(): Promise<void> {
    this.#waiting.clear();
    await Promise.all([...this.#ending, ...[...this.#clients].map(client => client.destroy())]);
  }

  #nextTask(): ConnectionTask | undefined {
    for (const task of this.#waiting) {
      this.#waiting.delete(task);
      return task;
    }
    return undefined;
  }

  #addClient(): Client | undefined {
    if (this.#clients.size >= this.#maxConnections) return undefined;
    const client = this.#createClient();
    this.#clients.add(client);
    // Told by undici before the request goes out (lib/dispatcher/client.js, connect), also when an idle connection had
    // been closed and the same Client makes another.
    client.on('connect', () => this.#fresh.add(client));
    return client;
  }
}
