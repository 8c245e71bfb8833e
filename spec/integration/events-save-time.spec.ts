// A save does not wait for who is told of it. The exact figures are those of `npm run bench -- events`.
import { setTimeout as delay } from 'node:timers/promises';
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { save, subscribe } from '../support/event-subscriptions';
import { startParseApplication, type ParseApplication } from '../support/parse-application';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const rounds = 40;
const answerAfterMs = 1000;

describeOnEachDatabase('a save that an endpoint is told of', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let receiver: WebhookReceiver;
  const answers: Promise<void>[] = [];

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    parse = await startParseApplication({ database: fresh });
  });
  afterAll(async () => {
    await parse.stop();
    await Promise.all(answers);
    await receiver.close();
    await fresh.drop();
  });

  it('takes less than three times as long as one that nobody is told of, although each answer takes a second', async () => {
    const url = receiver.on('/slow', () => {
      const answer = delay(answerAfterMs);
      answers.push(answer);
      return answer;
    });
    await subscribe(parse, { name: 'slow', url, classes: ['Told'] });
    const times: Record<'Told' | 'Untold', number[]> = { Told: [], Untold: [] };
    for (let round = 0; round < rounds; round++) {
      for (const className of ['Told', 'Untold'] as const) {
        const startedAt = performance.now();
        await save(parse, className, { round });
        times[className].push(performance.now() - startedAt);
      }
    }
    await receiver.received('/slow', 1);
    const [told, untold] = [median(times.Told), median(times.Untold)];
    expect(told / untold).toBeLessThan(3);
    expect(told).toBeLessThan(answerAfterMs / 2);
  });
});

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}
