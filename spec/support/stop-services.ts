// Stops what start-services.ts started: jest's globalTeardown of the same project.
import { stopServices } from './start-services';

export default stopServices;
