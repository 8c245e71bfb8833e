// Decides which addresses a call may go to, at connect time and on the address really used. Opens no connection.
import { tryUrl } from '../shared/try-url';
import type { LookupAddress, LookupOptions } from 'node:dns';
import { isIPv6, type LookupFunction } from 'node:net';
import type { buildConnector } from 'undici';
import { isInRange, parseIp, type IpAddress } from '../shared/ip-address';
import {
  compileNetworkPolicy,
  type AddressPattern,
  type CompiledPolicy,
  type NetworkPolicy,
} from '../shared/network-options';
import { classifyAddress, findDestination } from './address-ranges';
import { ConnectFailure } from './connect-failure';
import { processLookups, type NameLookups } from './name-lookups';
import { findOwnerOnThisMachine, type FindOwner, type Owner } from './own-addresses';

export interface Refusal {
  readonly kind: 'refused';
  /** `range`: a special range; `denied`: an entry of `deny`; `port`: not in `ports`; `url`: no URL to call at all. */
  readonly reason: 'range' | 'denied' | 'port' | 'url';
  /** For operators: may name addresses. Never for clients. */
  readonly detail: string;
}

export type AddressVerdict = { readonly kind: 'allowed' } | Refusal;

/** `undecided`: a name, of which the lookup decides at connect time. */
export type Verdict = AddressVerdict | { readonly kind: 'undecided' };

/** Where a connection is to go: what undici hands to a connector. `port` may be '' for the one of the protocol. */
export interface Target {
  readonly protocol: string;
  readonly hostname: string;
  readonly port: string;
}

export interface AddressGuard {
  /** Equal for policies that mean the same. */
  readonly key: string;
  /** Judges an IP address as node:net and getaddrinfo write it; a zone id is ignored. */
  judgeAddress(address: string): AddressVerdict;
  /** Judges scheme, credentials, port and host of a URL, without resolving a name. Never throws. */
  judgeUrl(url: string): Verdict;
  /** Judges port and host of a connection to be made, without resolving a name. */
  judgeTarget(target: Target): Verdict;
  /**
   * Resolves a name for net.connect and tls.connect: hands on addresses only when all of them are allowed, and fails
   * with an AddressRefusal otherwise. The socket connects to what it was handed; nothing resolves the name again.
   */
  readonly lookup: LookupFunction;
}

/** The failure of a connection that the guard refused. Trying again does not help. */
export class AddressRefusal extends ConnectFailure {
  readonly reason: Refusal['reason'];

  constructor(refusal: Refusal) {
    super('address', refusal.detail, { retryable: false });
    this.name = 'AddressRefusal';
    this.reason = refusal.reason;
  }
}

/** Of the option `dnsTimeoutMs`. */
const defaultDnsTimeoutMs = 1500;

const allowed = { kind: 'allowed' } as const;
const undecided = { kind: 'undecided' } as const;

export interface AddressGuardOptions {
  /** A second policy, which must allow everything, too: it can close what `policy` opens, and open nothing. */
  readonly narrowedBy?: NetworkPolicy | undefined;
  /** Who looks names up. Default: the look-ups of the process. */
  readonly lookups?: NameLookups | undefined;
  /** Whose an address is; the server's own are private. Default: by the interfaces of this machine. */
  readonly findOwner?: FindOwner | undefined;
  /** Connections are made by a proxy: loopback is the proxy's own, and is refused unless `policy` lists it. Default false. */
  readonly isProxied?: boolean | undefined;
  /** How long a look-up is waited for, in milliseconds; names that take longer are suspect. Default 1500. */
  readonly dnsTimeoutMs?: number | undefined;
}

/** A policy, and what the way to the address adds to it. */
interface Rules extends CompiledPolicy {
  readonly isLoopbackForeign: boolean;
  readonly findOwner: FindOwner;
}

/**
 * Compiles a policy into a guard. Throws an Error for a policy that parseNetworkOptions refuses. Guards are light: each
 * registration has its own, and connections are shared by `key`. A policy object must not change after it was given.
 */
