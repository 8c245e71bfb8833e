// What the load process is asked to send and what it tells of it.
import { z } from 'zod';
import { latencyShape } from './measure';
import type { BenchProcess } from './processes';

export const loadRequestShape = z.object({
  origin: z.string(),
  headers: z.record(z.string(), z.string()),
  method: z.enum(['POST', 'DELETE']),
  /** One per request when it has as many entries, else the first for all. */
  paths: z.array(z.string()).min(1),
  /** `"benchAt":0` in it becomes the moment of the request. */
  body: z.string(),
  requests: z.number(),
  pace: z.discriminatedUnion('kind', [
    /** As fast as the answers come, `concurrency` at a time; latencies from the sending. */
    z.object({ kind: z.literal('closed'), concurrency: z.number() }),
    /** At random moments (Poisson), whatever the answers do; latencies from the moment that was planned. */
    z.object({ kind: z.literal('open'), perSecond: z.number(), seed: z.number() }),
  ]),
});

export type LoadRequest = z.infer<typeof loadRequestShape>;

export const loadProtocol = {
  ready: z.object({}),
  request: loadRequestShape,
  answer: z.object({
    succeeded: z.number(),
    failed: z.number(),
    /** Of the first answer that was not 2xx. */
    failure: z.string().optional(),
    elapsedMs: z.number(),
    latency: latencyShape,
    /** Of the objects created, if any. */
    objectIds: z.array(z.string()),
    /** CPU time of the load process itself. */
    cpuUs: z.number(),
  }),
};

export type LoadResult = z.infer<typeof loadProtocol.answer>;
export type Load = BenchProcess<z.infer<typeof loadProtocol.ready>, LoadRequest, LoadResult>;
