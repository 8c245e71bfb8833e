// A logger for tests that look at no log.
import type { Logger } from '../../src/shared/logger';

export const silentLogger: Logger = { info: () => undefined, warn: () => undefined, error: () => undefined };
