// Server processes on one database, which a run kills and starts again.
import type { FreshDatabase } from '../support/databases';
import { startParseProcess, type ParseProcess } from '../support/parse-process';
import type { WebhooksOptions } from '../../src/index';

const pendingPollMs = 50;

export class ServerFleet {
  readonly #database: FreshDatabase;
  readonly #webhooks: WebhooksOptions;
  /** Undefined while it is dead. */
  readonly #servers: (ParseProcess | undefined)[];
  #waiting: (() => void)[] = [];

  constructor(size: number, database: FreshDatabase, webhooks: WebhooksOptions) {
    this.#database = database;
    this.#webhooks = webhooks;
    this.#servers = Array.from({ length: size }, () => undefined);
  }

  /** `register` runs when only the first server is there: the others know what it makes from their start on. */
  async start(register: (first: ParseProcess) => Promise<void>): Promise<void> {
    await this.revive(0);
    await register(await this.pick(0));
    for (let index = 1; index < this.size; index++) await this.revive(index);
  }

  get size(): number {
    return this.#servers.length;
  }

  get live(): readonly ParseProcess[] {
    return this.#servers.filter(server => server !== undefined);
  }

  /** A server that lives, waiting for one if none does. `pick` in 0.. chooses among them. */
  async pick(pick: number): Promise<ParseProcess> {
    for (;;) {
      const { live } = this;
      const server = live[pick % live.length];
      if (server !== undefined) return server;
      await new Promise<void>(resolve => this.#waiting.push(resolve));
    }
  }

  async kill(index: number): Promise<void> {
    const server = this.#servers[index];
    // Nobody is sent to it from here on: what was sent already is what matters.
    this.#servers[index] = undefined;
    await server?.kill();
  }

  async revive(index: number): Promise<void> {
    this.#servers[index] = await startParseProcess({
      database: { ...this.#database },
      webhooks: this.#webhooks,
    });
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Resolves when no server knows a delivery that waits; throws after `limitMs`. */
  async nothingPending(limitMs: number): Promise<void> {
    const giveUpAt = performance.now() + limitMs;
    for (const server of this.live) {
      for (;;) {
        const { status, body } = await server.master('GET', '/webhooks/deliveries?state=pending&limit=5');
        if (status !== 200) throw new Error(`deliveries cannot be listed: ${JSON.stringify(body)}`);
        const { results } = body as { results: readonly unknown[] };
        if (results.length === 0) break;
        if (performance.now() > giveUpAt)
          throw new Error(`still pending after ${limitMs} ms: ${JSON.stringify(results)}`);
        await new Promise(resolve => setTimeout(resolve, pendingPollMs));
      }
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.live.map(server => server.stop()));
  }
}
