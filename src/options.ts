// WebhooksOptions: every field with unit, range and default; parsed once, frozen. Hook settings are in hooks/.
import { z } from 'zod';
import { WebhookError } from './errors';
import { describe, defaultableShape } from './hooks/hook-settings';
import { networkShape, proxyShape } from './shared/network-options';

const shape = z.strictObject({
  /** Bound on everything that one operation of a client waits for in hooks, in milliseconds. 1..60000. */
  totalDeadlineMs: z.int().min(1).max(60_000).default(8000),
  /** Bound on DNS, TCP and TLS of one connection together, in milliseconds. 1..30000. */
  connectTimeoutMs: z.int().min(1).max(30_000).default(2000),
  /** Bound on the look-up of a name within it, in milliseconds. 1..30000. */
  dnsTimeoutMs: z.int().min(1).max(30_000).default(1500),
  /** Bound on the TCP connection, or the tunnel through the proxy, within it, in milliseconds. 1..30000. */
  tcpTimeoutMs: z.int().min(1).max(30_000).default(1500),
  /** Bound on the TLS handshake within it, in milliseconds. 1..30000. */
  tlsTimeoutMs: z.int().min(1).max(30_000).default(1500),
  /** Open sockets per hook and origin. 1..10000. */
  maxConnectionsPerOrigin: z.int().min(1).max(10_000).default(128),
  /** How often this node looks for changes made on other nodes, in milliseconds. 50..60000. */
  pollIntervalMs: z.int().min(50).max(60_000).default(400),
  /** How long stop() waits for notifications under way, in milliseconds. 0..600000. */
  drainTimeoutMs: z.int().min(0).max(600_000).default(10_000),
  /** Key material for secrets at rest, 16 characters or more. Default: Parse Server's master key. */
  encryptionKey: z.string().min(16).optional(),
  /** Keys that secrets at rest were kept under before: what they open is sealed anew at start. At most 10. */
  previousEncryptionKeys: z.array(z.string().min(1)).max(10).default([]),
  /** Starts although the key before is lost: what it sealed stays unreadable, and this key takes its place. */
  encryptionKeyLost: z.boolean().default(false),
  /** Settings of every hook that does not set them itself. */
  defaults: defaultableShape.default({}),
  /** Hooks to bring into force at start: the fields of `POST /hooks/...`, settings included. */
  hooks: z.array(z.record(z.string(), z.unknown())).default([]),
  /** Which addresses may be called; a hook's own `network` can only narrow it. Default: all but reserved ones. */
  network: networkShape.prefault({}),
  /** The HTTP or HTTPS proxy that all calls go through, by CONNECT. Default: none, whatever the environment says. */
  proxy: proxyShape.optional(),
  /** `iss` of bearer tokens. Default: Parse Server's `serverURL`. */
  issuer: z.string().min(1).max(2048).optional(),
  /** Opens `/webhooks/metrics` and `/webhooks/health` of `router()` to who sends it as a bearer token. 16 characters or more. */
  metricsToken: z.string().min(16).optional(),
  /** Failures in a row that open a hook's breaker. 1..1000. */
  breakerFailures: z.int().min(1).max(1000).default(5),
  /** Share of failures that opens it, in percent, among the calls of the last second or the last 20. 0..100, 0: not judged. */
  breakerFailurePercent: z.int().min(0).max(100).default(50),
  /** How long an open breaker answers at once before it lets one probe through, in milliseconds. 10..600000. */
  breakerOpenMs: z.int().min(10).max(600_000).default(5000),
  /** Where deliveries are kept. Default `database`: the one that Parse Server uses. `memory` loses them at every stop. */
  store: z
    .union([z.enum(['database', 'memory']), z.strictObject({ uri: z.string().min(1) })])
    .default('database'),
  /**
   * What becomes of a save whose deliveries cannot be stored: `spool` keeps them in memory and retries, `fail` tells the
   * client that the object was saved and its webhooks were not recorded.
   */
  onStoreFailure: z.enum(['spool', 'fail']).default('spool'),
  /** Whether this process attempts deliveries, or leaves them to others. Default: true without `queue`, false with it. */
  deliver: z.boolean().optional(),
  /** Carries ids of new deliveries to workers. Default none: they are found in the store. */
  queue: z
    .strictObject({
      /** `redis://` or `rediss://`, with user and password if need be. */
      redis: z.string().regex(/^rediss?:\/\/./, 'must begin with redis:// or rediss://'),
      /** In front of all keys. 1 to 64 letters, digits, `-`, `_` and `:`. */
      prefix: z
        .string()
        .regex(/^[\w:-]{1,64}$/)
        .default('parse-webhooks'),
    })
    .optional(),
  /** How long, and how many, finished deliveries are kept. */
  retention: z
    .strictObject({
      /** In milliseconds. 60000 (a minute) to 31536000000 (a year). Default 30 days. */
      maxAgeMs: z.int().min(60_000).max(31_536_000_000).default(2_592_000_000),
      /** 0..100000000. Default 1000000. */
      maxDeliveries: z.int().min(0).max(100_000_000).default(1_000_000),
    })
    .prefault({}),
  /** How this process attempts deliveries. */
  dispatch: z
    .strictObject({
      /**
       * How long a delivery is this process's own, in milliseconds: after a crash others take it over so much later. Made
       * longer where a `timeoutMs` asks for it. A sixth of it, at most 10 s, is for clocks that differ. 1000..600000.
       */
      leaseMs: z.int().min(1000).max(600_000).default(60_000),
      /** Longest time between looks for deliveries that are due, in milliseconds. 50..60000. */
      pollMs: z.int().min(50).max(60_000).default(1000),
      /** Attempts under way at once, of all subscriptions and hooks together. 1..10000. */
      maxInFlight: z.int().min(1).max(10_000).default(1000),
      /** Attempts per second of what a subscription's pause left behind. 1..10000. */
      catchUpPerSecond: z.int().min(1).max(10_000).default(100),
    })
    .prefault({}),
  /** Pauses a subscription that has failed for so long without one success, in milliseconds; 0: never. 0..2592000000. */
  pauseAfterMs: z.int().min(0).max(2_592_000_000).default(432_000_000),
  /** Pauses a subscription after so many failed attempts in a row; 0: never. 0..100000. */
  pauseAfterFailures: z.int().min(0).max(100_000).default(0),
  /** Removes at start what `hooks` does not declare. */
  deleteUndeclaredHooks: z.boolean().default(false),
});

