// One URL is read three times: by its registration, by the guard and by the client that calls it. They must agree.
import fc from 'fast-check';
import { createAddressGuard } from '../../src/http/address-guard';
import { parseTarget } from '../../src/http/undici-client';
import { parseHookRow, parseUrl } from '../../src/hooks/validate-hook';
import { addressSpellings, policies } from '../support/address-spellings';
import { propertyRuns } from '../support/property-runs';
import { urlText } from '../support/url-arbitraries';

const guards = Object.values(policies).map(policy =>
  createAddressGuard(policy, { findOwner: () => 'other' }),
);

/** What each of the three makes of the URL; all fields are equal when they agree. */
function readThreeTimes(url: string) {
  const isTaken = isRegistered(url);
  const target = parseTarget(url);
  // What undici hands to the connector is read from the origin alone.
  const reached = target && new URL(target.origin);
  const registered = isTaken ? new URL(url) : undefined;
  return {
    registered: registered && [registered.origin, registered.pathname + registered.search],
    // Registration refuses more: spaces, control characters and length.
    targeted: target && (isTaken || !isOddlyWritten(url)) ? [target.origin, target.path] : undefined,
    isUsable: parseHookRow({ functionName: 'f', url }).kind === 'hook',
    isTaken,
    judgedAtRegistration: guards.map(guard => guard.judgeUrl(url).kind),
    judgedAtConnection: guards.map(guard => (reached ? guard.judgeTarget(reached).kind : 'refused')),
  };
}

function isRegistered(url: string): boolean {
  try {
    parseUrl(url);
    return true;
  } catch {
    return false;
  }
}

function isOddlyWritten(url: string): boolean {
  return url.length > 2048 || /[\s\p{Cc}]/u.test(url);
}

function assertAgreement(url: string): void {
  const read = readThreeTimes(url);
  // One comparison for each run: jest's take most of the time.
  expect({ url, ...read }).toEqual({
    url,
    ...read,
    targeted: read.registered,
    isUsable: read.isTaken,
    judgedAtConnection: read.judgedAtRegistration,
  });
}

describe('registration, guard and client', () => {
  it('agree on every URL of the table of spellings', () => {
    for (const { url } of addressSpellings) assertAgreement(url);
    const accepted = addressSpellings.filter(({ url }) => isRegistered(url));
    expect(accepted.length).toBeGreaterThan(200);
    expect(addressSpellings.length - accepted.length).toBeGreaterThan(50);
  });

  it('agree on any text: what is registered can be called, and what is refused never is', () => {
    fc.assert(
      fc.property(urlText, url => assertAgreement(url)),
      propertyRuns,
    );
  });
});
