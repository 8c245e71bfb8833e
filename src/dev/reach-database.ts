// Looks whether anything listens at a database address, so that a wrong one is told at once: MongoDB's driver tries
// for 30 seconds (serverSelectionTimeoutMS), and Parse Server then says `Database error` only.
import { connect } from 'node:net';
import { hidePassword } from './dev-options';
import { describeError, StartError } from './start-error';

const connectTimeoutMs = 5000;

/** Resolves if one of the address's hosts accepts a TCP connection. */
export async function assertDatabaseReachable(databaseUri: string): Promise<void> {
  const scheme = /^[^:]+/.exec(databaseUri)?.[0];
  // mongodb+srv names a DNS record, not a host.
  if (scheme === 'mongodb+srv') return;
  const defaultPort = scheme === 'mongodb' ? 27017 : 5432;
  const authority = /:\/\/([^/?#]+)/.exec(databaseUri)?.[1] ?? '';
  const hosts = authority.slice(authority.lastIndexOf('@') + 1).split(',');
  const reasons: string[] = [];
  for (const entry of hosts) {
    const [, host, port] = /^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(entry) ?? [];
    const portNumber = Number(port ?? defaultPort);
    if (host === undefined || portNumber > 65535)
      throw new StartError(`PARSE_SERVER_DATABASE_URI names no valid host: "${hidePassword(databaseUri)}"`);
    const reason = await tryConnect(decodeURIComponent(host.replace(/^\[|\]$/g, '')), portNumber);
    if (reason === undefined) return;
    reasons.push(reason);
  }
  throw new StartError(
    `cannot reach the database of PARSE_SERVER_DATABASE_URI (${hidePassword(databaseUri)}): ${reasons.join('; ')}`,
  );
}

async function tryConnect(host: string, port: number): Promise<string | undefined> {
  return new Promise(settle => {
    // A socket directory, such as postgres://%2Fvar%2Frun%2Fpostgresql/db, is PostgreSQL's driver's to judge.
    if (host.startsWith('/')) {
      settle(undefined);
      return;
    }
    const socket = connect({ host, port, timeout: connectTimeoutMs });
    socket.once('connect', () => {
      socket.destroy();
      settle(undefined);
    });
    socket.once('timeout', () => {
      socket.destroy();
      settle(`no answer from ${host}:${port} in ${connectTimeoutMs} ms`);
    });
    socket.once('error', error => settle(describeError(error)));
  });
}
