// The version that receivers see.
import packageJson from '../../package.json';
import { version } from '../../src/shared/version';

it('is that of the package', () => {
  expect(version).toBe(packageJson.version);
});
