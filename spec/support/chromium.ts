// Chromium for tests: a block of tests that get a browser of their own.
import { chromium, type Browser } from 'playwright-core';
import { describeWithService } from './describe-with-service';

/** Headless, as root too, and without its own calls to the internet. */
const launchArguments = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export interface TestChromium {
  readonly executablePath: string;
  /** Starts a browser with a fresh profile; whoever calls it closes it. */
  launch(): Promise<Browser>;
}

/** Describes `name` if there is a Chromium; else one skipped test, or a failed one if it is required. */
export function describeWithChromium(name: string, body: (browser: TestChromium) => void): void {
  describeWithService('chromium', name, ({ address: executablePath }) => {
    body({
      executablePath,
      launch: () => chromium.launch({ executablePath, headless: true, args: launchArguments }),
    });
  });
}
