// What goes out beside the body: signature, credentials, headers and the route, prepared once per registration.
import { createHash } from 'node:crypto';
import { createAddressGuard } from '../http/address-guard';
import { createBearerIssuer, type BearerIssuer } from '../http/bearer-token';
import type { ConnectionRoute } from '../http/exchange';
import type { KeyRing } from '../http/key-ring';
import { signingKeyAt } from '../http/signing-keys';
import { createSigner, parseSecret, type Signer } from '../http/webhook-signature';
import type { ResolvedSettings } from '../hooks/hook-settings';
import { activeSecrets, nextExpiryAt, type SecretSet } from '../hooks/secret-rotation';
import { WebhookError } from '../errors';
import type { Clock } from '../shared/clock';
import type { NetworkPolicy, ProxyOptions } from '../shared/network-options';
import { requestHeaders } from '../wire/request-headers';

export interface SendersParts {
  readonly clock: Clock;
  /** `iss` of bearer tokens: the server's URL. */
  readonly issuer: string;
  /** Parse Server's own `webhookKey` option. */
  readonly webhookKey: string | undefined;
  /** The plugin's: holds for every hook; a hook's own narrows it. */
  readonly network: NetworkPolicy;
  /** Where calls go through one, loopback addresses are its own. Default none. */
  readonly proxy?: ProxyOptions | undefined;
  /** How long the look-up of a name is waited for, in milliseconds. Default 1500. */
  readonly dnsTimeoutMs?: number | undefined;
  readonly keyRing: () => KeyRing;
}

/** The settings that say how a request goes out. */
export type SendSettings = Pick<
  ResolvedSettings,
  'headers' | 'signatures' | 'bearer' | 'basicAuth' | 'tls' | 'network'
>;

/** What requests are sent for: an installed hook, or a subscription. Another object after every change. */
export interface Registration {
  readonly label: string;
  /** Scheme, host and port of the URL. */
  readonly origin: string;
  readonly settings: SendSettings;
  /** Undefined when they cannot be read. */
  readonly secrets: SecretSet | undefined;
  /** Whether requests carry Parse Server's `webhookKey`. Default true. */
  readonly sendsWebhookKey?: boolean;
}

export interface OutgoingCall {
  readonly webhookId: string;
  readonly depth: number;
  readonly body: Buffer;
}

export interface Sender {
  readonly route: ConnectionRoute;
  /** All headers of one attempt. */
  headers(call: OutgoingCall): Record<string, string>;
}

interface Prepared {
  readonly sender: Sender;
  readonly ring: KeyRing;
  /** Milliseconds since 1970: an old secret stops signing, or a new bearer key starts. */
  readonly staleAt: number;
}

export class Senders {
  readonly #parts: SendersParts;
  readonly #prepared = new WeakMap<Registration, Prepared>();

  constructor(parts: SendersParts) {
    this.#parts = parts;
  }

  /** The sender of a registration. Throws a WebhookError when it cannot sign: nothing goes out unsigned in place of signed. */
  of(registration: Registration): Sender {
    const known = this.#prepared.get(registration);
    const ring = this.#parts.keyRing();
    const nowMs = this.#parts.clock.now();
    if (known?.ring === ring && nowMs < known.staleAt) return known.sender;
    const prepared = this.#prepare(registration, ring, nowMs);
    this.#prepared.set(registration, prepared);
    return prepared.sender;
  }

