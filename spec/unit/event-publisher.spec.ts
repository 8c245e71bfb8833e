// Custom events: what may be published, and that a key publishes once, whatever crashes in between.
import { WebhookError } from '../../src/errors';
import type { NewDelivery } from '../../src/events/delivery';
import { DeliveryStoreError } from '../../src/events/delivery-store-error';
import { EventPublisher, maxEventBytes } from '../../src/events/event-publisher';
import { MemoryEventKeyStore } from '../support/memory-event-key-store';
import { openMemoryNode } from '../support/subscription-node';

const type = 'custom.order.paid';
const idempotencyKey = 'key 1';
const dayMs = 24 * 3_600_000;

async function open(count = 2) {
  const node = openMemoryNode();
  for (let at = 0; at < count; at++)
    await node.registry.create({ name: `s${at}`, url: 'https://example.com', events: ['custom.*'] });
  const kept = new Map<string, NewDelivery>();
  const fault: { error?: Error } = {};
  const intake = {
    add: async (deliveries: readonly NewDelivery[]) => {
      if (fault.error) throw fault.error;
      for (const { id } of deliveries)
        if (kept.has(id)) throw new DeliveryStoreError('repeated-id', `${id} is there already`);
      for (const delivery of deliveries) kept.set(delivery.id, delivery);
    },
  };
  const keys = new MemoryEventKeyStore();
  const context = { depth: 1 };
  const publisherOn = (): EventPublisher =>
    new EventPublisher({
      matcher: node.matcher,
      intake,
      keys,
      clock: node.clock,
      currentDepth: () => context.depth,
    });
  return { ...node, publisher: publisherOn(), publisherOn, kept, fault, keys, context };
}

