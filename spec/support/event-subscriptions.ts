// Subscriptions and the log of deliveries through the REST API of a server, and the wait for what comes of them.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Answer, ParseApplication } from './parse-application';

export interface MadeSubscription {
  readonly objectId: string;
  readonly secret: string;
}

/** Fails unless it was taken. `events` default to all object events. */
export async function subscribe(
  parse: ParseApplication,
  fields: Readonly<Record<string, unknown>>,
): Promise<MadeSubscription> {
  const { status, body } = await parse.master('POST', '/webhooks/subscriptions', {
    body: { events: ['object.*'], ...fields },
  });
  if (status !== 201) throw new Error(`subscription refused: ${JSON.stringify(body)}`);
  return { objectId: body.objectId as string, secret: body.secret as string };
}

/** `action`: `pause`, `resume`, `test`, `secret/rotate`. */
export function act(
  parse: ParseApplication,
  { objectId }: Pick<MadeSubscription, 'objectId'>,
  action: string,
): Promise<Answer> {
  return parse.master('POST', `/webhooks/subscriptions/${objectId}/${action}`, { body: {} });
}

/** Rows of the log, newest first. */
export async function listDeliveries(
  parse: ParseApplication,
  query: Readonly<Record<string, string>>,
): Promise<readonly Answer['body'][]> {
  const { status, body } = await parse.master(
    'GET',
    `/webhooks/deliveries?${new URLSearchParams(query).toString()}`,
  );
  if (status !== 200) throw new Error(`deliveries cannot be listed: ${JSON.stringify(body)}`);
  return body.results as readonly Answer['body'][];
}

const limitMs = 30_000;

/** Reads again and again until `isDone`; what another process or the dispatcher does has no event to wait for here. */
export async function eventually<Value>(
  read: () => Promise<Value>,
  isDone: (value: Value) => boolean,
): Promise<Value> {
  const giveUpAt = performance.now() + limitMs;
  for (;;) {
    const value = await read();
    if (isDone(value)) return value;
    if (performance.now() > giveUpAt) throw new Error(`still ${JSON.stringify(value)} after ${limitMs} ms`);
    // A read that needs no I/O would keep all I/O from happening.
    await nextTurn();
  }
}

/** The deliveries of a subscription, once there are `count` and none of them waits. */
export function finishedDeliveries(
  parse: ParseApplication,
  { objectId }: Pick<MadeSubscription, 'objectId'>,
  count: number,
): Promise<readonly Answer['body'][]> {
  return eventually(
    () => listDeliveries(parse, { subscription: objectId, limit: '1000' }),
    rows => rows.length >= count && rows.every(({ state }) => state !== 'pending'),
  );
}

/** Saves an object and gives its objectId. */
export async function save(
  parse: ParseApplication,
  className: string,
  fields: Readonly<Record<string, unknown>>,
): Promise<string> {
  const { status, body } = await parse.client('POST', `/classes/${className}`, { body: fields });
  if (status !== 201) throw new Error(`not saved: ${JSON.stringify(body)}`);
  return body.objectId as string;
}
