// Three servers that only record and two that deliver, on one database: every event comes, and none comes twice.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { DeliveryLedger, eventOf } from '../support/delivery-ledger';
import type { ParseProcess } from '../support/parse-process';
import { startParseProcess } from '../support/parse-process';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';
import type { WebhooksOptions } from '../../src/index';

const servers = 3;
const workers = 2;
const savesPerServer = 60;
const startLimitMs = 120_000;

describeOnEachDatabase('three servers and two that deliver', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let nodes: ParseProcess[] = [];

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    const start = (webhooks: WebhooksOptions): Promise<ParseProcess> =>
      startParseProcess({ database: { ...fresh }, webhooks });
    const first = await start({ deliver: false });
    nodes = [first];
    // Before the others start: they know it from their first request on.
    for (const name of ['first', 'second']) {
      const { status } = await first.master('POST', '/webhooks/subscriptions', {
        name,
        url: receiver.on(`/${name}`, () => undefined),
        events: ['object.create'],
        classes: ['Note'],
      });
      expect(status).toBe(201);
    }
    const others = [
      ...Array.from({ length: servers - 1 }, () => start({ deliver: false })),
      ...Array.from({ length: workers }, () => start({ deliver: true })),
    ];
    nodes.push(...(await Promise.all(others)));
  }, startLimitMs);

  afterAll(async () => {
    await Promise.all(nodes.map(node => node.stop()));
    await receiver.close();
    await fresh.drop();
  }, startLimitMs);

  it(
    'every event comes once, and both of the latter deliver',
    async () => {
      const ledger = new DeliveryLedger({ '/first': eventOf, '/second': eventOf });
      const ids: string[] = [];
      for (const path of ['/first', '/second']) {
        receiver.on(path, ({ body, headers }) => {
          const { object } = (body as { data: { object: { objectId: string; n: number } } }).data;
          ids.push(String(headers['webhook-id']));
          ledger.take(path, eventOf({ ...object, event: 'object.create' }), String(headers['webhook-id']));
        });
      }
      const saveAll = async (node: ParseProcess): Promise<void> => {
        for (let n = 0; n < savesPerServer; n++) {
          const { status, body } = await node.master('POST', '/classes/Note', { n });
          if (status === 201) {
            const { objectId } = body as { objectId: string };
            ledger.acknowledge({ event: 'object.create', objectId, n });
          }
        }
      };
      // Two clients of each server.
      await Promise.all(nodes.slice(0, servers).flatMap(node => [saveAll(node), saveAll(node)]));
      const total = servers * 2 * savesPerServer;
      await receiver.received('/first', total);
      await receiver.received('/second', total);
      expect(ledger.balance()).toEqual({
        acknowledged: total,
        delivered: 2 * total,
        repeated: 0,
        lost: [],
        renamed: [],
      });
      expect(new Set(ids).size).toBe(ids.length);

      const attemptedBy = new Set<string>();
      const [anyNode] = nodes;
      const listed = await anyNode?.master('GET', '/webhooks/deliveries?limit=100');
      for (const { objectId } of (listed?.body as { results: { objectId: string }[] }).results) {
        const found = await anyNode?.master('GET', `/webhooks/deliveries/${objectId}`);
        for (const { node } of (found?.body as { attempts: { node: string }[] }).attempts)
          attemptedBy.add(node);
      }
      expect(attemptedBy.size).toBe(workers);
    },
    startLimitMs,
  );
});
