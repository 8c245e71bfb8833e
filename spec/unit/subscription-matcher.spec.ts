// Which events become deliveries to whom, and what is in them.
import type { ObjectChange } from '../../src/events/object-change';
import type { NewDelivery } from '../../src/events/delivery';
import type { JsonObject } from '../../src/shared/json';
import { openMemoryNode } from '../support/subscription-node';

const at = Date.UTC(2030, 0, 1);
const object: JsonObject = { className: 'Order', objectId: 'o1', status: 'paid', total: 5, secretNote: 'x' };

function change(more: Partial<ObjectChange> = {}): ObjectChange {
  return { kind: 'create', className: 'Order', objectId: 'o1', object, master: false, at, depth: 2, ...more };
}

function update(original: JsonObject, keys: JsonObject): ObjectChange {
  return change({ kind: 'update', original: { ...object, ...original }, update: keys });
}

async function open(...subscriptions: Record<string, unknown>[]) {
  const node = openMemoryNode();
  const names = new Map<string, string>();
  for (const [index, each] of subscriptions.entries()) {
    const { view } = await node.registry.create({
      name: `s${index}`,
      url: 'https://example.com',
      events: ['object.*'],
      ...each,
    });
    names.set(`subscription/${view.objectId}`, view.name);
    // Subscriptions are in the order in which they were made.
    node.clock.advance(1);
  }
  const receivers = (deliveries: readonly NewDelivery[]): string[] =>
    deliveries.map(({ endpoint }) => names.get(endpoint) ?? endpoint).sort();
  return { ...node, receivers, to: (event: ObjectChange) => receivers(node.matcher.ofChange(event)) };
}

const bodyOf = (delivery: NewDelivery | undefined) => JSON.parse(delivery?.body ?? 'null');

