// What a job of the queue holds.
import { z } from 'zod';
import type { DeliveryRef } from '../events/dispatching';

/** BullMQ's names of the queue and of its jobs. */
export const queueName = 'deliveries';
export const jobName = 'delivery';

const shape = z.object({ id: z.string().min(1), endpoint: z.string().min(1) });

/** Undefined for what this package has not put there. */
export function parseDeliveryJob(data: unknown): DeliveryRef | undefined {
  const parsed = shape.safeParse(data);
  return parsed.success ? parsed.data : undefined;
}
