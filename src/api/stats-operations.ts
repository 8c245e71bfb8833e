// What the statistics of attempts take and answer.
import { z } from 'zod';
import { instant } from './api-parameters';
import { endpointParameters } from './delivery-operations';
import { isoTime, type Operation } from './operation';

/** Widths of a bucket, in milliseconds. */
export const bucketWidths = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const;
const bucketNames = ['minute', 'hour', 'day'] as const satisfies (keyof typeof bucketWidths)[];

/** A day of minutes, two months of hours, four years of days. */
export const maxBuckets = 1500;
/** How many there are when `since` is not given. */
export const defaultBuckets = 60;

const counts = z.int().min(0);

export const getStats = {
  method: 'get',
  path: '/stats',
  operationId: 'getStats',
  summary: 'Attempts by the time they began',
  query: z.strictObject({
    ...endpointParameters,
    since: instant
      .exactOptional()
      .meta({ description: `Default ${defaultBuckets} buckets before \`until\`.` }),
    until: instant.exactOptional().meta({ description: 'Default now.' }),
    bucket: z
      .enum(bucketNames, 'must be minute, hour or day')
      .default('hour')
      .meta({
        description: `Width of a bucket; they start at multiples of it, UTC. At most ${maxBuckets} of them.`,
        default: 'hour',
      }),
  }),
  answers: {
    200: {
      description: 'Buckets with attempts, oldest first',
      schema: z
        .strictObject({
          bucket: z.enum(bucketNames),
          since: isoTime,
          until: isoTime,
          results: z.array(
            z
              .strictObject({
                start: isoTime,
                attempts: counts,
                succeeded: counts,
                failed: counts,
                byStatusClass: z
                  .record(z.string(), counts)
                  .meta({ description: '`2xx` and so on; `none`: no reply came, a network failure.' }),
                latencyByStatusClass: z
                  .record(
                    z.string(),
                    z.strictObject({ averageMs: z.number().min(0), maxMs: z.number().min(0) }),
                  )
                  .meta({ description: 'Of whole attempts, under the same names.' }),
                averageDurationMs: z.number().min(0),
                maxDurationMs: z.number().min(0),
              })
              .meta({ id: 'StatsBucket' }),
          ),
        })
        .meta({ id: 'Stats' }),
    },
  },
} satisfies Operation;

export const statsOperations: readonly Operation[] = [getStats];
