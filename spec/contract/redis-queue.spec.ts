// The queue in Redis when Redis fails: what is saved is delivered all the same, once, and nothing has to be restarted.
import { join } from 'node:path';
import type { NewDelivery } from '../../src/events/delivery';
import type { DeliveryQueueProducer } from '../../src/events/delivery-queue';
import { createRedisConsumer, createRedisProducer } from '../../src/queue/redis-queue';
import { systemClock } from '../../src/shared/clock';
import { AwaitableLogger } from '../support/awaitable-logger';
import { watchForCrashes, type CrashWatch } from '../support/crash-watch';
import { describeOnEachDatabase } from '../support/databases';
import { openDatabaseStore, openMemoryStore, type OpenedStore } from '../support/delivery-stores';
import { describeWithService } from '../support/describe-with-service';
import { createRedisFleet, type Deliverer, type RedisFleet } from '../support/dispatch-fleets';
import { AttemptLedger, newDeliveries, TestEndpoints } from '../support/dispatching';
import { createRedisServer, type RedisServer } from '../support/redis-server';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver';

const key = 'subscription/good';
/** Short enough to wait for. */
const heartbeatMs = 300;
const clock = systemClock;

describeWithService('redis', 'a queue in Redis', ({ address }) => {
  let crashes: CrashWatch;
  let logger: AwaitableLogger;
  let redis: RedisServer;

  beforeEach(async () => {
    crashes = watchForCrashes();
    logger = new AwaitableLogger();
    redis = await createRedisServer(address);
  });

  afterEach(async () => {
    await redis.dispose();
    crashes.stop();
    expect(crashes.take()).toEqual([]);
  });

  describe('in memory', () => faults(openMemoryStore));
  describeOnEachDatabase('in a database', database => faults(() => openDatabaseStore(database)));

  function faults(openStore: () => Promise<OpenedStore>): void {
    let opened: OpenedStore;
    let ledger: AttemptLedger;
    let receiver: WebhookReceiver;
    let fleet: RedisFleet;
    let worker: Deliverer;

    beforeEach(async () => {
      opened = await openStore();
      ledger = new AttemptLedger();
      receiver = await startWebhookReceiver();
    });

    afterEach(async () => {
      // Before Redis ends: a stop must not need it, and must not mind that it is there.
      await fleet.stop();
      await receiver.close();
      await opened.dispose();
    });

    async function start(): Promise<void> {
      const endpoints = new TestEndpoints();
      endpoints.set(key, { url: receiver.on('/good', () => ({})) });
      fleet = createRedisFleet(
        { store: opened.store, endpoints, observer: ledger, logger, pollMs: 100 },
        { redis: redis.url, heartbeatMs },
      );
      worker = await fleet.addDeliverer();
    }

    /** Resolves when all are acknowledged, as a client's saves are. */
    async function save(count: number): Promise<readonly NewDelivery[]> {
      const deliveries = newDeliveries(count, key);
      await Promise.all(deliveries.map(delivery => fleet.outbox.add([delivery])));
      return deliveries;
    }

    const bothConnected = (times: number): Promise<void> => logger.logged(/connected to redis/, 2 * times);
    const bothAway = (): Promise<void> => logger.logged(/is away/, 2);

    /** The queue is in use: an id comes to the worker through it. */
    async function untilQueueWorks(): Promise<readonly NewDelivery[]> {
      const saved: NewDelivery[] = [];
      for (;;) {
        const [one] = await save(1);
        saved.push(one!);
        await ledger.until(() => ledger.of(key).some(({ delivery }) => delivery.id === one!.id));
        if (saved.some(({ id }) => worker.taken.has(id))) return saved;
      }
    }

    async function expectEachDeliveredOnce(saved: readonly NewDelivery[]): Promise<void> {
      await ledger.until(() => ledger.countById().size >= saved.length);
      expect(receiver.calls.map(({ headers }) => headers['webhook-id']).sort()).toEqual(
        saved.map(({ webhookId }) => webhookId).sort(),
      );
      expect(await opened.store.countByState({})).toMatchObject({ pending: 0, succeeded: saved.length });
    }

    it('carries ids to the worker and keeps none of them', async () => {
      await redis.start();
      await start();
      await bothConnected(1);
      const saved = [...(await untilQueueWorks()), ...(await save(300))];
      await ledger.until(() => ledger.countById().size >= saved.length);
      const jobs = async () => (await redis.keys()).filter(name => /:\d+$/.test(name));
      for (let left = await jobs(); left.length > 0; left = await jobs());
      expect((await redis.keys()).every(name => name.startsWith('test:deliveries:'))).toBe(true);
      await expectEachDeliveredOnce(saved);
      expect([fleet.producer.connection, worker.consumer?.connection]).toEqual(['connected', 'connected']);
    });

    it('loses nothing when Redis is killed in mid-stream and comes back empty', async () => {
      await redis.start();
      await start();
      await bothConnected(1);
      const before = save(200);
      await redis.kill();
      const during = await save(200);
      await bothAway();
      expect([fleet.producer.connection, worker.consumer?.connection]).toEqual([
        'disconnected',
        'disconnected',
      ]);
      await ledger.until(() => ledger.countById().size >= 400);
      await redis.start();
      await bothConnected(2);
      const after = [...(await save(200)), ...(await untilQueueWorks())];
      await expectEachDeliveredOnce([...(await before), ...during, ...after]);
      expect(logger.matching(/is away/).length).toBe(2);
    });

    it('loses nothing when Redis is flushed in mid-stream', async () => {
      await redis.start();
      await start();
      await bothConnected(1);
      const saved: NewDelivery[] = [];
      for (let round = 0; round < 5; round++) {
        const saving = save(100);
        await redis.flushAll();
        saved.push(...(await saving));
      }
      saved.push(...(await untilQueueWorks()));
      await expectEachDeliveredOnce(saved);
      expect(logger.matching(/is away/)).toEqual([]);
    });

    it('delivers without Redis, and uses it once it is there', async () => {
      await start();
      await bothAway();
      const before = await save(100);
      await ledger.until(() => ledger.countById().size >= 100);
      await redis.start();
      await bothConnected(1);
      const after = [...(await untilQueueWorks()), ...(await save(100))];
      await expectEachDeliveredOnce([...before, ...after]);
    });

    it('waits neither for a Redis that answers nothing nor for its end', async () => {
      await redis.start();
      await start();
      await bothConnected(1);
      redis.pause();
      const during = await save(200);
      await ledger.until(() => ledger.countById().size >= 200);
      await bothAway();
      const later = await save(200);
      await ledger.until(() => ledger.countById().size >= 400);
      redis.resume();
      await bothConnected(2);
      const after = await untilQueueWorks();
      await expectEachDeliveredOnce([...during, ...later, ...after]);
      // The stop after this test finds it silent again.
      redis.pause();
    });
  }

  describe('by itself', () => {
    const ends: (() => Promise<void>)[] = [];

    afterEach(async () => {
      for (const end of ends.splice(0)) await end();
    });

    function produce(
      fields: { readonly redis?: string; readonly maxWaiting?: number } = {},
    ): DeliveryQueueProducer {
      const producer = createRedisProducer({
        options: { redis: redis.url, prefix: 'test', heartbeatMs, ...fields },
        clock,
        logger,
      });
      ends.push(() => producer.close());
      return producer;
    }

    /** Hears of ids as a dispatcher does; resolves once there are `count` of them. */
    function consume(count: number, prefix = 'test'): Promise<readonly string[]> {
      return new Promise(resolve => {
        const taken: string[] = [];
        const consumer = createRedisConsumer({
          options: { redis: redis.url, prefix, heartbeatMs },
          clock,
          logger,
          dispatcher: {
            acceptIds: async refs => {
              taken.push(...refs.map(({ id }) => id));
              if (taken.length >= count) resolve(taken);
            },
          },
        });
        ends.push(() => consumer.close());
        consumer.start();
      });
    }

    it('carries each id once, in bulks, also those of a producer that closes at once', async () => {
      await redis.start();
      const producer = produce();
      await logger.logged(/connected/);
      const refs = newDeliveries(3000, key);
      for (const ref of refs) producer.offer([ref]);
      await producer.close();
      const taken = await consume(3000);
      expect([...taken].sort()).toEqual(refs.map(({ id }) => id).sort());
    });

    it('hands over what other workers do not, and goes on when handing over fails', async () => {
      await redis.start();
      const producer = produce();
      const failing = createRedisConsumer({
        options: { redis: redis.url, prefix: 'test' },
        clock,
        logger,
        dispatcher: { acceptIds: () => Promise.reject(new Error('the store is away')) },
      });
      await logger.logged(/connected/, 2);
      failing.start();
      producer.offer(newDeliveries(600, key));
      const jobs = async () => (await redis.keys()).filter(name => /:\d+$/.test(name));
      await logger.logged(/connected/, 2);
      for (let left = await jobs(); left.length > 0; left = await jobs());
      await failing.close();
      const taken = consume(100);
      producer.offer(newDeliveries(100, key));
      expect((await taken).length).toBe(100);
    });

    it('keeps applications with prefixes of their own apart', async () => {
      await redis.start();
      const producer = produce();
      await logger.logged(/connected/);
      const others: Promise<readonly string[]> = consume(1, 'other');
      const own = consume(50);
      producer.offer(newDeliveries(50, key));
      await own;
      await expect(Promise.race([others, Promise.resolve('nothing')])).resolves.toBe('nothing');
    });

    it('adds no more than may wait while nobody takes them', async () => {
      await redis.start();
      const first = produce();
      await logger.logged(/connected/);
      first.offer(newDeliveries(1000, key));
      await first.close();
      const second = produce({ maxWaiting: 1000 });
      await logger.logged(/connected/, 2);
      for (let round = 0; round < 10; round++) second.offer(newDeliveries(500, key));
      await logger.logged(/1000 ids wait in redis/);
      await second.close();
      expect((await redis.keys()).filter(name => /:\d+$/.test(name)).length).toBe(1000);
    });

    it('says once that Redis takes nothing for want of memory', async () => {
      await redis.dispose();
      redis = await createRedisServer(address, ['--maxmemory', '100kb', '--maxmemory-policy', 'noeviction']);
      await redis.start();
      const producer = produce();
      await logger.logged(/connected/);
      for (let round = 0; round < 20; round++) producer.offer(newDeliveries(500, key));
      await logger.logged(/takes no ids.*OOM/);
      expect(producer.connection).toBe('disconnected');
      await producer.close();
      expect(logger.matching(/takes no ids/).length).toBe(1);
    });

    it('logs in with the password of its URL, which is in no log', async () => {
      await redis.dispose();
      redis = await createRedisServer(address, ['--requirepass', 'p@ss word']);
      await redis.start();
      const right = produce({ redis: redis.url.replace('//', '//:p%40ss%20word@') });
      await logger.logged(/connected/);
      expect(right.connection).toBe('connected');
      const wrong = produce({ redis: redis.url.replace('//', '//default:secret-guess@') });
      await logger.logged(/is away \(.*WRONGPASS/);
      expect(wrong.connection).toBe('disconnected');
      expect(logger.lines.join('\n')).not.toMatch(/p@ss|p%40ss|secret-guess/);
    });

    it('speaks TLS to rediss:// and refuses a certificate that nobody vouches for', async () => {
      await redis.dispose();
      const certificates = join(__dirname, '../support/certificates');
      redis = await createRedisServer(address);
      const tls = await createRedisServer(address, [
        ...['--port', '0', '--tls-port', String(redis.port), '--tls-auth-clients', 'no'],
        ...['--tls-cert-file', join(certificates, 'trusted.pem')],
        ...['--tls-key-file', join(certificates, 'receiver.key')],
        ...['--tls-ca-cert-file', join(certificates, 'ca.pem')],
      ]);
      ends.push(() => tls.dispose());
      await tls.start();
      const producer = produce({ redis: redis.url.replace('redis:', 'rediss:') });
      await logger.logged(/is away \(.*certificate/);
      expect(producer.connection).toBe('disconnected');
    });

    it('holds a bounded number of ids, and takes none, while Redis is silent', async () => {
      await redis.start();
      const producer = produce();
      await logger.logged(/connected/);
      redis.pause();
      for (let round = 0; round < 100; round++) producer.offer(newDeliveries(500, key));
      await logger.logged(/is away/);
      redis.resume();
      await logger.logged(/connected/, 2);
      await producer.close();
      const jobs = (await redis.keys()).filter(name => /:\d+$/.test(name));
      expect(jobs.length).toBeLessThanOrEqual(12_000);
    });
  });
});