export function createAddressGuard(
  policy: NetworkPolicy,
  {
    narrowedBy,
    lookups = processLookups(),
    findOwner = findOwnerOnThisMachine,
    isProxied = false,
    dnsTimeoutMs = defaultDnsTimeoutMs,
  }: AddressGuardOptions = {},
): AddressGuard {
  const policies = narrowedBy === undefined ? [policy] : [policy, narrowedBy];
  const rulesOfAll: readonly Rules[] = policies.map((each, at) => ({
    ...compile(each),
    isLoopbackForeign: isProxied && at === 0,
    findOwner,
  }));

  function judgeAddress(address: string): AddressVerdict {
    return judgeByAll(rulesOfAll, { address, name: undefined });
  }

  function judgeHost(hostname: string): Verdict {
    if (parseIp(hostname) !== undefined) return judgeAddress(hostname);
    const name = normalizeName(hostname);
    const denied = rulesOfAll.some(({ deny }) => deny.some(entry => matchesName(entry, name)));
    if (denied) return refuse('denied', `${name} is refused: an entry of deny says so`);
    // RFC 6761, section 6.3: known without a look-up.
    const isLocal = isProxied && /(^|\.)localhost$/.test(name);
    const local = isLocal ? judgeByAll(rulesOfAll, { address: '127.0.0.1', name }) : allowed;
    return local.kind === 'refused' ? local : undecided;
  }

  function judgeTarget({ protocol, hostname, port }: Target): Verdict {
    const number = port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
    if (!rulesOfAll.every(rules => isPortAllowed(rules, number))) {
      return refuse('port', `port ${number} of ${hostname} is refused: not in ports`);
    }
    return judgeHost(hostname.replace(/^\[(.*)\]$/, '$1'));
  }

  async function resolveVetted(hostname: string, hints: number): Promise<readonly LookupAddress[]> {
    const verdict = judgeHost(hostname);
    switch (verdict.kind) {
      case 'refused':
        throw new AddressRefusal(verdict);
      case 'allowed':
        return [{ address: hostname, family: isIPv6(hostname) ? 6 : 4 }];
      case 'undecided':
        break;
      default:
        return verdict satisfies never;
    }
    const name = normalizeName(hostname);
    const found = await lookups.find({ hostname, hints, timeoutMs: dnsTimeoutMs });
    // Copied: what was judged must not change before it is used, and others share what was found.
    const addresses = found.map(({ address, family }) => ({ address, family }));
    for (const { address } of addresses) {
      const resolved = judgeByAll(rulesOfAll, { address, name });
      if (resolved.kind === 'refused') {
        throw new AddressRefusal({ ...resolved, detail: `${name}: ${resolved.detail}` });
      }
    }
    return addresses;
  }

  return {
    key: combineKeys(rulesOfAll.map(({ key }) => key)),
    judgeAddress,
    judgeTarget,
    judgeUrl: url => {
      const parsed = tryUrl(url);
      if (parsed === undefined) return refuse('url', 'the URL is not absolute and well-formed');
      if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
        return refuse('url', `the URL's scheme must be http or https, got ${parsed.protocol.slice(0, 40)}`);
      }
      if (parsed.username !== '' || parsed.password !== '') {
        return refuse('url', 'the URL carries credentials');
      }
      return judgeTarget(parsed);
    },
    lookup: (hostname, options, callback) => {
      // Out of the promise with nextTick: what the callback throws must not become a rejection.
      resolveVetted(hostname, options.hints ?? 0).then(
        addresses => process.nextTick(() => answerLookup({ hostname, options, callback, addresses })),
        (error: unknown) => process.nextTick(() => callback(toError(error), '')),
      );
    },
  };
}

/** Puts the guard before a connector, for the hosts that no lookup sees: IP literals. Judges ports, too. */
export function guardConnector(
  guard: AddressGuard,
  connect: buildConnector.connector,
): buildConnector.connector {
  return (target, callback) => {
    const verdict = guard.judgeTarget(target);
    if (verdict.kind !== 'refused') {
      connect(target, callback);
      return;
    }
    // Not within this call: undici's connect() has not returned yet.
    queueMicrotask(() => callback(new AddressRefusal(verdict), null));
  };
}

/** The plugin's policy is part of every guard. */
const compiledPolicies = new WeakMap<NetworkPolicy, CompiledPolicy>();

function compile(policy: NetworkPolicy): CompiledPolicy {
  const known = compiledPolicies.get(policy);
  if (known !== undefined) return known;
  const compiled = compileNetworkPolicy(policy);
  compiledPolicies.set(policy, compiled);
  return compiled;
}

/** The key of policies that hold together: a policy that is narrowed by its like means what it means alone. */
function combineKeys(keys: readonly string[]): string {
  const [first = '', ...others] = new Set(keys);
  // As it is, not a copy: it may be long, and most registrations have the same.
  return others.length === 0 ? first : [first, ...others].join(' ');
}

