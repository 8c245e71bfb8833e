// What a process that runs no-op jobs is told, is asked and answers.
import { z } from 'zod';

export const queueSettingsShape = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('redis'), url: z.string() }),
  z.object({ kind: z.literal('postgres'), uri: z.string() }),
]);

export const queueProtocol = {
  ready: z.object({
    /** Why it cannot run. */
    missing: z.string().optional(),
  }),
  request: z.object({ jobs: z.number() }),
  answer: z.object({ elapsedMs: z.number(), cpuUs: z.number(), processed: z.number() }),
};
