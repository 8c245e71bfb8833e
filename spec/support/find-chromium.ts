// Finds the Chromium of a test run.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { findProgram } from './find-program';
import type { StartedService } from './start-services';

const run = promisify(execFile);

/** Starts nothing but checks that it runs. Throws if there is none. */
export async function findChromium(): Promise<StartedService> {
  const given = process.env['CHROMIUM_PATH'];
  const path = findProgram(
    given !== undefined && given !== ''
      ? [given]
      : ['/usr/bin/chromium', 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
  );
  if (path === undefined)
    throw new Error(
      given !== undefined && given !== ''
        ? `CHROMIUM_PATH is not a program: ${given}`
        : 'CHROMIUM_PATH is not set and no chromium is on the PATH',
    );
  const { stdout } = await run(path, ['--version'], { timeout: 30_000 });
  return { address: path, label: stdout.trim(), stop: async () => undefined };
}
