// WebhooksOptions: every field with unit, range and default; parsed once, frozen. Hook settings are in hooks/.
import { z } from 'zod';
import { WebhookError } from './errors';
import { describe, defaultableShape } from './hooks/hook-settings';
import { networkShape } from './shared/network-options';

const shape = z.strictObject({
  /** Bound on everything that one operation of a client waits for in hooks, in milliseconds. 1..60000. */
  totalDeadlineMs: z.int().min(1).max(60_000).default(8000),
  /** Bound on DNS, TCP and TLS of one call together, in milliseconds. 1..30000. */
  connectTimeoutMs: z.int().min(1).max(30_000).default(2000),
  /** Open sockets per hook and origin. 1..10000. */
  maxConnectionsPerOrigin: z.int().min(1).max(10_000).default(128),
  /** How often this node looks for changes made on other nodes, in milliseconds. 50..60000. */
  pollIntervalMs: z.int().min(50).max(60_000).default(400),
  /** How long stop() waits for notifications under way, in milliseconds. 0..600000. */
  drainTimeoutMs: z.int().min(0).max(600_000).default(10_000),
  /** Key material for secrets at rest, 16 characters or more. Default: Parse Server's master key. */
  encryptionKey: z.string().min(16).optional(),
  /** Settings of every hook that does not set them itself. */
  defaults: defaultableShape.default({}),
  /** Hooks to bring into force at start: the fields of `POST /hooks/...`, settings included. */
  hooks: z.array(z.record(z.string(), z.unknown())).default([]),
  /** Which addresses may be called; a hook's own `network` can only narrow it. Default: all but reserved ones. */
  network: networkShape.prefault({}),
  /** `iss` of bearer tokens. Default: Parse Server's `serverURL`. */
  issuer: z.string().min(1).max(2048).optional(),
  /** Opens `/webhooks/metrics` and `/webhooks/health` of `router()` to who sends it as a bearer token. 16 characters or more. */
  metricsToken: z.string().min(16).optional(),
  /** Failures in a row that open a hook's breaker. 1..1000. */
  breakerFailures: z.int().min(1).max(1000).default(5),
  /** How long an open breaker answers at once before it lets one probe through, in milliseconds. 10..600000. */
  breakerOpenMs: z.int().min(10).max(600_000).default(5000),
  /** Removes at start what `hooks` does not declare. */
  deleteUndeclaredHooks: z.boolean().default(false),
});

/** What `new Webhooks()` takes. Unknown fields are refused. */
export type WebhooksOptions = z.input<typeof shape>;

/** The options with every default filled in. */
export type ResolvedOptions = Readonly<z.output<typeof shape>>;

/** Throws INVALID_OPTION that names field and value. */
export function parseOptions(input: unknown): ResolvedOptions {
  const parsed = shape.safeParse(input ?? {});
  if (parsed.success) return Object.freeze(parsed.data);
  const issue = parsed.error.issues[0];
  const path = (issue?.path ?? []).map(String);
  let value: unknown = input;
  for (const name of path) value = (value as Record<string, unknown> | undefined)?.[name];
  // What holds an unknown option holds the secret ones too: its name is in the message.
  const secret =
    issue?.code === 'unrecognized_keys' || ['encryptionKey', 'hooks', 'metricsToken'].includes(path[0] ?? '');
  const shown = secret ? '' : `, got ${describe(value)}`;
  throw new WebhookError(
    'INVALID_OPTION',
    `${path.join('.') || 'options'} is invalid: ${issue?.message ?? ''}${shown}`,
  );
}
