// What an operator reads of the breakers of endpoints.
import type { LaneEvent } from '../http/lane';
import type { Logger } from '../shared/logger';

export function logBreaker(logger: Logger, label: string, event: LaneEvent): void {
  switch (event) {
    case 'open':
      logger.warn(`${label}: breaker is open, its deliveries wait`);
      break;
    case 'closed':
      logger.info(`${label}: breaker is closed, the receiver answers again`);
      break;
    case 'busy':
      break;
  }
}