  #prepare(registration: Registration, ring: KeyRing, nowMs: number): Prepared {
    const { settings, secrets, label, sendsWebhookKey = true } = registration;
    if (!secrets) throw new WebhookError('BROKEN_SECRET', `${label} has no secret to sign with`);
    const signer = createSignerOf(settings, activeSecrets(secrets, nowMs), ring);
    const authorize = this.#authorizer(registration, secrets.current, ring, nowMs);
    const route = this.#routeOf(settings);
    const { clock } = this.#parts;
    const webhookKey = sendsWebhookKey ? this.#parts.webhookKey : undefined;
    const sender: Sender = {
      route,
      headers: ({ webhookId, depth, body }) => {
        const timestamp = Math.floor(clock.now() / 1000);
        const headers = requestHeaders({ webhookId, depth, webhookKey, extra: settings.headers });
        headers['webhook-timestamp'] = String(timestamp);
        headers['webhook-signature'] = signer.sign(webhookId, timestamp, body);
        const authorization = authorize(webhookId, body);
        if (authorization !== undefined) headers.authorization = authorization;
        return headers;
      },
    };
    const turns = ring.bearer.keys.map(({ signsFrom }) => signsFrom).filter(at => at > nowMs);
    return { sender, ring, staleAt: Math.min(nextExpiryAt(secrets, nowMs) ?? Infinity, ...turns) };
  }

  #authorizer(
    { settings: { bearer, basicAuth }, origin }: Registration,
    secret: string,
    ring: KeyRing,
    nowMs: number,
  ): (webhookId: string, body: Buffer) => string | undefined {
    if (basicAuth) {
      const encoded = Buffer.from(`${basicAuth.username}:${basicAuth.password}`).toString('base64');
      return () => `Basic ${encoded}`;
    }
    if (!bearer) return () => undefined;
    const issuer = this.#bearerIssuer(bearer.algorithm, secret, ring, nowMs);
    return (webhookId, body) => `Bearer ${issuer.issue({ audience: origin, webhookId, body })}`;
  }

  #bearerIssuer(
    algorithm: 'HS256' | 'RS256' | 'ES256',
    secret: string,
    ring: KeyRing,
    nowMs: number,
  ): BearerIssuer {
    const { issuer, clock } = this.#parts;
    if (algorithm === 'HS256')
      return createBearerIssuer({ algorithm, key: parseSecret(secret).key, issuer, clock });
    const key = signingKeyAt(ring.bearer, algorithm, nowMs);
    if (!key) throw new WebhookError('BROKEN_SECRET', `there is no ${algorithm} key to sign with`);
    return createBearerIssuer({ algorithm, key: key.privateKey, keyId: key.keyId, issuer, clock });
  }

  #routeOf({ network, tls }: SendSettings): ConnectionRoute {
    const { network: ofPlugin, proxy, dnsTimeoutMs } = this.#parts;
    const guard = createAddressGuard(ofPlugin, {
      narrowedBy: network,
      isProxied: proxy !== undefined,
      dnsTimeoutMs,
    });
    if (!tls) return { key: guard.key, guard };
    const { ca, cert, key } = tls;
    const digest = createHash('sha256')
      .update(JSON.stringify([ca, cert, key]))
      .digest('hex');
    return {
      key: `${guard.key} ${digest}`,
      guard,
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && key !== undefined && { clientCertificate: { cert, key } }),
    };
  }
}

/** Why a URL may not be called, as far as that can be known without resolving its name. */
export function whyUnreachable(
  url: string,
  { network, proxy }: Pick<SendersParts, 'network' | 'proxy'>,
  narrowedBy: NetworkPolicy | undefined,
): string | undefined {
  const verdict = createAddressGuard(network, { narrowedBy, isProxied: proxy !== undefined }).judgeUrl(url);
  return verdict.kind === 'refused' ? verdict.detail : undefined;
}

function createSignerOf(settings: SendSettings, secrets: readonly string[], ring: KeyRing): Signer {
  const { signatures } = settings;
  if (signatures.includes('v1a') && ring.ed25519.length === 0) {
    throw new WebhookError('BROKEN_SECRET', 'there is no ed25519 key to sign with');
  }
  return createSigner({
    secrets: signatures.includes('v1') ? secrets.map(parseSecret) : [],
    ed25519: signatures.includes('v1a') ? ring.ed25519.map(({ key }) => key) : [],
  });
}
