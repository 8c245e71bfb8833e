// A describe block that needs a service: run, visibly skipped, or failed where the service is required.
import { readServices, type AvailableService, type ServiceName } from './test-services';

/** Describes `name` if the run has `service`; else one skipped test in its place, or a failed one if it is required. */
export function describeWithService(
  service: ServiceName,
  name: string,
  body: (status: AvailableService) => void,
): void {
  const status = readServices()?.[service];
  if (status === undefined)
    throw new Error(`"${name}" needs ${service}: move it to spec/contract or spec/integration`);
  describe(name, () => {
    if (status.available) {
      body(status);
    } else if (status.required) {
      it(status.missingTestName, () => {
        throw new Error(`REQUIRED_SERVICES lists ${service}: ${status.reason}`);
      });
    } else {
      it.skip(status.missingTestName, () => undefined);
    }
  });
}
