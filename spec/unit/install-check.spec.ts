// What a user is told whose dependency tree breaks Parse Server.
import { WebhookError } from '../../src/errors';
import { assertUsableRouter } from '../../src/parse/install-check';

function check(match: unknown): void {
  assertUsableRouter({ layerMatch: () => match, routerVersion: '2.3.0', serverVersion: '9.10.0' });
}

describe('assertUsableRouter', () => {
  it('takes a router whose match is a boolean', () => {
    expect(() => check(true)).not.toThrow();
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
