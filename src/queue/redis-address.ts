// Where Redis is: a URL read once, with a name for logs that holds no credentials.
import { WebhookError } from '../errors';

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
  /** Number of the database. */
  readonly db: number;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly isTls: boolean;
  /** `host:port/db`, for logs. */
  readonly label: string;
}

const expected = 'queue.redis must be a URL such as redis://user:password@host:6379/0, or rediss:// for TLS';

/** Throws INVALID_OPTION, without the value: it may hold a password. */
export function parseRedisAddress(text: string): RedisAddress {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new WebhookError('INVALID_OPTION', expected);
  }
  const database = /^\/?(\d{0,5})$/.exec(url.pathname)?.[1];
  const isRedis = url.protocol === 'redis:' || url.protocol === 'rediss:';
  if (!isRedis || url.hostname === '' || database === undefined || url.search !== '' || url.hash !== '') {
    throw new WebhookError('INVALID_OPTION', expected);
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const port = url.port === '' ? 6379 : Number(url.port);
  const db = Number(database);
  return {
    host,
    port,
    db,
    username: decode(url.username),
    password: decode(url.password),
    isTls: url.protocol === 'rediss:',
    label: `${url.hostname}:${port}/${db}`,
  };
}

function decode(text: string): string | undefined {
  if (text === '') return undefined;
  try {
    return decodeURIComponent(text);
  } catch {
    throw new WebhookError(
      'INVALID_OPTION',
      'queue.redis holds a user or password that is not percent-encoded',
    );
  }
}
