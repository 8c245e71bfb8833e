// Which services a test run has, as told by the run's setup to its test files and its reporter; starts nothing itself.
import { z } from 'zod';

export const serviceNames = ['postgres', 'mongodb', 'redis', 'chromium'] as const;
export type ServiceName = (typeof serviceNames)[number];

const status = z.discriminatedUnion('available', [
  /** `address`: a database's URI, or a program's path. `label`: for people, such as `embedded 18.4`. */
  z.object({ available: z.literal(true), address: z.string(), label: z.string() }).readonly(),
  /** `missingTestName`: of the one test that stands for a block without its service; the reporter counts by it. */
  z
    .object({
      available: z.literal(false),
      reason: z.string(),
      required: z.boolean(),
      missingTestName: z.string(),
    })
    .readonly(),
]);
const services = z.object({ postgres: status, mongodb: status, redis: status, chromium: status }).readonly();

export type ServiceStatus = z.infer<typeof status>;
export type AvailableService = Extract<ServiceStatus, { available: true }>;
export type TestServices = z.infer<typeof services>;

/** jest's workers inherit the environment, and describe blocks can read it without waiting. */
const variable = 'TEST_SERVICES';

export function publishServices(found: TestServices): void {
  process.env[variable] = JSON.stringify(found);
}

/** What the run's setup found; undefined in a run that needs no services. */
export function readServices(): TestServices | undefined {
  const text = process.env[variable];
  return text === undefined ? undefined : services.parse(JSON.parse(text));
}

/** The services without which the run is to fail: REQUIRED_SERVICES, separated by commas. */
export function parseRequiredServices(text: string | undefined): readonly ServiceName[] {
  const names = (text ?? '').split(',').map(name => name.trim());
  return names
    .filter(name => name !== '')
    .map(name => {
      const known = serviceNames.find(each => each === name);
      if (known === undefined)
        throw new Error(`REQUIRED_SERVICES must be of ${serviceNames.join(', ')}, got "${name}"`);
      return known;
    });
}
