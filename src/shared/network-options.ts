// The `network` options: which addresses, names and ports may be called, and the `proxy` on the way there. Owns shapes,
// parsing and the canonical key of a policy; what follows from it is decided in src/http/.
import { isIP } from 'node:net';
import { z } from 'zod';
import { WebhookError } from '../errors';
import { tryUrl } from './try-url';
import { formatIpRange, parseIpRange, type IpRange } from './ip-address';

/** An entry of `allow` or `deny`: an address or CIDR range, one name, or every name below one (`*.example.com`). */
export type AddressPattern =
  | ({ readonly kind: 'range' } & IpRange)
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'subdomains'; readonly name: string };

export interface PortRange {
  readonly from: number;
  readonly to: number;
}

const maxPort = 65_535;
const maxPatterns = 1000;
const maxPatternLength = 300;

const pattern = z
  .string('must be an IP address, a CIDR range or a host name')
  .superRefine(issueOf(parseAddressPattern));
const patterns = z
  .array(pattern, 'must be a list of addresses, CIDR ranges and host names')
  .max(maxPatterns, `must have at most ${maxPatterns} entries`);
const port = z
  .union([z.number(), z.string()], 'must be a port or a range such as "8000-8999"')
  .superRefine(issueOf(parsePortRange));

/** The shape of `network`, for objects that have it as a field. Its messages complete "<path> …". */
export const networkShape = z.strictObject(
  {
    /** May private, shared (100.64.0.0/10) and loopback addresses be called? Default true. */
    allowPrivate: z.boolean('must be true or false').default(true),
    /** Lifts the refusal of special ranges: for addresses of all of them, for names of the private ones. Default none. */
    allow: patterns.default([]),
    /** Refused whatever else is said. Default none. */
    deny: patterns.default([]),
    /** Ports that may be called: numbers or ranges such as "8000-8999". Default all. */
    ports: z
      .array(port, 'must be a list of ports')
      .min(1, 'must have an entry')
      .max(maxPatterns, `must have at most ${maxPatterns} entries`)
      .optional(),
  },
  {
    error: issue =>
      issue.code === 'unrecognized_keys'
        ? `must have no field ${issue.keys.map(key => JSON.stringify(key)).join(', ')}`
        : 'must be an object',
  },
);

/** The shape of `proxy`. Its messages never quote the value: a proxy's URL may carry a password. */
export const proxyShape = z.strictObject({
  /** `http://` or `https://`, host, port, and user name and password where the proxy asks for them. */
  url: z.string().max(2048).superRefine(issueOf(parseProxyUrl)),
  /** PEM certificates to trust in place of Node's own roots, for an `https://` proxy. Default Node's. */
  ca: z
    .string()
    .max(65_536)
    .regex(/^-----BEGIN CERTIFICATE-----/, 'must be PEM certificates')
    .optional(),
});

export type ProxyOptions = Readonly<z.output<typeof proxyShape>>;

/** Where the proxy is, and what it is told. */
export interface ProxyAddress {
  readonly secure: boolean;
  /** A name or an IP address, without brackets. */
  readonly host: string;
  readonly port: number;
  /** The value of `Proxy-Authorization`: a secret. */
  readonly authorization: string | undefined;
}

/** Reads `proxy.url`. Throws an Error that says what is wrong with it and quotes nothing of it. */
export function parseProxyUrl(text: string): ProxyAddress {
  const url = tryUrl(text);
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new Error('must be an absolute http or https URL');
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw new Error('must have no path, query or fragment');
  }
  const secure = url.protocol === 'https:';
  return {
    secure,
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (secure ? 443 : 80) : Number(url.port),
    authorization: readAuthorization(url),
  };
}

