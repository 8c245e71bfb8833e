// What a process with one delivery store is told, is asked and answers.
import { z } from 'zod';
import { databaseKinds } from './databases';
import type { BenchProcess } from './processes';

export const storeSettingsShape = z.object({ kind: z.enum(databaseKinds), uri: z.string() });

export const storeProtocol = {
  ready: z.object({}),
  request: z.discriminatedUnion('kind', [
    /** Fills it up to this many finished deliveries, and lets the database take stock. */
    z.object({ kind: z.literal('seed'), rows: z.number() }),
    /** Inserts, claims and finishes so many, one batch after the other, and then purges down to `keep`, untimed. */
    z.object({ kind: z.literal('cycle'), rows: z.number(), keep: z.number() }),
    /** Inserts pending deliveries of one endpoint, without a lease. */
    z.object({ kind: z.literal('insert'), rows: z.number(), endpoint: z.string() }),
    /** Claims and finishes all that is pending. */
    z.object({ kind: z.literal('drain') }),
  ]),
  answer: z.object({
    /** Rows that were written, finished or drained. */
    rows: z.number(),
    elapsedMs: z.number(),
    cpuUs: z.number(),
  }),
};

export type StoreRequest = z.infer<typeof storeProtocol.request>;
export type StoreAnswer = z.infer<typeof storeProtocol.answer>;
export type StoreProcess = BenchProcess<z.infer<typeof storeProtocol.ready>, StoreRequest, StoreAnswer>;