/** What `new Webhooks()` takes. Unknown fields are refused. */
export type WebhooksOptions = z.input<typeof shape>;

/** The options with every default filled in. */
export type ResolvedOptions = Readonly<z.output<typeof shape> & { deliver: boolean }>;

/** Throws INVALID_OPTION that names field and value. */
export function parseOptions(input: unknown): ResolvedOptions {
  const parsed = shape.safeParse(input ?? {});
  if (parsed.success) {
    const { deliver = parsed.data.queue === undefined } = parsed.data;
    return Object.freeze({ ...parsed.data, deliver });
  }
  const issue = parsed.error.issues[0];
  const path = (issue?.path ?? []).map(String);
  let value: unknown = input;
  for (const name of path) value = (value as Record<string, unknown> | undefined)?.[name];
  // What holds an unknown option holds the secret ones too: its name is in the message.
  const secret =
    issue?.code === 'unrecognized_keys' ||
    ['encryptionKey', 'previousEncryptionKeys', 'hooks', 'metricsToken', 'proxy', 'store', 'queue'].includes(
      path[0] ?? '',
    );
  const shown = secret ? '' : `, got ${describe(value)}`;
  throw new WebhookError(
    'INVALID_OPTION',
    `${path.join('.') || 'options'} is invalid: ${issue?.message ?? ''}${shown}`,
  );
}
