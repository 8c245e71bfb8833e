// Starts what the tests of spec/contract and spec/integration run on, once per run: jest's globalSetup of that project.
import { findChromium } from './find-chromium';
import { startMongodb } from './mongodb-server';
import { startPostgres } from './postgres-server';
import { findRedisServer } from './redis-server';
import {
  parseRequiredServices,
  publishServices,
  type ServiceName,
  type ServiceStatus,
} from './test-services';

export interface StartedService {
  /** A database's URI, or a program's path. */
  readonly address: string;
  readonly label: string;
  stop(): Promise<void>;
}

const running: StartedService[] = [];

export default async function startServices(): Promise<void> {
  const required = parseRequiredServices(process.env['REQUIRED_SERVICES']);
  exitOnSignal();
  // Parse Server makes a folder of logs in the working directory as soon as it is loaded, unless told not to.
  process.env['PARSE_SERVER_LOGS_FOLDER'] ??= 'null';
  const [postgres, mongodb, redis, chromium] = await Promise.all([
    tryStart('postgres', startPostgres, required),
    tryStart('mongodb', startMongodb, required),
    tryStart('redis', findRedisServer, required),
    tryStart('chromium', findChromium, required),
  ]);
  publishServices({ postgres, mongodb, redis, chromium });
}

export async function stopServices(): Promise<void> {
  await Promise.all(running.splice(0).map(service => service.stop()));
}

/** A service that is not there is for the tests that need it to tell of. */
async function tryStart(
  name: ServiceName,
  start: () => Promise<StartedService>,
  required: readonly ServiceName[],
): Promise<ServiceStatus> {
  try {
    const service = await start();
    running.push(service);
    return { available: true, address: service.address, label: service.label };
  } catch (error) {
    return {
      available: false,
      reason: describeFailure(error),
      required: required.includes(name),
      missingTestName: `needs ${name}, which is not available`,
    };
  }
}

/** An AggregateError, such as a refused connection to each address of localhost, has no message of its own. */
function describeFailure(error: unknown): string {
  if (error instanceof AggregateError && error.message === '')
    return error.errors.map(describeFailure).join(', ');
  return error instanceof Error ? error.message : String(error);
}

/** A signal would end jest at once; an orderly exit tells the servers to stop. */
function exitOnSignal(): void {
  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));
}
