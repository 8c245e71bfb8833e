// What the tests of bad luck share: a Parse Server, a well-behaved receiver, a misbehaving one, and proof of life.
import type { WebhooksOptions } from '../../src/index';
import { watchForCrashes } from './crash-watch';
import type { FreshDatabase, TestDatabase } from './databases';
import { startMisbehavingReceiver, type MisbehavingReceiver } from './misbehaving-receiver';
import { startParseApplication, type Answer, type ParseApplication } from './parse-application';
import { Reply, startWebhookReceiver, type WebhookReceiver } from './webhook-receiver';

export const failurePolicies = ['reject', 'allow'] as const;
export type FailurePolicy = (typeof failurePolicies)[number];

export interface FaultStack {
  readonly parse: ParseApplication;
  readonly receiver: WebhookReceiver;
  readonly misbehaving: MisbehavingReceiver;
  /** Runs `work` while the hook is registered. */
  withHook<T>(hook: Hook, work: () => Promise<T>): Promise<T>;
  /** A URL of the well-behaved receiver that answers 200 with these bytes, or whatever the Reply says. */
  answering(answer: string | Buffer | Reply): string;
  /** Fails unless the server still saves, with and without a hook, and nothing has crashed since the last time. */
  expectAlive(): Promise<void>;
  stop(): Promise<void>;
}

/** A body of `POST /hooks/...`. */
export type Hook = Readonly<Record<string, unknown>> &
  ({ readonly functionName: string } | { readonly className: string; readonly triggerName: string });

export interface FaultStackOptions {
  readonly webhooks?: WebhooksOptions;
  readonly parse?: Readonly<Record<string, unknown>>;
}

export async function startFaultStack(
  database: TestDatabase,
  options: FaultStackOptions = {},
): Promise<FaultStack> {
  const watch = watchForCrashes();
  const fresh: FreshDatabase = await database.create();
  const receiver = await startWebhookReceiver();
  const misbehaving = await startMisbehavingReceiver();
  const parse = await startParseApplication({
    database: fresh,
    parse: options.parse ?? {},
    // A slow machine must not turn another failure into a timeout: tests of timeouts set their own.
    webhooks: { totalDeadlineMs: 60_000, defaults: { timeoutMs: 30_000 }, ...options.webhooks },
  });
  let answers = 0;
  const answering: FaultStack['answering'] = answer =>
    receiver.on(`/answer/${++answers}`, () => (answer instanceof Reply ? answer : new Reply(200, answer)));
  await parse.registerHook({
    className: 'Healthy',
    triggerName: 'beforeSave',
    url: answering('{"success":{"seen":true}}'),
  });
  return {
    parse,
    receiver,
    misbehaving,
    withHook: async (hook, work) => {
      await parse.registerHook(hook);
      try {
        return await work();
      } finally {
        await parse.removeHook(hook);
      }
    },
    answering,
    expectAlive: async () => {
      expect(await parse.client('POST', '/classes/Unhooked', { body: { n: 1 } })).toMatchObject({
        status: 201,
      });
      expect(await parse.client('POST', '/classes/Healthy', { body: { n: 1 } })).toMatchObject({
        status: 201,
        body: { seen: true },
      });
      expect(watch.take()).toEqual([]);
    },
    stop: async () => {
      await parse.stop();
      await receiver.close();
      await misbehaving.close();
      await fresh.drop();
      watch.stop();
    },
  };
}

/** Fails unless this is exactly how a client is told of a refusal. */
export function expectRefusal(
  answer: Answer,
  body: { readonly code: number; readonly error: unknown },
): void {
  expect({ status: answer.status, body: answer.body }).toEqual({
    status: body.code === 101 ? 404 : 400,
    body,
  });
  expect(answer.headers.get('set-cookie')).toBeNull();
}