describe('a matcher', () => {
  it('listens to the classes and kinds of change that somebody wants', async () => {
    const { matcher } = await open({ classes: ['Order'], events: ['object.create'] }, { classes: ['_Role'] });
    expect(matcher.listensTo('Order', 'create')).toBe(true);
    expect(matcher.listensTo('Order', 'update')).toBe(false);
    expect(matcher.listensTo('Other', 'create')).toBe(false);
    expect(matcher.listensTo('_Role', 'delete')).toBe(true);
    expect(matcher.listensTo('constructor', 'create')).toBe(false);
  });

  it('takes * for all classes but system classes and its own', async () => {
    const { matcher } = await open({}, { classes: ['*', '_Role'] });
    for (const className of ['Order', 'Anything', '_Role'])
      expect(matcher.listensTo(className, 'create')).toBe(true);
    for (const className of ['_User', '_Session', '_Product', 'WebhookState', 'WebhookSubscription'])
      expect([className, matcher.listensTo(className, 'create')]).toEqual([className, false]);
    expect(matcher.ofChange(change({ className: '_Role' }))).toHaveLength(1);
  });

  it('makes one delivery for each subscription that wants it, also for one that names a class twice over', async () => {
    const { matcher, to } = await open({}, { classes: ['Order', '*'] }, { classes: ['Other'] });
    expect(to(change())).toEqual(['s0', 's1']);
    const deliveries = matcher.ofChange(change());
    expect(deliveries[0]).toMatchObject({
      id: expect.stringMatching(/^dlv_[0-9A-Z]{26}$/),
      webhookId: expect.stringMatching(/^msg_[0-9A-Z]{26}$/),
      type: 'object.create',
      className: 'Order',
      objectId: 'o1',
      createdAt: at,
      nextAttemptAt: at,
      isTest: false,
      depth: 2,
    });
    expect(new Set(deliveries.flatMap(({ id, webhookId }) => [id, webhookId])).size).toBe(4);
  });

  it('follows changes of subscriptions, and keeps deliveries for paused ones', async () => {
    const { registry, to } = await open({}, {});
    const [first, second] = registry.list().map(({ objectId }) => objectId);
    await registry.update(first ?? '', { classes: ['Other'] });
    await registry.pause(second ?? '', 'failing');
    expect(to(change())).toHaveLength(1);
  });

  it('filters by the object, and by what it was', async () => {
    const { to } = await open(
      { where: { status: 'paid' } },
      { where: { status: 'open' } },
      { where: { status: 'paid', 'original.status': 'open' } },
    );
    expect(to(change())).toEqual(['s0']);
    expect(to(update({ status: 'open' }, { status: 'paid' }))).toEqual(['s0', 's2']);
    expect(to(update({ status: 'paid' }, { total: 5 }))).toEqual(['s0']);
  });

  it('sends an update only where one of the wanted keys has another value', async () => {
    const { to } = await open({ changed: ['status', 'items'] }, { changed: ['address.city'] });
    expect(to(update({ status: 'open' }, { status: 'paid' }))).toEqual(['s0']);
    expect(to(update({ status: 'paid' }, { status: 'paid' }))).toEqual([]);
    expect(to(update({ total: 4 }, { total: 5 }))).toEqual([]);
    expect(to(update({}, { items: { __op: 'AddRelation', objects: [] } }))).toEqual(['s0']);
    expect(to(update({ address: { city: 'a' } }, { address: { city: 'b' } }))).toEqual(['s1']);
    expect(to(change())).toEqual(['s0', 's1']);
    expect(to(change({ kind: 'delete' }))).toEqual(['s0', 's1']);
  });

  it('has a body of type, timestamp and data, with the wanted keys only', async () => {
    const { matcher } = await open({ excludeKeys: ['secretNote'] }, { keys: ['total'] }, {});
    const user = { className: '_User', objectId: 'u1' };
    const event = { ...update({ total: 4 }, { total: 5, secretNote: 'x' }), user, installationId: 'i1' };
    const [without, only, all] = matcher.ofChange(event).map(bodyOf);
    expect(all).toEqual({
      type: 'object.update',
      timestamp: '2030-01-01T00:00:00.000Z',
      data: {
        object,
        original: { ...object, total: 4 },
        update: { total: 5, secretNote: 'x' },
        className: 'Order',
        objectId: 'o1',
        user,
        installationId: 'i1',
        master: false,
      },
    });
    expect(JSON.stringify(without)).not.toContain('secretNote');
    expect(only.data.object).toEqual({ className: 'Order', objectId: 'o1', total: 5 });
    expect(only.data.update).toEqual({ total: 5 });
  });

  it('sends a thin body above the bound of a subscription', async () => {
    const { matcher } = await open({ maxBodyBytes: 1024 }, {});
    const [thin, whole] = matcher.ofChange(change({ object: { ...object, text: 'ä'.repeat(600) } }));
    const bytes = Buffer.byteLength(whole?.body ?? '');
    expect(bytes).toBeGreaterThan(1200);
    expect(bodyOf(thin)).toEqual({
      type: 'object.create',
      timestamp: '2030-01-01T00:00:00.000Z',
      data: { className: 'Order', objectId: 'o1', master: false, truncated: true, bytes },
    });
  });

  it('costs only its subscription when a body cannot be written', async () => {
    const { matcher, receivers, lines } = await open({}, { keys: ['total'] });
    const unwritable = {
      ...object,
      toJSON: () => {
        throw new Error('no JSON');
      },
    } as unknown as JsonObject;
    expect(receivers(matcher.ofChange(change({ object: unwritable })))).toEqual(['s1']);
    expect(lines).toEqual([expect.stringContaining('subscription s0 misses an event')]);
  });

  it('gives custom events to those that want them', async () => {
    const { matcher, receivers } = await open(
      { events: ['*'] },
      { events: ['custom.order.paid'] },
      { events: ['custom.*'] },
      {},
    );
    const deliveries = matcher.ofCustom({ type: 'custom.order.paid', data: { total: 5 }, at });
    expect(receivers(deliveries)).toEqual(['s0', 's1', 's2']);
    expect(bodyOf(deliveries[0])).toEqual({
      type: 'custom.order.paid',
      timestamp: '2030-01-01T00:00:00.000Z',
      data: { total: 5 },
    });
    expect(deliveries[0]).toMatchObject({ className: undefined, objectId: undefined, depth: 1 });
  });

  it('gives operational events to those that name them, and not to the one they are about', async () => {
    const { matcher, receivers, registry } = await open(
      { events: ['*'] },
      { events: ['subscription.*'] },
      { events: ['subscription.failing', '*'] },
    );
    const about = (name: string): string =>
      `subscription/${registry.list().find(view => view.name === name)?.objectId ?? ''}`;
    const failing = (name: string) =>
      matcher.ofOperational({ type: 'subscription.failing', about: about(name), data: {}, at });
    expect(receivers(failing('s0'))).toEqual(['s1', 's2']);
    expect(receivers(failing('s1'))).toEqual(['s2']);
  });

  it.each([
    [['object.*'], 'object.create'],
    [['object.delete', '*'], 'object.delete'],
    [['custom.*'], 'custom.test'],
    [['custom.a.b'], 'custom.a.b'],
    [['delivery.*'], 'delivery.exhausted'],
  ])('makes a sample for %j', async (events, type) => {
    const { matcher, registry } = await open({ events, classes: ['Order'], where: { never: true } });
    const delivery = matcher.ofTest(registry.list()[0]?.objectId ?? '', at);
    expect(delivery).toMatchObject({ type, isTest: true });
    expect(bodyOf(delivery)).toMatchObject({ type, data: { test: true } });
    expect(matcher.ofTest('nobody', at)).toBeUndefined();
  });
});
