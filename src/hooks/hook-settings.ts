// The settings of a hook: their shapes, ranges and defaults, and how a change is merged into them.
// What may be combined with which trigger is decided here too; names and URLs are in validate-hook.ts.
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { z } from 'zod';
import { WebhookError } from '../errors';
import { compileWhere } from './object-filter';
import { hookLabel, type HookTarget } from './hook';
import { hasOneObject, isBlockingTrigger } from './trigger-rules';
import { isJsonObject } from '../shared/json';
import { networkShape } from '../shared/network-options';

/** What a stored header value is shown as. Sent back in a change, it means "keep the value". */
export const hiddenValue = '********';

const keyName = z.string().regex(/^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*$/, 'must be a key of the object');
const keyNames = z.array(keyName).min(1).max(200);
// A dotted name would leave out nothing, or too much.
const wholeKeys = z
  .array(
    z
      .string()
      .regex(/^[A-Za-z][A-Za-z0-9_]*$/, 'must be a key of the object: keys inside it cannot be named'),
  )
  .min(1)
  .max(200);
const headerName = z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'must be a header name');
// Printable US-ASCII: what every receiver reads alike (RFC 9110, 5.5).
const headerValue = z.string().regex(/^[\x20-\x7e]{0,4096}$/, 'must be printable US-ASCII');

const pem = z
  .string()
  .max(65_536)
  .regex(/^-----BEGIN [A-Z0-9 ]+-----/, 'must be PEM');

/** Headers that this package or HTTP itself sets; an operator cannot override them. */
const reservedHeaders =
  /^(host|connection|content-length|content-type|content-encoding|transfer-encoding|expect|upgrade|te|trailer|keep-alive|proxy-.*|webhook-.*|x-parse-webhook-.*)$/;

/** Client headers that are credentials: they never leave, listed or not. */
const credentialHeaders =
  /^(authorization|proxy-authorization|cookie|set-cookie|x-parse-(master-key|maintenance-key|rest-api-key|javascript-key|client-key|windows-key|dotnet-key|session-token|webhook-key)|__proto__)$/;

export const settingShapes = {
  /** Bound on the whole call, retry included, in milliseconds. 1..30000, default 5000. */
  timeoutMs: z.int().min(1).max(30_000),
  /** Bound on the time from the request to the reply's headers, in milliseconds. 1..30000, default timeoutMs. */
  firstByteTimeoutMs: z.int().min(1).max(30_000),
  /** What a failure does (no answer, no usable answer): `reject` the operation or `allow` it. Default `reject`. */
  failurePolicy: z.enum(['reject', 'allow']),
  /** beforeSave: `merge` the reply into the change, or `replace` the change as the built-in does. Default `merge`. */
  responseMode: z.enum(['merge', 'replace']),
  /** `shadow` calls and logs what would have happened, and enforces nothing. Default `enforce`. */
  mode: z.enum(['enforce', 'shadow']),
  /** A Parse query on the object: no match, no call. Default none. */
  where: z.record(z.string(), z.unknown()),
  /** Call only if one of these keys changed. Default none. */
  changed: keyNames,
  /** Only these keys of an object are sent, beside objectId, className, createdAt and updatedAt. Default all. */
  keys: wholeKeys,
  /** These keys of an object are not sent. Default none. */
  excludeKeys: wholeKeys,
  /** Extra request headers. Values are encrypted at rest and never shown. Default none. */
  headers: z.record(headerName, headerValue),
  /** Client headers copied into the request body's `headers`. Credentials are refused. Default none. */
  forwardHeaders: z.array(headerName).max(50),
  /** Sends `user.sessionToken`. Not for `after*` hooks, whose bodies are stored. Default false. */
  includeSessionToken: z.boolean(),
  /** Bound on the decoded reply, in bytes. 1..104857600, default 1048576. */
  maxReplyBytes: z.int().min(1).max(104_857_600),
  /** false: kept but not called. Default true. */
  active: z.boolean(),
  /** Bound on the request body, in bytes. 1..104857600, default 10485760. */
  maxRequestBytes: z.int().min(1).max(104_857_600),
  /** Calls of this hook in flight at once on one node. 1..10000, default 64. */
  maxInFlight: z.int().min(1).max(10_000),
  /** How requests are signed: `v1` with the hook's secret, `v1a` with the server's ed25519 key. Default `["v1"]`. */
  signatures: z
    .array(z.enum(['v1', 'v1a']))
    .min(1)
    .max(2)
    .refine(kinds => new Set(kinds).size === kinds.length, 'must name each kind once'),
  /** Sends `Authorization: Bearer <JWT>`: HS256 with the hook's secret, RS256 and ES256 with the server's keys. Default none. */
  bearer: z.strictObject({ algorithm: z.enum(['HS256', 'RS256', 'ES256']) }),
  /** Sends `Authorization: Basic`. The password is encrypted at rest and never shown. Default none. */
  basicAuth: z.strictObject({
    username: z.string().regex(/^[\x20-\x39\x3b-\x7e]{1,256}$/, 'must be printable US-ASCII without a colon'),
    password: headerValue,
  }),
  /** Own certificates for TLS, PEM: `ca` to trust, `cert` and `key` to show. The key is encrypted at rest. Default none. */
  tls: z.strictObject({
    ca: pem.optional(),
    cert: pem.optional(),
    key: pem.optional(),
  }),
  /** Which addresses may be called: narrows the plugin's `network`, never widens it. Default the plugin's alone. */
  network: networkShape,
};

