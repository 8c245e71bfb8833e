// Three servers that only record and two worker programs, on one database: every event comes, and none comes twice.
import { describeOnEachDatabase, type FreshDatabase } from '../support/databases';
import { DeliveryLedger, eventOf } from '../support/delivery-ledger';
import { startParseProcess, type ParseProcess } from '../support/parse-process';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';
import {
  createConfigFolder,
  createWorkerConfig,
  runProgram,
  type ConfigFolder,
} from '../support/worker-program';
import type { ChildProgram } from '../support/child-program';

const servers = 3;
const workers = 2;
const savesPerServer = 60;
const startLimitMs = 120_000;

describeOnEachDatabase('three servers and two workers', database => {
  let fresh: FreshDatabase;
  let receiver: WebhookReceiver;
  let folder: ConfigFolder;
  const nodes: ParseProcess[] = [];
  const programs: ChildProgram[] = [];

  beforeAll(async () => {
    fresh = await database.create();
    receiver = await startWebhookReceiver();
    folder = await createConfigFolder();
    const start = (): Promise<ParseProcess> =>
      startParseProcess({ database: { ...fresh }, webhooks: { deliver: false } });
    const first = await start();
    nodes.push(first);
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
    const config = await folder.write('config.cjs', createWorkerConfig(fresh, first.serverURL));
    programs.push(...Array.from({ length: workers }, () => runProgram('worker', '--config', config)));
    nodes.push(...(await Promise.all(Array.from({ length: servers - 1 }, start))));
    await Promise.all(programs.map(program => program.waitForLine(/delivers for/)));
  }, startLimitMs);

  afterAll(async () => {
    await Promise.all(programs.map(program => program.dispose()));
    await Promise.all(nodes.map(node => node.stop()));
    await folder.remove();
    await receiver.close();
    await fresh.drop();
  }, startLimitMs);

  it(
    'every event comes once, and both workers deliver',
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
      await Promise.all(nodes.flatMap(node => [saveAll(node), saveAll(node)]));
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
      if (!anyNode) throw new Error('no server was started');
      const readNodes = async (): Promise<void> => {
        const listed = await anyNode.master('GET', '/webhooks/deliveries?limit=100');
        for (const { objectId } of (listed.body as { results: { objectId: string }[] }).results) {
          const found = await anyNode.master('GET', `/webhooks/deliveries/${objectId}`);
          for (const { node } of (found.body as { attempts: { node: string }[] }).attempts)
            attemptedBy.add(node);
        }
      };
      await readNodes();
      // One worker may have claimed all of the last hundred at once. A single one goes to whoever looks first after it.
      for (let more = 1; attemptedBy.size < workers && more <= 30; more++) {
        expect(await anyNode.master('POST', '/classes/Note', { n: -more })).toMatchObject({ status: 201 });
        await receiver.received('/first', total + more);
        await receiver.received('/second', total + more);
        await readNodes();
      }
      expect(attemptedBy.size).toBe(workers);
      for (const program of programs) program.kill('SIGTERM');
      expect(await Promise.all(programs.map(({ exited }) => exited))).toEqual(
        programs.map(() => ({ code: 0, signal: null })),
      );
    },
    startLimitMs,
  );
});
