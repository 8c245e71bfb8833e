// The program of restartable-postgres.ts: one PostgreSQL server, told what to do over the IPC channel.
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/dev/embedded-postgres';
import type { PostgresOrder } from './restartable-postgres';

const [dataDirectory = ''] = process.argv.slice(2);
let server: EmbeddedPostgres | undefined;

async function obey(order: PostgresOrder): Promise<void> {
  if (order.kind === 'stop') {
    await server?.stop();
    process.send?.({ done: true });
    return;
  }
  server = await startEmbeddedPostgres({
    dataDirectory,
    settings: order.settings,
    ...(server && { port: server.port }),
  });
  process.send?.({ done: true, uri: server.uri });
}

process.on('message', order => {
  // Only restartable-postgres.ts sends.
  obey(order as PostgresOrder).catch((error: unknown) => process.send?.({ error: String(error) }));
});
process.once('disconnect', () => void server?.stop());
