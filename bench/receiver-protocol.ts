// What the receiver process is asked and answers.
import { z } from 'zod';
import { latencyShape } from './measure';
import type { BenchProcess } from './processes';

export const receiverProtocol = {
  ready: z.object({ port: z.number() }),
  request: z.object({
    key: z.string(),
    /** Starts its counts anew after the answer. */
    forget: z.boolean(),
  }),
  answer: z.object({
    calls: z.number(),
    /** Different `webhook-id` headers. */
    distinct: z.number(),
    firstByte: latencyShape,
    own: latencyShape,
    /** When the last call came, by sharedNowMs(). */
    lastAt: z.number(),
  }),
};

export type ReceiverCount = z.infer<typeof receiverProtocol.answer>;
export type Receiver = BenchProcess<
  z.infer<typeof receiverProtocol.ready>,
  z.infer<typeof receiverProtocol.request>,
  ReceiverCount
>;

/** The address that counts under `key` and answers after `delayMs`. */
export function receiverUrl(receiver: Receiver, key: string, delayMs: number): string {
  return `http://127.0.0.1:${receiver.ready.port}/?key=${encodeURIComponent(key)}&delay=${delayMs}`;
}

/** Waits until `calls` have come under `key`, or none comes any more for `patienceMs`; answers and forgets the counts. */
export async function awaitCalls(
  receiver: Receiver,
  expected: { readonly key: string; readonly calls: number; readonly patienceMs: number },
): Promise<ReceiverCount> {
  const { key, calls, patienceMs } = expected;
  let seen = -1;
  let changedAt = performance.now();
  for (;;) {
    const count = await receiver.ask({ key, forget: false });
    if (count.calls !== seen) changedAt = performance.now();
    seen = count.calls;
    if (seen >= calls || performance.now() - changedAt > patienceMs) {
      return receiver.ask({ key, forget: true });
    }
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}
