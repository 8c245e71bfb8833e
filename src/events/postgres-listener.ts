// Hears on one connection of its own that deliveries wait, and comes back after that connection is lost.
import { Client, type ClientConfig } from 'pg';
import type { Clock } from '../shared/clock';
import type { Logger } from '../shared/logger';
import type { StopListening } from './delivery-store';
import { wakeChannel } from './postgres-migrations';

const firstDelayMs = 100;
const longestDelayMs = 10_000;

export interface PostgresListenerParts {
  readonly connection: ClientConfig;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Resolves when it listens, or when the first attempt to has failed: it goes on trying, with delays that grow to 10 s.
 * Each time that it listens again it calls `onWake`, for what it has missed. Notifications do not pass a pooler in
 * transaction mode: nothing comes then.
 */
export async function listenOnPostgres(
  { connection, clock, logger }: PostgresListenerParts,
  onWake: () => void,
): Promise<StopListening> {
  let stopped = false;
  let current: Client | undefined;
  let cancelRetry = (): void => undefined;
  let delayMs = firstDelayMs;

  const retryLater = (client: Client, error: Error | undefined): void => {
    if (stopped || current !== client) return;
    current = undefined;
    logger.warn(
      `lost the connection that hears of deliveries, again in ${delayMs} ms: ${error?.message ?? 'closed'}`,
    );
    // What is left of it; an error of its end is the one that is known already.
    void client.end().catch(() => undefined);
    cancelRetry = clock.schedule(delayMs, () => void open(true));
    delayMs = Math.min(2 * delayMs, longestDelayMs);
  };

  const open = async (isReturn: boolean): Promise<void> => {
    const client = new Client(connection);
    current = client;
    client.on('notification', () => onWake());
    client.on('error', error => retryLater(client, error));
    client.on('end', () => retryLater(client, undefined));
    try {
      await client.connect();
      await client.query(`LISTEN ${wakeChannel}`);
      delayMs = firstDelayMs;
      if (isReturn && !stopped) onWake();
    } catch (error) {
      retryLater(client, error instanceof Error ? error : undefined);
    }
  };

  await open(false);
  return async () => {
    if (stopped) return;
    stopped = true;
    cancelRetry();
    await current?.end().catch(() => undefined);
  };
}