const fullShape = z.strictObject(settingShapes);
const partialShape = fullShape.partial();

/** The settings somebody gave; what is absent has the default of the plugin. */
export type HookSettings = { readonly [K in keyof z.infer<typeof fullShape>]?: z.infer<typeof fullShape>[K] };

/** All settings with a value; optional are only those whose default is "none". */
export type ResolvedSettings = Required<Omit<HookSettings, OptionalSetting>> &
  Pick<HookSettings, OptionalSetting>;
type OptionalSetting =
  | 'firstByteTimeoutMs'
  | 'where'
  | 'changed'
  | 'keys'
  | 'excludeKeys'
  | 'bearer'
  | 'basicAuth'
  | 'tls'
  | 'network';

export const settingDefaults: ResolvedSettings = {
  timeoutMs: 5000,
  failurePolicy: 'reject',
  responseMode: 'merge',
  mode: 'enforce',
  headers: {},
  forwardHeaders: [],
  includeSessionToken: false,
  maxReplyBytes: 1_048_576,
  active: true,
  maxRequestBytes: 10_485_760,
  maxInFlight: 64,
  signatures: ['v1'],
};

export const settingNames = Object.keys(settingShapes) as readonly (keyof HookSettings)[];

/** The settings that may also be given once for all hooks, as `defaults` of WebhooksOptions. */
export const defaultableShape = fullShape
  .pick({
    timeoutMs: true,
    firstByteTimeoutMs: true,
    failurePolicy: true,
    responseMode: true,
    mode: true,
    maxReplyBytes: true,
    maxRequestBytes: true,
    maxInFlight: true,
    signatures: true,
  })
  .partial();

export function resolveSettings(settings: HookSettings, defaults: HookSettings): ResolvedSettings {
  return { ...settingDefaults, ...defaults, ...settings };
}

/**
 * Merges `change` into `current`: a named key is set, `null` takes it back to the default, `headers` are merged by
 * name. Throws INVALID_HOOK that names field and value; unknown fields are refused by name.
 */
export function changeSettings(
  target: HookTarget,
  current: HookSettings,
  change: Readonly<Record<string, unknown>>,
): HookSettings {
  const next = new Map<string, unknown>(Object.entries(current));
  for (const [name, value] of Object.entries(change)) {
    if (!(settingNames as readonly string[]).includes(name)) {
      throw new WebhookError('INVALID_HOOK', `unknown field ${describe(name)}`);
    }
    if (value === null || value === undefined) next.delete(name);
    else next.set(name, mergeSetting(name, current, value));
  }
  return parseSettings(target, Object.fromEntries(next));
}

