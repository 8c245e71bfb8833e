// Bearer tokens to receivers: a JWT per request that an API gateway can check without our secret. Owns the claims; which
// key signs is signing-keys.ts's or the hook's secret.
import { createHash, type KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { WebhookError } from '../errors';
import type { Clock } from '../shared/clock';
import { minHmacTokenBytes } from '../shared/secret-format';

export type BearerAlgorithm = 'HS256' | 'RS256' | 'ES256';

/** Seconds between `iat` and `exp`: longer than any exchange, too short to be worth stealing. */
export const tokenLifetimeSeconds = 60;

const minRsaBits = 2048; // RFC 7518, section 3.3

export interface BearerIssuerOptions {
  readonly algorithm: BearerAlgorithm;
  /** HS256: the decoded bytes of the hook's secret (`SigningSecret.key`). RS256, ES256: a private key. */
  readonly key: KeyObject;
  /** `kid` in the token's header, as in the JWKS. */
  readonly keyId?: string;
  /** `iss`: the server's URL or the app id. */
  readonly issuer: string;
  readonly clock: Clock;
}

export interface BearerIssuer {
  /**
   * A JWT for one attempt: `iss`, `aud`, `iat`, `exp` (`iat` + 60), `jti` and `body_sha256`. `audience` is the
   * receiver's origin (`new URL(url).origin`), `webhookId` becomes `jti` and stays the same over retries.
   */
  issue(request: { readonly audience: string; readonly webhookId: string; readonly body: Buffer }): string;
}

/**
 * Issues tokens with one key. Throws INVALID_HOOK when the key does not fit the algorithm.
 *
 * `body_sha256` is the SHA-256 of the body in lower-case hex, as in AWS's `x-amz-content-sha256`: what sha256sum,
 * nginx's njs, OpenResty's `to_hex`, PHP's `hash` and Go's `%x` print.
 */
export function createBearerIssuer(options: BearerIssuerOptions): BearerIssuer {
  const { algorithm, key, keyId, issuer, clock } = options;
  assertKeyFits(algorithm, key);
  const signOptions = { algorithm, ...(keyId !== undefined && { keyid: keyId }) };
  return {
    issue({ audience, webhookId, body }) {
      const iat = Math.floor(clock.now() / 1000);
      const claims = {
        iss: issuer,
        aud: audience,
        iat,
        exp: iat + tokenLifetimeSeconds,
        jti: webhookId,
        body_sha256: createHash('sha256').update(body).digest('hex'),
      };
      return jwt.sign(claims, key, signOptions);
    },
  };
}

function assertKeyFits(algorithm: BearerAlgorithm, key: KeyObject): void {
  const details = key.asymmetricKeyDetails;
  switch (algorithm) {
    case 'HS256':
      if (key.type !== 'secret') throw misfit(algorithm, 'a secret', key);
      // RFC 7518, section 3.2 ("a key of the same size as the hash output or larger MUST be used"); Java's libraries
      // refuse shorter ones when they verify, so it is better refused here.
      if ((key.symmetricKeySize ?? 0) < minHmacTokenBytes) {
        throw new WebhookError(
          'INVALID_HOOK',
          `bearer HS256 needs a secret of at least ${minHmacTokenBytes} bytes (RFC 7518, 3.2), got ${key.symmetricKeySize ?? 0}`,
        );
      }
      return;
    case 'RS256':
      if (
        key.type !== 'private' ||
        key.asymmetricKeyType !== 'rsa' ||
        (details?.modulusLength ?? 0) < minRsaBits
      ) {
        throw misfit(algorithm, `an RSA private key of at least ${minRsaBits} bits`, key);
      }
      return;
    case 'ES256':
      if (key.type !== 'private' || key.asymmetricKeyType !== 'ec' || details?.namedCurve !== 'prime256v1') {
        throw misfit(algorithm, 'a private key on the curve P-256', key);
      }
      return;
    default:
      throw new WebhookError(
        'INVALID_HOOK',
        `bearer.algorithm must be HS256, RS256 or ES256, got ${String(algorithm satisfies never)}`,
      );
  }
}

function misfit(algorithm: BearerAlgorithm, wanted: string, key: KeyObject): WebhookError {
  return new WebhookError(
    'INVALID_HOOK',
    `bearer ${algorithm} needs ${wanted}, got a ${key.type} key ${key.asymmetricKeyType ?? ''}`.trimEnd(),
  );
}