describe('a published event', () => {
  it('goes to every subscription that wants it', async () => {
    const { publisher, kept } = await open();
    const published = await publisher.publish(type, { total: 5 });
    expect(published).toEqual({
      eventId: expect.stringMatching(/^evt_[0-9A-Z]{26}$/),
      deliveries: 2,
      repeated: false,
    });
    expect([...kept.values()].map(({ body }) => JSON.parse(body).data)).toEqual([{ total: 5 }, { total: 5 }]);
  });

  it('goes out as deep as the webhooks that led to it, and no deeper than five', async () => {
    const { publisher, kept, context } = await open();
    context.depth = 5;
    await publisher.publish(type, {}, { idempotencyKey });
    expect([...kept.values()].map(({ depth }) => depth)).toEqual([5, 5]);
    context.depth = 6;
    await expect(publisher.publish(type, {}, { idempotencyKey: 'another' })).rejects.toMatchObject({
      code: 'INVALID_EVENT',
      message: expect.stringContaining('6 deep'),
    });
    expect(kept.size).toBe(2);
  });

  it('may interest nobody', async () => {
    const { publisher } = await open(0);
    expect(await publisher.publish(type, {})).toMatchObject({ deliveries: 0 });
    expect(await publisher.publish(type, {}, { idempotencyKey })).toMatchObject({ deliveries: 0 });
  });

  const circular: Record<string, unknown> = {};
  circular.self = circular;
  let deep: unknown = {};
  for (let level = 0; level < 101; level++) deep = { deep };
  it.each([
    ['order.paid', {}, 'type must be custom.'],
    ['custom', {}, 'type must be'],
    ['custom..a', {}, 'type must be'],
    ['custom.*', {}, 'type must be'],
    [`custom.${'a'.repeat(122)}`, {}, 'at most 128'],
    [type, [], 'data must be a JSON object, got []'],
    [type, 'text', 'got "text"'],
    [type, undefined, 'data must be a JSON object'],
    [type, circular, 'data must be JSON'],
    [type, { text: 'ä'.repeat(maxEventBytes / 2) }, `at most ${maxEventBytes} bytes`],
    [type, deep, '100 levels'],
    [type, JSON.parse('{"__proto__":{"a":1}}'), '__proto__'],
  ])('is refused: %s %#', async (eventType, data, message) => {
    const { publisher, kept } = await open();
    await expect(publisher.publish(eventType, data)).rejects.toMatchObject({
      code: 'INVALID_EVENT',
      message: expect.stringContaining(message),
    });
    expect(kept.size).toBe(0);
  });

  it('is published once under a key, with the same answer', async () => {
    const { publisher, publisherOn, kept } = await open();
    const first = await publisher.publish(type, { a: 1, b: 2 }, { idempotencyKey });
    const second = await publisherOn().publish(type, { b: 2, a: 1 }, { idempotencyKey });
    expect(second).toEqual({ ...first, repeated: true });
    expect(kept.size).toBe(2);
  });

  it('is refused under a key of another event', async () => {
    const { publisher } = await open();
    await publisher.publish(type, { a: 1 }, { idempotencyKey });
    for (const [otherType, data] of [
      [type, { a: 2 }],
      ['custom.other', { a: 1 }],
    ] as const) {
      await expect(publisher.publish(otherType, data, { idempotencyKey })).rejects.toMatchObject({
        code: 'INVALID_EVENT',
        message: expect.stringContaining('another event'),
      });
    }
  });

  it.each(['', 'x'.repeat(256), 'ä', 'a\nb'])('is refused under the key %j', async key => {
    const { publisher } = await open();
    await expect(publisher.publish(type, {}, { idempotencyKey: key })).rejects.toMatchObject({
      code: 'INVALID_EVENT',
    });
  });

  it('is published anew under a key that is older than a day', async () => {
    const { publisher, clock, kept, keys } = await open();
    const first = await publisher.publish(type, {}, { idempotencyKey });
    await publisher.publish(type, {}, { idempotencyKey: 'another' });
    clock.advance(dayMs + 1);
    const second = await publisher.publish(type, {}, { idempotencyKey });
    expect(second.repeated).toBe(false);
    expect(second.eventId).not.toBe(first.eventId);
    expect(kept.size).toBe(6);
    expect(keys.rows.size).toBe(1);
  });

  it('is not sent twice when the answer of the store was lost', async () => {
    const { publisher, publisherOn, keys, kept } = await open();
    const finish = keys.finish.bind(keys);
    keys.finish = () => Promise.reject(new Error('the database went away'));
    await expect(publisher.publish(type, {}, { idempotencyKey })).rejects.toThrow('went away');
    keys.finish = finish;
    const again = await publisherOn().publish(type, {}, { idempotencyKey });
    expect(again.deliveries).toBe(2);
    expect(kept.size).toBe(2);
    expect((await publisher.publish(type, {}, { idempotencyKey })).eventId).toBe(again.eventId);
  });

  it('is completed by the next try when the store failed', async () => {
    const { publisher, fault, kept } = await open();
    fault.error = new Error('no store');
    await expect(publisher.publish(type, {}, { idempotencyKey })).rejects.toThrow('no store');
    await expect(publisher.publish(type, {}, { idempotencyKey })).rejects.toThrow('no store');
    delete fault.error;
    expect(await publisher.publish(type, {}, { idempotencyKey })).toMatchObject({ deliveries: 2 });
    expect(kept.size).toBe(2);
  });

  it('that the store refuses fails without a word of objects', async () => {
    const { publisher, fault } = await open();
    fault.error = new WebhookError('STORE_FAILED', 'the object was saved');
    const failed = { code: 'STORE_FAILED', message: 'the event could not be recorded' };
    await expect(publisher.publish(type, {})).rejects.toMatchObject(failed);
    await expect(publisher.publish(type, {}, { idempotencyKey })).rejects.toMatchObject(failed);
  });

  it('reaches all of its subscriptions once, also when many publish it at the same time', async () => {
    const { publisherOn, kept } = await open(5);
    const publishers = Array.from({ length: 5 }, publisherOn);
    const answers = await Promise.all(
      publishers.map(publisher => publisher.publish(type, {}, { idempotencyKey })),
    );
    expect(kept.size).toBe(5);
    expect(new Set(answers.map(({ eventId }) => eventId)).size).toBe(1);
    expect(answers.map(({ deliveries }) => deliveries)).toEqual([5, 5, 5, 5, 5]);
    expect(answers.filter(({ repeated }) => !repeated)).toHaveLength(1);
  });
});
