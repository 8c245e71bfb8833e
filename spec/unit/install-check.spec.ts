// What a user is told whose dependency tree breaks Parse Server.
// The router that breaks parse-server 9.10.0, under a name of its own.
import BrokenLayer from 'router-broken/lib/layer';
import { WebhookError } from '../../src/errors';
import { assertUsableRouter } from '../../src/parse/install-check';
import { loadInternals } from '../../src/parse/internals';

function check(match: unknown): void {
  assertUsableRouter({ layerMatch: () => match, routerVersion: '2.3.0', serverVersion: '9.10.0' });
}

describe('assertUsableRouter', () => {
  it('takes a router whose match is a boolean', () => {
    expect(() => check(true)).not.toThrow();
  });

  it('refuses the real router 2.3.0 and takes the one that is installed', () => {
    expect(() => check(new BrokenLayer('/a', {}, () => undefined).match('/a'))).toThrow(
      /cannot work with router/,
    );
    expect(() => check(loadInternals().layerMatch())).not.toThrow();
  });

  it.each([[{ path: '/a', params: {} }], [undefined], [false], [{}]])(
    'refuses one whose match is %j',
    match => {
      let thrown: unknown;
      try {
        check(match);
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(WebhookError);
      expect(thrown).toMatchObject({
        code: 'BROKEN_INSTALL',
        message:
          'parse-server 9.10.0 cannot work with router 2.3.0: Parse.Query and save() in Cloud Code and every /batch ' +
          'request fail. Add "overrides": {"router": "2.2.0"} to your package.json and run npm install.',
      });
    },
  );
});