/** Checks settings as a whole. Throws INVALID_HOOK that names field and value. */
export function parseSettings(target: HookTarget, input: unknown): HookSettings {
  const parsed = partialShape.safeParse(input);
  if (!parsed.success) {
    throw invalid(describeIssue(parsed.error, input));
  }
  const settings = withLowerCaseNames(parsed.data as HookSettings);
  assertFits(target, settings);
  return settings;
}

/** What is wrong with settings, naming field and value, without secrets. */
export function describeIssue({ issues }: z.ZodError, input: unknown): string {
  const issue = issues[0];
  const path = issue?.path.map(String) ?? [];
  // A value under these is a secret, or holds one: its name is enough.
  // What holds an unknown field may hold any of them: its name is in the message.
  const secret =
    issue?.code === 'unrecognized_keys' || ['headers', 'basicAuth', 'tls'].includes(path[0] ?? '');
  const value = secret ? '' : `, got ${describe(valueAt(input, path))}`;
  return `${path.join('.') || 'settings'} is invalid: ${issue?.message ?? 'unreadable'}${value}`;
}

function assertFits(target: HookTarget, settings: HookSettings): void {
  const label = hookLabel(target);
  const oneObject = target.kind === 'trigger' && hasOneObject(target.className, target.triggerName);
  for (const name of ['where', 'changed'] as const) {
    if (settings[name] && !oneObject)
      throw invalid(`${name} has no meaning for ${label}: it sends no single object`);
  }
  assertRequestSettings(settings);
  const filtered = settings.keys ? 'keys' : settings.excludeKeys ? 'excludeKeys' : undefined;
  if (filtered && settings.responseMode === 'replace') {
    throw invalid(`${filtered} cannot be combined with responseMode replace: keys not sent would be lost`);
  }
  if (settings.includeSessionToken && target.kind === 'trigger' && !isBlockingTrigger(target.triggerName)) {
    throw invalid(
      `includeSessionToken cannot be given for ${label}: its calls are stored until they are delivered`,
    );
  }
  if (filtered && target.kind === 'function') throw invalid(`${filtered} has no meaning for ${label}`);
  for (const name of settings.forwardHeaders ?? []) {
    if (credentialHeaders.test(name))
      throw invalid(`forwardHeaders names ${name}: credentials are never forwarded`);
  }
}

/** What requests of hooks and of subscriptions have in common. */
export type RequestSettings = Pick<
  HookSettings,
  'where' | 'keys' | 'excludeKeys' | 'headers' | 'bearer' | 'basicAuth' | 'tls'
>;

/** Throws INVALID_HOOK that names field and value. */
export function assertRequestSettings(settings: RequestSettings): void {
  if (settings.keys && settings.excludeKeys) throw invalid('keys and excludeKeys cannot both be given');
  if (settings.where) {
    const filter = compileWhere(settings.where);
    if (filter.kind === 'invalid') throw invalid(`where is invalid: ${filter.detail}`);
  }
  for (const name of Object.keys(settings.headers ?? {})) {
    if (reservedHeaders.test(name))
      throw invalid(`headers.${name} is set by Parse Server or HTTP and cannot be given`);
  }
  assertHeaderCount(settings.headers ?? {});
  assertCredentials(settings);
}

/** Node's servers answer 431 above 16 KiB of headers in all, nginx above 8 KiB for one; signature and token come on top. */
const maxOwnHeaders = 50;
const maxOwnHeaderBytes = 8192;

function assertHeaderCount(headers: Readonly<Record<string, string>>): void {
  const all = Object.entries(headers);
  if (all.length > maxOwnHeaders) throw invalid(`headers holds more than ${maxOwnHeaders} names`);
  // One byte for each character: both are US-ASCII.
  if (all.reduce((sum, [name, value]) => sum + name.length + value.length, 0) > maxOwnHeaderBytes)
    throw invalid(`headers holds more than ${maxOwnHeaderBytes} bytes of names and values`);
}

