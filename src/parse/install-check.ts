// Tells a user whose dependency tree breaks Parse Server exactly that, before the first request finds out.
import { WebhookError } from '../errors';
import type { ParseInternals } from './internals';

/**
 * parse-server's PromiseRouter reads `layer.match()` of the router package as a boolean and then `layer.params`.
 * router 2.3.0 made `match()` return an object: every directAccess call and every /batch request then dies with
 * "Cannot convert undefined or null to object". Throws BROKEN_INSTALL.
 */
export function assertUsableRouter(
  internals: Pick<ParseInternals, 'layerMatch' | 'routerVersion' | 'serverVersion'>,
): void {
  if (internals.layerMatch() === true) return;
  throw new WebhookError(
    'BROKEN_INSTALL',
    `parse-server ${internals.serverVersion} cannot work with router ${internals.routerVersion}: Parse.Query and save() ` +
      'in Cloud Code and every /batch request fail. Add "overrides": {"router": "2.2.0"} to your package.json and run npm install.',
  );
}