/** An address, and the name that it is one of. */
interface Resolved {
  readonly address: string;
  readonly name: string | undefined;
}

/** The first refusal, if there is one. */
function judgeByAll(rulesOfAll: readonly Rules[], resolved: Resolved): AddressVerdict {
  for (const rules of rulesOfAll) {
    const verdict = judgeResolved(rules, resolved);
    if (verdict.kind === 'refused') return verdict;
  }
  return allowed;
}

function judgeResolved(rules: Rules, { address, name }: Resolved): AddressVerdict {
  const parsed = parseIp(address);
  if (parsed === undefined) return refuse('range', `${JSON.stringify(address)} is refused: no IP address`);
  const destination = findDestination(parsed);
  const matches = (ip: IpAddress) => (entry: AddressPattern) =>
    entry.kind === 'range' && isInRange(ip, entry);
  if (rules.deny.some(matches(parsed)) || rules.deny.some(matches(destination))) {
    return refuse('denied', `${address} is refused: an entry of deny says so`);
  }
  // Only the destination counts here: `allow: ['64:ff9b::/96']` must not open every IPv4 address behind it.
  if (rules.allow.some(matches(destination))) return allowed;
  const isNamed = (): boolean => name !== undefined && rules.allow.some(entry => matchesName(entry, name));
  const { kind, range } = classifyAddress(parsed);
  switch (kind) {
    case 'public':
      return rules.allowPrivate || isNamed() ? allowed : judgeOwner(address, rules.findOwner(destination));
    case 'private':
    case 'loopback':
    case 'shared':
      if (rules.allowPrivate && !(kind === 'loopback' && rules.isLoopbackForeign)) return allowed;
      if (isNamed()) return allowed;
      break;
    case 'link-local':
    case 'metadata':
    case 'multicast':
    case 'unspecified':
    case 'broadcast':
    case 'documentation':
    case 'benchmark':
    case 'reserved':
      break;
    default:
      return kind satisfies never;
  }
  const whose = kind === 'loopback' && rules.isLoopbackForeign ? " of the proxy's host" : '';
  return refuse('range', `${address} is refused: ${kind}${whose} (${range ?? ''})`);
}

/** Of a public address where private ones are closed: behind it may be what this machine serves to itself. */
function judgeOwner(address: string, owner: Owner): AddressVerdict {
  switch (owner) {
    case 'other':
      return allowed;
    case 'own':
      return refuse('range', `${address} is refused: this server's own`);
    case 'unknown':
      return refuse('range', `${address} is refused: this server's own addresses cannot be read`);
    default:
      return owner satisfies never;
  }
}

function matchesName(entry: AddressPattern, name: string): boolean {
  switch (entry.kind) {
    case 'range':
      return false;
    case 'name':
      return name === entry.name;
    case 'subdomains':
      return name.endsWith(`.${entry.name}`);
    default:
      return entry satisfies never;
  }
}

function normalizeName(hostname: string): string {
  return hostname.toLowerCase().replace(/\.+$/, '');
}

function isPortAllowed(rules: CompiledPolicy, port: number): boolean {
  if (rules.ports === undefined) return port >= 1;
  return rules.ports.some(({ from, to }) => port >= from && port <= to);
}

function refuse(reason: Refusal['reason'], detail: string): Refusal {
  return { kind: 'refused', reason, detail };
}

/** Answers in the form that the caller asked for: net.connect asks for `all` unless autoSelectFamily is off. */
function answerLookup(answer: {
  readonly hostname: string;
  readonly options: LookupOptions;
  readonly callback: Parameters<LookupFunction>[2];
  readonly addresses: readonly LookupAddress[];
}): void {
  const { hostname, options, callback, addresses } = answer;
  const family = toFamily(options.family);
  const fitting = family === 0 ? addresses : addresses.filter(address => address.family === family);
  const first = fitting[0];
  if (first === undefined) {
    const what = family === 0 ? 'address' : `IPv${family} address`;
    callback(Object.assign(new Error(`ENOTFOUND: no ${what} for ${hostname}`), { code: 'ENOTFOUND' }), '');
  } else if (options.all === true) {
    callback(null, [...fitting]);
  } else {
    callback(null, first.address, first.family);
  }
}

function toFamily(family: LookupOptions['family']): 0 | 4 | 6 {
  switch (family) {
    case 4:
    case 'IPv4':
      return 4;
    case 6:
    case 'IPv6':
      return 6;
    default:
      return 0;
  }
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