function assertCredentials({ bearer, basicAuth, headers, tls }: RequestSettings): void {
  const authorizations = [bearer, basicAuth, headers?.authorization].filter(each => each !== undefined);
  if (authorizations.length > 1) {
    throw invalid('bearer, basicAuth and headers.authorization all set Authorization: only one can be given');
  }
  if (!tls) return;
  if ((tls.cert === undefined) !== (tls.key === undefined))
    throw invalid('tls.cert and tls.key belong together');
  assertCertificates('ca', tls.ca);
  assertCertificates('cert', tls.cert);
  try {
    createSecureContext({
      ...(tls.ca !== undefined && { ca: tls.ca }),
      ...(tls.cert !== undefined && { cert: tls.cert }),
      ...(tls.key !== undefined && { key: tls.key }),
    });
  } catch (cause) {
    throw new WebhookError('INVALID_HOOK', `tls is invalid: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * `ca` and `cert` are stored and shown in clear, so a key in the same file must not come along; and OpenSSL takes a CA
 * without a readable certificate for an empty list, without a word.
 */
function assertCertificates(field: 'ca' | 'cert', text: string | undefined): void {
  if (text === undefined) return;
  const blocks = text.match(/-----BEGIN [^-]*-----[^-]*(-----END [^-]*-----)?/g) ?? [];
  for (const block of blocks) {
    if (!block.startsWith('-----BEGIN CERTIFICATE-----'))
      throw invalid(`tls.${field} is invalid: it holds something else than certificates`);
    try {
      new X509Certificate(block);
    } catch (cause) {
      throw new WebhookError('INVALID_HOOK', `tls.${field} is invalid: ${reasonOf(cause)}`, { cause });
    }
  }
}

/** OpenSSL's reason names no content: "key values mismatch", "no start line". */
function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message.replace(/^error:[0-9A-F]+:/, '') : 'unreadable';
}

export function withLowerCaseNames<T extends Pick<HookSettings, 'headers' | 'forwardHeaders'>>(
  settings: T,
): T {
  const { headers, forwardHeaders } = settings;
  return {
    ...settings,
    ...(headers && {
      headers: Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
      ),
    }),
    ...(forwardHeaders && { forwardHeaders: forwardHeaders.map(name => name.toLowerCase()) }),
  };
}

/** `headers` are merged by name; a hidden value sent back keeps the secret that it stands for. */
export function mergeSetting(name: string, current: RequestSettings, value: unknown): unknown {
  if (name === 'headers') return mergeHeaders(current.headers, value);
  if (name === 'basicAuth') return keepHidden(value, 'password', current.basicAuth?.password);
  if (name === 'tls') return keepHidden(value, 'key', current.tls?.key);
  return value;
}

function keepHidden(value: unknown, field: string, secret: string | undefined): unknown {
  if (!isJsonObject(value) || value[field] !== hiddenValue) return value;
  if (secret === undefined) throw invalid(`${field} has no value that ${hiddenValue} could keep`);
  return { ...value, [field]: secret };
}

function mergeHeaders(current: RequestSettings['headers'], change: unknown): unknown {
  if (typeof change !== 'object' || change === null || Array.isArray(change)) return change;
  const merged = new Map(Object.entries(current ?? {}) as [string, unknown][]);
  for (const [givenName, value] of Object.entries(change)) {
    const name = givenName.toLowerCase();
    // zod leaves it out without a word.
    if (name === '__proto__') throw invalid('headers.__proto__ cannot be given');
    if (value === null) merged.delete(name);
    else if (value !== hiddenValue) merged.set(name, value);
    else if (!merged.has(name)) throw invalid(`headers.${name} has no value that ${hiddenValue} could keep`);
  }
  return Object.fromEntries(merged);
}

function invalid(message: string): WebhookError {
  return new WebhookError('INVALID_HOOK', message);
}

function valueAt(input: unknown, path: readonly string[]): unknown {
  let value = input;
  for (const name of path) value = (value as Record<string, unknown> | undefined)?.[name];
  return value;
}

/** A value as messages show it: JSON, at most 60 characters. */
export function describe(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    text = undefined;
  }
  const shown = text ?? typeof value;
  return shown.length > 60 ? `${shown.slice(0, 57)}...` : shown;
}