function readAuthorization({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return undefined;
  try {
    const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    return `Basic ${Buffer.from(pair).toString('base64')}`;
  } catch {
    // No cause: the message of decodeURIComponent may quote the password.
    throw new Error('must have user name and password in percent-encoding');
  }
}

/** Which addresses may be called: plain JSON, as an operator wrote it. */
export type NetworkPolicy = Readonly<z.output<typeof networkShape>>;

/** Checks `network` and fills in the defaults. Throws INVALID_OPTION that names field and value. */
export function parseNetworkOptions(input: unknown): NetworkPolicy {
  const parsed = networkShape.safeParse(input ?? {});
  if (parsed.success) return Object.freeze(parsed.data);
  const issue = parsed.error.issues[0];
  const path = (issue?.path ?? []).map(String);
  const field = ['network', ...path].join('.');
  throw new WebhookError(
    'INVALID_OPTION',
    `${field} ${issue?.message ?? 'is invalid'}, got ${describe(valueAt(input, path))}`,
  );
}

export interface CompiledPolicy {
  /** Equal for policies that mean the same, whatever their order and spelling. */
  readonly key: string;
  readonly allowPrivate: boolean;
  readonly allow: readonly AddressPattern[];
  readonly deny: readonly AddressPattern[];
  /** In order and apart from each other; undefined: every port. */
  readonly ports: readonly PortRange[] | undefined;
}

/** Prepares a policy for use. Throws an Error for an entry that parseNetworkOptions refuses. */
export function compileNetworkPolicy(policy: NetworkPolicy): CompiledPolicy {
  const allow = policy.allow.map(parseAddressPattern);
  const deny = policy.deny.map(parseAddressPattern);
  const ports = policy.ports === undefined ? undefined : mergeRanges(policy.ports.map(parsePortRange));
  const key = JSON.stringify([
    policy.allowPrivate,
    formatPatterns(allow),
    formatPatterns(deny),
    ports?.map(({ from, to }) => [from, to]) ?? 'all',
  ]);
  return { key, allowPrivate: policy.allowPrivate, allow, deny, ports };
}

/** Reads an entry of `allow` or `deny`. Throws an Error that says what is wrong with it. */
export function parseAddressPattern(text: string): AddressPattern {
  if (text.length > maxPatternLength) throw new Error(`must have at most ${maxPatternLength} characters`);
  if (text.includes('/') || isIP(text) !== 0) return { kind: 'range', ...parseIpRange(text) };
  if (text.includes(':')) throw new Error('must have no port and no brackets');
  return text.startsWith('*.')
    ? { kind: 'subdomains', name: parseName(text.slice(2)) }
    : { kind: 'name', name: parseName(text) };
}

/** The name as a URL's host has it, without the dot that may end it: `Bücher.example.` gives `xn--bcher-kva.example`. */
function parseName(text: string): string {
  const url = `http://${text}`;
  const host = /^[^\s\p{Cc}%@?#\\]+$/u.test(text) ? (tryUrl(url)?.hostname ?? '') : '';
  if (isIP(host) !== 0) throw new Error(`must be a name or an address written in full, as in ${host}`);
  const name = host.replace(/\.$/, '');
  if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name)) {
    throw new Error('must be an IP address, a CIDR range, a host name or "*." and a host name');
  }
  return name;
}

function parsePortRange(value: number | string): PortRange {
  const text = String(value);
  const [from = 0, to = from] = text.split('-').map(Number);
  if (!/^\d{1,5}(-\d{1,5})?$/.test(text) || from < 1 || to > maxPort || from > to) {
    throw new Error(`must be a port in 1..${maxPort} or a range such as "8000-8999"`);
  }
  return { from, to };
}

function mergeRanges(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.from - b.from)) {
    const last = merged.at(-1);
    if (last === undefined || range.from > last.to + 1) merged.push(range);
    else merged[merged.length - 1] = { from: last.from, to: Math.max(last.to, range.to) };
  }
  return merged;
}

function formatPatterns(list: readonly AddressPattern[]): string[] {
  return [...new Set(list.map(formatPattern))].sort();
}

function formatPattern(entry: AddressPattern): string {
  switch (entry.kind) {
    case 'range':
      return formatIpRange(entry);
    case 'name':
      return entry.name;
    case 'subdomains':
      return `*.${entry.name}`;
    default:
      return entry satisfies never;
  }
}

/** Turns a parser that throws into a check of zod that gives its message. */
function issueOf<Value>(parse: (value: Value) => unknown) {
  return (value: Value, context: { addIssue: (message: string) => void }): void => {
    try {
      parse(value);
    } catch (error) {
      context.addIssue(error instanceof Error ? error.message : 'is invalid');
    }
  };
}

function valueAt(input: unknown, path: readonly string[]): unknown {
  let value = input;
  for (const name of path) {
    value = typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
  }
  return value;
}

function describe(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    text = undefined;
  }
  const shown = text ?? typeof value;
  return shown.length > 60 ? `${shown.slice(0, 57)}...` : shown;
}
