// Where what decides is read from: the primary, whatever the application's address says. A secondary that lags shows
// subscriptions as gone and locks as free.
import { Collection } from 'mongodb';
import { describeOnDatabase, type FreshDatabase } from '../support/databases';
import { subscribe } from '../support/event-subscriptions';
import { startParseApplication, type ParseApplication } from '../support/parse-application';

const ownClasses = ['WebhookEventKey', 'WebhookSetting', 'WebhookState', 'WebhookSubscription', '_Hooks'];

const watchFinds = () => jest.spyOn(Collection.prototype, 'find');

describeOnDatabase('mongodb', 'a database that prefers secondaries', database => {
  let fresh: FreshDatabase;
  let parse: ParseApplication;
  let find: ReturnType<typeof watchFinds>;

  /** `<collection> <read preference>` of all that was looked for since the last call, as the driver took it. */
  function takeFinds(): readonly string[] {
    const { results } = find.mock;
    const contexts: readonly Collection[] = find.mock.contexts;
    const finds = contexts.map(({ collectionName }, index) => {
      const result = results[index];
      if (result?.type !== 'return') throw new Error(`find in ${collectionName} failed`);
      return `${collectionName} ${result.value.readPreference.mode}`;
    });
    find.mockClear();
    return [...new Set(finds)].sort();
  }

  beforeAll(async () => {
    fresh = await database.create();
    find = watchFinds();
    parse = await startParseApplication({
      database: fresh,
      parse: {
        databaseURI: `${fresh.databaseURI}${fresh.databaseURI.includes('?') ? '&' : '?'}readPreference=secondaryPreferred`,
      },
    });
  });

  afterAll(async () => {
    jest.restoreAllMocks();
    await parse.stop();
    await fresh.drop();
  });

  it('is asked for hooks, subscriptions, their lock and keys of events at its primary', async () => {
    const isOwn = (found: string): boolean => ownClasses.some(name => found.startsWith(`${name} `));
    const atStart = takeFinds().filter(isOwn);
    // The built-in looks for hooks before it is replaced.
    expect(atStart.filter(each => !each.endsWith(' primary'))).toEqual(['_Hooks secondaryPreferred']);
    const url = 'https://receiver.invalid/';
    await parse.registerHook({ functionName: 'hello', url, timeoutMs: 1000 });
    const { objectId } = await subscribe(parse, { name: 'orders', url, classes: ['Order'] });
    const settings = await parse.master('PUT', `/webhooks/subscriptions/${objectId}`, { body: { url } });
    expect(settings.status).toBe(200);
    for (let time = 0; time < 2; time++) {
      const event = { body: { type: 'custom.order-paid', data: {} }, headers: { 'Idempotency-Key': 'once' } };
      expect((await parse.master('POST', '/webhooks/events', event)).status).toBe(time === 0 ? 201 : 200);
    }
    expect(takeFinds().filter(isOwn)).toEqual(ownClasses.map(name => `${name} primary`));
    // The application's own reads go where it wants them.
    await parse.client('POST', '/classes/Order', { body: {} });
    await parse.client('GET', '/classes/Order');
    expect(takeFinds()).toContain('Order secondaryPreferred');
  });
});
